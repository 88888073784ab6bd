#!/usr/bin/env bash
# Cost of a search among 100, 1,000 and 10,000 synthetic pages of 750 x 128, in a SQLite file and in a Weaviate server
# that it starts: time, memory, disk. Prints a Markdown table, and draws a plot.
#
#   benches/scale/scale.sh PLOT.svg          about ten minutes on 2 cores; 12 GB of disk during the run
#   PAGES="100 1000 10000"                   numbers of pages
set -euo pipefail
plot=$(realpath "${1:?where to draw, such as scale.svg}")
cd "$(dirname "$0")/../.."
# shellcheck source=benches/peer/server.sh
source benches/peer/server.sh
cargo build --quiet --release --example scale

work=$(mktemp -d) server='' bench=''
# shellcheck disable=SC2317
clear_up() {
    for child in $bench $server; do kill -KILL "$child" 2>/dev/null && wait "$child" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clear_up EXIT
trap 'exit 1' HUP INT TERM

mkdir "$work/files" "$work/home"
start_weaviate "$work" 8GiB "$(bash tests/support/python.sh)"
until curl --noproxy '*' --silent --fail --output /dev/null "http://127.0.0.1:$rest/v1/.well-known/ready"; do
    kill -0 "$server"
    sleep 0.2
done
no_proxy=127.0.0.1 XDG_DATA_HOME=$work/home HOME=$work/home \
    "${CARGO_TARGET_DIR:-target}/release/examples/scale" "$work/files" "$plot" \
    "http://127.0.0.1:$rest" "$server" "$work/data" &
bench=$!
code=0
wait "$bench" || code=$?
bench=''
((code == 0)) || tail -n 20 "$work/log" >&2
exit "$code"
