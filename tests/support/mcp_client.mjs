// The official TypeScript clients of the Model Context Protocol, as an assistant uses them.
//
// node mcp_client.mjs MODULES PLAN: MODULES is the folder of Node packages. PLAN is JSON with `mode` ("legacy" shakes hands,
// "2026-07-28" does not), `url` or `command`, `args`, `env` and `cwd`, the `calls` to make and the `resource` to read. Prints
// what came back as JSON.

import { createRequire } from "node:module";

const [modules, text] = process.argv.slice(2);
const plan = JSON.parse(text);
const load = createRequire(`${modules}/any.js`);

function connection() {
  const program = { name: "test", version: "1" };
  if (plan.mode === "legacy") {
    const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
    const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
    const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
    return { client: new Client(program), StdioClientTransport, StreamableHTTPClientTransport };
  }
  const { Client, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");
  const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");
  const client = new Client(program, { versionNegotiation: { mode: { pin: plan.mode } } });
  return { client, StdioClientTransport, StreamableHTTPClientTransport };
}

const { client, StdioClientTransport, StreamableHTTPClientTransport } = connection();
const transport = plan.url
  ? new StreamableHTTPClientTransport(new URL(plan.url))
  : new StdioClientTransport({ command: plan.command, args: plan.args, env: plan.env, cwd: plan.cwd });
await client.connect(transport);
const listed = {
  protocol: plan.mode === "legacy" ? transport.protocolVersion : client.getNegotiatedProtocolVersion(),
  ...(await client.listTools()),
  ...(await client.listResources()),
  ...(await client.listResourceTemplates()),
};
const results = [];
for (const call of plan.calls) {
  results.push(await client.callTool(call));
}
const read = await client.readResource({ uri: plan.resource });
await client.close();
console.log(JSON.stringify({ ...listed, results, ...read }));
