"""Searches synthetic pages by `ingest`, NumPy and fast-plaid, in turns; `search.sh` calls this. Prints Markdown.

NumPy does what was fastest of its ways that we tried: on each core a thread of its own, ten pages at a time in one
sgemm, so that the products stay in the cache; one sgemm over all pages takes 1.2 to 1.4 times as long. fast-plaid runs
with its default settings; a search of it takes questions one by one, as the others do.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # Before NumPy comes; the threads are ours.
import numpy as np

ROWS, WIDTH, QUERY_ROWS, BEST = 768, 128, 20, 10
BLOCK = 10
CORES = os.cpu_count() or 1


def setting(name, default):
    return int(os.environ.get(name, default))


def say(text):
    print(text, file=sys.stderr, flush=True)


class Numpy:
    """MaxSim of every page."""

    def __init__(self, pages):
        blocks = [pages[first : first + BLOCK] for first in range(0, len(pages), BLOCK)]
        self.shares = [blocks[core::CORES] for core in range(CORES)]
        self.pool = ThreadPoolExecutor(CORES)

    def share(self, blocks, question):
        score = lambda b: (question @ b.reshape(-1, WIDTH).T).reshape(QUERY_ROWS, len(b), ROWS).max(2).sum(0)
        return [score(block) for block in blocks]

    def search(self, question):
        parts = list(self.pool.map(self.share, self.shares, [question] * CORES))
        blocks = sum(len(part) for part in parts)
        scores = np.concatenate([parts[i % CORES][i // CORES] for i in range(blocks)])
        best = np.argpartition(-scores, BEST)[:BEST] if len(scores) > BEST else np.arange(len(scores))
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

    def search(self, question):
        found = self.index.search(self.tensor(question[None]), top_k=BEST, show_progress=False)
        return [page for page, _ in found[0]]


def plaid(pages, folder):
    """None where it is not to be had."""
    if not setting("PLAID", 1):
        return None
    try:
        say(f"fast-plaid {version('fast-plaid')} makes its index of {len(pages)} pages")
        return Plaid(pages, folder)
    except ImportError as why:
        say(f"fast-plaid is not to be had here: {why}")
        return None


def clocked(search, questions):
    """Milliseconds of each question, and what was found."""
    times, found = [], []
    search(questions[0])
    for question in questions:
        start = time.perf_counter()
        found.append(search(question))
        times.append((time.perf_counter() - start) * 1e3)
    return times, found


def main():
    ours, work = os.path.abspath(sys.argv[1]), sys.argv[2]
    count, asked, rounds = setting("PAGES", 1000), setting("QUESTIONS", 20), setting("ROUNDS", 5)
    subprocess.run([ours, "make", work, str(count), str(asked)], check=True)
    pages = np.fromfile(f"{work}/pages.f16", "<f2").astype("f4").reshape(count, ROWS, WIDTH)
    questions = np.fromfile(f"{work}/questions.f32", "<f4").reshape(asked, QUERY_ROWS, WIDTH)
    exact, approximate = Numpy(pages), plaid(pages, f"{work}/plaid")
    times = {"memory": [], "file": [], "numpy": [], "plaid": []}
    for turn in range(rounds):
        for name, some in json.loads(subprocess.check_output([ours, "ask", work])).items():
            times[name] += some
        some, truth = clocked(exact.search, questions)
        times["numpy"] += some
        if approximate:
            some, found = clocked(approximate.search, questions)
            times["plaid"] += some
        say(f"round {turn + 1}, ms: " + ", ".join(f"{n} {statistics.median(t):.1f}" for n, t in times.items() if t))
    mine = np.fromfile(f"{work}/scores.f32", "<f4").reshape(asked, count)
    apart = np.abs(mine - [scores for scores, _ in truth]).max()
    assert apart < 1e-3, f"the scores differ by {apart}"
    say(f"scores of ingest and NumPy differ by {apart:.1e} at most")
    middle = {name: statistics.median(some) for name, some in times.items() if some}
    shape = f"exact search, {count:,} pages of {ROWS} x {WIDTH}"
    numpy = f"NumPy {np.__version__}, f32 in memory"
    row(f"{shape}, f16 in memory", middle["memory"], middle["numpy"], numpy)
    row(f"{shape}, from the SQLite file", middle["file"], middle["numpy"], numpy)
    if not approximate:
        print("| the same | | fast-plaid: not run | |")
        return
    right = [len(set(some) & set(best)) / len(best) for some, (_, best) in zip(found, truth)]
    quality = f"recall@{BEST} {statistics.mean(right):.2f}; its index took {approximate.build:.0f} s"
    row("the same", middle["file"], middle["plaid"], f"fast-plaid {version('fast-plaid')}, approximate: {quality}")


def row(what, ours, theirs, peer):
    print(f"| {what}, ms | {ours:.1f} | {theirs:.1f} ({peer}) | {theirs / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
