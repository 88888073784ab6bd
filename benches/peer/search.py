"""Searches synthetic pages by `ingest`, NumPy and fast-plaid, interleaved; `search.sh` calls this. Prints Markdown.

NumPy runs the fastest variant that we tried: one thread per core, ten pages at a time in one sgemm, so that the products
stay in the cache; one sgemm over all pages takes 1.2 to 1.4 times as long. fast-plaid runs with its default settings;
it searches one query at a time, as the others do.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # Before NumPy is imported: the threads are ours.
import numpy as np

ROWS, WIDTH, QUERY_ROWS, K = 768, 128, 20, 10
BLOCK = 10
CORES = os.cpu_count() or 1


def env_int(name, default):
    return int(os.environ.get(name, default))


def log(text):
    print(text, file=sys.stderr, flush=True)


class Numpy:
    """MaxSim of every page."""

    def __init__(self, pages):
        blocks = [pages[first : first + BLOCK] for first in range(0, len(pages), BLOCK)]
        self.chunks = [blocks[core::CORES] for core in range(CORES)]
        self.pool = ThreadPoolExecutor(CORES)

    def score_chunk(self, blocks, query):
        score = lambda b: (query @ b.reshape(-1, WIDTH).T).reshape(QUERY_ROWS, len(b), ROWS).max(2).sum(0)
        return [score(block) for block in blocks]

    def search(self, query):
        parts = list(self.pool.map(self.score_chunk, self.chunks, [query] * CORES))
        blocks = sum(len(part) for part in parts)
        scores = np.concatenate([parts[i % CORES][i // CORES] for i in range(blocks)])
        best = np.argpartition(-scores, K)[:K] if len(scores) > K else np.arange(len(scores))
        return scores, best[np.argsort(-scores[best])]


class Plaid:
    """An index of fast-plaid."""

    def __init__(self, pages, folder):
        import torch
        from fast_plaid import search

        self.tensor = torch.from_numpy
        self.index = search.FastPlaid(index=folder, device="cpu")
        start = time.perf_counter()
        self.index.create(documents_embeddings=list(self.tensor(pages)))
        self.build = time.perf_counter() - start

    def search(self, query):
        found = self.index.search(self.tensor(query[None]), top_k=K, show_progress=False)
        return [page for page, _ in found[0]]


def plaid(pages, folder):
    """A fast-plaid index, or None if it is not installed."""
    if not env_int("PLAID", 1):
        return None
    try:
        log(f"fast-plaid {version('fast-plaid')} indexes {len(pages)} pages")
        return Plaid(pages, folder)
    except ImportError as why:
        log(f"fast-plaid is not installed: {why}")
        return None


def measure(search, queries):
    """Milliseconds and results of each query."""
    times, found = [], []
    search(queries[0])
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        times.append((time.perf_counter() - start) * 1e3)
    return times, found


def main():
    ours, work = os.path.abspath(sys.argv[1]), sys.argv[2]
    count, asked, rounds = env_int("PAGES", 1000), env_int("QUESTIONS", 20), env_int("ROUNDS", 5)
    subprocess.run([ours, "make", work, str(count), str(asked)], check=True)
    pages = np.fromfile(f"{work}/pages.f16", "<f2").astype("f4").reshape(count, ROWS, WIDTH)
    queries = np.fromfile(f"{work}/questions.f32", "<f4").reshape(asked, QUERY_ROWS, WIDTH)
    exact, approximate = Numpy(pages), plaid(pages, f"{work}/plaid")
    times = {"memory": [], "int8": [], "file": [], "numpy": [], "plaid": []}
    for round_index in range(rounds):
        for name, measured in json.loads(subprocess.check_output([ours, "ask", work])).items():
            times[name] += measured
        measured, truth = measure(exact.search, queries)
        times["numpy"] += measured
        if approximate:
            measured, found = measure(approximate.search, queries)
            times["plaid"] += measured
        log(f"round {round_index + 1}, ms: " + ", ".join(f"{n} {statistics.median(t):.1f}" for n, t in times.items() if t))
    our_scores = np.fromfile(f"{work}/scores.f32", "<f4").reshape(asked, count)
    difference = np.abs(our_scores - [scores for scores, _ in truth]).max()
    assert difference < 1e-3, f"the scores differ by {difference}"
    log(f"scores of ingest and NumPy differ by {difference:.1e} at most")
    estimates = np.fromfile(f"{work}/estimates.f32", "<f4").reshape(asked, count)
    recall = lambda depth: statistics.mean(
        len(set(best) & set(np.argsort(-estimated)[:depth].tolist())) / K for estimated, (_, best) in zip(estimates, truth)
    )
    quality = f"recall@{K} {recall(K):.4f}, {recall(10 * K):.4f} with the best {10 * K} rescored"
    medians = {name: statistics.median(measured) for name, measured in times.items() if measured}
    shape = f"exact search, {count:,} pages of {ROWS} x {WIDTH}"
    numpy = f"NumPy {np.__version__}, f32 in memory"
    row(f"{shape}, f16 in memory", medians["memory"], medians["numpy"], numpy)
    row(f"{shape}, int8 in memory; {quality}", medians["int8"], medians["numpy"], numpy)
    row(f"{shape}, from the SQLite file", medians["file"], medians["numpy"], numpy)
    if not approximate:
        print("| the same | | fast-plaid: not run | |")
        return
    recalls = [len(set(measured) & set(best)) / len(best) for measured, (_, best) in zip(found, truth)]
    quality = f"recall@{K} {statistics.mean(recalls):.2f}; its index took {approximate.build:.0f} s"
    row("the same", medians["file"], medians["plaid"], f"fast-plaid {version('fast-plaid')}, approximate: {quality}")


def row(what, ours, theirs, peer):
    print(f"| {what}, ms | {ours:.1f} | {theirs:.1f} ({peer}) | {theirs / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
