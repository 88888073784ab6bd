#!/bin/sh
# Pages per second at 150 dpi, ingest against pypdfium2: two worker processes each, RGB pixels delivered to one parent, no
# text. Both run alternately; the best of each is compared. The Python side is timed with a pipe and with shared memory.
# Prints rows of the table of `all.sh`; everything else goes to stderr.
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

pypdfium2=5.15.2
venv=${XDG_CACHE_HOME:-$HOME/.cache}/ingest/peer-render
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet pypdfium2==$pypdfium2 numpy >&2
fi

cargo build --quiet --profile "$profile" --example peer-render
folder=$profile
[ "$profile" = dev ] && folder=debug
ours=${CARGO_TARGET_DIR:-target}/$folder/examples/peer-render
theirs="$venv/bin/python benches/peer/render.py"

first=$("$ours" --digest --workers "$workers" --limit 20 "$@" | sha256sum)
second=$($theirs --digest --workers "$workers" --limit 20 "$@" | sha256sum)
pixels=equal
[ "$first" = "$second" ] || pixels=DIFFERENT

list=$(mktemp)
trap 'rm -f "$list"' EXIT
trap 'exit 1' HUP INT TERM
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "ingest $("$ours" --workers "$workers" --limit "$limit" "$@")" >>"$list"
    echo "pipe $($theirs --transport pipe --workers "$workers" --limit "$limit" "$@")" >>"$list"
    echo "shared $($theirs --transport shared --workers "$workers" --limit "$limit" "$@")" >>"$list"
done
awk -v what="render $# manuals at 150 dpi, $workers processes, pages/s" -v peer="pypdfium2 $pypdfium2" -v pixels=$pixels '
    { if ($2 > best[$1]) best[$1] = $2; all[$1] = all[$1] " " $2 }
    function row(what, way, words) {
        printf "| %s | %.0f | %.0f (%s) | %.2f |\n", what, best["ingest"], best[way], words, best["ingest"] / best[way]
    }
    END {
        for (way in all) print way " pages/s:" all[way] >"/dev/stderr"
        row(what, "shared", peer ", shared memory; " pixels " pixels")
        row("the same", "pipe", peer ", the pool of multiprocessing and its pipe")
    }' "$list"
