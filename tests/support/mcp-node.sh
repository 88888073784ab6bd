#!/usr/bin/env bash
# Prints the folder of Node packages with the official clients of the Model Context Protocol: `sdk`, which shakes hands, and
# `client`, which also speaks the revision without a handshake. Fetches them from npm first if they are missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

sdk=1.32.2
client=2.4.0

home=$cache/mcp-node-sdk-$sdk-client-$client

fetch() {
    command -v npm >/dev/null || { say "no npm to fetch the clients with: install Node.js"; exit 1; }
    say "installing @modelcontextprotocol/sdk $sdk and client $client for the tests"
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts \
        "@modelcontextprotocol/sdk@$sdk" "@modelcontextprotocol/client@$client" >&2 9>&-
    rm -rf "$home"
    mv "$work" "$home"
    work=''
}

once "$home/node_modules" fetch
