"""Benchmark of the built-in model, from grayscale pixels to multi-vectors: `ingest` and torch; called by `builtin.sh`. Prints
Markdown.

Torch has the same weights and pixels, and skips most of what ingest skips: blank bands go through no layer, lines without
print through none after `fold`, and the page at half its size is computed only around large type; only blank parts of a line
with print are computed. Pages are computed one by one or in batches, channels first or last, with all threads or one thread
per page; the fastest variant is the peer.
"""
import itertools, json, math, os, statistics, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
import numpy as np
import pypdfium2
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

MANUAL, PAGES = "manuals/heat-pump-service-manual.pdf", range(6, 12)
WEIGHTS = "src/embed/builtin/weights.safetensors"
# As in `mod.rs`, `ink.rs`, `emphasis.rs` and `scales.rs`.
PIXELS, CELL_HEIGHT, CELL_WIDTH, MIN_CONTRAST, MIN_PIXELS = 1_100_000, 16, 48, 48, 3
BODY_ATTENUATION, HEADING_RATIO, MAX_BODY_SIZE = 0.06, math.log(1.3), math.log(18.0)
MIN_WORD_LOGIT, LARGE_TYPE, MAX_ROWS = -3.0, math.log(21.0), 600
# Receptive field of a cell above and below, in rows of cells.
CONTEXT_ROWS = 2
# Tolerance of vector elements.
TOLERANCE = 1e-3


def log(text):
    print(text, file=sys.stderr, flush=True)


def printed(page):
    """Pixels padded with white to whole cells, and whether each cell contains print."""
    height, width = page.shape
    page = np.pad(page, ((0, -height % CELL_HEIGHT), (0, -width % CELL_WIDTH)), constant_values=255)
    cells = page.reshape(page.shape[0] // CELL_HEIGHT, CELL_HEIGHT, page.shape[1] // CELL_WIDTH, CELL_WIDTH)
    low, high = cells.min((1, 3)), cells.max((1, 3))
    dark = (cells <= (low + (high - low) // 2)[:, None, :, None]).sum((1, 3))
    return page, (high - low >= MIN_CONTRAST) & (np.minimum(dark, CELL_HEIGHT * CELL_WIDTH - dark) >= MIN_PIXELS)


class Tower:
    """The page tower, from the embedded weights."""

    def __init__(self, layout):
        self.layers, self.layout = {}, layout
        weights = {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}
        for name in (name.removesuffix(".weight") for name in weights if name.startswith("page.") and "weight" in name):
            weight = weights[name + ".weight"].permute(3, 2, 0, 1).contiguous(memory_format=layout)
            self.layers[name.removeprefix("page.")] = weight, weights[name + ".bias"]

    def conv(self, name, x, stride=1, pad=0):
        return F.conv2d(x, *self.layers[name], stride, pad)

    def blocks(self, stage, x):
        for i in itertools.takewhile(lambda i: f"{stage}.{i}.look" in self.layers, itertools.count()):
            _, _, down, along = self.layers[f"{stage}.{i}.look"][0].shape
            seen = self.conv(f"{stage}.{i}.look", x, 1, (down // 2, along // 2)).relu_()
            x = self.conv(f"{stage}.{i}.down", self.conv(f"{stage}.{i}.up", seen).relu_()).add_(x)
        return x

    def lines(self, ink):
        """Ink of a band (1, 1, height, width) to one row of features per row of cells: (1, rows, positions, channels)."""
        x = self.conv("strokes", self.conv("edges", ink, 2, 1).relu_(), 2, 1).relu_()
        return self.conv("fold", self.blocks("early", x), (4, 1), (2, 1)).relu_().permute(0, 2, 3, 1)

    def along(self, lines):
        """Those rows to the hidden state of each cell: (rows, cells, channels)."""
        x = self.blocks("late", lines.permute(2, 0, 1)[None].contiguous(memory_format=self.layout))
        reach = self.layers["gather"][0].shape[3]
        x = self.conv("gather", self.conv("narrow", x), (1, 4), (0, (reach - 4) // 2)).relu_()
        for i in itertools.takewhile(lambda i: f"mix.{i}" in self.layers, itertools.count()):
            x = x + self.conv(f"mix.{i}", x).relu_()
        return F.avg_pool2d(x, (1, 3))[0].permute(1, 2, 0)

    def read(self, pages, wanted):
        """Vectors and gauges of the requested cells of each page, (pages, rows, cells); pages are padded and of one size."""
        ink = (1 - torch.from_numpy(pages)[:, None] / 255).contiguous(memory_format=self.layout)
        rows, parts = wanted.any(2), []
        for page, first, last in bands(rows):
            lines = self.lines(ink[page : page + 1, :, first * CELL_HEIGHT : last * CELL_HEIGHT])
            parts.append(lines[0, torch.from_numpy(rows[page, first:last])])
        cells = self.along(torch.cat(parts))[torch.from_numpy(wanted[rows])]
        out, gauge = (F.linear(cells, w[:, :, 0, 0], b) for w, b in (self.layers["out"], self.layers["gauge"]))
        ends = np.cumsum(wanted.sum((1, 2)))[:-1]
        return zip(np.split(F.normalize(out, dim=1).numpy(), ends), np.split(gauge.numpy(), ends))


def bands(rows):
    """Bands that go through the layers up to `fold`: (page, first row, last row), with the receptive field of the rows."""
    found = []
    for page, is_printed in enumerate(rows):
        for row in np.flatnonzero(is_printed):
            first, last = max(0, row - CONTEXT_ROWS), row + 1 + CONTEXT_ROWS
            if found and found[-1][0] == page and found[-1][2] >= first:
                first = found.pop()[1]
            found.append((page, first, last))
    return found


def smoothed(sizes, cells, columns):
    """Moving average of sizes over adjacent printed cells."""
    joined = (np.diff(cells) == 1) & (cells[1:] % columns != 0)
    total, near = sizes.copy(), np.ones_like(sizes)
    for to, other in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        total[to] += np.where(joined, sizes[other], 0)
        near[to] += joined
    return total / near


def attenuated(vectors, plain):
    """Attenuated vectors and the extra float, together of length 1."""
    keep = 1 - np.float32(BODY_ATTENUATION) * plain[:, None]
    return np.concatenate((vectors * keep, np.sqrt(1 - keep * keep)), 1)


@torch.inference_mode()
def embed(tower, pages):
    """Pages of one size to their multi-vectors."""
    papers, is_printed = map(np.stack, zip(*map(printed, pages)))
    columns, rows_of, large = is_printed.shape[2], [], []
    for page, (vectors, gauges) in zip(is_printed, tower.read(papers, is_printed)):
        cells, word_logits = np.flatnonzero(page), gauges[:, 1]
        sizes, selected = smoothed(gauges[:, 0], cells, columns), word_logits >= MIN_WORD_LOGIT
        body = min(np.sort(sizes[selected])[selected.sum() // 2], MAX_BODY_SIZE)
        plain = np.clip(1 - (sizes[selected] - body) / HEADING_RATIO, 0, 1)
        rows_of.append([(cells[selected], word_logits[selected], attenuated(vectors[selected], plain))])
        large.append(cells[sizes >= LARGE_TYPE])
    again = [page for page, cells in enumerate(large) if len(cells)]
    if again:
        headings(tower, pages, columns, {page: large[page] for page in again}, rows_of)
    return [top_rows(*map(np.concatenate, zip(*parts))) for parts in rows_of]


def headings(tower, pages, columns, large, rows_of):
    """Adds rows of pages at half their size, for the given cells."""
    halves = (np.asarray(Image.fromarray(pages[page]).reduce(2)) for page in large)
    papers, is_printed = map(np.stack, zip(*map(printed, halves)))
    wanted = np.zeros_like(is_printed)
    for one, cells in zip(wanted, large.values()):
        one[cells // columns // 2, cells % columns // 2] = True
    wanted &= is_printed
    for page, one, (vectors, gauges) in zip(large, wanted, tower.read(papers, wanted)):
        (down, along), selected = np.nonzero(one), gauges[:, 1] >= MIN_WORD_LOGIT
        rows = attenuated(vectors[selected], np.zeros(selected.sum(), np.float32))
        rows_of[page].append(((down * 2 * columns + along * 2)[selected], gauges[selected, 1], rows))


def top_rows(cells, word_logits, rows):
    """The rows with the highest word logits, at most `MAX_ROWS`, ordered by cell."""
    if len(cells) > MAX_ROWS:
        most = np.argsort(-word_logits, kind="stable")[:MAX_ROWS]
        cells, rows = cells[most], rows[most]
    return rows[np.argsort(cells, kind="stable")]


def page_images(work):
    """Pages rendered at 150 dpi, resized and converted to grayscale as in ingest, and the files that they are written to."""
    pages, files = [], []
    for number in PAGES:
        page = pypdfium2.PdfDocument(MANUAL)[number].render(scale=150 / 72).to_pil().convert("L")
        scale = math.sqrt(PIXELS / (page.width * page.height))
        page = page.resize((int(page.width * scale), int(page.height * scale)), Image.Resampling.BICUBIC)
        files.append(f"{work}/{number}.png")
        page.save(files[-1])
        pages.append(np.asarray(page))
    return pages, files


def batched(layout, count):
    """All threads on `count` pages at a time."""
    tower = Tower(layout)
    return lambda pages: sum((embed(tower, pages[at : at + count]) for at in range(0, len(pages), count)), [])


def thread_per_page(layout):
    """One thread per page."""
    tower, cores = Tower(layout), torch.get_num_threads()
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
    return lambda pages: list(pool.map(lambda page: embed(tower, [page])[0], pages))


def timed(embed_all, pages):
    start = time.perf_counter()
    made = embed_all(pages)
    return len(pages) / (time.perf_counter() - start), np.concatenate(made)


def fastest(pages):
    """The fastest torch variant on this machine, best of three after a warm-up."""
    variants = {}
    for name, layout in (("channels last", torch.channels_last), ("channels first", torch.contiguous_format)):
        variants |= {f"{name}, {count} at a time": batched(layout, count) for count in (1, 2, len(pages))}
        variants[f"{name}, a thread a page"] = thread_per_page(layout)
    speed = {}
    for name, embed_all in variants.items():
        embed_all(pages)
        speed[name] = max(timed(embed_all, pages)[0] for _ in range(3))
    log("torch, pages/s: " + "; ".join(f"{name} {pages:.2f}" for name, pages in speed.items()))
    best = max(speed, key=speed.get)
    return best, variants[best]


def main():
    program, work, rounds = sys.argv[1], sys.argv[2], int(os.environ.get("ROUNDS", 5))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    pages, files = page_images(work)
    name, embed_all = fastest(pages)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ours, theirs = [], []
    for turn in range(rounds):
        seconds = subprocess.check_output([program, "built-in", f"{work}/ours.f32", *files], env=plain)
        ours.append(len(pages) / json.loads(seconds))
        speed, made = timed(embed_all, pages)
        theirs.append(speed)
        log(f"round {turn + 1}, pages/s: ingest {ours[-1]:.2f}, torch, {name} {speed:.2f}")
    mine = np.fromfile(f"{work}/ours.f32", "<f4").reshape(-1, made.shape[1])
    if mine.shape != made.shape:
        sys.exit(f"ingest makes {len(mine)} vectors, torch {len(made)}")
    apart = np.abs(mine - made).max()
    log(f"{len(mine)} vectors of {len(pages)} pages differ by {apart:.1e} at most")
    if not apart < TOLERANCE:
        sys.exit(f"the vectors differ by {apart}")
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(f"| built-in model, from gray pixels to vectors, f32, all cores, pages/s | {ours:.3g} | {theirs:.3g} "
          f"(torch {version('torch')}, {name}, same weights; vectors differ by {apart:.0e} at most) | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
