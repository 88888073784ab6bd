#!/usr/bin/env bash
# openapi.sh URL: checks the OpenAPI document of a running `ingest serve`, and with Schemathesis that the server keeps to it.
# Installs both tools first if they are missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

validator=0.9.0
schemathesis=4.32.5

home=$cache/openapi-$validator-schemathesis-$schemathesis

fill() {
    say "installing openapi-spec-validator $validator and schemathesis $schemathesis for the tests"
    pip "$1" "openapi-spec-validator==$validator" "schemathesis==$schemathesis"
    "$1" -c 'import openapi_spec_validator, schemathesis'
}

python=$(once "$home/bin/python" environment)
document=$1/api/v1/openapi.json
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# Validates the document, and names a stored page and manual for calls that would only find nothing.
"$python" - "$1" >schemathesis.toml <<'CHECK'
import json, sys, urllib.parse, urllib.request
from openapi_spec_validator import OpenAPIV31SpecValidator
get = lambda path: json.load(urllib.request.urlopen(sys.argv[1] + path))
document = get("/api/v1/openapi.json")
assert document["openapi"].startswith("3.1"), document["openapi"]
OpenAPIV31SpecValidator(document).validate()
manual = get("/api/v1/manuals")["manuals"][0]["name"]
page = get("/api/v1/pages?" + urllib.parse.urlencode({"manual": manual, "page": 1}))["id"]
print('[[operations]]\ninclude-path-regex = "pages/.id."')
print(f'parameters = {{ "path.id" = "{page}" }}')
print('[[operations]]\ninclude-path-regex = "manuals/.name."\ninclude-method = "GET"')
print(f'parameters = {{ "path.name" = "{manual}" }}')
print('[[operations]]\ninclude-name = "GET /api/v1/pages"')
print(f'parameters = {{ "query.manual" = "{manual}" }}')
CHECK

# Not the stream of events, which never ends. Removals come last: names of manuals that were answered are used in calls.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance
try() {
    "$python" -m schemathesis.cli run "$document" --url "$1" --checks "$checks" --phases coverage,fuzzing --max-examples 8 \
        --seed 1 --no-shrink --continue-on-failure --request-timeout 20 --no-color "${@:2}"
}
try "$1" --exclude-operation-id removeManual --exclude-path /api/v1/events
try "$1" --include-operation-id removeManual
