#!/usr/bin/env bash
# The built-in model on manuals that it was neither trained nor tuned on: their section titles as queries, by image search,
# text search, hybrid search, and on imitated scans. Prints Markdown; exit status 1 if the required quality is missed.
#
#   manuals/fetch.sh && benches/manuals/manuals.sh [MANUAL.pdf …]      ten minutes on 2 cores
set -euo pipefail
cd "$(dirname "$0")/../.."
if [[ $# -eq 0 ]]; then
    set -- manuals/fetched/{gnuplot,gs-color-management,lilypond-essay}.pdf manuals/*.pdf
fi
venv=${XDG_CACHE_HOME:-$HOME/.cache}/ingest/manuals
if [[ ! -x $venv/bin/python ]]; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet pypdfium2==5.15.2 numpy==2.4.6 pillow==13.0.0 >&2
fi
cargo build --quiet --release --bin ingest
"$venv/bin/python" benches/manuals/manuals.py "${CARGO_TARGET_DIR:-target}/release/ingest" \
    src/embed/builtin/train/scan.py manuals/questions.json,manuals/paraphrases-report.json "$@"
