#!/usr/bin/env bash
# Prints the path of the Weaviate server that the tests run; builds it first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

version=1.39.3
home=$cache/weaviate-$version
build() {
    build_go "Weaviate $version" "some minutes, 6 GB of disk during the build" \
        "github.com/weaviate/weaviate/cmd/weaviate-server@v$version" weaviate-server
}

once "$home/weaviate-server" build
