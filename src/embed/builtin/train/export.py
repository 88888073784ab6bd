"""Exports a checkpoint to the embedded weights: f16, folded batch norm, convolutions as (height, width, in, out).

    python export.py MODEL.pt ../weights.safetensors
"""
import sys

import torch
from safetensors.torch import save_file

import net


def folded(pair):
    """Weight and bias of a convolution with its batch norm folded in."""
    convolution, norm = pair[0], pair[1]
    by = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * by[:, None, None, None], norm.bias - norm.running_mean * by


def plain(layer):
    """Weight and bias of a convolution without a norm."""
    return layer.weight, layer.bias


def tensors(page, word):
    """All tensors of both towers under the names that `weights.rs` reads."""
    out = {}

    def convolution(name, weight_bias):
        weight, bias = weight_bias
        out[name + ".weight"] = weight.permute(2, 3, 1, 0)
        out[name + ".bias"] = bias

    for name in ("edges", "strokes", "fold", "gather"):
        convolution("page." + name, folded(getattr(page, name)))
    for stage in ("early", "late"):
        for i, block in enumerate(getattr(page, stage)):
            convolution("page.%s.%d.look" % (stage, i), folded(block.look))
            convolution("page.%s.%d.up" % (stage, i), plain(block.up))
            convolution("page.%s.%d.down" % (stage, i), folded(block.down))
    for i, layer in enumerate(page.mix):
        convolution("page.mix.%d" % i, folded(layer))
    convolution("page.narrow", plain(page.narrow))
    convolution("page.out", plain(page.out))
    convolution("page.gauge", plain(page.gauge))
    out["word.table"] = word.table.weight
    for name in ("up", "down", "out"):
        layer = getattr(word, name)
        out["word.%s.weight" % name] = layer.weight.t()
        out["word.%s.bias" % name] = layer.bias
    return {k: v.detach().to(torch.float16).contiguous() for k, v in out.items()}


def load(path):
    """Both towers of a checkpoint in evaluation mode, and its training record."""
    c = torch.load(path, map_location="cpu")
    page, word = net.Page(), net.Word()
    page.load_state_dict(c["page"])
    word.load_state_dict(c["word"])
    return page.eval(), word.eval(), c["note"]


def main():
    page, word, note = load(sys.argv[1])
    told = {"steps": str(note["steps"]), "seconds": "%.0f" % note["seconds"], "curve": " ".join("%d:%.3f" % p for p in note["curve"])}
    save_file(tensors(page, word), sys.argv[2], told)


if __name__ == "__main__":
    main()
