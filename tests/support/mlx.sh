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
# shellcheck source=tests/support/mlx/bindings.sh
source "$(dirname "$0")/mlx/bindings.sh"

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

# Compiles the C interface, one file per core at a time.
compile() {
    find "$1/mlx/c" "$support/mlx" -name '*.cpp' -print0 |
        xargs -0 -P "$(nproc)" -I{} sh -c '
            g++ -std=c++20 -O2 -fPIC -w -include "$1/mlx/shim.hpp" -I"$2" -I"$3/mlx/include" \
                -c "$4" -o "$3/objects/$(basename "$4").o"' - "$support" "$1" "$work" {}
}

make() {
    say "preparing MLX $mlx: a minute or two"
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    mkdir "$work/objects"
    unpack "mlx-cpu==$mlx"
    if [[ -n $blas ]]; then
        for library in "$work"/mlx_cpu.libs/lib{blas,lapack}-*; do ln -sf "$blas" "$library"; done
    fi
    local crate
    crate=$(mlx_sys "$triple")
    compile "$crate/src/mlx-c"
    ar crs "$work/libmlxc.a" "$work"/objects/*.o
    bindings "$crate" "$triple" "-I$(gcc -print-file-name=include)"
    rm -rf "$work/objects" "$home"
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
