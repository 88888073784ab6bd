"""Asks manuals for their section titles: pixels beside BM25, fused, and from imitated scans; `manuals.sh` calls this.

    manuals.py INGEST SCAN.py QUESTIONS.json MANUAL.pdf...

Prints Markdown; exit status 1 where the bar is missed.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

MODES = ("text", "visual", "hybrid")
# Least share of BM25's recall@1 and @5 from pixels, least recall@5 of scans, most that the fusion may lose.
BAR = {1: 0.85, 5: 0.90}
SCANS, LOSS = 0.80, 0.01


def call(ingest, *words):
    """What a run of ingest prints."""
    return subprocess.run([ingest, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def ask(ingest, store, *what):
    """Recall@1 and @5 by set and mode, and how many questions a set has."""
    found = {}
    for result in json.loads(call(ingest, "eval", *what, "--store", store, "--json"))["results"]:
        found.setdefault(result["set"], {"n": result["queries"]})[result["mode"]] = {
            k: result[f"recall_at_{k}"]["mean"] for k in (1, 5)
        }
    return found


def mean(rows, mode, k):
    """Mean over manuals, each counting as much as the others."""
    return sum(row[mode][k] for row in rows) / len(rows)


def show(row):
    """The figures of one line, both recalls of each mode."""
    return " | ".join("%.2f / %.2f" % (row[mode][1], row[mode][5]) for mode in (*MODES, "scan") if mode in row)


def main():
    ingest, scan, questions, *manuals = sys.argv[1:]
    names = [pathlib.Path(m).stem for m in manuals]
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        began = time.time()
        call(ingest, *manuals, "--store", here / "print.db", "--quiet")
        seconds = time.time() - began
        pages = sum(m["pages"] for m in json.loads(call(ingest, "list", "--store", here / "print.db", "--json")))
        printed = ask(ingest, here / "print.db", "--outline", *names)
        for manual in manuals:
            subprocess.run([sys.executable, scan, manual, here / pathlib.Path(manual).name], check=True)
        call(ingest, *(here / pathlib.Path(m).name for m in manuals), "--store", here / "scan.db", "--quiet")
        scanned = ask(ingest, here / "scan.db", "--outline", *names, "--rasterise")
        asked = ask(ingest, here / "print.db", questions)
    print("| recall@1 / recall@5 | questions | BM25 | pixels | both | pixels of scans |\n|---|---|---|---|---|---|")
    for name, row in printed.items():
        row["scan"] = scanned[name]["visual"]
        print("| %s | %d titles | %s |" % (name, row["n"], show(row)))
    rows = list(printed.values())
    total = {mode: {k: mean(rows, mode, k) for k in (1, 5)} for mode in (*MODES, "scan")}
    print("| mean of the manuals | | %s |" % show(total))
    for name, row in asked.items():
        print("| %s | %d questions | %s | |" % (name, row["n"], show(row)))
    print("\n%d pages in %.0f s: %.1f pages/s." % (pages, seconds, pages / seconds))
    met = True
    for k, least in BAR.items():
        share = total["visual"][k] / total["text"][k]
        met &= share >= least
        print("Pixels have %.0f %% of BM25's recall@%d (asked for: %.0f %%)." % (100 * share, k, 100 * least))
    best = max(total["visual"][5], total["text"][5])
    print("Both together: recall@5 %.2f, the better of the two %.2f; scans %.2f." % (total["hybrid"][5], best, total["scan"][5]))
    met &= total["hybrid"][5] >= best - LOSS and total["scan"][5] >= SCANS
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
