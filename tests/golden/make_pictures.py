"""Draws small pictures in the formats that people have, several of two pages; `tests/cli/mutations.rs` damages them.

    python make_pictures.py          pillow 13.0.0

Writes `pictures/` beside this file.
"""
import pathlib

from PIL import Image, ImageDraw

HERE = pathlib.Path(__file__).parent / "pictures"


def picture(mode="RGB", size=(24, 16)):
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((3, 3, 14, 9), fill=(200, 30, 30))
    draw.line((0, 15, 23, 2), fill=(20, 20, 160))
    return image.convert(mode)


def save(name, image, *more, **options):
    if more:
        options |= {"save_all": True, "append_images": list(more)}
    image.save(HERE / name, **options)


few_colours = picture().quantize(4)
save("one.png", picture())
save("one.jpg", picture())
save("gray.jpg", picture("L"))
save("one-bit.bmp", picture("1"))
save("colour.bmp", picture())
save("one.gif", few_colours)
save("two-frames.gif", few_colours, few_colours.rotate(180), duration=50)
save("lossless.webp", picture(), lossless=True)
save("lossy.webp", picture(), quality=60)
save("plain.tif", picture())
save("two-fax.tif", picture("1"), picture("1", (16, 24)), compression="group4")
save("two-lzw.tif", picture("1"), picture("L"), compression="tiff_lzw")
save("two-jpeg.tif", picture(), picture("L", (16, 24)), compression="jpeg")
