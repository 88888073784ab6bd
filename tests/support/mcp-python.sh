#!/usr/bin/env bash
# Prints the path of a Python with the official client of the Model Context Protocol. Installs it first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

version=2.3.0

home=$cache/mcp-python-$version

fill() {
    say "installing mcp $version for the tests"
    pip "$1" "mcp==$version"
    "$1" -c 'import mcp'
}

once "$home/bin/python" environment
