#!/usr/bin/env bash
# .github/prepare.sh [tests]: installs Rust on a runner of GitHub, and what the tests need beyond Go, Python and what the runner
# has (tests/README.md).
set -euo pipefail
cd "$(dirname "$0")/.."

rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
rustup toolchain install "$rust" --profile minimal --component clippy --component rustfmt --no-self-update
rustup default "$rust"
[[ ${1:-} == tests ]] || exit 0

if [[ $(uname -s) == Linux ]]; then
    # Ubuntu 24.04 forbids what `unshare --map-root-user` does, in the tests of a full disk and in try-release.sh.
    sudo sysctl -e -w kernel.apparmor_restrict_unprivileged_userns=0
    exit
fi

# macOS: Chrome is installed, but not on PATH.
mkdir -p "$HOME/tools" "$HOME/headers"
printf '#!/bin/sh\nexec "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" "$@"\n' >"$HOME/tools/google-chrome"
chmod +x "$HOME/tools/google-chrome"
echo "$HOME/tools" >>"$GITHUB_PATH"

# Headers for Ollama (tests/support/ollama.sh); stb has no releases: this commit is the one that Debian packages.
brew install --quiet nlohmann-json
ln -sf "$(brew --prefix nlohmann-json)/include/nlohmann" "$HOME/headers/nlohmann"
git init --quiet "$HOME/headers/stb"
git -C "$HOME/headers/stb" fetch --quiet --depth 1 https://github.com/nothings/stb 8b5f1f37b5b75829fc72d38e7b5d4bcbf8a26d55
git -C "$HOME/headers/stb" checkout --quiet FETCH_HEAD
echo "CPLUS_INCLUDE_PATH=$HOME/headers" >>"$GITHUB_ENV"
