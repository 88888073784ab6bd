#!/usr/bin/env bash
# Prints the path of the NATS server that the tests run; builds it first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

version=2.15.3
home=$cache/nats-server-$version
build() {
    build_go "NATS server $version" "a minute or two" "github.com/nats-io/nats-server/v2@v$version" nats-server
}

once "$home/nats-server" build
