"""Makes the golden file that the product's own arithmetic is compared with.

    python golden.py ../weights.safetensors words.tsv ../../../../tests/golden/builtin/crop.safetensors

A drawn crop of 420 x 120 pixels, the vectors of all its cells and of all words on it, computed by torch from the very
weights the product carries.
"""
import json
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from safetensors.torch import load_file

import draw
import net
import words

WIDTH, HEIGHT = 420, 120
SEED = 41


def page_vectors(w, pixels):
    """The page tower on gray bytes, straight from the exported tensors."""

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
    x = layer("page.out", F.avg_pool2d(x, (1, 3)))[0].permute(1, 2, 0)
    return F.normalize(x, dim=2).reshape(-1, x.shape[2])


def word_vector(w, word):
    """The word tower, straight from the exported tensors."""
    ids = net.features(word)
    x = w["word.table"][ids].sum(0) / len(ids) ** 0.5
    hidden = (x @ w["word.up.weight"] + w["word.up.bias"]).relu()
    x = x + hidden @ w["word.down.weight"] + w["word.down.bias"]
    return F.normalize(x @ w["word.out.weight"] + w["word.out.bias"], dim=0)


def main():
    w = {k: v.float() for k, v in load_file(sys.argv[1]).items()}
    drawer = draw.Drawer(random.Random(SEED), sys.argv[2])
    sheet = draw.Sheet(drawer.r, drawer.faces, drawer.vocabulary, HEIGHT, WIDTH, 3.0)
    draw.paragraph(sheet, 20, 1400, 40, sheet.ch, 14.0)
    pixels = draw.finish(sheet, 0.0)
    # Cells are counted on the padded page.
    sheet.w, sheet.h = -(-WIDTH // draw.CELL_W) * draw.CELL_W, -(-HEIGHT // draw.CELL_H) * draw.CELL_H
    targets = [t for t in draw.label(sheet, 0.0)[0] if t[1] and max(t[1]) < (sheet.h // 16) * (sheet.w // 48)]
    with torch.no_grad():
        cells = page_vectors(w, pixels)
        asked = torch.stack([word_vector(w, t[0]) for t in targets])
    told = {"words": json.dumps([[t[0], t[1]] for t in targets], ensure_ascii=False)}
    save_file({"pixels": pixels, "cells": cells.contiguous().numpy(), "words": asked.contiguous().numpy()}, sys.argv[3], told)
    right = [int(i) in t[1] for i, t in zip((asked @ cells.t()).argmax(1), targets)]
    print("%d words, %d find their cell" % (len(right), sum(right)))


if __name__ == "__main__":
    main()
