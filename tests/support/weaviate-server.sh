#!/usr/bin/env bash
# Prints the path of the Weaviate server that the tests run; builds it first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

version=1.39.3
home=$cache/weaviate-$version
server=$home/weaviate-server

# Go's caches (5.6 GB) are removed with $work: nothing else uses them.
build() {
    needs_go "Weaviate $version"
    say "building Weaviate $version for the tests: some minutes, 6 GB of disk during the build"
    mkdir -p "$home"
    rm -rf "$home"/build.*
    work=$(mktemp -d "$home/build.XXXXXX")
    mkdir "$work/tmp"
    CGO_ENABLED=0 GOFLAGS=-modcacherw GOBIN=$work/bin GOMODCACHE=$work/mod GOCACHE=$work/cache GOTMPDIR=$work/tmp \
        go install "github.com/weaviate/weaviate/cmd/weaviate-server@v$version" >&2 9>&-
    mv -f "$work/bin/weaviate-server" "$server"
    say "Weaviate $version is built: $server"
}

once "$server" build
