#!/usr/bin/env bash
# `ingest` beside its peers, one table: pypdfium2, torch and colpali-engine, mlx-vlm, NumPy and fast-plaid, Weaviate's Python client.
# Each row has both figures and their ratio: above 1 `ingest` is faster. Everything else goes to stderr.
#
#   benches/peer/all.sh                      about half an hour on 2 cores, 6 GB of disk for torch, 5 GB of memory
set -euo pipefail
cd "$(dirname "$0")"
echo '| what | ingest | peer | ratio |'
echo '|---|---|---|---|'
code=0
for peer in render embed builtin describe search weaviate; do
    echo "$peer" >&2
    "./$peer.sh" || {
        code=1
        echo "| $peer | | did not run to its end | |"
    }
done
exit "$code"
