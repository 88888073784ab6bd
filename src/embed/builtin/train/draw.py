"""Draws training crops, with the position of every character and word.

Text is drawn two to three and a half times too large and then reduced, since real pages are rendered without hinting and
scaled afterwards: small text is soft and at any sub-pixel position.
"""
import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import words
from fonts import Faces

H, W = 128, 576
CELL_H, CELL_W = 16, 48
PART_W = 16  # a third of a cell
ROWS, COLS = H // CELL_H, W // CELL_W
FINE = 2  # pixels per column of the character map
FILTERS = [Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.HAMMING, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]


class Sheet:
    """A canvas at drawing scale that records the positions of text."""

    def __init__(self, r, faces, vocabulary, height=H, width=W, scale=None):
        self.r, self.faces, self.vocabulary = r, faces, vocabulary
        self.h, self.w = height, width
        self.k = scale or r.uniform(2.0, 3.5)
        self.cw, self.ch = round(width * self.k), round(height * self.k)
        self.kx, self.ky = self.cw / width, self.ch / height
        self.bg = 255 if r.random() < 0.8 else r.randint(195, 254)
        self.fg = r.choice([0, 0, r.randint(0, 90)])
        self.im = Image.new("L", (self.cw, self.ch), self.bg)
        self.d = ImageDraw.Draw(self.im)
        self.runs = []  # (text, edges, baseline, em) at drawing scale

    def style(self, em, mono=False, path=None, ink=None):
        """A typeface at a size in pixels of the finished crop."""
        path = path or self.faces.pick(self.r, mono)
        size = max(8, round(em * self.ky))
        font, adv = self.faces.font(path, size)
        r = self.r
        track = r.uniform(-0.02, 0.12) * size if r.random() < 0.06 else 0.0
        return dict(path=path, font=font, adv=adv, size=size, em=em, track=track, ink=self.fg if ink is None else ink)

    def space(self, st):
        """Width of a space."""
        return max(st["font"].getlength(" "), 0.18 * st["size"]) + st["track"]

    def put(self, x, y, text, st):
        """Draws a run without spaces with its baseline at `y`; returns its right edge."""
        font, adv = st["font"], st["adv"]
        edges, at = [x], x
        for c in text:
            a = adv.get(c)
            if a is None:
                a = adv[c] = font.getlength(c)
            at += a + st["track"]
            edges.append(at)
        if x < self.cw and at > 0 and -st["size"] < y < self.ch + st["size"]:
            if st["track"]:
                for c, e in zip(text, edges):
                    self.d.text((e, y), c, fill=st["ink"], font=font, anchor="ls")
            else:
                self.d.text((x, y), text, fill=st["ink"], font=font, anchor="ls")
            self.runs.append((text, edges, y, st["size"]))
        return at

    def line(self, x, y, x1, texts, st, gap=None):
        """Draws words consecutively; returns the right edge and the number of words that fit before `x1`."""
        gap = gap or self.space(st)
        for i, t in enumerate(texts):
            if x1 is not None and i and x + sum(st["adv"].get(c, st["size"] * 0.5) + st["track"] for c in t) > x1:
                return x - gap, i
            x = self.put(x, y, t, st) + gap
        return x - gap, len(texts)


def prose(r, v):
    """One word of running text, with its punctuation."""
    x = r.random()
    if x < 0.15:
        return r.choice(v.stop)
    if x < 0.78:
        w = words.dress(r, v.content(r))
    elif x < 0.88:
        w = words.identifier(r, v)
    elif x < 0.90:
        return words.dress(r, v.content(r)) + r.choice(["-", "/"]) + v.content(r)
    else:
        w = words.number(r)
    x = r.random()
    if x < 0.14:
        return w + r.choice([",", ",", ".", ".", ":", ";", "?", "!"])
    if x < 0.19:
        return r.choice(["(%s)", '"%s"', "'%s'", "[%s]", "(%s", "%s)", "“%s”".replace("“", '"').replace("”", '"')]) % w
    return w


def paragraph(s, x0, x1, y, y1, em=None):
    """Running text."""
    r, v = s.r, s.vocabulary
    em = em or size(r)
    st = s.style(em)
    accent = s.style(em, path=s.faces.sibling(r, st["path"], "bold|italic|oblique|it\\b"))
    code = s.style(em * r.uniform(0.85, 1.0), mono=True)
    lead = em * s.ky * r.uniform(1.08, 1.55)
    justify, bold = r.random() < 0.4, r.random() < 0.3
    indent = x0 + (r.uniform(0.5, 3) * em * s.kx if r.random() < 0.3 else 0)
    first = True
    while y < y1 + lead:
        n = [prose(r, v) for _ in range(40)]
        x = indent if first else x0
        first = r.random() < 0.1
        end, fit = s.line(-1e6, 1e6, x1 - x - 1e6, n, st)  # measures outside the page
        n = n[:fit]
        if r.random() < 0.12:
            n = n[: r.randint(1, len(n))]
        gap = s.space(st)
        if justify and fit > 3 and len(n) == fit:
            gap = min(gap * 2.5, gap + max(0.0, (x1 - x) - (end + 1e6)) / (fit - 1))
        for t in n:
            which = accent if bold and r.random() < 0.15 else code if r.random() < 0.03 else st
            x = s.put(x, y, t, which) + gap
        y += lead
    return y


def heading(s, x0, x1, y, y1):
    """A heading in larger type."""
    r, v = s.r, s.vocabulary
    em = math.exp(r.uniform(math.log(15), math.log(44)))
    st = s.style(em)
    if r.random() < 0.6:
        st = s.style(em, path=s.faces.sibling(r, st["path"], "bold|bx"))
    n = [words.dress(r, v.content(r)) if r.random() < 0.9 else r.choice(v.stop) for _ in range(r.randint(1, 9))]
    if r.random() < 0.5:
        n.insert(0, r.choice(["%d", "%d.%d", "%d.%d.%d", "Chapter %d", "%d.", "A.%d"]).replace("%d", str(r.randint(1, 19))))
    if r.random() < 0.15:
        n = [w.upper() for w in n]
    y += em * s.ky * 0.8
    s.line(x0, y, None, " ".join(n).split(), st)
    return y + em * s.ky * r.uniform(0.5, 1.2)


def table(s, x0, x1, y, y1):
    """A table, with or without rules."""
    r, v = s.r, s.vocabulary
    em = size(r)
    st = s.style(em, mono=r.random() < 0.1)
    head = s.style(em, path=s.faces.sibling(r, st["path"], "bold|bx"))
    row = em * s.ky * r.uniform(1.2, 1.9)
    n = r.randint(2, 7)
    cuts = sorted(r.uniform(x0, x1) for _ in range(n - 1))
    xs = [x0] + cuts + [x1]
    kinds = [r.choice(["word", "word", "id", "num", "num"]) for _ in xs]
    rules, upright, zebra = r.random() < 0.6, r.random() < 0.35, r.random() < 0.25
    ink, pen = r.choice([s.fg, 120, 170]), max(1, round(s.ky * r.uniform(0.3, 1.4)))
    pad = r.uniform(2, 8) * s.kx
    top, k = y, 0
    while y < y1:
        if zebra and k % 2:
            s.d.rectangle((x0, y, max(x0, x1), y + row), fill=max(s.bg - r.choice([12, 25, 40]), 140))
        if rules:
            s.d.line((x0, y, x1, y), fill=ink, width=pen)
        for j, kind in enumerate(kinds[:-1]):
            cell = head if k == 0 else st
            a, b = xs[j] + pad, xs[j + 1] - pad / 2
            t = []
            for _ in range(r.randint(1, 5)):
                t.append(words.identifier(r, v) if kind == "id" else words.number(r) if kind == "num" else prose(r, v))
                if kind != "word":
                    break
            end, fit = s.line(-1e6, 1e6, b - a - 1e6, t, cell)
            if fit > 1 or end + 1e6 <= b - a:
                s.line(a, y + row * 0.5 + em * s.ky * 0.33, None, t[:fit], cell)
        y += row
        k += 1
    if upright:
        for x in xs:
            s.d.line((x, top, x, y), fill=ink, width=pen)
    return y


def listing(s, x0, x1, y, y1):
    """A program listing or a terminal session."""
    r, v = s.r, s.vocabulary
    em = min(size(r), 20)
    st = s.style(em, mono=r.random() < 0.9)
    lead, depth = em * s.ky * r.uniform(1.05, 1.4), 0
    if r.random() < 0.3:
        s.d.rectangle((x0 - 4 * s.kx, y - lead, max(x0, x1), max(y, y1)), fill=max(s.bg - r.choice([10, 18, 30]), 150))
    while y < y1 + lead:
        t = []
        for _ in range(r.randint(1, 7)):
            w = words.identifier(r, v) if r.random() < 0.4 else words.number(r) if r.random() < 0.2 else v.content(r)
            x = r.random()
            t.append(w + (r.choice(["();", ";", ",", ":", " =", "(", ")", " {", '"']) if x < 0.3 else ""))
        if r.random() < 0.15:
            t.insert(0, r.choice(["#", "//", "$", ">", "%"]))
        depth = max(0, min(5, depth + r.choice([-1, 0, 0, 0, 1])))
        s.line(x0 + depth * 2 * s.space(st), y, x1, " ".join(t).split(), st)
        y += lead
    return y


def contents(s, x0, x1, y, y1):
    """Lines of a table of contents or an index."""
    r, v = s.r, s.vocabulary
    em = size(r)
    st = s.style(em)
    lead = em * s.ky * r.uniform(1.15, 1.7)
    dots = r.random() < 0.6
    while y < y1 + lead:
        t = ([r.choice(["%d", "%d.%d", "%d.%d.%d"]).replace("%d", str(r.randint(1, 30)))] if r.random() < 0.7 else []) + [
            words.dress(r, v.content(r)) if r.random() < 0.85 else prose(r, v) for _ in range(r.randint(1, 6))
        ]
        page = str(r.randint(1, 900))
        x, _ = s.line(x0 + r.choice([0, 0, 1, 2]) * em * s.kx, y, x1 - 3 * em * s.kx, t, st)
        end = x1 - st["font"].getlength(page)
        if dots and end - x > 2 * em * s.kx:
            dot = st["font"].getlength(".") * r.choice([1, 1, 2])
            at = x + em * s.kx * 0.5
            s.d.text((at, y), "." * int((end - at) / max(dot, 1) * (dot / max(st["font"].getlength("."), 1)) * 0.9), fill=st["ink"], font=st["font"], anchor="ls")
        s.put(end, y, page, st)
        y += lead
    return y


def items(s, x0, x1, y, y1):
    """A list with bullets, numbers or terms."""
    r, v = s.r, s.vocabulary
    em = size(r)
    st = s.style(em)
    term = s.style(em, path=s.faces.sibling(r, st["path"], "bold|bx|italic"))
    lead = em * s.ky * r.uniform(1.15, 1.7)
    kind, k = r.randint(0, 3), r.randint(1, 12)
    step = r.uniform(1.2, 3) * em * s.kx
    while y < y1 + lead:
        if kind == 0:
            s.put(x0, y, r.choice(["•", "–", "*"]), st)
        elif kind == 1:
            s.put(x0, y, r.choice(["%d.", "%d)", "(%d)"]) % k, st)
        else:
            s.line(x0, y, x0 + step * 4, [words.identifier(r, v) if r.random() < 0.5 else words.dress(r, v.content(r))], term)
        k += 1
        left = x0 + step * (5 if kind >= 2 else 1)
        for _ in range(r.randint(1, 3)):
            s.line(left, y, x1, [prose(r, v) for _ in range(r.randint(2, 30))], st)
            y += lead
    return y


def figure(s, x0, x1, y, y1):
    """A drawing with labels: mostly shapes that are not text."""
    r, v = s.r, s.vocabulary
    ink = r.choice([s.fg, 60, 140])
    for _ in range(r.randint(3, 14)):
        pen = max(1, round(s.k * r.uniform(0.4, 2.5)))
        a, b = r.uniform(x0, x1), r.uniform(y, y1 + 1)
        c, e = a + r.uniform(-150, 150) * s.kx, b + r.uniform(-60, 60) * s.ky
        box = (min(a, c), min(b, e), max(a, c), max(b, e))
        x = r.random()
        if x < 0.35:
            s.d.line((a, b, c, e if r.random() < 0.5 else b), fill=ink, width=pen)
        elif x < 0.6:
            s.d.rectangle(box, outline=ink, width=pen, fill=r.choice([None, None, s.bg, 210]))
        elif x < 0.8:
            s.d.ellipse(box, outline=ink, width=pen)
        else:
            s.d.arc(box, r.randint(0, 180), r.randint(180, 360), fill=ink, width=pen)
    st = s.style(size(r))
    for _ in range(r.randint(2, 9)):
        t = [words.number(r) if r.random() < 0.3 else words.dress(r, v.content(r)) for _ in range(r.randint(1, 3))]
        s.line(r.uniform(x0, x1), r.uniform(y, y1 + 1), None, t, st)
    return y1


def size(r):
    """Type size of body text in pixels per em."""
    low, high = r.choices([(9.5, 24), (11, 17.5), (10, 13)], [0.35, 0.45, 0.2])[0]
    return math.exp(r.uniform(math.log(low), math.log(high)))


def fill(s):
    """Fills the sheet with one or two columns of blocks."""
    r = s.r
    left = r.uniform(-60, 25) * s.kx
    right = s.cw + r.uniform(-80, 300) * s.kx
    spans = [(left, right)]
    if r.random() < 0.25:
        mid, gut = r.uniform(0.25, 0.75) * s.cw, r.uniform(6, 22) * s.kx
        spans = [(left, mid - gut), (mid + gut, right)]
    kinds = [paragraph] * 9 + [table] * 4 + [listing] * 2 + [contents] * 2 + [items] * 3 + [figure]
    for x0, x1 in spans:
        y = -r.uniform(0, 30) * s.ky
        while y < s.ch:
            if r.random() < 0.2:
                y = heading(s, x0, x1, y, s.ch)
            y1 = min(s.ch, y + r.uniform(30, 200) * s.ky)
            y = r.choice(kinds)(s, x0, x1, y + r.uniform(8, 22) * s.ky, y1) + r.uniform(0, 20) * s.ky


def finish(s, angle):
    """Skews, reduces and degrades the canvas; returns the crop as bytes."""
    r, im = s.r, s.im
    if angle:
        t = math.tan(angle)
        im = im.transform(im.size, Image.Transform.AFFINE, (1, t, -t * s.ch / 2, -t, 1, t * s.cw / 2), Image.Resampling.BILINEAR, fillcolor=s.bg)
    if r.random() < 0.25:
        im = im.resize((round(s.w * 1.4), round(s.h * 1.4)), Image.Resampling.BOX)
    im = im.resize((s.w, s.h), r.choice(FILTERS))
    if r.random() < 0.12:
        im = im.filter(ImageFilter.GaussianBlur(r.uniform(0.3, 0.7)))
    if r.random() < 0.06:
        buffer = io.BytesIO()
        im.save(buffer, "JPEG", quality=r.randint(35, 85))
        im = Image.open(buffer)
    return np.asarray(im, dtype=np.uint8)


def label(s, angle):
    """Converts the recorded runs to targets.

    Returns the words with their cells, type size and thirds of cells, and three maps on a grid of 16 x 2 pixels: character
    class, position from the start of its word (1 to 15) and position from the end; 0 for no label.
    """
    rows, fine = s.h // CELL_H, s.w // FINE
    chars = np.zeros((rows, fine), np.uint8)
    start, last = np.zeros_like(chars), np.zeros_like(chars)
    far = np.full((rows, fine), 1e9, np.float32)
    tan = math.tan(angle)
    targets = []
    cy, cx = s.ch / 2, s.cw / 2
    for text, edges, base, em in s.runs:
        mid = (edges[0] + edges[-1]) / 2
        y = (base - 0.3 * em + (mid - cx) * tan) / s.ky
        shift = -(base - cy) * tan
        xs = [(e + shift) / s.kx for e in edges]
        e = em / s.ky
        place, rest = [0] * len(text), [0] * len(text)
        for a, b, token in words.tokens(text):
            for i in range(a, b):
                place[i], rest[i] = min(15, i - a + 1), min(15, b - i)
            for p, q, t in [(a, b, token)] + [(p + 0, q, t) for p, q, t in words.parts(a, token)]:
                if words.wanted(t) and len(t) <= 24:
                    cells = covered(xs[p], xs[q], y, e, s.w, s.h, CELL_W)
                    if cells:
                        targets.append((t, cells, e, covered(xs[p], xs[q], y, e, s.w, s.h, PART_W)))
        half = max(0.3 * e, 5.0)
        for row in range(max(0, int((y - half - 8) // CELL_H)), min(rows - 1, int((y + half + 8) // CELL_H)) + 1):
            d = abs(row * CELL_H + CELL_H / 2 - y)
            if d > max(8.01, 0.3 * e):
                continue
            a, b = max(0, int(math.ceil(xs[0] / FINE - 0.5))), min(fine, int(math.ceil(xs[-1] / FINE - 0.5)))
            for n in (a - 2, a - 1, b, b + 1):
                if 0 <= n < fine and far[row, n] > 1e8:
                    chars[row, n] = 1
            for i, c in enumerate(text):
                a, b = max(0, int(math.ceil(xs[i] / FINE - 0.5))), min(fine, int(math.ceil(xs[i + 1] / FINE - 0.5)))
                if b > a and far[row, a:b].min() > d:
                    far[row, a:b] = d
                    chars[row, a:b] = words.CLASS_OF.get(c.lower(), 0)
                    start[row, a:b], last[row, a:b] = place[i], rest[i]
    return targets, chars, start, last


def covered(x0, x1, y, em, width, height, cell):
    """Cells of a word: rows by the middle of its letters, columns covered by two fifths of a cell or half the word."""
    rows, cols = height // CELL_H, width // cell
    if x1 <= x0 or (min(x1, width) - max(x0, 0)) < 0.95 * (x1 - x0):
        return []
    ys = {int(math.floor(v / CELL_H)) for v in ((y,) if em < 22 else (y - 0.14 * em, y + 0.14 * em))}
    found = []
    for row in ys:
        if not 0 <= row < rows:
            continue
        for col in range(max(0, int(x0 // cell)), min(cols - 1, int(x1 // cell)) + 1):
            over = min(x1, (col + 1) * cell) - max(x0, col * cell)
            if over >= min(0.4 * cell, 0.5 * (x1 - x0)):
                found.append(row * cols + col)
    return found


class Drawer:
    """Draws crops from one random stream."""

    def __init__(self, r, counts):
        self.r, self.faces, self.vocabulary = r, Faces(), words.Vocabulary(counts)

    def start(self, seed):
        """Restarts from a seed."""
        self.r.seed(seed)

    def crop(self):
        """One crop: pixels, targets and the three maps."""
        s = Sheet(self.r, self.faces, self.vocabulary)
        fill(s)
        angle = math.radians(self.r.gauss(0, 0.6)) if self.r.random() < 0.12 else 0.0
        return (finish(s, angle), *label(s, angle))
