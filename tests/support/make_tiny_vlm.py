#!/usr/bin/env python3
"""Write two tiny vision-language checkpoints with random weights that `mlx_vlm.server` serves on a CPU.

    $(tests/support/mlx-vlm.sh) tests/support/make_tiny_vlm.py OUTFOLDER

OUTFOLDER gets `qwen2.5-vl` and `qwen3-vl`, each with every structural feature of the real family: three-axis rotary
positions, shared key heads, patch merger; windowed and full vision layers there, position table and DeepStack here.
What they say is printable nonsense, the same at every start, and never ends by itself: `max_tokens` ends it.
Runs in the environment of `mlx-vlm.sh` and needs nothing beyond it.
"""
import importlib, json, pathlib, sys
import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

QWEN_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
            "<|image_pad|>", "<|video_pad|>"]
# The system turn that Qwen2-VL and Qwen2.5-VL write where the caller gives none; Qwen3-VL has no such turn.
SYSTEM = ("{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
          "{% endif %}")
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}"
            "{% else %}{% for c in m['content'] %}{% if c['type'] in ('image', 'image_url', 'input_image') %}"
            "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}"
            "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
# Tokens of prompt and answer together: the server refuses a longer prompt and cuts `max_tokens` to what is left.
CONTEXT = 8192
# For one picture at most, as the checkpoint asks for it. The published models allow 16,384 and take 1,260 for a page of
# 1.0 megapixel, which would cost 20 s on a CPU; `max_pixels` in a request asks for more.
VISUAL_TOKENS = 128
SEED = 0


def build_tokenizer() -> Tokenizer:
    """Byte-level BPE of all 256 bytes without merges, otherwise wired like the tokenizer.json of Qwen2."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=[], fuse_unk=False, byte_fallback=False))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIALS])
    return tok


def config(family: str, tok: Tokenizer, tied: bool) -> dict:
    ids = {s: tok.token_to_id(s) for s in SPECIALS}
    text = dict(vocab_size=tok.get_vocab_size(), hidden_size=64, intermediate_size=160, num_hidden_layers=3,
                num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-6, hidden_act="silu",
                max_position_embeddings=CONTEXT, tie_word_embeddings=tied, bos_token_id=ids["<|endoftext|>"],
                eos_token_id=ids["<|im_end|>"])
    vision = dict(depth=2 if family == "qwen2_5_vl" else 3, hidden_size=64, intermediate_size=96, num_heads=4, out_hidden_size=64, in_channels=3,
                  spatial_merge_size=2, temporal_patch_size=2)
    shared = dict(vocab_size=tok.get_vocab_size(), image_token_id=ids["<|image_pad|>"],
                  video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
                  vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=tied, torch_dtype="float32")
    if family == "qwen2_5_vl":
        vision |= dict(model_type="qwen2_5_vl", patch_size=14, spatial_patch_size=14, window_size=112,
                       fullatt_block_indexes=[1], hidden_act="silu", tokens_per_second=2)
        return dict(architectures=["Qwen2_5_VLForConditionalGeneration"], model_type=family, **text, **(
            {k: v for k, v in shared.items() if k not in text}), use_sliding_window=False, rope_theta=1e6,
            vision_token_id=ids["<|vision_pad|>"], vision_config=vision,
            rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]})
    vision |= dict(model_type="qwen3_vl", patch_size=16, hidden_size=32, intermediate_size=48, hidden_act="gelu_pytorch_tanh",
                   num_position_embeddings=144, deepstack_visual_indexes=[0, 1, 2])
    # Heads are wider than their share of a token, as in Qwen3-VL-2B and -4B.
    text |= dict(model_type="qwen3_vl_text", head_dim=32, attention_bias=False, rope_theta=5e6,
                 rope_scaling={"rope_type": "default", "type": "default", "mrope_interleaved": True,
                               "mrope_section": [6, 5, 5]})
    return dict(architectures=["Qwen3VLForConditionalGeneration"], model_type=family, text_config=text,
                vision_config=vision, **shared)


def weights(cfg: dict, tok: Tokenizer):
    """Random weights; with a head of its own, a printable character is always the likeliest next one."""
    package = importlib.import_module(f"mlx_vlm.models.{cfg['model_type']}")
    from mlx_vlm.utils import update_module_configs
    cfg = json.loads(json.dumps(cfg))
    model_config = update_module_configs(package.ModelConfig.from_dict(cfg), package, cfg, ["text", "vision"])
    model = package.Model(model_config)
    mx.random.seed(SEED)

    def draw(path: str, old: mx.array) -> mx.array:
        if "norm" in path.split(".")[-2] or "ln_q" in path:
            return (1 if path.endswith("weight") else 0) + 0.1 * mx.random.normal(old.shape)
        if path.endswith("bias"):
            return 0.05 * mx.random.normal(old.shape)
        return mx.random.normal(old.shape) * (0.5 if "embed_tokens" in path else 0.08 if "patch" in path else 0.15)

    model.update(tree_map_with_path(draw, model.parameters()))
    if cfg.get("text_config", cfg)["tie_word_embeddings"]:
        return dict(tree_flatten(model.parameters()))
    table = model.language_model.lm_head
    plain = [tok.token_to_id(c) for c in map(chr, range(33, 127))] + [tok.token_to_id("Ġ")]
    keep = mx.zeros((table.weight.shape[0], 1))
    keep[mx.array(plain)] = 1.0
    table.weight = table.weight * (0.1 + 0.9 * keep)
    return dict(tree_flatten(model.parameters()))


def make(folder: pathlib.Path, family: str, tied: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tok = build_tokenizer()
    cfg = config(family, tok, tied)
    patch = cfg["vision_config"]["patch_size"]
    old = family == "qwen2_5_vl"
    end, pad = tok.token_to_id("<|im_end|>"), tok.token_to_id("<|endoftext|>")
    mx.save_safetensors(str(folder / "model.safetensors"), weights(cfg, tok), metadata={"format": "mlx"})
    write = lambda name, what: (folder / name).write_text(json.dumps(what, indent=1) + "\n")
    write("config.json", cfg)
    write("generation_config.json", dict(do_sample=False, temperature=0.0, bos_token_id=pad, eos_token_id=[end, pad],
                                         pad_token_id=pad))
    write("preprocessor_config.json", dict(
        processor_class="Qwen2_5_VLProcessor" if old else "Qwen3VLProcessor", patch_size=patch, merge_size=2,
        image_processor_type="Qwen2VLImageProcessor" if old else "Qwen2VLImageProcessorFast", temporal_patch_size=2,
        size={"shortest_edge": 4 * (2 * patch) ** 2, "longest_edge": VISUAL_TOKENS * (2 * patch) ** 2},
        image_mean=[0.48145466, 0.4578275, 0.40821073] if old else [0.5] * 3,
        image_std=[0.26862954, 0.26130258, 0.27577711] if old else [0.5] * 3))
    write("tokenizer_config.json", dict(
        tokenizer_class="Qwen2TokenizerFast", bos_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        unk_token=None, add_prefix_space=False, clean_up_tokenization_spaces=False, model_max_length=CONTEXT))
    (folder / "chat_template.jinja").write_text((SYSTEM if old else "") + TEMPLATE)
    tok.save(str(folder / "tokenizer.json"), pretty=False)


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    make(out / "qwen2.5-vl", "qwen2_5_vl")
    make(out / "qwen3-vl", "qwen3_vl")


if __name__ == "__main__":
    main()
