#!/usr/bin/env python3
"""Make the tiny random ColQwen models of this folder, and what colpali-engine computes with them. See README.md.

    python make_tiny_colqwen.py [OUT_DIR]

The models keep every structural feature of the real ones: windowed and full vision layers, a grid that is no multiple
of the window, 3-D rotary positions, shared key heads, biased qkv, left padding, patch merger, 128-d projection, L2 norm.
"""
import pathlib, platform, sys
import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

# The Qwen2/2.5/3 split pattern. NFC first, then this split, then byte-level; no prefix space, no BOS/EOS added.
QWEN_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# In the real tokenizer these are ids 151643.. in this order; here they directly follow the tiny base vocabulary.
QWEN_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
                 "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
                 "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
QUERIES = ["How often must the oil filter be changed?", "torque of the M8 bolt", "Größe — 寸法は?"]
# colpali-engine 0.3.18 adds none itself; the checkpoints were trained with this one.
PREFIX = "Query: "
SEED = 0


def build_tokenizer() -> Tokenizer:
    """Byte-level BPE with all 256 bytes and a handful of merges, otherwise wired exactly like Qwen2's tokenizer.json."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    merges = []
    for a, b in [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("e", "r"), ("i", "n"), ("u", "s"), ("us", "er"), ("i", "m"),
                 ("a", "g"), ("im", "ag"), ("imag", "e"), ("Ġ", "image"), ("s", "c"), ("D", "e")]:
        merges.append((a, b))
        vocab[a + b] = len(vocab)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, byte_fallback=False))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in QWEN_SPECIALS])
    return tok


def page(w: int, h: int, seed: int) -> Image.Image:
    """A synthetic document page: text-like bars and a gradient figure. Deterministic, no font needed."""
    rng = np.random.default_rng(seed)
    img = Image.new("RGB", (w, h), "white")
    d = ImageDraw.Draw(img)
    y = h // 12
    while y < h // 2:
        x = w // 10
        while x < w * 9 // 10:
            ln = int(rng.integers(4, 26))
            d.rectangle([x, y, min(x + ln, w * 9 // 10), y + 4], fill=tuple(int(v) for v in rng.integers(0, 90, 3)))
            x += ln + 5
        y += 11
    gx, gy = np.meshgrid(np.linspace(0, 255, w // 2), np.linspace(0, 255, h // 4))
    fig = np.stack([gx, gy, 255 - gx], -1).astype(np.uint8)
    img.paste(Image.fromarray(fig), (w // 4, h * 5 // 8))
    d.rectangle([w // 4, h * 5 // 8, w // 4 + w // 2, h * 5 // 8 + h // 4], outline="black", width=2)
    return img


def parts(family: str):
    """The reference's classes for a family, and its tiny vision tower."""
    if family == "2.5":
        from colpali_engine.models import ColQwen2_5 as Model, ColQwen2_5_Processor as Processor
        from transformers import Qwen2_5_VLConfig as Config
        return Model, Processor, Config, dict(
            depth=4, hidden_size=64, intermediate_size=96, num_heads=4, out_hidden_size=64, patch_size=14,
            spatial_merge_size=2, temporal_patch_size=2, window_size=112, fullatt_block_indexes=[1, 3], in_channels=3,
            hidden_act="silu", tokens_per_second=2)
    from colpali_engine.models import ColQwen2 as Model, ColQwen2Processor as Processor
    from transformers import Qwen2VLConfig as Config
    return Model, Processor, Config, dict(
        depth=4, embed_dim=64, hidden_size=64, mlp_ratio=2, num_heads=4, patch_size=14, spatial_merge_size=2,
        temporal_patch_size=2, in_channels=3, hidden_act="quick_gelu")


def config(Config, vision, tok):
    sid = {s: tok.token_to_id(s) for s in QWEN_SPECIALS}
    cfg = Config(
        text_config=dict(vocab_size=-(-tok.get_vocab_size() // 64) * 64,   # the real models pad the table too
                         hidden_size=64, intermediate_size=160, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-6, hidden_act="silu",
                         max_position_embeddings=2048, tie_word_embeddings=True, use_sliding_window=False,
                         rope_theta=1000000.0, rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]},
                         bos_token_id=sid["<|endoftext|>"], eos_token_id=sid["<|im_end|>"],
                         pad_token_id=sid["<|endoftext|>"]),
        vision_config=vision, image_token_id=sid["<|image_pad|>"], video_token_id=sid["<|video_pad|>"],
        vision_start_token_id=sid["<|vision_start|>"], vision_end_token_id=sid["<|vision_end|>"],
        tie_word_embeddings=True)
    cfg._attn_implementation = "eager"
    return cfg


def randomise(model, gen) -> None:
    """The default deviation of 0.02 would leave the residual stream almost linear."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or "ln_q" in name:
                p.copy_(1 + 0.2 * torch.randn(p.shape, generator=gen) if name.endswith("weight")
                        else 0.1 * torch.randn(p.shape, generator=gen))
            elif name.endswith("bias"):
                p.copy_(0.2 * torch.randn(p.shape, generator=gen))
            else:
                fan_in = int(np.prod(p.shape[1:])) if "embed_tokens" not in name else 1
                p.copy_(torch.randn(p.shape, generator=gen) * (1.5 / fan_in ** 0.5))


def run(model, batch, taps: bool = True) -> dict:
    """The inputs, the intermediates that localise a mistake, and the embeddings of a batch."""
    got, handles = {}, []

    def tap(module, name, pick=lambda o: o[0] if isinstance(o, tuple) else o):
        handles.append(module.register_forward_hook(lambda _m, _i, o: got.__setitem__(name, pick(o).detach().clone())))

    if taps:
        tap(model.visual.patch_embed, "vit.patch_embed")                   # original patch order
        for i, b in enumerate(model.visual.blocks):
            tap(b, f"vit.block.{i}")                                       # 2.5: window order
        for i, m in enumerate(getattr(model.visual, "deepstack_merger_list", [])):
            tap(m, f"vit.deepstack.{i}")                                 # Qwen3
        tap(model.visual.merger, "vit.merger")                             # 2.5: window order, before the un-permute
        tap(model.visual, "vit.out", lambda o: o.pooler_output)            # original order, one row a visual token
        tap(model.language_model.rotary_emb, "lm.cos", lambda o: o[0])
        tap(model.language_model.rotary_emb, "lm.sin", lambda o: o[1])
        for i, b in enumerate(model.language_model.layers):
            tap(b, f"lm.layer.{i}")
        tap(model.language_model.norm, "lm.norm")
        tap(model.custom_text_proj, "proj")
    with torch.no_grad():
        embeddings = model(**dict(batch.items()))
    for h in handles:
        h.remove()
    keep = {f"in.{k}": batch[k] for k in ("input_ids", "attention_mask", "image_grid_thw", "pixel_values") if k in batch}
    return {k: v.contiguous().clone() for k, v in (keep | got | {"embeddings": embeddings}).items() if v.numel()}


def adapt(model, gen, folder: pathlib.Path, base: str):
    """A rank-4 adapter with the pattern of the upstream training script."""
    import peft
    pattern = ("(.*(model)(?!.*visual).*(down_proj|gate_proj|up_proj|k_proj|q_proj|v_proj|o_proj).*$"
               "|.*(custom_text_proj).*$)")
    lora = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, bias="none",
                               init_lora_weights="gaussian", task_type="FEATURE_EXTRACTION", target_modules=pattern))
    with torch.no_grad():
        for name, p in lora.named_parameters():
            if "lora_" in name:
                p.copy_(0.1 * torch.randn(p.shape, generator=gen))
    lora.peft_config["default"].base_model_name_or_path = base
    lora.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return lora


def make(out: pathlib.Path, family: str, dtype: str) -> None:
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    Model, Processor, Config, vision = parts(family)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    gen = torch.Generator().manual_seed(SEED + 1)
    name = f"colqwen{family}" + ("-bf16" if dtype == "bf16" else "")

    tok = build_tokenizer()
    hf_tok = PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="<|endoftext|>", eos_token="<|im_end|>",
                                     padding_side="left")
    size = {"shortest_edge": 4 * 28 * 28, "longest_edge": 48 * 28 * 28}   # at most 48 visual tokens a page
    proc = Processor(image_processor=Qwen2VLImageProcessor(size=size), tokenizer=hf_tok,
                     video_processor=Qwen2VLVideoProcessor())
    model = Model(config(Config, vision, tok)).eval()
    randomise(model, gen)
    if dtype == "bf16":
        model = model.to(torch.bfloat16)

    # A portrait and a landscape page, both odd-sized, so that both resizes and both paddings happen.
    pages = [page(413, 585, 11), page(300, 120, 22)]
    (out / "pages").mkdir(parents=True, exist_ok=True)
    for i, im in enumerate(pages):
        im.save(out / "pages" / f"page_{i}.png")
    docs = proc.process_images(pages)
    queries = proc.process_texts([PREFIX + q + Processor.query_augmentation_token * 10 for q in QUERIES])
    full = dtype == "f32"
    rd, rq = run(model, docs, full), run(model, queries, False)
    if family == "2.5" and full:
        from transformers.vision_utils import get_vision_window_index
        rd["vit.window_index"], _ = get_vision_window_index(docs["image_grid_thw"], 2, 112, 14)
    if name != "colqwen2.5":
        del rd["in.pixel_values"]                                          # the same for all
    taps = {f"docs.{k}": v for k, v in rd.items()} | {f"queries.{k}": v for k, v in rq.items()}
    rows = lambda r: [e[m.bool()] for e, m in zip(r["embeddings"], r["in.attention_mask"])]
    taps["maxsim"] = proc.score(rows(rq), rows(rd), device="cpu").contiguous()
    for i, im in enumerate(pages):                                         # alone: must equal the batch
        taps[f"alone.{i}"] = run(model, proc.process_images([im]), False)["embeddings"]

    folder = out / f"{name}-tiny"
    model.save_pretrained(folder)
    proc.save_pretrained(folder)
    tok.save(str(folder / "tokenizer.json"))
    if full:
        lora = adapt(model, gen, out / f"{name}-lora", f"../{name}-tiny")
        taps["lora.docs"] = run(lora, docs, False)["embeddings"]
        taps["lora.queries"] = run(lora, queries, False)["embeddings"]
    save_file(taps, out / f"{name}.safetensors")


def main() -> None:
    import colpali_engine, peft, transformers
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for family, dtype in [("2.5", "f32"), ("2", "f32"), ("2.5", "bf16")]:
        make(out, family, dtype)
    print(f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}, seed {SEED}")


if __name__ == "__main__":
    main()
