#!/usr/bin/env bash
# The built-in model on pages of a manual, from gray pixels to multi-vectors: `ingest` beside torch with the same weights, in
# turns, on all cores. Fails if their vectors differ. Prints a row of the table of `all.sh`; everything else goes to stderr.
#
#   benches/peer/builtin.sh                  about three minutes on 2 cores, 2 GB of memory
#   ROUNDS=5                                 rounds
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(bash benches/peer/torch.sh)
cargo build --quiet --release --example peer-embed

# shellcheck source=benches/peer/aside.sh
source benches/peer/aside.sh
# With these torch does not return memory to the system, which saves up to 5 % of its time; ingest runs without them.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_TOP_PAD_=200000000
aside "$python" -P benches/peer/builtin.py "${CARGO_TARGET_DIR:-target}/release/examples/peer-embed" "$work"
