"""Evaluates manuals with their section titles as queries: BM25, images, meaning, hybrid, and imitated scans; called by `manuals.sh`.

    manuals.py INGEST SCAN.py QUESTIONS.json,QUESTIONS.json... MANUAL.pdf...

Prints Markdown; exit status 1 if the required quality is missed.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

MODES = ("text", "visual", "meaning", "hybrid")
# Minimum ratio of image to BM25 recall@1 and @5, minimum recall@5 of scans, maximum recall@5 that the fusion may lose.
MIN_RATIO = {1: 0.85, 5: 0.90}
MIN_SCAN_RECALL, MAX_FUSION_LOSS = 0.80, 0.01


def call(ingest, *args):
    """Runs ingest and returns its output."""
    return subprocess.run([ingest, *map(str, args)], check=True, stdout=subprocess.PIPE, text=True).stdout


def evaluate(ingest, store, *args):
    """Returns recall@1 and @5 by set and mode, and the number of queries of each set."""
    recalls = {}
    for result in json.loads(call(ingest, "eval", *args, "--store", store, "--json"))["results"]:
        recalls.setdefault(result["set"], {"n": result["queries"]})[result["mode"]] = {
            k: result[f"recall_at_{k}"]["mean"] for k in (1, 5)
        }
    return recalls


def mean(rows, mode, k):
    """Returns the mean over manuals with equal weights."""
    return sum(row[mode][k] for row in rows) / len(rows)


def cells(row):
    """Formats both recalls of each mode."""
    return " | ".join("%.2f / %.2f" % (row[mode][1], row[mode][5]) for mode in (*MODES, "scan") if mode in row)


def main():
    ingest, scan, questions, *manuals = sys.argv[1:]
    names = [pathlib.Path(m).stem for m in manuals]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        start = time.time()
        call(ingest, *manuals, "--store", folder / "digital.db", "--quiet")
        seconds = time.time() - start
        pages = sum(m["pages"] for m in json.loads(call(ingest, "list", "--store", folder / "digital.db", "--json")))
        digital = evaluate(ingest, folder / "digital.db", "--outline", *names)
        for manual in manuals:
            subprocess.run([sys.executable, scan, manual, folder / pathlib.Path(manual).name], check=True)
        call(ingest, *(folder / pathlib.Path(m).name for m in manuals), "--store", folder / "scan.db", "--quiet")
        scanned = evaluate(ingest, folder / "scan.db", "--outline", *names, "--rasterise")
        asked = {pathlib.Path(q).name: evaluate(ingest, folder / "digital.db", q) for q in questions.split(",")}
    print("| recall@1 / recall@5 | queries | BM25 | images | meaning | hybrid | images of scans |\n|---|---|---|---|---|---|---|")
    for name, row in digital.items():
        row["scan"] = scanned[name]["visual"]
        print("| %s | %d titles | %s |" % (name, row["n"], cells(row)))
    rows = list(digital.values())
    total = {mode: {k: mean(rows, mode, k) for k in (1, 5)} for mode in (*MODES, "scan")}
    print("| mean of the manuals | | %s |" % cells(total))
    for name, sets in asked.items():
        for row in sets.values():
            print("| %s | %d questions | %s | |" % (name, row["n"], cells(row)))
    print("\n%d pages in %.0f s: %.1f pages/s." % (pages, seconds, pages / seconds))
    met = True
    for k, minimum in MIN_RATIO.items():
        ratio = total["visual"][k] / total["text"][k]
        met &= ratio >= minimum
        print("Images: %.0f %% of BM25's recall@%d (required: %.0f %%)." % (100 * ratio, k, 100 * minimum))
    best = max(total["visual"][5], total["text"][5])
    print("Hybrid: recall@5 %.2f, the better of images and BM25 %.2f; scans %.2f." % (total["hybrid"][5], best, total["scan"][5]))
    met &= total["hybrid"][5] >= best - MAX_FUSION_LOSS and total["scan"][5] >= MIN_SCAN_RECALL
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
