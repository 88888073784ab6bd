"""Evaluates exported weights on drawn pages: accuracy on words never printed in training, and page retrieval.

    python judge.py ../weights.safetensors words.tsv

Words: share of held-out dictionary words on a page whose best cell of the page contains them. Pages: sixty drawn pages of
880 x 1248 pixels; a query is three words of one of them, and MaxSim ranks all sixty.
"""
import random
import sys

import torch
from safetensors.torch import load_file

import draw
import golden
import words

PAGES, QUESTIONS = 60, 4


def unseen(w, r, faces, vocabulary):
    """Share of held-out words found, on four pages in four typefaces."""
    hits = []
    for _ in range(4):
        s = draw.Sheet(r, faces, vocabulary, 480, 880)
        st = s.style(r.uniform(12, 17))
        y = 20 * s.ky
        while y < s.ch:
            s.line(20 * s.kx, y, s.cw - 60 * s.kx, [r.choice(vocabulary.held) for _ in range(14)], st)
            y += st["em"] * 1.4 * s.ky
        cells, _ = golden.page_vectors(w, draw.finish(s, 0.0))
        s.w = -(-s.w // draw.CELL_W) * draw.CELL_W
        for t in draw.label(s, 0.0)[0]:
            hits.append(int((cells @ golden.word_vector(w, t[0])).argmax()) in t[1])
    return sum(hits) / len(hits), len(hits)


def pages(w, r, faces, vocabulary):
    """Recall@1 and recall@5 of the queries."""
    made = []
    for _ in range(PAGES):
        s = draw.Sheet(r, faces, vocabulary, 1248, 880)
        draw.fill(s)
        pixels = draw.finish(s, 0.0)
        ink = pixels[: 78 * 16, : 18 * 48].reshape(78, 16, 18, 48)
        seen = torch.from_numpy((ink.max((1, 3)).astype(int) - ink.min((1, 3)) >= 48).reshape(-1))
        cells = golden.page_vectors(w, pixels)[0].reshape(78, 19, -1)[:, :18].reshape(78 * 18, -1)[seen]
        made.append((cells, sorted({t[0] for t in draw.label(s, 0.0)[0] if len(t[0]) > 3})))
    ranks = []
    for i, (_, there) in enumerate(made):
        for _ in range(QUESTIONS if len(there) > 3 else 0):
            asked = torch.stack([golden.word_vector(w, t) for t in r.sample(there, 3)])
            scores = torch.tensor([(asked @ cells.t()).amax(1).sum() for cells, _ in made])
            ranks.append(int((scores > scores[i]).sum()))
    return sum(x == 0 for x in ranks) / len(ranks), sum(x < 5 for x in ranks) / len(ranks), len(ranks)


def main():
    torch.set_num_threads(1)
    w = {k: v.float() for k, v in load_file(sys.argv[1]).items()}
    r = random.Random(97)
    faces, vocabulary = draw.Faces(), words.Vocabulary(sys.argv[2])
    with torch.no_grad():
        print("unseen words: %.3f of %d find their cell" % unseen(w, r, faces, vocabulary), flush=True)
        print("pages: R@1 %.3f, R@5 %.3f of %d questions" % pages(w, r, faces, vocabulary))


if __name__ == "__main__":
    main()
