"""Trains both towers on the shards of `pool.py` and `typeset.py`.

    python train.py POOL HELDOUT words.tsv OUT.pt MINUTES [RATE [START.pt]]

The learning rate is constant, then decays to 0 in the last part of the time; the run ends after MINUTES. An interrupted run
can continue from its checkpoint. Environment: THREADS, EVERY, FALL and BF16.
"""
import glob
import io
import json
import math
import os
import random
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import net
import words
from muon import Muon

SEED = 20261
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NEGATIVES = 96  # negative words per crop
BATCH = 8  # crops
EVERY = int(os.environ.get("EVERY", "100"))  # steps between evaluations
BF16 = bool(os.environ.get("BF16"))  # bf16 in the page tower, for processors with AVX512-BF16
FALL = float(os.environ.get("FALL", "0.3"))  # share of the time in which the rate decays
SAVE = 300  # seconds between checkpoints


class Shards:
    """The shards on disk, including new ones; arrays are memory-mapped."""

    def __init__(self, folder):
        self.folder, self.open, self.seen = folder, [], set()

    def refresh(self):
        for path in sorted(set(glob.glob(os.path.join(self.folder, "*.json"))) - self.seen):
            self.seen.add(path)
            base = path[:-5]
            arrays = [np.load(base + ".%s.npy" % n, mmap_mode="r") for n in ("pixels", "chars", "start", "last")]
            with open(path, encoding="utf-8") as f:
                self.open.append((arrays, json.load(f)))

    def batch(self, r, n):
        picked = [(s, r.randrange(len(s[1]))) for s in (r.choice(self.open) for _ in range(n))]
        arrays = [np.stack([s[0][k][i] for s, i in picked]) for k in range(4)]
        return arrays, [s[1][i] for s, i in picked]


def rough(r, pixels):
    """Augmentation: noise, inversion and contrast, different for each use of a crop."""
    out = pixels.astype(np.float32)
    g = np.random.default_rng(r.getrandbits(32))
    for a in out:
        if r.random() < 0.15:
            a += g.standard_normal(a.shape, np.float32) * r.uniform(1, 11)
        if r.random() < 0.2:
            a += r.uniform(-10, 0)
        if r.random() < 0.04:
            np.subtract(255, a, out=a)
    np.clip(out, 0, 255, out=out)
    return ink(out)


def ink(pixels):
    """Grayscale bytes to network input, 0 for white."""
    return torch.from_numpy(1 - np.asarray(pixels, np.float32) / 255)[:, None].contiguous(memory_format=torch.channels_last).to(DEVICE)


class Lexicon:
    """Feature lists of words, cached, and sampling of negative words."""

    def __init__(self, counts):
        v = words.Vocabulary(counts)
        self.known = {}
        self.vocabulary = v
        self.all = sorted({words.fold(w) for w in v.plain + v.common if words.wanted(words.fold(w))})

    def ids(self, w):
        f = self.known.get(w)
        if f is None:
            f = self.known[w] = net.features(w)
            if len(self.known) > 300_000:
                self.known.clear()
        return f

    def wrong(self, r, right, n):
        """Samples negatives: dictionary words, codes, numbers, and as many right words with a letter changed, lost or added,
        or cut short."""
        out = set()
        while len(out) < n:
            x = r.random()
            if x < 0.36:
                out.add(r.choice(self.all))
                continue
            if x < 0.5:
                text = words.number(r) if x < 0.43 else words.identifier(r, self.vocabulary)
                out.update(t for _, _, t in words.tokens(text) if words.wanted(t))
                continue
            w = r.choice(right)
            i = r.randrange(len(w))
            x = r.random()
            c = r.choice(words.LETTERS[:26] if w[i].isalpha() else words.LETTERS[26:])
            if x < 0.5:
                w = w[:i] + c + w[i + 1:]
            elif x < 0.65:
                w = w[:i] + w[i + 1:]
            elif x < 0.75:
                w = w[:i] + c + w[i:]
            elif x < 0.85:
                w = w[: max(2, r.randrange(len(w)))]
            else:
                w = w + r.choice(["s", "ed", "ing", "er", "1", "0"])
            if w:
                out.add(w)
        return sorted(out - set(right))


def targets(found, cells_a_crop, which=1):
    """Distinct words of a batch and the positive (word, cell) pairs; `which` 3 for thirds of cells."""
    uniq = sorted({t[0] for crop in found for t in crop})
    at = {w: i for i, w in enumerate(uniq)}
    pairs = sorted({(at[t[0]], b * cells_a_crop + c) for b, crop in enumerate(found) for t in crop for c in t[which]})
    return uniq, torch.tensor(pairs, device=DEVICE)


def gauge_loss(gauge, found, cells_a_crop=96, columns=12):
    """Losses of the gauge: type size of cells with words, and presence of a word except at the rim, where words may be cut."""
    of = {b * cells_a_crop + c: math.log(t[2]) for b, crop in enumerate(found) for t in crop for c in t[1]}
    there = torch.tensor(list(of), device=DEVICE)
    size = F.l1_loss(gauge[there, 0], torch.tensor(list(of.values()), device=DEVICE))
    word = torch.zeros(len(gauge), device=DEVICE)
    word[there] = 1.0
    rim = torch.ones(cells_a_crop // columns, columns, device=DEVICE)
    rim[1:-1, 1:-1] = 0
    inner = (rim == 0).flatten().repeat(len(found))
    return size, F.binary_cross_entropy_with_logits(gauge[inner, 1], word[inner])


def naming_loss(cells, q, pairs, scale):
    """Contrastive loss from cells to words; a cell with two words counts half for each."""
    some, row = torch.unique(pairs[:, 1], return_inverse=True)
    log_word = F.log_softmax(cells[some] @ q.t() * scale, 1)
    share = torch.bincount(row).float()[row]
    return -(log_word[row, pairs[:, 0]] / share).sum() / len(some)


def finding_loss(cells, q, pairs, scale):
    """Contrastive loss from words to cells; any cell of the word is right."""
    s = q[: int(pairs[:, 0].max()) + 1] @ cells.t() * scale
    mask = torch.zeros_like(s, dtype=torch.bool)
    mask[pairs[:, 0], pairs[:, 1]] = True
    return (torch.logsumexp(s, 1) - torch.logsumexp(s.masked_fill(~mask, -1e4), 1)).mean()


def flat(x):
    """Flattens a feature map to rows."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


class Exam:
    """Held-out crops for evaluation, 43 of each shard: drawn and typeset."""

    def __init__(self, folder, lexicon):
        s = Shards(folder)
        s.refresh()
        self.x = torch.cat([ink(arrays[0][:43]) for arrays, _ in s.open])
        self.found = [crop for _, found in s.open for crop in found[:43]]
        self.words, pairs = targets(self.found, 96)
        self.mask = torch.zeros(len(self.words), len(self.found) * 96, dtype=torch.bool, device=DEVICE)
        self.mask[pairs[:, 0], pairs[:, 1]] = True
        self.packed = net.pack([lexicon.ids(w) for w in self.words], DEVICE)
        em = {}
        for crop in self.found:
            for t, _, e, _ in crop:
                em[t] = max(em.get(t, 0), e)
        self.em = torch.tensor([em[w] for w in self.words], device=DEVICE)

    def take(self, page, word):
        """Accuracy: share of words whose best cell is right, in total and by type size."""
        page.eval(), word.eval()
        with torch.no_grad():
            cells = torch.cat([flat(page.cells(page.thirds(page.features(x)))[0]) for x in self.x.split(8)])
            best = (word(*self.packed) @ cells.t()).argmax(1, keepdim=True)
        page.train(), word.train()
        hit = self.mask.gather(1, best)[:, 0].float()
        cuts = [0, 11.5, 15, 20, 26, 99]
        by = [hit[(self.em >= a) & (self.em < b)].mean().item() for a, b in zip(cuts, cuts[1:])]
        return hit.mean().item(), by


def save(path, page, word, read, log_scale, note):
    """Writes a checkpoint atomically: to a temporary file that is then renamed."""
    buffer = io.BytesIO()
    torch.save({"page": page.state_dict(), "word": word.state_dict(), "read": read.state_dict(), "scale": log_scale.data, "note": note}, buffer)
    with open(path + ".part", "wb") as f:
        f.write(buffer.getvalue())
    os.rename(path + ".part", path)


def optimisers(modules, log_scale, rate):
    """Muon for matrices; AdamW for tables, auxiliary heads, norms and biases."""
    page, word, _ = modules
    turned = [p for m in (page, word.up, word.down, word.out) for p in m.parameters() if p.dim() > 1]
    ids = {id(p) for p in turned}
    rest = [p for m in modules for p in m.parameters() if id(p) not in ids]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": 0.02},
        {"params": [p for p in rest if p.dim() <= 1] + [log_scale], "weight_decay": 0.0},
    ]
    return [Muon(turned, rate), torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))]


def losses(r, modules, log_scale, lexicon, arrays, found):
    """One batch through both towers: the losses, and the accuracy of the auxiliary letter head."""
    page, word, read = modules
    uniq, pairs = targets(found, 96)
    _, fine = targets(found, 288, 3)
    q = word(*net.pack([lexicon.ids(w) for w in uniq + lexicon.wrong(r, uniq, NEGATIVES * len(found))], DEVICE))
    with torch.autocast(DEVICE, torch.bfloat16, enabled=BF16):
        f = page.features(rough(r, arrays[0]))
        h = page.thirds(f)
        cells, gauge = page.cells(h)
        thirds = page.out(h)
        letters, right = read(f, *(torch.from_numpy(a).to(DEVICE) for a in arrays[1:]))
    cells, scale = flat(cells), log_scale.clamp(max=4.0).exp()
    to_word, to_cell = naming_loss(cells, q, pairs, scale), finding_loss(cells, q, pairs, scale)
    third = naming_loss(F.normalize(flat(thirds).float(), dim=1), q, fine, scale)
    return to_word, to_cell, third, *gauge_loss(flat(gauge).float(), found), letters, right


def main():
    pool, heldout, counts, out, minutes = sys.argv[1:5] + [float(sys.argv[5])]
    rate = float(sys.argv[6]) if len(sys.argv) > 6 else 4e-3
    start = sys.argv[7] if len(sys.argv) > 7 else None
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    r = random.Random(SEED)
    page, word, read = modules = net.Page().to(DEVICE, memory_format=torch.channels_last), net.Word().to(DEVICE), net.Reader().to(DEVICE)
    log_scale = torch.nn.Parameter(torch.tensor(2.7, device=DEVICE))
    step, curve, before = 0, [], 0.0
    if start:
        c = torch.load(start, map_location=DEVICE)
        page.load_state_dict(c["page"]), word.load_state_dict(c["word"]), read.load_state_dict(c["read"])
        log_scale.data = c["scale"]
        step, curve, before = c["note"]["steps"], c["note"]["curve"], c["note"]["seconds"]
        r.seed(SEED + step)
    opts = optimisers(modules, log_scale, rate)
    print("parameters: page %d, word %d" % tuple(sum(p.numel() for p in m.parameters()) for m in (page, word)), flush=True)
    lexicon = Lexicon(counts)
    shards, exam = Shards(pool), Exam(heldout, lexicon)
    shards.refresh()
    began = saved = time.time()
    first, mean = step, None

    def keep():
        save(out, page, word, read, log_scale, {"curve": curve, "steps": step, "seconds": before + time.time() - began})

    while (gone := (time.time() - began) / (minutes * 60)) < 1:
        now = rate * min(1, (step - first + 1) / (40 if start else 150)) * min(1, (1 - gone) / FALL)
        for g in [g for o in opts for g in o.param_groups]:
            g["lr"] = now
        to_word, to_cell, third, size, there, letters, right = losses(r, modules, log_scale, lexicon, *shards.batch(r, BATCH))
        loss = to_word + to_cell + third + size + 0.5 * there + letters * (2.0 if step < 1500 else 1.0 if step < 4000 else 0.5)
        for o in opts:
            o.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for m in modules for p in m.parameters()], 2.0)
        for o in opts:
            o.step()
        step += 1
        seen = np.array([to_word.item(), to_cell.item(), third.item(), size.item(), there.item(), letters.item(), right])
        mean = seen if mean is None else 0.95 * mean + 0.05 * seen
        if step % EVERY == 0 or time.time() - saved > SAVE:
            shards.refresh()
            told = "%6d %5.0fs rate %.5f word %.2f cell %.2f third %.2f size %.3f there %.3f letters %.2f (%.3f) scale %.1f shards %d" % (
                step, time.time() - began, now, *mean, log_scale.exp().item(), len(shards.open))
            if step % EVERY == 0:
                score, by = exam.take(page, word)
                curve.append((step, round(score, 4)))
                told += " right %.3f by size %s" % (score, " ".join("%.2f" % b for b in by))
            print(told, flush=True)
            keep()
            saved = time.time()
    score, by = exam.take(page, word)
    curve.append((step, round(score, 4)))
    keep()
    print("end", step, score, by, flush=True)


if __name__ == "__main__":
    main()
