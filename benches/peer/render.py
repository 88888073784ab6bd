"""The same work as render.rs, on pypdfium2: pages at 150 dpi, as RGB bytes in one parent, by worker processes.

Two transports of the pixels are timed: `pipe` (multiprocessing's pool, as most programs do it) and `shared`
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
# Slightly below 150/72, so that 792 points are 1650 pixels and not, by a rounding error, 1651.
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


def serve(connection, memory):
    """A worker: replies to (path, index, slot) with the size; the pixels are in the slot."""
    slots = SharedMemory(memory)
    while (task := connection.recv()) is not None:
        path, index, slot = task
        width, height, rgb = draw(path, index)
        slots.buf[slot * SLOT : slot * SLOT + len(rgb)] = rgb
        connection.send((width, height))
    slots.close()


class Shared:
    """Workers with shared memory; page k goes to worker k mod n, two pages prefetched."""

    def __init__(self, workers):
        self.workers = []
        for _ in range(workers):
            parent, child = mp.Pipe()
            memory = SharedMemory(create=True, size=2 * SLOT)
            worker = mp.Process(target=serve, args=(child, memory.name), daemon=True)
            worker.start()
            self.workers.append((parent, memory, worker))

    def pages(self, tasks):
        count = len(self.workers)

        def send(k):
            if k < len(tasks):
                self.workers[k % count][0].send((*tasks[k], k // count % 2))

        for k in range(2 * count):
            send(k)
        for k in range(len(tasks)):
            connection, memory, _ = self.workers[k % count]
            width, height = connection.recv()
            start = k // count % 2 * SLOT
            rgb = bytes(memory.buf[start : start + 3 * width * height])
            send(k + 2 * count)
            yield width, height, rgb

    def close(self):
        for connection, memory, worker in self.workers:
            connection.send(None)
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
    parser.add_argument("--transport", choices=["pipe", "shared"], default="shared")
    parser.add_argument("--digest", action="store_true", help="print a hash a page instead of a time")
    args = parser.parse_args()
    tasks = []
    for path in args.files:
        count = len(pdfium.PdfDocument(path))
        tasks += [(path, index) for index in range(min(count, args.limit))]
    if args.transport == "pipe":
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
