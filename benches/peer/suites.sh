#!/bin/sh
# The PDF files of five public test suites, 199 files: does `ingest` read the same files as pypdfium2, with as many pages, and
# store every page that pypdfium2 draws? Prints the differences as a table; exit status 1 if there are any.
# The files come from GitHub, at pinned commits, into your cache folder.
#
#   benches/peer/suites.sh                   about three minutes on 2 cores, 65 MB to download
#   benches/peer/suites.sh --files FOLDER    the PDF files of a folder instead; nothing is downloaded
#   PROFILE=release                          cargo profile
set -eu
profile=${PROFILE:-release}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ingest
venv=$cache/peer-suites
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..

if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet pypdfium2==5.15.2 >&2
fi
cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --profile "$profile" --bin ingest
folder=$profile
[ "$profile" = dev ] && folder=debug
exec "$venv/bin/python" "$here/suites.py" "${CARGO_TARGET_DIR:-$root/target}/$folder/ingest" "$cache/suites" "$@"
