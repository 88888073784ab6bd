"""Training crops from pages typeset by Typst and rendered by PDFium as in use; writes shards as `pool.py`.

    python typeset.py FOLDER words.tsv FIRST COUNT

Letter positions come from PDFium's text layer. Some pages are made to look scanned; some crops are taken from the page at
half its size, where only large type is legible.
"""
import ctypes
import math
import os
import random
import sys
import types

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
import typst
from PIL import Image

import draw
import layout
import pool
import words
from scan import DPI, scanned

PIXELS = 1_100_000  # of a page in use, `PAGE_PIXELS` in `mod.rs`
LEGIBLE = 8.0  # minimum type size of a target, in pixels per em
CROPS = 5  # per page


def letters(text_page):
    """Yields every letter: character, left, right, baseline and em, in points from the lower left of the page."""
    box, matrix = pdfium.FS_RECTF(), pdfium.FS_MATRIX()
    x, y = ctypes.c_double(), ctypes.c_double()
    for i in range(text_page.count_chars()):
        c = chr(pdfium.FPDFText_GetUnicode(text_page, i))
        if c.isspace() or pdfium.FPDFText_IsGenerated(text_page, i) == 1:
            yield None
            continue
        pdfium.FPDFText_GetLooseCharBox(text_page, i, box)
        pdfium.FPDFText_GetCharOrigin(text_page, i, x, y)
        pdfium.FPDFText_GetMatrix(text_page, i, matrix)
        yield "-" if c in "\x02\u00ad\u2010\u2011" else c, box.left, box.right, y.value, pdfium.FPDFText_GetFontSize(text_page, i) * abs(matrix.d)


def runs(text_page, height, scale):
    """Yields text runs without spaces: `(text, edges, baseline, em)` in pixels from the upper left."""
    found, last = [], None
    for c in letters(text_page):
        if c is None:
            last = None
            continue
        text, left, right, base, em = c
        if last is None or abs(base - last[3]) > 0.1 * em or not -0.5 * em < left - last[2] < 0.6 * em or em != last[4]:
            if not (last and left == last[1] and right == last[2]):
                found.append([])
        found[-1].append(c)
        last = c
    for run in found:
        edges = [c[1] for c in run] + [run[-1][2]]
        for i, c in enumerate(run):  # letters of a ligature share its box
            first = next(k for k in range(i + 1) if run[k][1] == c[1])
            after = next((k for k in range(i, len(run)) if run[k][1] > c[1]), len(run))
            if after - first > 1:
                edges[i] = c[1] + (c[2] - c[1]) * (i - first) / (after - first)
        yield "".join(c[0] for c in run), [e * scale for e in edges], (height - run[0][3]) * scale, run[0][4] * scale


def fit(size):
    """Size of a page in use, as in `patch/gray.rs`."""
    by = math.sqrt(PIXELS / (size[0] * size[1]))
    return math.floor(size[0] * by), math.floor(size[1] * by)


def pages(r, vocabulary, compiler):
    """Yields pages without end: grayscale pixels and their text runs."""
    while True:
        try:
            document = pypdfium2.PdfDocument(compiler.compile(layout.document(r, vocabulary, 2).encode()))
        except typst.TypstError:
            continue  # the margins left no text area
        for page in document:
            im = page.render(scale=DPI / 72).to_pil().convert("L")
            found = list(runs(page.get_textpage(), page.get_height(), DPI / 72))
            if r.random() < 0.3:
                im, found = scanned(r, im, found)
            w, h = fit(im.size)
            by = r.choice([1.0] * 5 + [r.uniform(0.8, 1.3)])
            w, h = round(w * by), round(h * by)
            kx, ky = w / im.width, h / im.height
            yield im.resize((w, h), Image.Resampling.BICUBIC), [(t, [e * kx for e in edges], base * ky, em * ky) for t, edges, base, em in found]
        document.close()


def half(im, found):
    """The page at half its size."""
    return im.reduce(2), [(t, [e / 2 for e in edges], base / 2, em / 2) for t, edges, base, em in found]


def crops(r, im, found, number):
    """Crops around some words of a page, with targets and maps."""
    found = [f for f in found if f[3] >= LEGIBLE]
    for _ in range(number if found else 0):
        text, edges, base, em = r.choice(found)
        x0 = round(min(max(-40, edges[0] - r.uniform(0, draw.W)), im.width + 40 - draw.W))
        y0 = round(min(max(-20, base - r.uniform(0, draw.H)), im.height + 20 - draw.H))
        crop = Image.new("L", (draw.W, draw.H), 255)
        crop.paste(im, (-x0, -y0))
        here = [(t, [e - x0 for e in edges], b - y0, em) for t, edges, b, em in found if -60 < b - y0 < draw.H + 60]
        sheet = types.SimpleNamespace(w=draw.W, h=draw.H, cw=draw.W, ch=draw.H, kx=1.0, ky=1.0, runs=here)
        yield (np.asarray(crop), *draw.label(sheet, 0.0))


class Typesetter:
    """Makes crops from one random stream; replaces `draw.Drawer`."""

    def __init__(self, r, counts):
        self.r, self.vocabulary = r, words.Vocabulary(counts)
        self.compiler = typst.Compiler(b"", font_paths=typst.Fonts())
        self.ready = []

    def start(self, seed):
        """Restarts from a seed."""
        self.r.seed(seed)
        self.ready, self.pages = [], pages(self.r, self.vocabulary, self.compiler)

    def crop(self):
        """One crop: pixels, targets and the three maps."""
        while not self.ready:
            im, found = next(self.pages)
            self.ready += crops(self.r, im, found, CROPS)
            large = [f for f in found if f[3] >= 20]
            if large and self.r.random() < 0.7:
                self.ready += crops(self.r, *half(im, found), min(3, len(large)))
            self.r.shuffle(self.ready)
        return self.ready.pop()


def main():
    folder, counts, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    os.makedirs(folder, exist_ok=True)
    setter = Typesetter(random.Random(), counts)
    for n in range(first, first + count):
        pool.write(folder, n, setter)


if __name__ == "__main__":
    main()
