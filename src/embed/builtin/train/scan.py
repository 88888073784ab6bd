"""Makes a manual look scanned: covers every page with an image of itself, skewed, blurred, noisy, gray, JPEG-compressed.
Text layer and bookmarks stay, so that titles can still be used as queries.

    python scan.py MANUAL.pdf SCANNED.pdf
"""
import io
import math
import random
import sys

import numpy as np
import pypdfium2
from PIL import Image, ImageFilter

DPI = 150
SEED = 7


def scanned(r, im, found):
    """A page as scanned, and the new positions of its text."""
    angle = max(-2.0, min(2.0, r.gauss(0, 0.8)))
    cx, cy = im.width / 2, im.height / 2
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    im = im.rotate(angle, Image.Resampling.BICUBIC, fillcolor=im.getpixel((3, 3)))
    moved = []
    for text, edges, base, em in found:
        dx, dy = edges[0] - cx, base - cy
        middle = (edges[-1] - edges[0]) / 2
        left = cx + dx * cos + dy * sin
        moved.append((text, [left + (e - edges[0]) * cos for e in edges], cy - dx * sin + dy * cos - middle * sin, em))
    a = np.asarray(im.filter(ImageFilter.GaussianBlur(r.uniform(0.2, 1.1))), np.float32)
    g = np.random.default_rng(r.getrandbits(32))
    paper, black = r.uniform(190, 255), r.uniform(0, 90)
    a = black + a * (paper - black) / 255
    slope = np.linspace(-1, 1, a.shape[1], dtype=np.float32)[None] * r.uniform(-14, 14) + np.linspace(-1, 1, a.shape[0], dtype=np.float32)[:, None] * r.uniform(-14, 14)
    a = a + slope + g.standard_normal(a.shape, np.float32) * r.uniform(1, 12)
    im = Image.fromarray(np.clip(a, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    im.save(buffer, "JPEG", quality=r.randint(30, 90))
    return Image.open(buffer), moved


def main():
    r = random.Random(SEED)
    document = pypdfium2.PdfDocument(sys.argv[1])
    for page in document:
        picture, _ = scanned(r, page.render(scale=DPI / 72).to_pil().convert("L"), [])
        cover = pypdfium2.PdfImage.new(document)
        picture.fp.seek(0)
        cover.load_jpeg(picture.fp, inline=True)
        turned = page.get_rotation()
        page.set_rotation(0)
        left, bottom, right, top = page.get_bbox()
        matrix = pypdfium2.PdfMatrix().translate(-0.5, -0.5).rotate(-turned).translate(0.5, 0.5)
        cover.set_matrix(matrix.scale(right - left, top - bottom).translate(left, bottom))
        page.insert_obj(cover)
        page.gen_content()
        page.set_rotation(turned)
    document.save(sys.argv[2])


if __name__ == "__main__":
    main()
