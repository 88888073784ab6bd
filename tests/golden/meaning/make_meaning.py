#!/usr/bin/env python3
"""Golden rows of the text model: what transformers computes for a few texts, with the original weights and with the int8
weights that the build script embeds.

    pip install torch==2.15.0 transformers==5.24.0 safetensors numpy
    make_meaning.py MODEL_FOLDER EMBEDDED.safetensors      # all-MiniLM-L6-v2; target/…/out/meaning.safetensors
"""

import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "How do I silence the alarm?",
    "Press mute to stop the siren.",
    "The Überdruck-Ventil, 12.5 µA!",
    "Before the cover of the outdoor unit is taken off, the supply has to be cut at the main switch. " * 7,
]


def int8_state(model: torch.nn.Module, embedded: Path) -> dict[str, torch.Tensor]:
    """The model's weights with every matrix replaced by its int8 rows times their scale."""
    state = dict(model.state_dict())
    with safe_open(embedded, "pt") as file:
        names = set(file.keys())
        for name in names:
            if f"{name}.scale" in names:
                state[name] = file.get_tensor(name).float() * file.get_tensor(f"{name}.scale")[:, None]
    return state


def rows(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The last hidden states, each of length 1."""
    with torch.no_grad():
        states = model(input_ids=ids[None]).last_hidden_state[0]
    return torch.nn.functional.normalize(states, dim=-1).contiguous()


def main() -> None:
    folder, embedded = Path(sys.argv[1]), Path(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    original = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    rounded = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    rounded.load_state_dict(int8_state(rounded, embedded))
    golden = {}
    for number, text in enumerate(TEXTS):
        ids = torch.tensor(tokenizer(text, truncation=True, max_length=128)["input_ids"])
        golden[f"{number}.ids"] = ids
        # Every eighth row of the long text.
        every = 8 if len(ids) > 64 else 1
        golden[f"{number}.original"] = rows(original, ids)[::every].contiguous()
        golden[f"{number}.int8"] = rows(rounded, ids)[::every].contiguous()
    save_file(golden, Path(__file__).with_name("meaning.safetensors"), {"texts": "\n".join(TEXTS)})
    for number in range(len(TEXTS)):
        loss = (golden[f"{number}.original"] * golden[f"{number}.int8"]).sum(-1)
        print(number, tuple(golden[f"{number}.ids"].shape), "least cosine", loss.min().item(), golden[f"{number}.ids"].tolist()[:24])


if __name__ == "__main__":
    main()
