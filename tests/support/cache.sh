# shellcheck shell=bash
# Shared by the scripts that install something for the tests: a cache folder outside the tree, and a lock on it.

say() { printf '%s\n' "$*" >&2; }

cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ingest-tests}
locked='' work=''
clear_up() { rm -rf ${work:+"$work"} ${locked:+"$locked"}; }

# Waits until no other caller works on $home. Without flock the lock is a folder with the holder's process id.
lock() {
    mkdir -p "$cache"
    if command -v flock >/dev/null; then
        # shellcheck disable=SC2154 # the script sets $home
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

# once PROGRAM MAKE: prints the path of a program in $home; MAKE builds it if it is missing. Temporary files of MAKE are in
# $work.
once() {
    if [[ ! -x $1 ]]; then
        trap clear_up EXIT
        trap 'exit 1' HUP INT TERM
        lock
        [[ -x $1 ]] || "$2"
    fi
    printf '%s\n' "$1"
}

# build_go WHAT NEEDS PACKAGE PROGRAM: builds a Go program into $home, such as the package example.com/server@v1.2.3 into the
# program `server`; NEEDS says what that takes. Go's caches are removed with $work: nothing else uses them.
build_go() {
    local what=$1 needs=$2 package=$3 program=$4
    needs_go "$what"
    say "building $what for the tests: $needs"
    mkdir -p "$home"
    rm -rf "$home"/build.*
    work=$(mktemp -d "$home/build.XXXXXX")
    mkdir "$work/tmp"
    CGO_ENABLED=0 GOFLAGS=-modcacherw GOBIN=$work/bin GOMODCACHE=$work/mod GOCACHE=$work/cache GOTMPDIR=$work/tmp \
        go install "$package" >&2 9>&-
    mv -f "$work/bin/$program" "$home/$program"
    say "$what is built: $home/$program"
}

# Makes a Python environment in $home; `fill PYTHON` installs into it. Only bin/python of the finished folder is usable: the
# other programs there contain the path it had before.
environment() {
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        say "no Python 3.11 or newer for the tests: install python3"
        exit 1
    fi
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        say "python3 lacks venv or pip (Debian and Ubuntu: install python3-venv)"
        exit 1
    fi
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    python3 -m venv "$work" >&2 9>&-
    fill "$work/bin/python" >&2 9>&-
    rm -rf "$home"
    mv "$work" "$home"
    work=''
}

# pip PYTHON PACKAGE…
pip() { "$1" -m pip install --quiet --disable-pip-version-check --no-input "${@:2}"; }

# needs_go WHAT: exits if there is no Go that is new enough to build WHAT.
needs_go() {
    local found
    found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
    if ! [[ $found =~ go([0-9]+)\.([0-9]+) ]] || ((BASH_REMATCH[1] == 1 && BASH_REMATCH[2] < 26)); then
        say "no $1 in $home, and no Go 1.26 or newer to build it with: install Go from https://go.dev/dl"
        exit 1
    fi
}
