# Sourced by the peer scripts: $work, a folder that is removed when the script exits, and `aside COMMAND…`, which runs a
# program, waits for it, and kills it if the script exits first.
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
