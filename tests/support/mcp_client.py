"""The official Python client of the Model Context Protocol, as an assistant uses it.

mcp_client.py PLAN: PLAN is JSON with `mode` ("legacy" shakes hands, "2026-07-28" does not), `url` or `command`, `args`, `env`
and `cwd`, the `calls` to make and the `resource` to read. Prints what came back as JSON.
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters


async def main(plan: dict) -> dict:
    if "url" in plan:
        server = plan["url"]
    else:
        server = StdioServerParameters(
            command=plan["command"], args=plan["args"], env=plan["env"], cwd=plan["cwd"]
        )
    dump = lambda model: model.model_dump(by_alias=True, mode="json", exclude_none=True)
    async with Client(server, mode=plan["mode"]) as client:
        return {
            "protocol": client.session.protocol_version,
            **dump(await client.list_tools()),
            **dump(await client.list_resources()),
            **dump(await client.list_resource_templates()),
            "results": [dump(await client.call_tool(c["name"], c["arguments"])) for c in plan["calls"]],
            **dump(await client.read_resource(plan["resource"])),
        }


print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
