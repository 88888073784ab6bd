#!/bin/sh
# Pages per second at 150 dpi, ingest against pypdfium2: two worker processes each, RGB pixels delivered to one parent, no
# text. Both run in turns; the best of each is compared. The Python side is timed with a pipe and with shared memory.
#
#   benches/peer/render.sh [FILE.pdf …]      (default: manuals/*.pdf and manuals/fetched/*.pdf)
#   ROUNDS=5 LIMIT=60 WORKERS=2              rounds, pages of each file, processes
#   PROFILE=release                          cargo profile
set -eu
cd "$(dirname "$0")/../.."
rounds=${ROUNDS:-5} limit=${LIMIT:-60} workers=${WORKERS:-2} profile=${PROFILE:-release}
if [ $# -eq 0 ]; then
    set -- manuals/*.pdf
    for file in manuals/fetched/*.pdf; do [ -e "$file" ] && set -- "$@" "$file"; done
fi

venv=${XDG_CACHE_HOME:-$HOME/.cache}/ingest/peer-render
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet pypdfium2==5.15.2 numpy
fi

cargo build --quiet --profile "$profile" --example peer-render
folder=$profile
[ "$profile" = dev ] && folder=debug
ours=${CARGO_TARGET_DIR:-target}/$folder/examples/peer-render
theirs="$venv/bin/python benches/peer/render.py"

first=$("$ours" --digest --workers "$workers" --limit 20 "$@" | sha256sum)
second=$($theirs --digest --workers "$workers" --limit 20 "$@" | sha256sum)
if [ "$first" = "$second" ]; then echo "pixels: equal"; else echo "pixels: DIFFERENT"; fi

list=$(mktemp)
trap 'rm -f "$list"' EXIT
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "ingest $("$ours" --workers "$workers" --limit "$limit" "$@")" >>"$list"
    echo "pipe $($theirs --way pipe --workers "$workers" --limit "$limit" "$@")" >>"$list"
    echo "shared $($theirs --way shared --workers "$workers" --limit "$limit" "$@")" >>"$list"
done
awk '
    { if ($2 > best[$1]) best[$1] = $2; all[$1] = all[$1] " " $2 }
    END {
        for (way in all) print way " pages/s:" all[way]
        printf "ingest / pypdfium2 by pipe:          %.2f\n", best["ingest"] / best["pipe"]
        printf "ingest / pypdfium2 by shared memory: %.2f\n", best["ingest"] / best["shared"]
    }' "$list"
