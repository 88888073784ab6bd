#!/usr/bin/env bash
# Prints the path of the NATS server that the tests run; builds it first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

version=2.15.3
home=$cache/nats-server-$version
server=$home/nats-server

# Go's caches are removed with $work: nothing else uses them.
build() {
    needs_go "NATS server $version"
    say "building the NATS server $version for the tests: a minute or two"
    mkdir -p "$home"
    rm -rf "$home"/build.*
    work=$(mktemp -d "$home/build.XXXXXX")
    mkdir "$work/tmp"
    CGO_ENABLED=0 GOFLAGS=-modcacherw GOBIN=$work/bin GOMODCACHE=$work/mod GOCACHE=$work/cache GOTMPDIR=$work/tmp \
        go install -ldflags '-s -w' "github.com/nats-io/nats-server/v2@v$version" >&2 9>&-
    mv -f "$work/bin/nats-server" "$server"
    say "the NATS server $version is built: $server"
}

once "$server" build
