#!/usr/bin/env bash
# Exact search among synthetic pages of 768 x 128 for queries of 20 x 128, all cores: `ingest` from memory and from its
# SQLite file, NumPy's MaxSim, and fast-plaid, which is approximate; in turns. Prints rows of the table of `all.sh`;
# everything else goes to stderr.
#
#   benches/peer/search.sh                   about ten minutes on 2 cores, nearly all of it fast-plaid's index
#   PAGES=1000 QUESTIONS=20 ROUNDS=5         pages, queries per round, rounds
#   PLAID=1                                  0 leaves fast-plaid out
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(bash benches/peer/torch.sh)
cargo build --quiet --release --example peer-search

# shellcheck source=benches/peer/aside.sh
source benches/peer/aside.sh
PYTHONWARNINGS=ignore aside "$python" -P benches/peer/search.py "${CARGO_TARGET_DIR:-target}/release/examples/peer-search" "$work"
