"""The same work as render.rs, on pypdfium2: pages at 150 dpi, as RGB bytes in one parent, by worker processes.

Two ways to bring the pixels home are timed: `pipe` (multiprocessing's pool, as most programs do it) and `shared`
(shared memory, two slots a worker, as ingest does it).
"""

import argparse
import hashlib
import multiprocessing as mp
import time
from multiprocessing.shared_memory import SharedMemory

import pypdfium2 as pdfium

DPI = 150
SLOT = 48_000_000
# A hair below 150/72: 792 points are then 1650 pixels and not, by a rounding error, 1651.
SCALE = DPI / 72 * (1 - 1e-9)

_open = (None, None)


def draw(path, index):
    """One page: width, height and a buffer of tight RGB rows."""
    global _open
    if _open[0] != path:
        _open = (path, pdfium.PdfDocument(path))
    page = _open[1][index]
    bitmap = page.render(scale=SCALE, rev_byteorder=True)
    page.close()
    if bitmap.stride == 3 * bitmap.width:
        return bitmap.width, bitmap.height, memoryview(bitmap.buffer).cast("B")
    return bitmap.width, bitmap.height, memoryview(bitmap.to_numpy().tobytes())


def by_pipe(task):
    width, height, rgb = draw(*task)
    return width, height, bytes(rgb)


def pipe_pages(pool, tasks):
    return pool.imap(by_pipe, tasks)


def serve(line, memory):
    """A worker: answers (path, index, slot) with the size; the pixels lie in the slot."""
    slots = SharedMemory(memory)
    while (task := line.recv()) is not None:
        path, index, slot = task
        width, height, rgb = draw(path, index)
        slots.buf[slot * SLOT : slot * SLOT + len(rgb)] = rgb
        line.send((width, height))
    slots.close()


class Shared:
    """Workers with shared memory; page k goes to worker k mod n, two pages ahead."""

    def __init__(self, workers):
        self.lanes = []
        for _ in range(workers):
            ours, theirs = mp.Pipe()
            memory = SharedMemory(create=True, size=2 * SLOT)
            worker = mp.Process(target=serve, args=(theirs, memory.name), daemon=True)
            worker.start()
            self.lanes.append((ours, memory, worker))

    def pages(self, tasks):
        workers = len(self.lanes)

        def ask(k):
            if k < len(tasks):
                self.lanes[k % workers][0].send((*tasks[k], k // workers % 2))

        for k in range(2 * workers):
            ask(k)
        for k in range(len(tasks)):
            line, memory, _ = self.lanes[k % workers]
            width, height = line.recv()
            start = k // workers % 2 * SLOT
            rgb = bytes(memory.buf[start : start + 3 * width * height])
            ask(k + 2 * workers)
            yield width, height, rgb

    def close(self):
        for line, memory, worker in self.lanes:
            line.send(None)
            worker.join()
            memory.close()
            memory.unlink()


def timed(pages):
    start, count = time.perf_counter(), 0
    for _ in pages:
        count += 1
    return count / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=60, help="pages of each file")
    parser.add_argument("--way", choices=["pipe", "shared"], default="shared")
    parser.add_argument("--digest", action="store_true", help="print a hash a page instead of a time")
    args = parser.parse_args()
    tasks = []
    for path in args.files:
        count = len(pdfium.PdfDocument(path))
        tasks += [(path, index) for index in range(min(count, args.limit))]
    if args.way == "pipe":
        pool = mp.Pool(args.workers)
        run, close = (lambda t: pipe_pages(pool, t)), pool.terminate
    else:
        shared = Shared(args.workers)
        run, close = shared.pages, shared.close
    timed(run(tasks[:4]))
    if args.digest:
        for (path, index), (width, height, rgb) in zip(tasks, run(tasks)):
            print(path, index + 1, f"{width}x{height}", hashlib.sha256(rgb).hexdigest())
    else:
        print(f"{timed(run(tasks)):.2f}")
    close()


if __name__ == "__main__":
    main()
