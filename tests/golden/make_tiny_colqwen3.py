#!/usr/bin/env python3
"""Make the tiny random ColQwen3 of this folder, and what colpali-engine and transformers compute with it. See README.md.

    python make_tiny_colqwen3.py [OUT_DIR]

One backbone, `colqwen3-tiny`, in the layout of colpali-engine's own ColQwen3. The families on the hub differ from it in the
names of tensors, the projection, the prompts and the direction of attention; `colqwen3.safetensors` holds their projections
and embeddings, and `tests/parity/colqwen3.rs` writes their folders from both.

Kept of the real models: learnt positions on a square that no grid matches, three DeepStack features, heads wider than
hidden_size / heads, interleaved sections of which one ends early, left padding.
"""
import hashlib, pathlib, platform, sys
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from make_tiny_colqwen import PREFIX, QUERIES, QWEN_SPECIALS, SEED, adapt, build_tokenizer, randomise, run

TAIL = "<|endoftext|>" * 10
START = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
PAGE = START + "Describe the image.<|im_end|><|endoftext|>"
# What the families on the hub change: prompts of pages and queries, numbers kept of a row, attention.
FAMILIES = {
    "engine": dict(page=PAGE, query=("", TAIL)),
    "sauerkraut": dict(page=PAGE, query=(PREFIX, TAIL)),
    "tomoro": dict(page=PAGE, query=("", TAIL), width=20),
    "ops": dict(page=START + "Describe the image.<|im_end|><|im_start|>assistant\n<|endoftext|>", query=(PREFIX, TAIL),
                width=32, keep=20),
    "nemotron": dict(page=START + "passage: <|im_end|>\n<|im_start|>assistant\n",
                     query=("<|im_start|>user\nQuery: query: ", "<|im_end|>\n<|im_start|>assistant\n"), sees_all=True),
}


def config(tok):
    from transformers import Qwen3VLConfig
    ids = {s: tok.token_to_id(s) for s in QWEN_SPECIALS}
    made = Qwen3VLConfig(
        text_config=dict(vocab_size=-(-tok.get_vocab_size() // 64) * 64, hidden_size=32, intermediate_size=64,
                         num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-6,
                         hidden_act="silu", max_position_embeddings=2048, attention_bias=False,
                         rope_parameters={"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True,
                                          "mrope_section": [4, 2, 2]}),
        vision_config=dict(depth=4, hidden_size=32, intermediate_size=64, num_heads=2, patch_size=16, in_channels=3,
                           spatial_merge_size=2, temporal_patch_size=2, out_hidden_size=32, num_position_embeddings=49,
                           deepstack_visual_indexes=[0, 1, 2], hidden_act="gelu_pytorch_tanh"),
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=True)
    made._attn_implementation = "eager"
    return made


def hidden(model, batch, sees_all: bool):
    """The last hidden states of the backbone, of one page or query."""
    from transformers import Qwen3VLModel
    batch = dict(batch.items())
    grid = batch.get("image_grid_thw")
    if grid is not None:                                                   # colpali-engine pads pixels page by page
        batch["pixel_values"] = torch.cat([p[:g.prod()] for p, g in zip(batch["pixel_values"], grid)])
    if sees_all:
        kinds = batch.get("mm_token_type_ids", torch.zeros_like(batch["input_ids"]))
        batch["position_ids"], _ = model.get_rope_index(batch["input_ids"], kinds, image_grid_thw=grid,
                                                        attention_mask=batch["attention_mask"])
        count = batch["input_ids"].shape[1]
        batch["attention_mask"] = torch.zeros(1, 1, count, count)
    with torch.no_grad():
        return Qwen3VLModel.forward(model, **batch).last_hidden_state[0]


def main() -> None:
    import peft, transformers
    from colpali_engine.models import ColQwen3, ColQwen3Processor
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
    here = pathlib.Path(__file__).parent
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    gen = torch.Generator().manual_seed(SEED + 3)

    tok = build_tokenizer()
    hf_tok = PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="<|endoftext|>", eos_token="<|im_end|>",
                                     padding_side="left")
    size = {"shortest_edge": 4 * 32 * 32, "longest_edge": 24 * 32 * 32}    # at most 24 visual tokens a page
    images = Qwen2VLImageProcessor(size=size, patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    proc = ColQwen3Processor(image_processor=images, tokenizer=hf_tok, video_processor=Qwen3VLVideoProcessor())
    model = ColQwen3(config(tok)).eval()
    model.custom_text_proj, model.dim = nn.Linear(32, 24), 24              # its own width of 320 is in its code
    randomise(model, gen)
    pages = [Image.open(here / f"pages/page_{i}.png").convert("RGB") for i in range(2)]

    def make_pages(prompt, some):
        proc.visual_prompt_prefix = prompt
        return proc.process_images(some)

    docs = make_pages(PAGE, pages)
    taps = {f"docs.{k}": v for k, v in run(model, docs).items()}
    pixels = [p[:g.prod()].contiguous() for p, g in zip(docs["pixel_values"], docs["image_grid_thw"])]
    del taps["docs.in.pixel_values"]
    digest = lambda p: hashlib.sha256(p.numpy().tobytes()).digest()
    taps["pixels.sha256"] = torch.tensor([list(digest(p)) for p in pixels], dtype=torch.uint8)

    for name, family in FAMILIES.items():
        prefix, suffix = family["query"]
        projection = model.custom_text_proj
        if name == "nemotron":
            projection = nn.Identity()
        elif "width" in family:
            projection = nn.Linear(32, family["width"])
            randomise(projection, gen)
            taps |= {f"{name}.weight": projection.weight.detach(), f"{name}.bias": projection.bias.detach()}
        strip = str.strip if name == "tomoro" else str
        inputs = {f"docs.{i}": make_pages(family["page"], [page]) for i, page in enumerate(pages)}
        # A blank at each end, to see who strips.
        inputs |= {f"queries.{i}": proc.process_texts([prefix + strip(f" {q} ") + suffix]) for i, q in enumerate(QUERIES)}
        for key, batch in inputs.items():
            if name == "sauerkraut" and key.startswith("docs"):
                continue                                                   # as the engine's
            with torch.no_grad():
                rows = projection(hidden(model, batch, family.get("sees_all", False)))[:, :family.get("keep")]
            taps[f"{name}.{key}"] = (rows / rows.norm(dim=-1, keepdim=True)).contiguous()

    folder = out / "colqwen3-tiny"
    model.save_pretrained(folder)
    proc.save_pretrained(folder)
    tok.save(str(folder / "tokenizer.json"))
    lora = adapt(model, gen, out / "colqwen3-lora", "../colqwen3-tiny")
    for i, page in enumerate(pages):
        with torch.no_grad():
            taps[f"lora.docs.{i}"] = lora(**dict(make_pages(PAGE, [page]).items()))[0]
    model = lora.unload().to(torch.bfloat16)
    for i, page in enumerate(pages):
        with torch.no_grad():
            taps[f"bf16.docs.{i}"] = model(**dict(make_pages(PAGE, [page]).items()))[0].float()
    save_file({k: v.contiguous().clone() for k, v in taps.items()}, out / "colqwen3.safetensors")
    print(f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}, seed {SEED}")


if __name__ == "__main__":
    main()
