#!/usr/bin/env bash
# Prints the path of a Python that has torch, colpali-engine, NumPy, and fast-plaid if available for this platform. Installs it
# first if it is missing: 5.3 GB in the user's cache folder on Linux, where torch comes with CUDA.
set -euo pipefail

# fast-plaid needs exactly this torch; colpali-engine is the version that made tests/golden.
peers=(torch==2.11.0 torchvision==0.26.0 transformers==5.23.0 colpali-engine==0.3.18 numpy==2.4.6 pypdfium2==5.15.2)
plaid=fast-plaid==1.7.0.2110

home=${XDG_CACHE_HOME:-$HOME/.cache}/ingest/peer-torch
if [[ ! -x $home/bin/python ]]; then
    echo "installing ${peers[*]} $plaid: 5.3 GB, some minutes" >&2
    mkdir -p "${home%/*}"
    work=$(mktemp -d "$home.new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    python3 -m venv "$work" >&2
    pip=("$work/bin/python" -m pip install --quiet --disable-pip-version-check --no-input)
    "${pip[@]}" "${peers[@]}" "$plaid" >&2 || "${pip[@]}" "${peers[@]}" >&2
    mv "$work" "$home"
fi
printf '%s\n' "$home/bin/python"
