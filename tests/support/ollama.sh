#!/usr/bin/env bash
# Prints the path of the Ollama that the tests of `ingest describe` use. Builds it first if it is missing: its releases are
# archives of gigabytes, its Go module compiles in some minutes.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

version=0.17.4
sum=h1:X3KNm9x4BlHqk/AXMGtC7pBAFd46nmJmy8yDaBZLo9s=
miniaudio=1.71
miniaudio_sha256=ff51e2887bb673e2e757752b586b3dc924d59aa5fbcae9bbc45f4a111bd3262b

here=$(cd "$(dirname "$0")" && pwd)
home=$cache/ollama-$version

check() {
    needs_go "Ollama $version"
    if ! includes cstdio; then
        say "no Ollama $version in $home, and no C++ compiler to build it with (Debian and Ubuntu: install build-essential)"
        exit 1
    fi
}

# Succeeds if the compiler finds all these headers by itself.
includes() {
    printf '#include <%s>\n' "$@" | $(go env CXX) -x c++ -fsyntax-only - >/dev/null 2>&1
}

# The archive of Ollama's Go module lacks three third-party headers. Two are in Debian packages, which are only unpacked
# here, with package lists downloaded for this purpose: nothing is installed and root is not needed.
headers() {
    local python lists package
    mkdir -p "$work/headers/miniaudio" "$work/packages/lists/partial"
    if ! includes nlohmann/json.hpp stb/stb_image.h; then
        if ! command -v apt-get >/dev/null; then
            say "Ollama is built with the headers nlohmann/json.hpp and stb/stb_image.h: install nlohmann-json and stb"
            exit 1
        fi
        lists=(-o APT::Sandbox::User=root -o "Dir::State::Lists=$work/packages/lists" -o "Dir::Cache=$work/packages")
        apt-get -qq "${lists[@]}" update >&2 9>&-
        (cd "$work/packages" && apt-get -qq "${lists[@]}" download nlohmann-json3-dev libstb-dev) >&2 9>&-
        for package in "$work"/packages/*.deb; do
            dpkg-deb --extract "$package" "$work/packages"
        done
        cp -R "$work/packages/usr/include/." "$work/headers"
    fi
    python=$("$here/python.sh" 9>&-)
    printf 'miniaudio==%s --hash=sha256:%s\n' "$miniaudio" "$miniaudio_sha256" >"$work/wanted"
    "$python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps --no-binary miniaudio \
        --require-hashes --requirement "$work/wanted" --dest "$work" >&2 9>&-
    tar -xOf "$work/miniaudio-$miniaudio.tar.gz" "miniaudio-$miniaudio/miniaudio/miniaudio.h" \
        >"$work/headers/miniaudio/miniaudio.h"
}

# In the module's own folder its go.sum verifies the dependencies; `sum` verifies the module.
build() {
    local module found
    check
    say "building Ollama $version for the tests: some minutes, 2 GB of disk while it lasts"
    rm -rf "$home".build.*
    work=$(mktemp -d "$home.build.XXXXXX")
    mkdir -p "$work/tmp" "$home"
    headers
    export CGO_ENABLED=1 CGO_CPPFLAGS=-I$work/headers GOFLAGS='-modcacherw -buildvcs=false' GOWORK=off
    export GOMODCACHE=$work/mod GOCACHE=$work/cache GOTMPDIR=$work/tmp
    cd "$work"
    module=$(go mod download -json "github.com/ollama/ollama@v$version" 9>&-)
    found=$(sed -n 's/.*"Sum": "\(.*\)".*/\1/p' <<<"$module")
    if [[ $found != "$sum" ]]; then
        say "the source of Ollama $version is not the one we know: $found, not $sum"
        exit 1
    fi
    cd "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$module")"
    go build -trimpath -ldflags "-s -w -X github.com/ollama/ollama/version.Version=$version" -o "$work/ollama" . >&2 9>&-
    cd "$home"
    mv -f "$work/ollama" "$home/ollama"
}

once "$home/ollama" build
