"""Turns exported weights into a checkpoint, so that training can continue from them: the opposite of `export.py`.

    python unfold.py ../weights.safetensors POOL START.pt

The exported convolutions contain their batch norms. Each norm gets the mean and variance of its input on crops of the pool,
and the scale and shift that cancel them, so that the checkpoint computes what the weights compute. The auxiliary head starts
from random weights.
"""
import math
import random
import sys

import torch
from safetensors.torch import load_file

import net
import train

BATCHES, CROPS = 12, 16
SCALE = 3.0  # logarithm of the contrast of similarities, which the export leaves out


def norms(page):
    """Yields the exported name, convolution and batch norm of every pair."""
    pairs = [(name, getattr(page, name)) for name in ("edges", "strokes", "fold", "gather")]
    for stage in ("early", "late"):
        for i, block in enumerate(getattr(page, stage)):
            pairs += [("%s.%d.look" % (stage, i), block.look), ("%s.%d.down" % (stage, i), block.down)]
    pairs += [("mix.%d" % i, layer) for i, layer in enumerate(page.mix)]
    for name, (convolution, norm) in pairs:
        yield "page." + name, convolution, norm


def plain(page):
    """Yields the exported name and layer of every convolution without a norm."""
    yield from (("page.narrow", page.narrow), ("page.out", page.out), ("page.gauge", page.gauge))
    for stage in ("early", "late"):
        for i, block in enumerate(getattr(page, stage)):
            yield "page.%s.%d.up" % (stage, i), block.up


def fill(w, page, word):
    """Copies the exported tensors; norms do nothing but add the bias."""
    for name, layer in plain(page):
        layer.weight.copy_(w[name + ".weight"].permute(3, 2, 0, 1))
        layer.bias.copy_(w[name + ".bias"])
    for name, convolution, norm in norms(page):
        convolution.weight.copy_(w[name + ".weight"].permute(3, 2, 0, 1))
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.fill_(1)
        norm.bias.copy_(w[name + ".bias"])
    word.table.weight.copy_(w["word.table"])
    for name in ("up", "down", "out"):
        layer = getattr(word, name)
        layer.weight.copy_(w["word.%s.weight" % name].t())
        layer.bias.copy_(w["word.%s.bias" % name])


def restore(page, batches):
    """Gives every norm the statistics of its input; scales its convolution as at the start of training."""
    seen = {}

    def watch(norm):
        def hook(_, inputs):
            x = inputs[0].double()
            one, two = x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))
            a, b = seen.get(norm, (0, 0))
            seen[norm] = a + one / len(batches), b + two / len(batches)
        return norm.register_forward_pre_hook(hook)

    hooks = [watch(norm) for _, _, norm in norms(page)]
    for x in batches:
        page.cells(page.thirds(page.features(x)))
    for h in hooks:
        h.remove()
    for _, convolution, norm in norms(page):
        mean, square = seen[norm]
        by = math.sqrt(1 / 3) / convolution.weight.flatten(1).norm(dim=1).clamp(min=1e-6)
        convolution.weight.mul_(by[:, None, None, None])
        norm.bias.add_(mean.float())
        norm.running_mean.copy_(mean.float() * by)
        norm.running_var.copy_((square - mean * mean).clamp(min=0).float() * by * by)
        norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps) / by)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(train.SEED)
    r = random.Random(train.SEED)
    w = {k: v.float() for k, v in load_file(sys.argv[1]).items()}
    page, word, read = net.Page().eval(), net.Word(), net.Reader()
    shards = train.Shards(sys.argv[2])
    shards.refresh()
    with torch.no_grad():
        fill(w, page, word)
        batches = [train.rough(r, shards.batch(r, CROPS)[0][0]) for _ in range(BATCHES)]
        before = page.cells(page.thirds(page.features(batches[0])))[0]
        restore(page, batches)
        after = page.cells(page.thirds(page.features(batches[0])))[0]
    print("vectors differ by %.1e at most" % (before - after).abs().max())
    train.save(sys.argv[3], page, word, read, torch.nn.Parameter(torch.tensor(SCALE)), {"curve": [], "steps": 0, "seconds": 0.0})


if __name__ == "__main__":
    main()
