"""Writes a Qwen2.5-VL of 40 MB that a real Ollama server takes.

    python make_tiny_ollama.py FOLDER [stop|circle|stuck] && ollama create NAME -f FOLDER/Modelfile

Its weights are noise, but what it says is known. The first word tells what the model saw: `Bright` pictures, `Dark` ones
or `Nothing`; after it every word has its one successor. The last argument says what follows the last word: the end (`stop`,
unless told otherwise), the second word again (`circle`), or the last word itself for ever (`stuck`).

Needs numpy alone. The same arguments always write the same bytes.
"""

import json
import sys
from pathlib import Path

import numpy as np

# One word, one token, one successor: no word is there twice.
SAYS = """Bright Dark Nothing page: a drawing of one pump, with its motor, two valves and three gauges. Arrows show how
water flows from left to right; numbers 1 2 3 4 5 6 7 8 9 name parts listed below. Größe: 40 mm × 25 mm² at ½ bar. Close
every valve before you open this cover, then wait until all pressure has gone."""
SAW = 3

# Ollama knows these tokens by number, so the vocabulary reaches that far; most of it is never used.
VISION = {"<|vision_start|>": 151652, "<|vision_end|>": 151653, "<|vision_pad|>": 151654, "<|image_pad|>": 151655}
TOKENS = 151656
# Ollama turns heads of 128 values in this family, whatever the folder says: one such head is the least there can be.
WIDTH = 128
INNER = 256
EYE, EYE_INNER, EYE_HEADS = 32, 64, 1
# Twice what the real ones have. Ollama sets memory aside for a picture of 2 megapixels: 2.3 GB with patches of 14.
PATCH, MERGED = 28, 4
LAYERS = 1
# These two values of a state are for pictures, no token uses them: how bright one is, and that it is one.
SEEN, PICTURE = WIDTH - 1, WIDTH - 2
# The one value of a head that hardly turns with the place in the text.
STILL = WIDTH // 2 - 1
NOISE = 0.02
# How sure of the next word the model is: quite, up to a temperature of about 2.
SURE = 0.2

# More threads wait for each other after every step, on a busy machine for so long that 3 words a second are left of 1,500.
MODELFILE = """FROM .
PARAMETER num_thread 1
TEMPLATE \"\"\"{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
\"\"\"
"""


def spelled(text):
    """What UTF-8 is in a vocabulary of this kind: the bytes that cannot be seen have letters of their own."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in seen]
    return "".join(chr(byte if byte in seen else 0x100 + hidden.index(byte)) for byte in text)


def vocabulary():
    """The words of `SAYS`, then the special tokens that a turn needs, among them the end."""
    first, *others = SAYS.split()
    said = [first, *others[: SAW - 1], *(f" {word}" for word in others[SAW - 1 :])]
    words = [spelled(word.encode()) for word in said]
    plain = [spelled(bytes([byte])) for byte in range(0x100)] + words
    assert len(set(plain)) == len(plain), "a word is there twice"
    special = {name: len(plain) + at for at, name in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])}
    return plain, words, special


def say(states, plain, words, special, ending):
    """What follows what: the row of a word looks like the token before it."""
    end = special["<|im_end|>"]
    head = np.zeros((end + 1, WIDTH))
    at = {word: plain.index(word) for word in words}
    saw, tail = words[:SAW], words[SAW:]
    for word, sight in zip(saw, (4, -4, 0), strict=True):
        head[at[word]] = states[plain.index(spelled(b"\n"))] * (1 if sight else 1.1)
        head[at[word], SEEN] = sight
    # The word after the first is the same for all three, since they look the same.
    for word in saw[1:]:
        states[at[word]] = states[at[saw[0]]]
    before = [saw[0], *tail]
    for word, last in zip(tail, before, strict=False):
        head[at[word]] = states[at[last]]
    after = {"stop": end, "circle": at[tail[0]], "stuck": at[tail[-1]]}[ending]
    head[after] += states[at[tail[-1]]]
    return head * SURE


def weights(plain, words, special, ending):
    noise = np.random.default_rng(7)

    def random(*shape):
        return noise.normal(0, NOISE, shape)

    states = np.zeros((TOKENS, WIDTH))
    used = len(plain) + len(special)
    states[:used, :PICTURE] = noise.choice([-1, 1], (used, PICTURE))
    states[list(VISION.values()), :PICTURE] = noise.choice([-1, 1], (len(VISION), PICTURE))
    yield "lm_head.weight", say(states, plain, words, special, ending)
    yield "model.embed_tokens.weight", states
    yield "model.norm.weight", np.ones(WIDTH)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        parts = {part: random(WIDTH, WIDTH) for part in "qkv"}
        biases = {part: np.zeros(WIDTH) for part in "qkv"}
        out = random(WIDTH, WIDTH)
        if layer == 0:
            # Every token looks at the pictures, however long the text is, and takes over how bright they are.
            biases["q"][STILL], parts["k"][STILL, PICTURE] = 10, 1
            parts["v"][0, SEEN] = out[SEEN, 0] = 1
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{name}{norm}.weight", np.ones(WIDTH)
        for part in "qkv":
            yield f"{name}self_attn.{part}_proj.weight", parts[part]
            yield f"{name}self_attn.{part}_proj.bias", biases[part]
        yield f"{name}self_attn.o_proj.weight", out
        yield f"{name}mlp.gate_proj.weight", random(INNER, WIDTH)
        yield f"{name}mlp.up_proj.weight", random(INNER, WIDTH)
        yield f"{name}mlp.down_proj.weight", random(WIDTH, INNER)
    yield from eye(random)


def eye(random):
    """The part that sees: a patch's first value is how bright it is, and comes out as `SEEN`, next to `PICTURE`."""
    patch = random(EYE, 3, 2, PATCH, PATCH)
    patch[0] = 1 / patch[0].size
    yield "visual.patch_embed.proj.weight", patch
    for block in range(LAYERS):
        name = f"visual.blocks.{block}."
        shapes = {"attn.qkv": (3 * EYE, EYE), "attn.proj": (EYE, EYE)}
        shapes |= {"mlp.gate_proj": (EYE_INNER, EYE), "mlp.up_proj": (EYE_INNER, EYE), "mlp.down_proj": (EYE, EYE_INNER)}
        for norm in ("norm1", "norm2"):
            yield f"{name}{norm}.weight", np.ones(EYE)
        for part, shape in shapes.items():
            yield f"{name}{part}.weight", random(*shape)
            yield f"{name}{part}.bias", np.zeros(shape[0])
    wide = MERGED * EYE
    first, second = random(wide, wide), random(WIDTH, wide)
    # Between the two nothing below zero passes: one row for bright, one for dark.
    first[:2, 0] = 1, -1
    second[SEEN, :2] = 2, -2
    second[PICTURE, :2] = 2, 2
    yield "visual.merger.ln_q.weight", np.ones(EYE)
    yield "visual.merger.mlp.0.weight", first
    yield "visual.merger.mlp.0.bias", np.zeros(wide)
    yield "visual.merger.mlp.2.weight", second
    yield "visual.merger.mlp.2.bias", np.zeros(WIDTH)


def write_tensors(path, tensors):
    """The safetensors format: the length of a header, the header, the values one after the other."""
    header, values = {}, []
    at = 0
    for name, tensor in tensors:
        data = tensor.astype("<f2").tobytes()
        header[name] = {"dtype": "F16", "shape": tensor.shape, "data_offsets": [at, at + len(data)]}
        values.append(data)
        at += len(data)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.writelines(values)


def config():
    vision = {"depth": LAYERS, "hidden_size": EYE, "intermediate_size": EYE_INNER, "num_heads": EYE_HEADS}
    vision |= {"in_chans": 3, "patch_size": PATCH, "spatial_patch_size": PATCH, "spatial_merge_size": 2}
    vision |= {"temporal_patch_size": 2, "window_size": 8 * PATCH, "fullatt_block_indexes": [0], "out_hidden_size": WIDTH}
    text = {"vocab_size": TOKENS, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
    text |= {"num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 32768}
    text |= {"rms_norm_eps": 1e-6, "rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}
    names = {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl"}
    return names | text | {"vision_config": vision}


def tokenizer(plain, special):
    ids = {token: at for at, token in enumerate(plain)}
    ids |= {f"<|unused-{at}|>": at for at in range(len(plain) + len(special), min(VISION.values()))}
    added = [{"id": at, "content": name, "special": True} for name, at in (special | VISION).items()]
    return {"added_tokens": added, "model": {"type": "BPE", "vocab": ids, "merges": []}}


def main(folder, ending="stop"):
    plain, words, special = vocabulary()
    files = {
        "config.json": config(),
        "tokenizer.json": tokenizer(plain, special),
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    write_tensors(folder / "model.safetensors", weights(plain, words, special, ending))
    (folder / "Modelfile").write_text(MODELFILE, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
