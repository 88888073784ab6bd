#!/usr/bin/env bash
# Tiny vision-language models with random weights in the process, `ingest` beside mlx-vlm, both on MLX's CPU with the same
# BLAS, in turns. Prints rows of the table of `all.sh`; everything else goes to stderr.
#
#   benches/peer/describe.sh                 some minutes on 2 cores, 1.1 GB of disk for mlx-vlm
#   ROUNDS=5                                 rounds
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(tests/support/mlx-vlm.sh)
[[ $(uname -s) != Linux ]] || tests/support/mlx.sh >&2
cargo build --quiet --release --features mlx --example peer-describe
program=${CARGO_TARGET_DIR:-target}/release/examples/peer-describe

# If OpenBLAS is installed, our MLX is linked with it; the wheel that mlx-vlm uses contains a slower BLAS.
blas=$(gcc -print-file-name=libopenblas.so.0 2>/dev/null || true)
[[ $blas != /* ]] || export LD_PRELOAD=$blas
prefix=$(sed -n 's/^MLX_PREFIX = "\(.*\)"$/\1/p' .cargo/config.toml 2>/dev/null || true)
OUR_MLX=${prefix:+$prefix/mlx/lib} HF_HUB_OFFLINE=1 TQDM_DISABLE=1 PYTHONWARNINGS=ignore \
    "$python" -P benches/peer/describe.py "$program" tests/golden/qwen_vl/qwen2.5 tests/golden/qwen_vl/qwen3
