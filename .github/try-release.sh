#!/usr/bin/env bash
# .github/try-release.sh ARCHIVE [ARGUMENT…]: runs the executable of an archive where neither Rust nor Python exists: with the
# arguments, or indexes the sample manuals and searches them. On Linux it sees a folder with nothing but itself, the manuals
# and glibc; on a Mac it has an empty environment.
set -euo pipefail

archive=$1
shift
tree=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root"/{bin,manuals,home,proc,dev}
tar -xzf "$archive" -C "$work/root/bin" --strip-components 1
cp "$tree"/manuals/*.pdf "$work/root/manuals"

if [[ $(uname -s) == Darwin ]]; then
    # What Homebrew installed here is missing elsewhere.
    foreign=$(otool -L "$work/root/bin/ingest" | tail -n +2 | grep -Ev '^[[:space:]]*(/usr/lib|/System)/' || true)
    [[ -z $foreign ]] || { echo "libraries that are not part of macOS: $foreign" >&2; exit 1; }
    run() { env -i HOME="$work/root/home" PATH=/nonexistent bin/ingest "$@"; }
else
    # PDFium is embedded: it is unpacked into the user's cache folder at the first use. Its libraries are needed too.
    env -i HOME="$work/unpacked" "$work/root/bin/ingest" check >&2
    pdfium=("$work"/unpacked/.cache/ingest/pdfium/*/libpdfium.so)
    libraries=$(ldd "$work/root/bin/ingest" "${pdfium[@]}" | grep -o '/[^ :]* (' | sort -u)
    while read -r library _; do
        mkdir -p "$work/root$(dirname "$library")"
        cp -L "$library" "$work/root$library"
        echo "  $library" >&2
    done <<<"$libraries"
    touch "$work/root/dev/null"
    # From /proc come the size of the memory and the path of the executable, which starts itself as render worker.
    run() {
        env -i HOME=/home "$(command -v unshare)" --map-root-user --mount --pid --fork bash -c '
            set -e
            mount -t proc proc "$1/proc"
            mount --bind /dev/null "$1/dev/null"
            chroot=$2 root=$1
            shift 2
            exec "$chroot" "$root" /bin/ingest "$@"' try "$work/root" "$(command -v chroot)" "$@"
    }
fi

cd "$work/root"
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
