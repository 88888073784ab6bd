#!/usr/bin/env bash
# .github/try-release.sh ARCHIVE [ARGUMENT…]: runs the executable of an archive where neither Rust nor Python exists: with the
# arguments, or indexes the sample manuals and searches them. On Linux it sees a folder with nothing but itself, the manuals
# and glibc; on a Mac it has an empty environment.
set -euo pipefail

archive=$1
shift
tree=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/root"/{bin,manuals,home,proc,dev}
tar -xzf "$archive" -C "$scratch/root/bin" --strip-components 1
cp "$tree"/manuals/*.pdf "$scratch/root/manuals"

if [[ $(uname -s) == Darwin ]]; then
    # What Homebrew installed here is missing elsewhere.
    foreign=$(otool -L "$scratch/root/bin/ingest" | tail -n +2 | grep -Ev '^[[:space:]]*(/usr/lib|/System)/' || true)
    [[ -z $foreign ]] || { echo "libraries that are not part of macOS: $foreign" >&2; exit 1; }
    run() { env -i HOME="$scratch/root/home" PATH=/nonexistent bin/ingest "$@"; }
else
    # PDFium is embedded: it is unpacked into the user's cache folder at the first use. Its libraries are needed too.
    env -i HOME="$scratch/unpacked" "$scratch/root/bin/ingest" check >&2
    pdfium=("$scratch"/unpacked/.cache/ingest/pdfium/*/libpdfium.so)
    libraries=$(ldd "$scratch/root/bin/ingest" "${pdfium[@]}" | grep -o '/[^ :]* (' | sort -u)
    while read -r library _; do
        mkdir -p "$scratch/root$(dirname "$library")"
        cp -L "$library" "$scratch/root$library"
        echo "  $library" >&2
    done <<<"$libraries"
    touch "$scratch/root/dev/null"
    # From /proc come the size of the memory and the path of the executable, which starts itself as render worker.
    run() {
        env -i HOME=/home "$(command -v unshare)" --map-root-user --mount --pid --fork bash -c '
            set -e
            mount -t proc proc "$1/proc"
            mount --bind /dev/null "$1/dev/null"
            chroot=$2 root=$1
            shift 2
            exec "$chroot" "$root" /bin/ingest "$@"' try "$scratch/root" "$(command -v chroot)" "$@"
    }
fi

cd "$scratch/root"
if (($# > 0)); then
    run "$@"
    exit
fi
run --version
run manuals/*.pdf
hit=$(run search "What does fault code E-108 mean?" -k 1)
echo "$hit"
if [[ $hit != "1. heat-pump-service-manual.pdf page 20 "* ]]; then
    echo "the first hit is not page 20 of heat-pump-service-manual.pdf" >&2
    exit 1
fi
