#!/usr/bin/env bash
# Prints the path of the script of axe-core, which finds what people with disabilities cannot use on a page. Fetches it from
# npm first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

version=4.14.1
sha256=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c

home=$cache/axe-core-$version

fetch() {
    command -v npm >/dev/null || { say "no npm to fetch axe-core with: install Node.js"; exit 1; }
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    (cd "$work" && npm pack --silent "axe-core@$version" >/dev/null && tar xzf "axe-core-$version.tgz" package/axe.min.js)
    echo "$sha256  $work/package/axe.min.js" | sha256sum --check --quiet >&2 ||
        { say "axe-core $version is not the file that was expected"; exit 1; }
    rm -rf "$home"
    mv "$work/package" "$home"
    chmod +x "$home/axe.min.js"
}

once "$home/axe.min.js" fetch
