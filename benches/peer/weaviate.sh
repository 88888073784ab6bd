#!/usr/bin/env bash
# Pages per second into a real Weaviate, bytes on the wire, and how fast and how well pages are found again: `ingest
# sync` beside Weaviate's own Python client, on the same pages. Starts a server of its own, and stops it. Prints
# Markdown; what is under way is said on stderr.
#
#   benches/peer/weaviate.sh                 about ten minutes on 2 cores
#   MUVERA=384 RAW=48 ROWS=750               pages of a round, by index, and vectors of each
#   ROUNDS=5 RAW_ROUNDS=3                    rounds
#   FIND=1000 FIND_ROWS=200 QUERIES=100      pages that are looked for, vectors of each, questions; FIND=0 asks none
#   PROFILE=release                          cargo profile
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
folder=$profile
[[ $profile == dev ]] && folder=debug

weaviate=$(bash tests/support/weaviate-server.sh)
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

# Free ports for REST, gRPC, gossip, data, Raft and Raft's calls.
read -r rest grpc gossip data raft calls < <("$python" -P benches/peer/weaviate.py ports)
env -i PATH="$PATH" PORT="$rest" GRPC_PORT="$grpc" CLUSTER_GOSSIP_BIND_PORT="$gossip" CLUSTER_DATA_BIND_PORT="$data" \
    RAFT_PORT="$raft" RAFT_INTERNAL_RPC_PORT="$calls" PERSISTENCE_DATA_PATH="$work/data" HOST=127.0.0.1 \
    CLUSTER_HOSTNAME=node1 RAFT_BOOTSTRAP_EXPECT=1 CLUSTER_IN_LOCALHOST=true CLUSTER_ADVERTISE_ADDR=127.0.0.1 \
    CLUSTER_BIND_ADDR=127.0.0.1 AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED=true AUTOSCHEMA_ENABLED=false \
    API_BASED_MODULES_DISABLED=true DISABLE_TELEMETRY=true GO_PROFILING_DISABLE=true DISK_USE_READONLY_PERCENTAGE=0 \
    RAFT_TIMEOUTS_MULTIPLIER=1 GOMEMLIMIT=2GiB LOG_FORMAT=text ASYNC_INDEXING=false \
    "$weaviate" --scheme=http --read-timeout=600s --write-timeout=600s </dev/null >"$work/log" 2>&1 &
server=$!

no_proxy=127.0.0.1 PYTHONWARNINGS=ignore "$python" -P benches/peer/weaviate.py bench \
    --server "$server" --rest "$rest" --grpc "$grpc" --work "$work" \
    --ingest "$built/ingest" --ours "$built/examples/peer-weaviate" &
bench=$!
code=0
wait "$bench" || code=$?
bench=''
((code == 0)) || tail -n 20 "$work/log" >&2
exit "$code"
