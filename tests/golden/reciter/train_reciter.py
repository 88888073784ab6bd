#!/usr/bin/env python3
"""Overfit a tiny Qwen2.5-VL to a description of every page of the two sample manuals. See README.md.

    python train_reciter.py OUTFOLDER [--minutes 20] [--resume STATE.pt] [--long]

Needs torch, transformers, tokenizers, safetensors, pillow, numpy and pypdfium2; `pages.py` gives the
targets. The model must use the page image: the prompts of the training set vary and are often nonsense.
"""
import argparse, io, json, math, pathlib, pickle, random, time
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
import pages as manuals

# Prompts like those of `ingest describe`: an instruction, labelled images, a closing line.
FIELDS = ('"rotation" (0, 90, 180 or 270: how far the page must be turned to be read), "legible" (true or false), "title" '
          '(at most 120 characters), "summary" (at most 600 characters), "topics" (at most 8), "identifiers" (at most 30, '
          'quoted exactly as printed), "language" (two letters)')
INSTRUCTIONS = [
    f"Describe this page of a technical manual for a search index. Answer with one JSON object with these fields in this "
    f"order: {FIELDS}. Do not transcribe tables. Leave empty what is not on the page.",
    "You describe pages of manuals so that people can find them. Quote identifiers exactly as printed; do not transcribe "
    "tables; leave empty what is not on the page.",
    f"Write JSON and nothing else. Fields: {FIELDS}.",
    "Describe the page as JSON.", "Describe each page. Answer with JSON only, no prose and no code fences.",
    'Look at the page and fill in: {"rotation": 0, "legible": true, "title": "", "summary": "", "topics": [], '
    '"figures": [{"label": "", "says": ""}], "tables": [{"label": "", "columns": [], "says": ""}], "identifiers": [], '
    '"language": ""}',
    "",
]
LABELS = ['Page {n} of {of} of "{manual}.pdf": ', "Page {n} of {of}: ", "Page {n}: ", "", '\n\nPage {n} of {of} of "{manual}.pdf":\n']
CLOSE_ONE = ["Answer with the JSON object only.", "Describe this page.", "JSON:", "Answer with one JSON object that starts "
             "with \"rotation\".", "Now write the JSON object.", ""]
CLOSE_MANY = ["Answer with a JSON array, one object per page, each starting with its page number.",
              "Answer with a JSON array.", "JSON array, one object a page, in the order of the pages:", ""]

# Pre-tokenizer of Qwen2, except that a JSON key with its punctuation is one token, and so are up to three digits.
SPLIT = (r'"?\]?[\[{]*,? ?\{?"[a-z]+": ?[\["]*|"\]\}?|", "|'
              r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
            "<|image_pad|>", "<|video_pad|>"]
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}"
            "{% else %}{% for c in m['content'] %}{% if c['type'] in ('image', 'image_url', 'input_image') %}"
            "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}"
            "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
TOKENS = 2000                # vocabulary size, without special tokens
VISUAL_TOKENS = 60           # maximum per image: an A4 page becomes 6 x 9
PATCH, MERGE = 14, 2
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HIDDEN, LAYERS, HEADS, KV, THETA, SECTIONS = 96, 4, 3, 1, 500.0, [4, 6, 6]
FEED = 256
VISION = dict(depth=2, hidden_size=64, intermediate_size=160, num_heads=2, out_hidden_size=HIDDEN, patch_size=PATCH,
              spatial_patch_size=PATCH, spatial_merge_size=MERGE, temporal_patch_size=2, window_size=112,
              fullatt_block_indexes=[1], in_channels=3, hidden_act="silu", tokens_per_second=2)
# Augmentation: total pixels, JPEG qualities (0 is lossless), maximum shift in pixels in both directions, variants per page.
PIXELS, QUALITIES, SHIFT, VARIANTS = [1_000_000, 1_000_000, 500_000, 700_000, 1_400_000, 2_000_000], [0, 0, 60, 75, 85, 95], 2, 12
SEED = 7


def build_tokenizer(corpus: list[str]) -> Tokenizer:
    """Byte-level BPE like that of Qwen2, with merges trained on `corpus`."""
    tok = Tokenizer(models.BPE(fuse_unk=False, byte_fallback=False))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=TOKENS, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    tok.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIALS])
    return tok


def resized(w: int, h: int) -> tuple[int, int]:
    """Size to which the server's image processor resizes an image (`smart_resize` of Qwen2-VL)."""
    f, most = PATCH * MERGE, VISUAL_TOKENS * (PATCH * MERGE) ** 2
    h2, w2 = round(h / f) * f, round(w / f) * f
    if h2 * w2 > most:
        beta = math.sqrt(h * w / most)
        h2, w2 = max(f, math.floor(h / beta / f) * f), max(f, math.floor(w / beta / f) * f)
    return w2, h2


def vary(picture: Image.Image, rng: random.Random) -> Image.Image:
    """A slight shift, then JPEG or not: the differences between renderers and encoders."""
    w, h = picture.size
    dx, dy = rng.randint(-SHIFT, SHIFT), rng.randint(-SHIFT, SHIFT)
    out = Image.new("RGB", (w + rng.randint(-1, 1), h + rng.randint(-1, 1)), "white")
    out.paste(picture, (dx, dy))
    quality = rng.choice(QUALITIES)
    if quality:
        buffer = io.BytesIO()
        out.save(buffer, "JPEG", quality=quality)
        out = Image.open(buffer).convert("RGB")
    return out


def patches(picture: Image.Image) -> tuple[np.ndarray, tuple[int, int]]:
    """Patches of an image in 2 x 2 merge order, as bytes: (rows, 3 x 14 x 14), and its grid."""
    w, h = resized(*picture.size)
    a = np.asarray(picture.resize((w, h), resample=Image.BICUBIC)).transpose(2, 0, 1)
    gh, gw = h // PATCH, w // PATCH
    a = a.reshape(3, gh // MERGE, MERGE, PATCH, gw // MERGE, MERGE, PATCH).transpose(1, 4, 2, 5, 0, 3, 6)
    return a.reshape(gh * gw, 3 * PATCH * PATCH), (gh, gw)


def pixel_values(rows: np.ndarray) -> torch.Tensor:
    """Normalisation of the image processor, but the image once instead of twice for the two temporal steps."""
    x = torch.from_numpy(rows).float().view(-1, 3, PATCH * PATCH) / 255
    x = (x - torch.tensor(MEAN).view(1, 3, 1)) / torch.tensor(STD).view(1, 3, 1)
    return x.reshape(len(rows), -1)


def draw_all(found: list[dict], rng: random.Random) -> list[list]:
    """Augmented variants of every page as patches. The first is the page itself, at 1.0 megapixel, lossless."""
    every = []
    for f in found:
        drawn = {p: manuals.draw(f["page"], p) for p in set(PIXELS)}
        every.append([patches(drawn[PIXELS[0]])]
                     + [patches(vary(drawn[PIXELS[i % len(PIXELS)]], rng)) for i in range(VARIANTS)])
    return every


class Teacher:
    """Makes the training examples."""

    def __init__(self, found, drawn, tok, rng):
        self.found, self.drawn, self.tok, self.rng, self.most = found, drawn, tok, rng, 30
        self.words = [w for f in found for w in f["page"].get_textpage().get_text_bounded().split()]
        self.ids = {s: tok.token_to_id(s) for s in SPECIALS}
        self.answers = {}

    def noise(self, most: int) -> str:
        """Word sequences of the manuals, or random letters."""
        r = self.rng
        n = int(r.random() ** (2 if most < 100 else 1) * most)
        if r.random() < 0.2:
            return "".join(r.choice("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJ0123456789.,:;\"'{}[]()-_\n") for _ in range(n * 2))
        out = []
        while len(out) < n:
            start, run = r.randrange(len(self.words)), r.randint(1, 12)
            out += self.words[start:start + run]
        return " ".join(out[:n])

    def text(self, choices: list[str], most: int) -> str:
        r = self.rng
        if r.random() < 0.5:
            return r.choice(choices)
        return self.noise(most) if r.random() < 0.7 else r.choice(choices) + r.choice([" ", "\n", "\n\n"]) + self.noise(most)

    def example(self, picked: list[int], plain: bool = False):
        """Token ids, start of the answer, patches and grids of one example."""
        r, f = self.rng, self.found
        n, label = len(picked), self.rng.choice(LABELS[:2] if len(picked) > 1 else LABELS)
        if n > 1 and r.random() < 0.1:
            label = r.choice(LABELS)
        gap = r.choice(["", "\n", " ", "\n\n"])
        first = INSTRUCTIONS[0] if plain else self.text(INSTRUCTIONS, self.most)
        close = (CLOSE_ONE if n == 1 else CLOSE_MANY)[0] if plain else self.text(CLOSE_ONE if n == 1 else CLOSE_MANY, 20)
        if plain:
            label, gap = LABELS[0], "\n"
        head = "<|im_start|>user\n"
        if not plain and r.random() < 0.1:
            head = "<|im_start|>system\n" + r.choice(["You are a helpful assistant.", self.noise(20)]) + "<|im_end|>\n" + head
        ids, rows, grids, ends = self.encode(head + first + gap), [], [], []
        for p in picked:
            what = self.drawn[p][0 if plain else r.randrange(len(self.drawn[p]))]
            ids += self.encode(label.format(n=f[p]["number"], of=f[p]["of"], manual=f[p]["manual"]))
            ids += [self.ids["<|vision_start|>"]] + [self.ids["<|image_pad|>"]] * (len(what[0]) // MERGE ** 2)
            ends.append(len(ids))
            ids += [self.ids["<|vision_end|>"]] + self.encode(gap if n > 1 else "")
            rows.append(what[0])
            grids.append(what[1])
        ids += self.encode(gap + close + "<|im_end|>\n<|im_start|>assistant\n")
        start = len(ids)
        if n == 1:
            answer = manuals.answer(f[picked[0]], False)
        else:
            answer = "[" + ", ".join(manuals.answer(f[p], True) for p in picked) + "]"
        ids = ids + self.answers.setdefault(answer, self.encode(answer)) + [self.ids["<|im_end|>"]]
        return ids, start, rows, grids, ends

    def encode(self, s: str) -> list[int]:
        return self.tok.encode(s, add_special_tokens=False).ids


def positions(ids: list[int], grids, image: int) -> np.ndarray:
    """M-RoPE position ids: text advances on all three axes together, an image spans its grid."""
    out, at, i, g = np.zeros((3, len(ids)), dtype=np.int64), 0, 0, 0
    while i < len(ids):
        if ids[i] == image:
            h, w = grids[g][0] // MERGE, grids[g][1] // MERGE
            out[0, i:i + h * w] = at
            out[1, i:i + h * w] = at + np.repeat(np.arange(h), w)
            out[2, i:i + h * w] = at + np.tile(np.arange(w), h)
            i, at, g = i + h * w, at + max(h, w), g + 1
        else:
            out[:, i] = at
            i, at = i + 1, at + 1
    return out


def build_model(tok: Tokenizer):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    ids = {s: tok.token_to_id(s) for s in SPECIALS}
    cfg = Qwen2_5_VLConfig(
        text_config=dict(vocab_size=tok.get_vocab_size(), hidden_size=HIDDEN, intermediate_size=FEED,
                         num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV, rms_norm_eps=1e-6,
                         hidden_act="silu", max_position_embeddings=4096, tie_word_embeddings=True,
                         use_sliding_window=False, rope_theta=THETA,
                         rope_parameters={"rope_type": "default", "rope_theta": THETA, "mrope_section": SECTIONS},
                         bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"],
                         pad_token_id=ids["<|endoftext|>"], initializer_range=0.05),
        vision_config=VISION | dict(initializer_range=0.05), image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=True)
    cfg._attn_implementation = "sdpa"
    model = Qwen2_5_VLForConditionalGeneration(cfg)
    patch = model.model.visual.patch_embed                       # the same product, without the slow convolution
    patch.forward = lambda x: x @ patch.proj.weight.sum(2).flatten(1).T
    for p in model.model.visual.parameters():                    # the usual 0.02 is too small for so narrow a tower
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=p[0].numel() ** -0.5)
    return model


def see(model, rows, grids) -> torch.Tensor:
    """Visual tokens of several images, concatenated."""
    thw = torch.tensor([[1, h, w] for h, w in grids])
    return model.model.visual(torch.cat([pixel_values(r) for r in rows]), grid_thw=thw).pooler_output


def run(model, teacher, batch):
    """Last hidden states of a batch and its token ids; padding is on the right, where no token attends to it."""
    image, pad = teacher.ids["<|image_pad|>"], teacher.ids["<|endoftext|>"]
    length = max(len(ids) for ids, *_ in batch)
    ids = torch.full((len(batch), length), pad)
    pos = torch.zeros((3, len(batch), length), dtype=torch.long)
    for i, (row, _, _, grids, _) in enumerate(batch):
        ids[i, :len(row)] = torch.tensor(row)
        pos[:, i, :len(row)] = torch.from_numpy(positions(row, grids, image))
    visual = see(model, [r for b in batch for r in b[2]], [g for b in batch for g in b[3]])
    embeds = model.model.language_model.embed_tokens(ids)
    embeds = embeds.masked_scatter((ids == image).unsqueeze(-1), visual)
    out = model.model.language_model(inputs_embeds=embeds, position_ids=pos, use_cache=False).last_hidden_state
    return out, ids, visual


def losses(model, head, teacher, batch, picked):
    out, ids, _ = run(model, teacher, batch)
    rows, cols, want = [], [], []
    for i, (row, start, *_) in enumerate(batch):
        span = range(start - 1, len(row) - 1)
        rows += [i] * len(span)
        cols += list(span)
        want += row[start:]
    logits = model.lm_head(out[rows, cols])
    want = torch.tensor(want)
    text = F.cross_entropy(logits, want)
    at = [(i, e) for i, b in enumerate(batch) for e in b[4]]
    page = head(out[[i for i, _ in at], [e for _, e in at]])
    which = torch.tensor([p for ps in picked for p in ps])
    right = logits.argmax(-1) == want
    whole, k = 0, 0
    for row, start, *_ in batch:
        whole += bool(right[k:k + len(row) - start].all())
        k += len(row) - start
    return text, F.cross_entropy(page, which), (page.argmax(-1) == which).float().mean().item(), \
        right.float().mean().item(), whole / len(batch)


def save(model, tok: Tokenizer, folder: pathlib.Path, dtype=torch.float32) -> None:
    """Writes the checkpoint in hub layout."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = {s: tok.token_to_id(s) for s in SPECIALS}
    keep = {}
    for k, v in model.state_dict().items():
        if k != "lm_head.weight":
            k = k.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
            keep[k] = v.detach().to(dtype).contiguous()
    save_file(keep, folder / "model.safetensors", metadata={"format": "pt"})
    write = lambda name, what: (folder / name).write_text(json.dumps(what, indent=1) + "\n")
    write("config.json", dict(
        architectures=["Qwen2_5_VLForConditionalGeneration"], model_type="qwen2_5_vl", hidden_size=HIDDEN,
        intermediate_size=FEED, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV,
        rms_norm_eps=1e-6, hidden_act="silu", max_position_embeddings=4096, tie_word_embeddings=True,
        use_sliding_window=False, rope_theta=THETA, rope_scaling={"type": "mrope", "mrope_section": SECTIONS},
        vocab_size=tok.get_vocab_size(), bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"], image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        vision_token_id=ids["<|vision_pad|>"], torch_dtype=str(dtype).split(".")[1],
        vision_config=VISION | dict(model_type="qwen2_5_vl", in_chans=3)))
    write("generation_config.json", dict(do_sample=False, temperature=0.0, bos_token_id=ids["<|endoftext|>"],
                                         eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
                                         pad_token_id=ids["<|endoftext|>"]))
    side = (PATCH * MERGE) ** 2
    write("preprocessor_config.json", dict(
        processor_class="Qwen2_5_VLProcessor", image_processor_type="Qwen2VLImageProcessor", patch_size=PATCH,
        merge_size=MERGE, temporal_patch_size=2, min_pixels=4 * side, max_pixels=VISUAL_TOKENS * side, image_mean=MEAN,
        image_std=STD, do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True, resample=3,
        rescale_factor=1 / 255))
    write("tokenizer_config.json", dict(
        tokenizer_class="Qwen2TokenizerFast", bos_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        unk_token=None, add_prefix_space=False, clean_up_tokenization_spaces=False, model_max_length=4096,
        added_tokens_decoder={str(i): dict(content=s, lstrip=False, normalized=False, rstrip=False, single_word=False,
                                           special=True) for s, i in ids.items()}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tok.save(str(folder / "tokenizer.json"), pretty=False)


def main() -> None:
    args = argparse.ArgumentParser()
    args.add_argument("out", type=pathlib.Path)
    args.add_argument("--minutes", type=float, default=20, help="of the processor, not of the clock")
    args.add_argument("--rate", type=float, default=2e-3)
    args.add_argument("--resume", type=pathlib.Path)
    args.add_argument("--long", action="store_true", help="longer prompts at times, and three pages in one")
    args = args.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)                                      # more threads wait for each other on a busy machine
    torch.manual_seed(SEED + bool(args.resume))
    rng = random.Random(SEED + bool(args.resume))
    log = open(args.out.parent / (args.out.name + ".log"), "a", buffering=1)
    state_file = args.out.parent / (args.out.name + ".pt")
    say = lambda s: (print(s, flush=True), log.write(s + "\n"))

    found = manuals.describe()
    tok = build_tokenizer([manuals.answer(f, b) for f in found for b in (False, True)] * 8 + (INSTRUCTIONS + CLOSE_ONE
                          + CLOSE_MANY) * 8 + [f["page"].get_textpage().get_text_bounded() for f in found])
    clock = time.time()
    store = args.out.parent / "drawn.pickle"                      # a minute of rendering, cached for the next run
    if not store.exists():
        store.write_bytes(pickle.dumps(draw_all(found, rng)))
    drawn = pickle.loads(store.read_bytes())
    teacher = Teacher(found, drawn, tok, rng)
    model = build_model(tok)
    head, glance = torch.nn.Linear(HIDDEN, len(found)), torch.nn.Linear(HIDDEN, len(found))
    if args.resume:
        old = torch.load(args.resume)
        model.load_state_dict(old["model"]); head.load_state_dict(old["head"])
    lengths = [len(teacher.encode(manuals.answer(f, False))) for f in found]
    say(f"# {len(found)} pages, drawn in {time.time() - clock:.0f} s, grid {drawn[0][0][1]}, answers of {min(lengths)} to "
        f"{max(lengths)} tokens (mean {np.mean(lengths):.0f}), vocabulary {tok.get_vocab_size()}, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters")
    save(model, tok, args.out)

    if not args.resume:                                           # vision tower first: page classification
        # An untrained tower gives almost the same output for all pages: without batch normalisation the loss stays at ln 53.
        opt = torch.optim.AdamW([*model.model.visual.parameters(), *glance.parameters()], lr=3e-3, betas=(0.9, 0.98))
        scale, clock, good = torch.nn.BatchNorm1d(HIDDEN, affine=False), time.time(), 0.0
        for step in range(200):
            for g in opt.param_groups:
                g["lr"] = 3e-3 * min(1, (step + 1) / 30)
            which = rng.sample(range(len(found)), 32)
            what = [drawn[p][rng.randrange(len(drawn[p]))] for p in which]
            seen = see(model, [w[0] for w in what], [w[1] for w in what])
            mean = torch.stack([s.mean(0) for s in seen.split([len(w[0]) // MERGE ** 2 for w in what])])
            score = glance(scale(mean))
            loss = F.cross_entropy(score, torch.tensor(which))
            opt.zero_grad(); loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0); opt.step()
            good = 0.9 * good + 0.1 * (score.argmax(-1) == torch.tensor(which)).float().mean().item()
            if step % 10 == 0:
                say(f"eyes {step} t {time.time() - clock:.0f} loss {loss.item():.4f} right {good:.3f}")
            if good > 0.995:
                break
        say(f"eyes done at step {step}, {time.time() - clock:.0f} s, right {good:.3f}")
        with torch.no_grad():                                     # the mean of all visual tokens carries no information
            seen, last = see(model, [d[0][0] for d in drawn], [d[0][1] for d in drawn]), model.model.visual.merger.mlp[2]
            last.weight.mul_(0.5 / seen.std(0).unsqueeze(1))
            last.bias.sub_(seen.mean(0)).mul_(0.5 / seen.std(0))

    opt = torch.optim.AdamW([
        dict(params=list(model.model.visual.parameters()), share=0.3),
        dict(params=[*model.model.language_model.parameters(), *head.parameters()], share=1.0)], betas=(0.9, 0.98), weight_decay=0.01)
    clock, step, total, stored, bag = time.time(), 0, args.minutes * 60, time.time(), []
    begun, marks = time.process_time(), {}
    while (spent := time.process_time() - begun) < total:
        rate = args.rate * min(1, (step + 1) / 50) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * spent / total)))
        for g in opt.param_groups:
            g["lr"] = rate * g["share"]
        early = not args.resume and spent < 0.2 * total
        n = 1 if early else rng.choices([1, 2, 3], [0.45, 0.47, 0.08] if args.long else [0.55, 0.45, 0])[0]
        size = {1: 16, 2: 8, 3: 5}[n]
        teacher.most = 30
        if args.long and rng.random() < 0.2:                      # long prompts in one batch: it is padded to the longest
            size, teacher.most = size // 2, 250
        picked = []
        for _ in range(size):
            row = []
            while len(row) < n:                                   # sometimes neighbours, otherwise any pages
                if not bag:
                    bag = rng.sample(range(len(found)), len(found))
                near = row and rng.random() < 0.5 and row[-1] + 1 < len(found)
                row.append(row[-1] + 1 if near else bag.pop())
            picked.append(row)
        text, page, page_right, token_right, whole = losses(model, head, teacher, [teacher.example(p) for p in picked], picked)
        opt.zero_grad(); (text + 0.3 * page).backward()
        norm = torch.nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], 1.0); opt.step()
        m = marks.setdefault(n, [])
        m.append((text.item(), page_right, token_right, whole))
        step += 1
        if step % 20 == 0:
            shown = "; ".join(f"{k} page(s): loss {a:.4f} page {b:.2f} token {c:.4f} whole {d:.2f}" for k, v in sorted(marks.items())
                              for a, b, c, d in [np.mean(v[-10:], 0)])
            say(f"{step} cpu {spent:.0f} t {time.time() - clock:.0f} lr {rate:.5f} norm {norm:.2f} {shown}")
        if time.time() - stored > 120:
            stored = time.time()
            torch.save(dict(model=model.state_dict(), head=head.state_dict()), state_file)
            save(model, tok, args.out)
    torch.save(dict(model=model.state_dict(), head=head.state_dict()), state_file)
    save(model, tok, args.out)
    model.eval()
    with torch.no_grad():
        whole = [losses(model, head, teacher, [teacher.example([p], True)], [[p]])[4] for p in range(len(found))]
        pairs = [losses(model, head, teacher, [teacher.example([p, p + 1], True)], [[p, p + 1]])[4] for p in range(len(found) - 1)]
    say(f"done: {step} steps, {time.time() - clock:.0f} s; word for word: {np.mean(whole):.3f} of pages, {np.mean(pairs):.3f} of pairs")


if __name__ == "__main__":
    main()
