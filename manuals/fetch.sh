#!/usr/bin/env bash
# Extracts third-party manuals from Debian 12 packages into manuals/fetched/.
# Nothing is installed and root is not needed; run "apt-get update" beforehand.
# Existing files are kept. Exit status 1 if a file could not be downloaded.
set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dest=$here/fetched
mkdir -p "$dest"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

for tool in apt-get dpkg-deb tar gzip; do
  command -v "$tool" >/dev/null || { echo "fetch.sh: $tool is missing (a Debian system is needed)" >&2; exit 1; }
done

# get PACKAGE PATH-IN-PACKAGE NAME-HERE
get() {
  local pkg=$1 path=$2 name=$3 deb log=$work/$1.log
  if [ -s "$dest/$name" ]; then
    echo "have   $name"
    return
  fi
  deb=$(find "$work" -name "${pkg}_*.deb" -print -quit)
  if [ -z "$deb" ]; then
    if [ -e "$work/$pkg.failed" ]; then
      echo "FAILED $name: package $pkg could not be downloaded" >&2
      failed=1
      return
    fi
    if ! (cd "$work" && apt-get download -o APT::Sandbox::User=root "$pkg") >"$log" 2>&1; then
      touch "$work/$pkg.failed"
      echo "FAILED $name: apt-get download $pkg: $(tail -n 1 "$log")" >&2
      failed=1
      return
    fi
    deb=$(find "$work" -name "${pkg}_*.deb" -print -quit)
  fi
  if ! dpkg-deb --fsys-tarfile "$deb" | tar -xOf - "./$path" >"$work/out" 2>"$log" || [ ! -s "$work/out" ]; then
    echo "FAILED $name: no $path in $(basename "$deb")" >&2
    failed=1
    return
  fi
  case $path in
    *.gz) gzip -dc "$work/out" >"$work/out.pdf" || { echo "FAILED $name: bad gzip data" >&2; failed=1; return; } ;;
    *) mv "$work/out" "$work/out.pdf" ;;
  esac
  if [ "$(head -c 5 "$work/out.pdf")" != "%PDF-" ]; then
    echo "FAILED $name: $path is not a PDF" >&2
    failed=1
    return
  fi
  mv "$work/out.pdf" "$dest/$name"
  echo "got    $name ($(du -k "$dest/$name" | cut -f1) KiB, from $(basename "$deb"))"
}

get gnuplot-doc      usr/share/doc/gnuplot/gnuplot.pdf                           gnuplot.pdf
get octave-doc       usr/share/doc/octave/octave.pdf                             octave.pdf
get circuit-macros   usr/share/doc/circuit-macros/examples/examples.pdf          circuit-macros-examples.pdf
get circuit-macros   usr/share/doc/circuit-macros/Circuit_macros.pdf.gz          circuit-macros.pdf
get ghostscript-doc  usr/share/doc/ghostscript/GS9_Color_Management.pdf          gs-color-management.pdf
get lilypond-doc-pdf usr/share/doc/lilypond/html/Documentation/essay.pdf         lilypond-essay.pdf

if [ "$failed" -ne 0 ]; then
  echo "fetch.sh: not all manuals could be fetched into $dest" >&2
  exit 1
fi
echo "all manuals are in $dest"
