#!/usr/bin/env python3
"""A tiny checkpoint of the multilingual text model's family in the layout of the hub, with random weights, and what transformers
computes with it: the rows of a page and of a query, without the bias of the last layer norm.

    pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3 safetensors numpy
    make_multilingual.py

Writes `multilingual/` and `multilingual.safetensors`. The weights, 3 MB, are not kept: `tests/support/multilingual.rs` makes
the same from their names.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel

HERE = Path(__file__).parent
CONFIG = {
    "model_type": "bert",
    "vocab_size": 80,
    "hidden_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 12,
    "intermediate_size": 48,
    "max_position_embeddings": 130,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
WORDS = ["▁query", "▁passage", ":", "▁hoe", "▁zet", "▁ik", "▁het", "▁alarm", "▁press", "▁mute", "▁to", "▁stop", "▁the", "▁siren"]
PIECES = ["▁", *"abcdefghijklmnopqrstuvwxyz", *".,?!-0123456789"]
TEXTS = {"page": "passage: Press mute to stop the siren.", "query": "query: Hoe zet ik het alarm stil?"}


def values(name: str, count: int, is_weight: bool) -> np.ndarray:
    """Pseudo-random values from the name of a tensor: SplitMix64 (Steele, Lea & Flood 2014) from its FNV-1a hash."""
    mask = (1 << 64) - 1
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & mask
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    uniform = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)
    return uniform * np.float32(0.25) + np.float32(1.0 if is_weight else 0.0)


def tokenizer() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [(token, 0.0) for token in special] + [(word, -2.0) for word in WORDS] + [(piece, -6.0) for piece in PIECES]
    vocabulary += [(f"▁unused{number}", -20.0) for number in range(CONFIG["vocab_size"] - len(vocabulary))]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    return made


def main() -> None:
    folder = HERE / "multilingual"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    tokens = tokenizer()
    tokens.save(str(folder / "tokenizer.json"), pretty=False)
    model = BertModel(BertConfig(**CONFIG, attn_implementation="eager"), add_pooling_layer=False).eval()
    shapes, state = {}, {}
    for name, tensor in model.state_dict().items():
        is_gain = name.endswith("LayerNorm.weight")
        state[name] = torch.from_numpy(values(name, tensor.numel(), is_gain)).reshape(tensor.shape)
        shapes[name] = list(tensor.shape)
    model.load_state_dict(state)
    (folder / "shapes.json").write_text(json.dumps(shapes, indent=0) + "\n")
    bias = state["encoder.layer.1.output.LayerNorm.bias"]
    golden = {}
    for name, text in TEXTS.items():
        ids = torch.tensor([0, *tokens.encode(text, add_special_tokens=False).ids, 2])
        with torch.no_grad():
            states = model(input_ids=ids[None]).last_hidden_state[0] - bias
        golden[f"{name}.ids"] = ids
        golden[f"{name}.rows"] = torch.nn.functional.normalize(states, dim=-1).contiguous()
        print(name, ids.tolist())
    save_file(golden, HERE / "multilingual.safetensors")


if __name__ == "__main__":
    main()
