#!/usr/bin/env bash
# Prints the path of a Python that can run `mlx_vlm.server`, the model server that the tests of `ingest describe` use. On
# Linux it computes on the CPU. Installs it first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

server=0.7.10
mlx=0.32.4
transformers=5.23.0

home=$cache/mlx-vlm-$server-mlx-$mlx-transformers-$transformers

fill() {
    local backend=()
    [[ $(uname -s) == Linux ]] && backend=("mlx-cpu==$mlx")
    say "installing mlx-vlm $server and mlx $mlx for the tests: a minute or more, 1.1 GB of disk"
    pip "$1" "mlx-vlm==$server" "mlx==$mlx" "transformers==$transformers" ${backend[@]+"${backend[@]}"}
    "$1" -c 'import mlx.core as mx; mx.eval(mx.ones(2) + 1); import mlx_vlm.server'
}

once "$home/bin/python" environment
