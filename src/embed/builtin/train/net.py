"""The two towers: pixels of a page to one vector per cell, letters of a word to one vector.

Page: strides 2, 2, then (4, 1), so that features are 16 pixels apart vertically and 4 along the line: one row covers one
line of text and one column about half a letter. Batch norm everywhere, folded at export, so that a cell depends only on
its receptive field and not on the page's size. Word: a sum of learned spelling features and one small residual layer;
words of similar spelling start with similar vectors.
"""
import torch
import torch.nn.functional as F
from torch import nn

import words

DIM = 127  # `emphasis.rs` adds one more: body text or heading
PLACES = 12
# Symbols of the word tower: 0 is the word boundary, 1 to 41 letters, digits and connectors, 42 any other character.
LETTER = {c: i + 1 for i, c in enumerate(words.LETTERS + words.JOINTS)}
KINDS = len(LETTER) + 2
OTHER = KINDS - 1
AT_START = KINDS
AT_END = AT_START + KINDS * PLACES
PAIR = AT_END + KINDS * PLACES
FEATURES = PAIR + KINDS * KINDS


def features(word):
    """Feature indices of a word: symbols, symbols by position from both ends, bigrams."""
    c = [LETTER.get(x, OTHER) for x in word]
    n = len(c)
    ids = list(c)
    ids += [AT_START + x * PLACES + min(i, PLACES - 1) for i, x in enumerate(c)]
    ids += [AT_END + x * PLACES + min(n - 1 - i, PLACES - 1) for i, x in enumerate(c)]
    e = [0] + c + [0]
    ids += [PAIR + a * KINDS + b for a, b in zip(e, e[1:])]
    return ids


class Word(nn.Module):
    """Word tower: features of a word to a vector of length 1."""

    def __init__(self, width=192, hidden=512):
        super().__init__()
        self.table = nn.EmbeddingBag(FEATURES, width, mode="sum")
        nn.init.normal_(self.table.weight, std=0.7)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.out = nn.Linear(width, DIM)
        nn.init.zeros_(self.down.weight)

    def forward(self, ids, offsets, counts):
        x = self.table(ids, offsets) / counts.float().sqrt()[:, None]
        x = x + self.down(F.relu(self.up(x)))
        return F.normalize(self.out(x), dim=1)


def pack(list_of_ids, device="cpu"):
    """Packs feature lists into the three tensors that `Word` takes."""
    counts = torch.tensor([len(i) for i in list_of_ids])
    offsets = torch.cumsum(counts, 0) - counts
    return tuple(t.to(device) for t in (torch.tensor([x for i in list_of_ids for x in i]), offsets, counts))


def conv(a, b, kernel, stride=1, pad=None):
    """Convolution and batch norm."""
    if pad is None:
        pad = (kernel[0] // 2, kernel[1] // 2)
    return nn.Sequential(nn.Conv2d(a, b, kernel, stride, pad, bias=False), nn.BatchNorm2d(b, momentum=0.05))


class Block(nn.Module):
    """Residual block: convolution, then an inverted bottleneck at every position."""

    def __init__(self, c, kernel, grow=2):
        super().__init__()
        self.look = conv(c, c, kernel)
        self.up = nn.Conv2d(c, grow * c, 1)
        self.down = conv(grow * c, c, (1, 1))
        nn.init.constant_(self.down[1].weight, 0.3)

    def forward(self, x):
        return x + self.down(F.relu(self.up(F.relu(self.look(x)))))


class Page(nn.Module):
    """Page tower: ink (0 white to 1 black) to features, and features to cells."""

    def __init__(self, fine=48, wide=128, early=2, kernels=(5, 5, 7, 7), slim=80, hidden=256, reach=28):
        super().__init__()
        self.edges = conv(1, 16, (3, 3), 2)
        self.strokes = conv(16, fine, (3, 3), 2)
        self.early = nn.ModuleList(Block(fine, (3, 3)) for _ in range(early))
        self.fold = conv(fine, wide, (8, 3), (4, 1), (2, 1))
        self.late = nn.ModuleList(Block(wide, (1, k)) for k in kernels)
        self.narrow = nn.Conv2d(wide, slim, 1)
        self.gather = conv(slim, hidden, (1, reach), (1, 4), (0, (reach - 4) // 2))
        self.mix = nn.ModuleList(conv(hidden, hidden, (1, 1)) for _ in range(2))
        self.out = nn.Conv2d(hidden, DIM, 1)
        self.gauge = nn.Conv2d(hidden, 2, 1)

    def features(self, x):
        x = F.relu(self.edges(x))
        x = F.relu(self.strokes(x))
        for b in self.early:
            x = b(x)
        x = F.relu(self.fold(x))
        for b in self.late:
            x = b(x)
        return x

    def thirds(self, f):
        """Hidden states of every third of a cell."""
        x = F.relu(self.gather(self.narrow(f)))
        for m in self.mix:
            x = x + F.relu(m(x))
        return x

    def cells(self, h):
        """From the mean of their thirds: vectors of cells, and two numbers per cell: the logarithm of the type size in
        pixels per em, and the logit that it contains a word other than a stop word."""
        mean = F.avg_pool2d(h, (1, 3))
        return F.normalize(self.out(mean).float(), dim=1), self.gauge(mean)


class Reader(nn.Module):
    """Auxiliary head, for training only: the letter at every 2 pixels, and its distance from both ends of its word."""

    def __init__(self, wide=128):
        super().__init__()
        self.chars = nn.Conv2d(wide, 2 * len(words.CLASSES), 1)
        self.start = nn.Conv2d(wide, 2 * 16, 1)
        self.last = nn.Conv2d(wide, 2 * 16, 1)

    def forward(self, f, chars, start, last):
        b, _, h, w = f.shape
        loss, right = 0.0, None
        for head, truth, weight in ((self.chars, chars, 1.0), (self.start, start, 0.3), (self.last, last, 0.3)):
            keep = truth.view(b, h, w, 2) > 0
            p = head(f).permute(0, 2, 3, 1).reshape(b, h, w, 2, -1)[keep].float()
            t = truth.view(b, h, w, 2)[keep].long()
            loss = loss + weight * F.cross_entropy(p, t)
            if right is None:
                right = (p.detach().argmax(1) == t).float().mean().item()
        return loss, right
