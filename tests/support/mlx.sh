#!/usr/bin/env bash
# Prepares MLX for a build with `--features mlx` on Linux x86_64, where it computes on the CPU, and prints the folder it
# is in. A Mac needs no preparation: there cargo builds MLX itself.
#
# MLX comes as a wheel. Its C interface is compiled from the sources in the crate `mlx-sys`, whose own build script supports
# only Apple's frameworks. `.cargo/config.toml`, which is not tracked, then tells cargo to link these files instead of
# running that script (The Cargo Book, "Overriding Build Scripts").
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

# The release that mlx-sys 0.7.0 wraps; its C interface does not compile against another.
mlx=0.32.2
libclang=18.1.1
bindgen=0.72.1

support=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$support/../.." && pwd)
triple=x86_64-unknown-linux-gnu
if [[ $(uname -sm) != "Linux x86_64" ]]; then
    say "nothing to prepare on $(uname -sm): cargo builds MLX itself on a Mac, and other machines have none"
    exit 1
fi
command -v g++ >/dev/null || { say "no C++ compiler (Debian and Ubuntu: install g++)"; exit 1; }

# The wheel's own BLAS is the slow reference one.
blas=$(gcc -print-file-name=libopenblas.so.0)
[[ $blas == /* ]] || blas=''
home=$cache/mlx-$mlx-${blas:+open}blas

download() { python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$1" "${@:2}" >&2 9>&-; }

# Compiles the C interface, one file per core at a time.
compile() {
    find "$1/mlx/c" "$support/mlx" -name '*.cpp' -print0 |
        xargs -0 -P "$(nproc)" -I{} sh -c '
            g++ -std=c++20 -O2 -fPIC -w -include "$1/mlx/shim.hpp" -I"$2" -I"$3/mlx/include" \
                -c "$4" -o "$3/objects/$(basename "$4").o"' - "$support" "$1" "$work" {}
}

# Generates the bindings with the configuration of mlx-sys.
bindings() {
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
    LIBCLANG_PATH=$work/clang/native BINDGEN_EXTRA_CLANG_ARGS="-I$(gcc -print-file-name=include)" \
        CARGO_TARGET_DIR=$work/target cargo run --quiet --manifest-path "$work/bindings/Cargo.toml" -- \
        "$1/src/mlx-c" "$work/bindings.rs" >&2 9>&-
}

make() {
    say "preparing MLX $mlx: a minute or two"
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    mkdir "$work/objects"
    download "$work" "mlx-cpu==$mlx" "libclang==$libclang"
    python3 - "$work" <<'PYTHON'
import pathlib, sys, zipfile
work = pathlib.Path(sys.argv[1])
for wheel in work.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work)
    wheel.unlink()
next(work.glob("libclang-*.data/platlib/clang")).rename(work / "clang")
PYTHON
    if [[ -n $blas ]]; then
        for library in "$work"/mlx_cpu.libs/lib{blas,lapack}-*; do ln -sf "$blas" "$library"; done
    fi
    local crate
    crate=$(cd "$tree" && cargo metadata --format-version 1 --locked --features mlx --filter-platform "$triple" |
        python3 -c 'import json, sys, os
print(*(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "mlx-sys"))')
    compile "$crate/src/mlx-c"
    ar crs "$work/libmlxc.a" "$work"/objects/*.o
    bindings "$crate"
    rm -rf "$work"/{objects,clang,bindings,target} "$work"/libclang-*
    rm -rf "$home"
    mv "$work" "$home"
    work=''
}

# Writes cargo's configuration. The file is only written if it changes: otherwise cargo would rebuild everything.
configure() {
    local config=$tree/.cargo/config.toml first='# Written by tests/support/mlx.sh; delete it to let mlx-sys build itself.'
    if [[ -e $config && $(head -n 1 "$config") != "$first" ]]; then
        say "$config is yours: add what tests/support/mlx.sh would write there, or move it away"
        exit 1
    fi
    mkdir -p "$tree/.cargo"
    cat >"$config.new" <<TOML
$first
[env]
MLX_PREFIX = "$home"

[target.$triple.mlx]
rustc-link-search = ["native=$home", "native=$home/mlx/lib"]
rustc-link-lib = ["static=mlxc", "dylib=mlx", "dylib=stdc++"]
rustc-env = { OUT_DIR = "$home" }
TOML
    if cmp -s "$config.new" "$config"; then rm "$config.new"; else mv "$config.new" "$config"; fi
}

once "$home" make
configure
