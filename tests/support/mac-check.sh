#!/usr/bin/env bash
# Checks on Linux, by clippy, that everything compiles for a Mac, with and without MLX. On a Mac the ordinary clippy does this.
#
# Clippy does not link, so neither Apple's SDK nor its frameworks are needed. The C code of some crates is compiled by Zig,
# which contains the C headers of macOS and comes as a wheel. The build script of `mlx-sys` is replaced as in mlx.sh.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"
# shellcheck source=tests/support/mlx/bindings.sh
source "$(dirname "$0")/mlx/bindings.sh"

zig=0.17.1

triple=aarch64-apple-darwin
if [[ $(uname -s) == Darwin ]]; then
    say "nothing to check: cargo clippy itself compiles for a Mac here"
    exit 0
fi
home=$cache/mac-zig-$zig-mlx-$mlx

# Zig does not know Apple's spelling of the target.
compilers() {
    cat >"$work/cc" <<'SH'
#!/bin/sh
for arg; do
    shift
    case $arg in --target=* | -mmacosx-version-min=* | -arch | arm64) ;; *) set -- "$@" "$arg" ;; esac
done
exec "${0%/*}/ziglang/zig" cc -target aarch64-macos.13.0 "$@"
SH
    cat >"$work/ar" <<'SH'
#!/bin/sh
exec "${0%/*}/ziglang/zig" ar "$@"
SH
    chmod +x "$work"/{ar,cc,ziglang/zig}
}

make() {
    say "preparing Zig $zig and the bindings of MLX $mlx for the check for macOS: a minute"
    rm -rf "$home".new.*
    work=$(mktemp -d "$home.new.XXXXXX")
    unpack "ziglang==$zig"
    compilers
    local crate headers=$work/ziglang/lib
    crate=$(mlx_sys "$triple")
    bindings "$crate" "$triple" "-nostdinc -isystem $headers/libc/include/any-darwin-any -isystem $headers/include"
    rm -rf "$home"
    mv "$work" "$home"
    work=''
}

# Rust's standard library for the target.
standard() {
    [[ ! -d $(rustc --print target-libdir --target "$triple") ]] || return 0
    rustup target add "$triple" || { say "Rust's standard library for $triple is needed: rustup target add $triple"; exit 1; }
}

# clippy OPTION…
clippy() {
    say "clippy for macOS: $*"
    cargo clippy --locked --target "$triple" --config "target.$triple.mlx.rustc-env.OUT_DIR='$home'" \
        --config 'profile.dev.package."*".opt-level=0' "$@" -- -D warnings
}

cd "$tree"
trap clear_up EXIT
trap 'exit 1' HUP INT TERM
lock
standard
[[ -x $home/cc ]] || make

export CC_aarch64_apple_darwin=$home/cc AR_aarch64_apple_darwin=$home/ar
export ZIG_GLOBAL_CACHE_DIR=$home/cache ZIG_LOCAL_CACHE_DIR=$home/cache
export CARGO_TARGET_DIR=$home/target
# Outdated dependencies stay in the folder: beyond 4 GB it is filled anew.
if [[ -d $CARGO_TARGET_DIR ]] && (($(du -sm "$CARGO_TARGET_DIR" | cut -f 1) > 4000)); then rm -rf "$CARGO_TARGET_DIR"; fi
# All trees share the dependencies, but not the results for this crate: in another tree cargo would take those for current
# if the files there are older, and an error would stay hidden.
cargo clean --quiet --locked --package ingest --target "$triple"
clippy --all-targets
clippy --all-targets --features mlx
