#!/usr/bin/env bash
# .github/package.sh [PROFILE]: builds the archive of a release for this machine, and prints its path: the stripped executable,
# README, licences, shell completions and man page. On a Mac with MLX, whose kernels (`mlx.metallib`) lie beside the executable:
# MLX looks there first.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
triple=$(rustc -vV | sed -n 's/^host: //p')
if [[ ${GITHUB_REF_TYPE:-} == tag && $GITHUB_REF_NAME != "v$version" ]]; then
    echo "the tag is $GITHUB_REF_NAME, but the version in Cargo.toml is $version" >&2
    exit 1
fi

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
name=ingest-$version-$triple
work=$CARGO_TARGET_DIR/archives
folder=$work/$name
rm -rf "$work"
mkdir -p "$folder/completions"

# Only the link differs from `cargo build`: nothing is compiled twice.
profile=${1:-release}
build=(cargo rustc --profile "$profile" --locked --bin ingest)
built=$CARGO_TARGET_DIR/$([[ $profile == dev ]] && echo debug || echo "$profile")
if [[ $(uname -s) == Darwin ]]; then
    # The first macOS that MLX supports. By default MLX is built for the macOS of the builder.
    export MACOSX_DEPLOYMENT_TARGET=14.0 MLX_RS_METAL_PATH=$CARGO_TARGET_DIR/mlx
    build+=(--features mlx)
fi
"${build[@]}" -- -C strip=symbols >&2
install -m 755 "$built/ingest" "$folder/ingest"
[[ $(uname -s) != Darwin ]] || install -m 644 "$MLX_RS_METAL_PATH/mlx.metallib" "$folder/mlx.metallib"

"$folder/ingest" completions bash >"$folder/completions/ingest.bash"
"$folder/ingest" completions zsh >"$folder/completions/_ingest"
"$folder/ingest" completions fish >"$folder/completions/ingest.fish"
"$folder/ingest" man >"$folder/ingest.1"
"$folder/ingest" check --licences >"$folder/LICENCES-PDFIUM.txt"
for file in README.md LICENSE*; do
    [[ ! -e $file ]] || install -m 644 "$file" "$folder"
done

# The same files make the same archive: sorted, with the time of the commit, without owners.
python3 - "$folder" "$(git log -1 --format=%ct)" <<'PYTHON'
import gzip, os, sys, tarfile

folder, time = sys.argv[1], int(sys.argv[2])

def plain(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = time
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry

with (
    open(folder + ".tar.gz", "wb") as file,
    gzip.GzipFile("", "wb", fileobj=file, mtime=time) as packed,
    tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
):
    archive.add(folder, os.path.basename(folder), filter=plain)
PYTHON
echo "$folder.tar.gz"
