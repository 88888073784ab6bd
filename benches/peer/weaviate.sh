#!/usr/bin/env bash
# Pages per second into a real Weaviate, bytes on the wire, search latency and recall: `ingest sync` beside Weaviate's own
# Python client, on the same pages. Starts a server of its own, and stops it. Prints rows of the table of `all.sh`; two
# more detailed tables and the progress go to stderr.
#
#   benches/peer/weaviate.sh                 about ten minutes on 2 cores
#   MUVERA=384 RAW=48 ROWS=750               pages per round, by index, and vectors per page
#   ROUNDS=5 RAW_ROUNDS=3                    rounds
#   FIND=1000 FIND_ROWS=200 QUERIES=100      pages to search, vectors per page, queries; FIND=0 skips the search
#   PROFILE=release                          cargo profile
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
folder=$profile
[[ $profile == dev ]] && folder=debug

# shellcheck source=benches/peer/server.sh
source benches/peer/server.sh
python=$(bash tests/support/python.sh)
cargo build --quiet --profile "$profile" --bin ingest
cargo build --quiet --profile "$profile" --example peer-weaviate
built=${CARGO_TARGET_DIR:-target}/$folder

work=$(mktemp -d) server='' bench=''
# shellcheck disable=SC2317
clear_up() {
    for child in $bench $server; do kill -KILL "$child" 2>/dev/null && wait "$child" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clear_up EXIT
trap 'exit 1' HUP INT TERM

start_weaviate "$work" 2GiB "$python"
no_proxy=127.0.0.1 PYTHONWARNINGS=ignore "$python" -P benches/peer/weaviate.py bench \
    --server "$server" --rest "$rest" --grpc "$grpc" --work "$work" \
    --ingest "$built/ingest" --ours "$built/examples/peer-weaviate" &
bench=$!
code=0
wait "$bench" || code=$?
bench=''
((code == 0)) || tail -n 20 "$work/log" >&2
exit "$code"
