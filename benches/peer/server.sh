# shellcheck shell=bash disable=SC2034
# Sourced: starts a Weaviate of one node on free ports, configured for benchmarks. `server`, `rest` and `grpc` are then its
# process and ports; the caller kills it.
#
#   start_weaviate FOLDER MEMORY PYTHON     data and log go to FOLDER; Go keeps its heap below MEMORY, such as 2GiB
start_weaviate() {
    local weaviate gossip data raft calls
    weaviate=$(bash tests/support/weaviate-server.sh)
    # For REST, gRPC, gossip, data, Raft and Raft's calls.
    read -r rest grpc gossip data raft calls < <(PYTHONWARNINGS=ignore "$3" -P benches/peer/weaviate.py ports)
    env -i PATH="$PATH" PORT="$rest" GRPC_PORT="$grpc" CLUSTER_GOSSIP_BIND_PORT="$gossip" \
        CLUSTER_DATA_BIND_PORT="$data" RAFT_PORT="$raft" RAFT_INTERNAL_RPC_PORT="$calls" \
        PERSISTENCE_DATA_PATH="$1/data" HOST=127.0.0.1 CLUSTER_HOSTNAME=node1 RAFT_BOOTSTRAP_EXPECT=1 \
        CLUSTER_IN_LOCALHOST=true CLUSTER_ADVERTISE_ADDR=127.0.0.1 CLUSTER_BIND_ADDR=127.0.0.1 \
        AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED=true AUTOSCHEMA_ENABLED=false API_BASED_MODULES_DISABLED=true \
        DISABLE_TELEMETRY=true GO_PROFILING_DISABLE=true DISK_USE_READONLY_PERCENTAGE=0 RAFT_TIMEOUTS_MULTIPLIER=1 \
        GOMEMLIMIT="$2" LOG_FORMAT=text ASYNC_INDEXING=false \
        "$weaviate" --scheme=http --read-timeout=600s --write-timeout=600s </dev/null >"$1/log" 2>&1 &
    server=$!
}
