#!/usr/bin/env bash
# Prints the path of a Python with the references of the tests: Weaviate's own client, trec_eval for retrieval measures, and
# mteb's class of results (without the libraries that run models: `mteb_results.py`). Installs it first if it is missing.
set -euo pipefail
# shellcheck source=tests/support/cache.sh
source "$(dirname "$0")/cache.sh"

client=4.23.1
numpy=2.4.6
trec=0.5.11
mteb=2.26.24
packaging=26.3

home=$cache/python-weaviate-client-$client-numpy-$numpy-trec-$trec-mteb-$mteb

fill() {
    say "installing weaviate-client $client, numpy $numpy, pytrec_eval $trec and mteb-core $mteb for the tests"
    pip "$1" "weaviate-client==$client" "numpy==$numpy" "pytrec_eval-terrier==$trec" "packaging==$packaging"
    pip "$1" --no-deps "mteb-core==$mteb"
    "$1" -c 'import numpy, pytrec_eval, weaviate'
}

once "$home/bin/python" environment
