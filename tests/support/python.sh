#!/usr/bin/env bash
# Prints the path of a Python that has what the tests compare with: Weaviate's own client, trec_eval for measures of
# retrieval, and mteb's class of results (without the libraries that run models: `mteb_results.py`). Installs it first where it is not there yet.
set -euo pipefail

client=4.23.1
numpy=2.4.6
trec=0.5.11
mteb=2.26.24
packaging=26.3

say() { printf '%s\n' "$*" >&2; }

cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingest-tests}
name=python-weaviate-client-$client-numpy-$numpy-trec-$trec-mteb-$mteb
home=$cache/$name
python=$home/bin/python

# Waits until no other caller installs here. Without flock the lock is a folder that names its holder.
lock() {
    mkdir -p "$cache"
    if command -v flock >/dev/null; then
        exec 9>"$home.lock"
        flock 9
        return
    fi
    until mkdir "$home.locked" 2>/dev/null; do
        holder=$(cat "$home.locked/holder" 2>/dev/null || true)
        if [[ -n $holder ]] && ! kill -0 "$holder" 2>/dev/null; then
            rm -rf "$home.locked"
        else
            sleep 1
        fi
    done
    locked=$home.locked
    echo $$ >"$locked/holder"
}

locked='' work=''
clear_up() { rm -rf ${work:+"$work"} ${locked:+"$locked"}; }

check() {
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        say "no Python 3.11 or newer for the tests: install python3"
        exit 1
    fi
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        say "python3 lacks venv or pip (Debian and Ubuntu: install python3-venv)"
        exit 1
    fi
}

# Only bin/python of the finished folder is of use: the other programs there hold the name it had before.
fetch() {
    say "installing weaviate-client $client, numpy $numpy, pytrec_eval $trec and mteb-core $mteb for the tests"
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    python3 -m venv "$work" >&2 9>&-
    "$work/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        "weaviate-client==$client" "numpy==$numpy" "pytrec_eval-terrier==$trec" "packaging==$packaging" >&2 9>&-
    "$work/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps "mteb-core==$mteb" >&2 9>&-
    "$work/bin/python" -c 'import numpy, pytrec_eval, weaviate' >&2
    rm -rf "$home"
    mv "$work" "$home"
    work=''
}

if [[ ! -x $python ]]; then
    trap clear_up EXIT
    trap 'exit 1' HUP INT TERM
    lock
    if [[ ! -x $python ]]; then
        check
        fetch
    fi
fi
printf '%s\n' "$python"
