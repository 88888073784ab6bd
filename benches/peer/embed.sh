#!/usr/bin/env bash
# ColQwen2.5-3B with random weights on a CPU: `ingest` beside torch, by layer, and beside colpali-engine on a checkpoint with
# few layers, from pixels to vectors, in turns; so too with ColQwen3-2B. Prints rows of the table of `all.sh`; everything else goes to stderr.
#
#   benches/peer/embed.sh                    about five minutes on 2 cores, 5 GB of memory
#   ROUNDS=3                                 rounds
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(bash benches/peer/torch.sh)
cargo build --quiet --release --example peer-embed

# shellcheck source=benches/peer/aside.sh
source benches/peer/aside.sh
TQDM_DISABLE=1 PYTHONWARNINGS=ignore aside "$python" -P benches/peer/embed.py "${CARGO_TARGET_DIR:-target}/release/examples/peer-embed" "$work"
