"""Word accuracy on real pages, by kind of word: whether the best cell of a word of the text layer contains that word.

    python examine.py ../weights.safetensors EVERY MANUAL.pdf...

Uses one page in EVERY. For manuals that may be tuned on. `--scan` makes the pages look scanned first. A word list instead
of a manual, as `examine.py ../weights.safetensors 30 words.tsv`, stands for EVERY pages typeset for this; `--half` reads
pages at half their size.
"""
import collections
import itertools
import random
import sys
import types

import numpy as np
import pypdfium2
import torch
from PIL import Image
from safetensors.torch import load_file

import draw
import golden
import typeset
import words

SEED = 77
SIZES = ((0, 10), (10, 11.5), (11.5, 15), (15, 20), (20, 26), (26, 36), (36, 99))


def kinds(token, raw, em):
    """Yields the kinds of a printed word."""
    yield next("%g to %g px" % s for s in SIZES if s[0] <= em < s[1])
    if raw.isupper() and len(raw) > 1 and raw.isalpha():
        yield "capitals"
    if any(c in words.JOINTS for c in token):
        yield "jointed"
        if any(c.isdigit() for c in token):
            yield "jointed, with digits"
    elif any(c.isdigit() for c in token):
        yield "number" if token.isdigit() else "letters and digits"
    else:
        yield "to 3 letters" if len(token) <= 3 else "4 to 6 letters" if len(token) <= 6 else "7 to 10 letters" if len(token) <= 10 else "longer"


def read(w, im, found):
    """Yields `(token, print, em, right, cosine)` for each word of a page."""
    pixels = np.asarray(im)
    wide, high = -(-im.width // draw.CELL_W) * draw.CELL_W, -(-im.height // draw.CELL_H) * draw.CELL_H
    cells, _ = golden.page_vectors(w, pixels)
    there, _ = golden.printed(pixels)
    asked = {}
    where = collections.defaultdict(list)
    for run in found:
        sheet = types.SimpleNamespace(w=wide, h=high, cw=wide, ch=high, kx=1.0, ky=1.0, runs=[run])
        for token, at, em, _ in draw.label(sheet, 0.0)[0]:
            where[token].append((at, em, run[0]))
    for token, places in where.items():
        if token not in asked:
            asked[token] = golden.word_vector(w, token)
        score = cells @ asked[token]
        score[~there] = -1
        best = int(score.argmax())
        right = any(best in at for at, _, _ in places)
        at, em, raw = max(places, key=lambda p: p[1])
        yield token, raw, em, right, float(score[best])


def manual(path, every, r, scan):
    """Yields the pages of a manual and their text runs, at the size in use."""
    document = pypdfium2.PdfDocument(path)
    for i in range(0, len(document), every):
        im = document[i].render(scale=typeset.DPI / 72).to_pil().convert("L")
        found = list(typeset.runs(document[i].get_textpage(), document[i].get_height(), typeset.DPI / 72))
        if scan:
            im, found = typeset.scanned(r, im, found)
        size = typeset.fit(im.size)
        k = size[0] / im.width
        yield im.resize(size, Image.Resampling.BICUBIC), [(t, [e * k for e in edges], base * k, em * k) for t, edges, base, em in found]


def drawn(path, number):
    """Yields pages typeset with words of a list, none of which is in the training shards."""
    setter = typeset.Typesetter(random.Random(), path)
    setter.start(SEED)
    yield from itertools.islice(setter.pages, number)


def main():
    torch.set_num_threads(1)
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    w = {k: v.float() for k, v in load_file(args[0]).items()}
    table, r = collections.defaultdict(list), random.Random(3)
    with torch.no_grad():
        for path in args[2:]:
            pages = drawn(path, int(args[1])) if path.endswith(".tsv") else manual(path, int(args[1]), r, "--scan" in sys.argv)
            for im, found in pages:
                if "--half" in sys.argv:
                    im, found = typeset.half(im, found)
                for token, raw, em, right, cosine in read(w, im, found):
                    for kind in ["all", *kinds(token, raw, em)]:
                        table[kind].append((right, cosine))
    for kind, seen in sorted(table.items()):
        print("%-20s %6d words, %.3f right, cosine %.2f" % (kind, len(seen), np.mean([s[0] for s in seen]), np.mean([s[1] for s in seen])))


if __name__ == "__main__":
    main()
