#!/usr/bin/env bash
# Prints the path of the Weaviate server that the tests run; builds it first where it is not there yet.
set -euo pipefail

version=1.39.3

say() { printf '%s\n' "$*" >&2; }

cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingest-tests}
home=$cache/weaviate-$version
server=$home/weaviate-server

# Waits until no other caller builds here. Without flock the lock is a folder that names its holder.
lock() {
    mkdir -p "$home"
    if command -v flock >/dev/null; then
        exec 9>"$home/lock"
        flock 9
        return
    fi
    until mkdir "$home/locked" 2>/dev/null; do
        holder=$(cat "$home/locked/holder" 2>/dev/null || true)
        if [[ -n $holder ]] && ! kill -0 "$holder" 2>/dev/null; then
            rm -rf "$home/locked"
        else
            sleep 1
        fi
    done
    locked=$home/locked
    echo $$ >"$locked/holder"
}

locked='' work=''
# Go's caches are of no use to anybody else: 5.6 GB.
clear_up() { rm -rf ${work:+"$work"} ${locked:+"$locked"}; }

new_enough() {
    local found
    found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
    [[ $found =~ go([0-9]+)\.([0-9]+) ]] || return 1
    ((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= 26))
}

build() {
    say "building Weaviate $version for the tests: some minutes, 6 GB of disk while it lasts"
    rm -rf "$home"/build.*
    work=$(mktemp -d "$home/build.XXXXXX")
    mkdir "$work/tmp"
    CGO_ENABLED=0 GOFLAGS=-modcacherw GOBIN=$work/bin GOMODCACHE=$work/mod GOCACHE=$work/cache GOTMPDIR=$work/tmp \
        go install "github.com/weaviate/weaviate/cmd/weaviate-server@v$version" >&2 9>&-
    mv -f "$work/bin/weaviate-server" "$server"
    say "Weaviate $version is built: $server"
}

if [[ ! -x $server ]]; then
    trap clear_up EXIT
    trap 'exit 1' HUP INT TERM
    lock
    if [[ ! -x $server ]]; then
        if ! new_enough; then
            say "no Weaviate $version in $home, and no Go 1.26 or newer to build it with: install Go from https://go.dev/dl"
            exit 1
        fi
        build
    fi
fi
printf '%s\n' "$server"
