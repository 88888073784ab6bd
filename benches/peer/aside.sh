# Sourced by peers: a folder in $work, gone with the script, and `aside COMMAND…`, which waits for a program that is killed
# where the script ends before it does.
# shellcheck shell=bash
work=$(mktemp -d) bench=''
# shellcheck disable=SC2317
clear_up() {
    [[ -z $bench ]] || { kill -KILL "$bench" && wait "$bench"; } 2>/dev/null || true
    rm -rf "$work"
}
trap clear_up EXIT
trap 'exit 1' HUP INT TERM

aside() {
    "$@" &
    bench=$!
    wait "$bench"
    bench=''
}
