#!/usr/bin/env python3
"""Teach the reciter to answer questions about the title of a page, on the prompt of `ingest ask`. See README.md.

    python train_asker.py OUTFOLDER [--minutes 10] [--resume STATE.pt]

Needs what train_reciter.py needs. Text, label and question of the training set are those of any pages, never of the one whose
image is shown: only the image tells the title.
"""
import argparse, json, math, pathlib, pickle, random, re, time
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
import pages as manuals
import train_reciter as reciter

HERE = pathlib.Path(__file__).resolve().parent
MAX_TEXT = 3000
# Pages whose text lies on its side: `ingest ask` turns them.
SIDEWAYS = {"Start sequence timing chart", "Zone response timing chart"}
PIXELS, VARIANTS = [400_000, 700_000, 1_000_000], 3
SEED = 11


def instructions() -> str:
    """The instructions of `ingest ask`, from its source."""
    source = (HERE.parents[2] / "src/answer/prompt.rs").read_text()
    said = re.search(r'const INSTRUCTIONS: &str = "(.*?)";', source, re.S).group(1)
    return re.sub(r"\\\n\s*", "", said)


def turned(picture, is_sideways: bool) -> list:
    """The picture; of a page that lies on its side, the picture in all turns that may be upright."""
    return [picture.rotate(angle, expand=True) for angle in ((0, 90, 270) if is_sideways else (0,))]


def see_all(model, found, rng) -> list[list]:
    """Visual tokens of the variants of every page, with their grids; the tower stays as it is."""
    every = []
    with torch.no_grad():
        for f in found:
            variants = [reciter.patches(reciter.vary(picture, rng)) for p in PIXELS
                        for picture in turned(manuals.draw(f["page"], p), f["title"] in SIDEWAYS) for _ in range(VARIANTS)]
            every.append([(reciter.see(model, [rows], [grid]), grid) for rows, grid in variants])
    return every


class Asker:
    """Makes the training examples."""

    def __init__(self, found, seen, tok, rng):
        self.found, self.seen, self.tok, self.rng = found, seen, tok, rng
        whole = [f["page"].get_textpage().get_text_bounded().replace("\r\n", "\n") for f in found]
        self.texts = [text[:MAX_TEXT] for text in whole]
        # The number that `ingest ask` gives a page: one that is printed in brackets nowhere on it.
        self.first = [next(n for n in range(1, 100, 10) if f"[{n}]" not in text) for text in whole]
        self.words = [w for t in self.texts for w in t.split()]
        self.said = instructions()
        self.ids = {s: tok.token_to_id(s) for s in reciter.SPECIALS}

    def some_words(self, most: int) -> str:
        start = self.rng.randrange(len(self.words) - most)
        return " ".join(self.words[start:start + self.rng.randint(1, most)])

    def example(self, page: int, most: int) -> dict:
        r, other = self.rng, self.rng.choice(self.found)
        text = r.choice(self.texts)
        start = r.randrange(max(1, len(text) - most))
        question = manuals.question(self.some_words(15)) if r.random() < 0.8 else self.some_words(20)
        label = f'"{other["manual"]}.pdf", page {other["number"]}'
        if r.random() < 0.9:
            label += f', labelled {other["number"]}'
        if r.random() < 0.7:
            label += f', section {r.choice(self.found)["title"]}'
        said = self.said if r.random() < 0.7 else self.some_words(60)
        return self.prompt(page, said, self.first[page], label, text[start:start + most], question,
                           r.randrange(len(self.seen[page])))

    def real(self, page: int) -> dict:
        """The prompt about a page, as `ingest ask` writes it."""
        f, text = self.found[page], self.texts[page]
        label = f'"{f["manual"]}.pdf", page {f["number"]}, labelled {f["number"]}, section {f["title"]}'
        return self.prompt(page, self.said, self.first[page], label, text, manuals.question(f["summary"]), 0)

    def prompt(self, page, said, first, label, text, question, variant) -> dict:
        tokens, grid = self.seen[page][variant]
        head = (f"<|im_start|>user\n{said} The first page is [{first}].[{first}] {label}. Its text:\n```\n{text.strip()}\n```"
                f"<|vision_start|>{'<|image_pad|>' * len(tokens)}<|vision_end|>Question: {question}\nAnswer:"
                "<|im_end|>\n<|im_start|>assistant\n")
        encode = lambda s: self.tok.encode(s, add_special_tokens=False).ids
        ids = encode(head)
        answer = encode(f"FOUND\n{self.found[page]['title']} [{first}].") + [self.ids["<|im_end|>"]]
        return dict(ids=ids + answer, start=len(ids), tokens=tokens, grid=grid)

    def losses(self, model, batch):
        image, pad = self.ids["<|image_pad|>"], self.ids["<|endoftext|>"]
        ids = torch.full((len(batch), max(len(b["ids"]) for b in batch)), pad)
        pos = torch.zeros((3, *ids.shape), dtype=torch.long)
        rows, cols, want = [], [], []
        for i, b in enumerate(batch):
            ids[i, :len(b["ids"])] = torch.tensor(b["ids"])
            pos[:, i, :len(b["ids"])] = torch.from_numpy(reciter.positions(b["ids"], [b["grid"]], image))
            span = range(b["start"] - 1, len(b["ids"]) - 1)
            rows += [i] * len(span); cols += list(span); want += b["ids"][b["start"]:]
        embeds = model.model.language_model.embed_tokens(ids)
        embeds = embeds.masked_scatter((ids == image).unsqueeze(-1), torch.cat([b["tokens"] for b in batch]))
        out = model.model.language_model(inputs_embeds=embeds, position_ids=pos, use_cache=False).last_hidden_state
        logits, want = model.lm_head(out[rows, cols]), torch.tensor(want)
        right = (logits.argmax(-1) == want).split([len(b["ids"]) - b["start"] for b in batch])
        return F.cross_entropy(logits, want), [bool(r.all()) for r in right]


def main() -> None:
    args = argparse.ArgumentParser()
    args.add_argument("out", type=pathlib.Path)
    args.add_argument("--minutes", type=float, default=10, help="of the processor, not of the clock")
    args.add_argument("--rate", type=float, default=1e-3)
    args.add_argument("--resume", type=pathlib.Path)
    args = args.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    state_file = args.out.parent / (args.out.name + ".pt")
    say = lambda s: print(s, flush=True)

    found, tok = manuals.describe(), Tokenizer.from_file(str(HERE / "model/tokenizer.json"))
    model = reciter.build_model(tok)
    name = lambda k: f"model.{k}" if k.startswith("visual.") else k.replace("model.", "model.language_model.")
    model.load_state_dict({name(k): v for k, v in load_file(HERE / "model/model.safetensors").items()}, strict=False)
    store = args.out.parent / "seen.pickle"
    if not store.exists():
        store.write_bytes(pickle.dumps(see_all(model, found, rng)))
    asker = Asker(found, pickle.loads(store.read_bytes()), tok, rng)
    if args.resume:
        model.load_state_dict(torch.load(args.resume))
    # Pages with another number or in several turns come more often.
    others = [p for p, first in enumerate(asker.first) if first != 1 or found[p]["title"] in SIDEWAYS]
    weights = [*model.model.language_model.parameters()]
    opt = torch.optim.AdamW(weights, betas=(0.9, 0.98), weight_decay=0.01)
    begun, stored, step, total, marks = time.process_time(), time.time(), 0, args.minutes * 60, []
    say(f"# {len(found)} pages, seen after {begun:.0f} s")
    while (spent := time.process_time() - begun) < total:
        done = spent / total
        for g in opt.param_groups:
            g["lr"] = args.rate * min(1, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        # Texts of one batch have about one length; few are long at first.
        longest = MAX_TEXT if args.resume else MAX_TEXT * min(1, 0.1 + 1.8 * done)
        most = int(max(40, longest * rng.random() ** 2))
        size = max(5, min(16, int(5000 / (300 + most / 3))))
        some = others if step % 3 == 0 else []
        picked = rng.sample(range(len(found)), size - len(some)) + some
        loss, right = asker.losses(model, [asker.example(p, most) for p in picked])
        opt.zero_grad(); loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0); opt.step()
        marks.append((loss.item(), np.mean(right)))
        step += 1
        if step % 10 == 0:
            say(f"{step} cpu {spent:.0f} most {most} loss %.4f whole %.2f" % tuple(np.mean(marks[-10:], 0)))
        if time.time() - stored > 120:
            stored = time.time()
            torch.save(model.state_dict(), state_file)
            reciter.save(model, tok, args.out)
    torch.save(model.state_dict(), state_file)
    reciter.save(model, tok, args.out)
    with torch.no_grad():
        right = [asker.losses(model, [asker.real(p)])[1][0] for p in range(len(found))]
    say(f"done: {step} steps; word for word {np.mean(right):.3f}; wrong: {[p for p, ok in enumerate(right) if not ok]}")


if __name__ == "__main__":
    main()
