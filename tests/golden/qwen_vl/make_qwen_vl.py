#!/usr/bin/env python3
"""Write the tiny Qwen2.5-VL and Qwen3-VL of this folder, plain and in 4 bits, and what mlx-vlm computes with each.

    $(tests/support/mlx-vlm.sh) tests/golden/qwen_vl/make_qwen_vl.py

The models are those of `tests/support/make_tiny_vlm.py`. All is computed in f32, from weights stored in bf16.
"""
import importlib, json, pathlib, sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "support"))
import make_tiny_vlm as tiny
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_map
from mlx_vlm.models.cache import make_prompt_cache
from mlx_vlm.utils import update_module_configs

STEPS = 16
GROUP, BITS = 32, 4
# Patches down and across; 35 and 10 visual tokens, the first in windows of three sizes.
GRIDS = [(10, 14), (4, 10)]


def pixels(image: int, patches: int, side: int) -> np.ndarray:
    """Patches that a test can compute as well: nothing of them is stored."""
    at = np.arange(patches * 6 * side * side, dtype=np.int64)
    return ((at * 7919 + image * 104729) % 2003 / 1001.5 - 1.0).astype(np.float32).reshape(patches, -1)


def network(folder: pathlib.Path, quantized: bool):
    """The network of a folder, with its weights, in f32."""
    cfg = json.loads((folder / "config.json").read_text())
    package = importlib.import_module(f"mlx_vlm.models.{cfg['model_type']}")
    model = package.Model(update_module_configs(package.ModelConfig.from_dict(cfg), package, cfg, ["text", "vision"]))
    if quantized:
        nn.quantize(model.language_model, group_size=GROUP, bits=BITS)
    model.load_weights(str(folder / "model.safetensors"), strict=True)
    wide = lambda x: x.astype(mx.float32) if x.dtype == mx.bfloat16 else x
    model.update(tree_map(wide, model.parameters()))
    return model, cfg


def store(folder: pathlib.Path, tensors) -> None:
    narrow = lambda x: x.astype(mx.bfloat16) if x.dtype == mx.float32 else x
    mx.save_safetensors(str(folder / "model.safetensors"), {k: narrow(v) for k, v in tensors.items()}, {"format": "mlx"})


def quantize(plain: pathlib.Path, folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    model, cfg = network(plain, False)
    nn.quantize(model.language_model, group_size=GROUP, bits=BITS)
    store(folder, dict(tree_flatten(model.parameters())))
    cfg["quantization"] = dict(group_size=GROUP, bits=BITS, mode="affine")
    (folder / "config.json").write_text(json.dumps(cfg, indent=1) + "\n")


def prompt(tok, cfg) -> list[int]:
    ids = lambda text: tok.encode(text, add_special_tokens=False).ids
    tokens = ids("<|im_start|>user\nPage 1:")
    for (rows, columns), label in zip(GRIDS, ("Page 2:", "Name both.")):
        image = [cfg["image_token_id"]] * (rows * columns // 4)
        tokens += [cfg["vision_start_token_id"], *image, cfg["vision_end_token_id"], *ids(label)]
    return tokens + ids("<|im_end|>\n<|im_start|>assistant\n")


def computed(folder: pathlib.Path, tok, quantized: bool) -> dict:
    model, cfg = network(folder, quantized)
    side = cfg["vision_config"]["patch_size"]
    patches = mx.array(np.concatenate([pixels(i, r * c, side) for i, (r, c) in enumerate(GRIDS)]))
    tokens, lm, grids = mx.array([prompt(tok, cfg)]), model.language_model, mx.array([[1, r, c] for r, c in GRIDS])
    visual = model.vision_tower(patches, grids)
    # Qwen3-VL's tower also returns the DeepStack features.
    visual = dict(seen=visual) if isinstance(visual, mx.array) else dict(seen=visual[0], deep=mx.stack(visual[1]))
    cache = make_prompt_cache(lm)
    out = model(tokens, patches, cache=cache, image_grid_thw=grids).logits[0]
    answer, steps = [], []
    row = out[-1]
    for _ in range(STEPS):
        answer.append(mx.argmax(row).item())
        row = lm(mx.array([[answer[-1]]]), cache=cache).logits[0, -1]
        steps.append(row)
    return dict(**visual, tokens=tokens[0].astype(mx.uint32), prefill=out, answer=mx.array(answer, dtype=mx.uint32),
                steps=mx.stack(steps))


def main() -> None:
    tok = tiny.build_tokenizer()
    for name, family in (("qwen2.5", "qwen2_5_vl"), ("qwen3", "qwen3_vl")):
        plain, quantized = HERE / name, HERE / f"{name}-4bit"
        # As published: the small Qwen3-VL have no head of their own, the large Qwen2.5-VL do.
        tiny.make(plain, family, tied=family == "qwen3_vl")
        store(plain, mx.load(str(plain / "model.safetensors")))
        quantize(plain, quantized)
        for folder, is_quantized in ((plain, False), (quantized, True)):
            mx.save_safetensors(str(HERE / f"{folder.name}.safetensors"), computed(folder, tok, is_quantized))


if __name__ == "__main__":
    main()
