"""Writes the golden file of `tests/builtin.rs`.

    python golden.py ../weights.safetensors words.tsv ../../../../tests/golden/builtin/crop.safetensors

A drawn crop of a page, 420 x 200 pixels with a heading, its rows and their cells, and the vectors of all words on it,
computed by torch from the exported weights.
"""
import json
import math
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file

import draw
import net
import words

WIDTH, HEIGHT = 420, 200
SEED = 41
# As in `ink.rs`, `emphasis.rs` and `scales.rs`.
CONTRAST, PIXELS = 48, 3
FADE, HEADING, LARGEST_BODY = 0.06, 1.3, 18.0
WORTH, LARGE = -3.0, 21.0


def page_vectors(w, pixels):
    """The page tower on grayscale bytes, from the exported tensors: vectors and gauges of all cells."""

    def layer(name, x, stride=1, pad=(0, 0)):
        return F.conv2d(x, w[name + ".weight"].permute(3, 2, 0, 1), w[name + ".bias"], stride, pad)

    def block(name, x):
        k = w[name + ".look.weight"].shape
        seen = layer(name + ".look", x, 1, (k[0] // 2, k[1] // 2)).relu()
        return x + layer(name + ".down", layer(name + ".up", seen).relu())

    def blocks(stage, x):
        i = 0
        while "page.%s.%d.look.weight" % (stage, i) in w:
            x = block("page.%s.%d" % (stage, i), x)
            i += 1
        return x

    x = 1 - torch.from_numpy(pixels.astype(np.float32)) / 255
    x = F.pad(x, (0, -x.shape[1] % draw.CELL_W, 0, -x.shape[0] % draw.CELL_H))[None, None]
    x = layer("page.edges", x, 2, 1).relu()
    x = blocks("early", layer("page.strokes", x, 2, 1).relu())
    x = blocks("late", layer("page.fold", x, (4, 1), (2, 1)).relu())
    reach = w["page.gather.weight"].shape[1]
    x = layer("page.gather", layer("page.narrow", x), (1, 4), (0, (reach - 4) // 2)).relu()
    i = 0
    while "page.mix.%d.weight" % i in w:
        x = x + layer("page.mix.%d" % i, x).relu()
        i += 1
    mean = F.avg_pool2d(x, (1, 3))
    out = layer("page.out", mean)[0].permute(1, 2, 0)
    return F.normalize(out, dim=2).reshape(-1, out.shape[2]), layer("page.gauge", mean)[0].permute(1, 2, 0).reshape(-1, 2)


def printed(pixels):
    """Printed cells, and the number of cells in a row."""
    height, width = pixels.shape
    rows, columns = -(-height // draw.CELL_H), -(-width // draw.CELL_W)
    page = np.full((rows * draw.CELL_H, columns * draw.CELL_W), 255, int)
    page[:height, :width] = pixels
    tiles = page.reshape(rows, draw.CELL_H, columns, draw.CELL_W).swapaxes(1, 2).reshape(rows * columns, -1)
    low, high = tiles.min(1), tiles.max(1)
    dark = (tiles <= (low + (high - low) // 2)[:, None]).sum(1)
    return torch.from_numpy((high - low >= CONTRAST) & (np.minimum(dark, tiles.shape[1] - dark) >= PIXELS)), columns


def even(sizes, there, columns):
    """Moving average of sizes over adjacent printed cells."""
    out = sizes.clone()
    for i in torch.nonzero(there)[:, 0].tolist():
        near = [k for k in (i - 1, i, i + 1) if 0 <= k < len(sizes) and there[k] and k // columns == i // columns]
        out[i] = sizes[near].mean()
    return out


def faded(vector, plain):
    """The attenuated vector and the extra float, together of length 1."""
    keep = 1 - FADE * plain
    return torch.cat([vector * keep, torch.tensor([math.sqrt(max(0.0, 1 - keep * keep))])])


def rows(w, pixels):
    """Rows as stored, and their cells, sorted by cell."""
    there, columns = printed(pixels)
    vectors, gauges = page_vectors(w, pixels)
    size = even(gauges[:, 0], there, columns)
    worthy = torch.nonzero(there & (gauges[:, 1] >= WORTH))[:, 0].tolist()
    some = size[worthy].sort().values
    body = min(float(some[len(some) // 2]), math.log(LARGEST_BODY))
    out = [(i, faded(vectors[i], min(1.0, max(0.0, 1 - (float(size[i]) - body) / math.log(HEADING))))) for i in worthy]
    large = {(i // columns // 2, i % columns // 2) for i in torch.nonzero(there & (size >= math.log(LARGE)))[:, 0].tolist()}
    half = np.asarray(Image.fromarray(pixels).reduce(2))
    there, few = printed(half)
    vectors, gauges = page_vectors(w, half)
    for down, along in sorted(large):
        i = down * few + along
        if there[i] and gauges[i, 1] >= WORTH:
            out.append((down * 2 * columns + along * 2, faded(vectors[i], 0.0)))
    out.sort(key=lambda row: row[0])
    return [i for i, _ in out], torch.stack([row for _, row in out])


def word_vector(w, word):
    """The word tower, from the exported tensors."""
    ids = net.features(word)
    x = w["word.table"][ids].sum(0) / len(ids) ** 0.5
    hidden = (x @ w["word.up.weight"] + w["word.up.bias"]).relu()
    x = x + hidden @ w["word.down.weight"] + w["word.down.bias"]
    return F.normalize(x @ w["word.out.weight"] + w["word.out.bias"], dim=0)


def main():
    w = {k: v.float() for k, v in load_file(sys.argv[1]).items()}
    drawer = draw.Drawer(random.Random(SEED), sys.argv[2])
    sheet = draw.Sheet(drawer.r, drawer.faces, drawer.vocabulary, HEIGHT, WIDTH, 3.0)
    sheet.line(40, 130, None, ["Pressure", "sensor"], sheet.style(38.0))
    draw.paragraph(sheet, 20, 1400, 240, sheet.ch, 14.0)
    pixels = draw.finish(sheet, 0.0)
    # Cells are counted on the padded page.
    sheet.w, sheet.h = -(-WIDTH // draw.CELL_W) * draw.CELL_W, -(-HEIGHT // draw.CELL_H) * draw.CELL_H
    targets = [t for t in draw.label(sheet, 0.0)[0] if t[1] and max(t[1]) < (sheet.h // 16) * (sheet.w // 48)]
    with torch.no_grad():
        places, made = rows(w, pixels)
        asked = F.pad(torch.stack([word_vector(w, t[0]) for t in targets]), (0, 1))
    told = {"words": json.dumps([[t[0], t[1]] for t in targets], ensure_ascii=False)}
    where = np.array(places, np.uint16)
    save_file({"pixels": pixels, "rows": made.contiguous().numpy(), "places": where, "words": asked.contiguous().numpy()}, sys.argv[3], told)
    right = [places[int(i)] in t[1] for i, t in zip((asked @ made.t()).argmax(1), targets)]
    print("%d rows; %d words, %d find their cell" % (len(places), len(right), sum(right)))


if __name__ == "__main__":
    main()
