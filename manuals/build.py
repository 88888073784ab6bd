#!/usr/bin/env python3
"""Builds the sample manuals, and checks their questions.

    python manuals/build.py            rebuild scans and PDFs
    python manuals/build.py --check    check questions.json against the PDFs

Wheels (Python 3.11 or newer):
    typst==0.15.0 pypdf==7.1.0 pypdfium2==5.15.2 pillow==13.0.0 numpy==2.4.6

The output depends on the sources and on these versions alone: timestamps and
noise are fixed, and no system font is used.
"""
import io
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
TIME = 1709251200  # 2024-03-01 00:00 UTC
# stem: marker on the page that is stored on its side
MANUALS = {
    "heat-pump-service-manual": "Start sequence timing chart",
    "alarm-panel-firmware-manual": "Zone response timing chart",
}


def squeeze(text):
    """Text of a page with line ends and hyphenation out of the way."""
    text = re.sub("[\u0002\ufffe\u00ad-]\r?\n", "", text.replace("\u00a0", " "))
    return re.sub(r"\s+", " ", text).replace("\u2011", "-").replace("\u2013", "-").replace("\u2212", "-").strip()


def page_texts(path):
    import pypdfium2
    doc = pypdfium2.PdfDocument(path)
    out = []
    for page in doc:
        tp = page.get_textpage()
        out.append(squeeze(tp.get_text_bounded()))
    return out


def compile_typst(src):
    import typst
    return typst.compile(str(src), root=str(HERE), ignore_system_fonts=True, timestamp=TIME)


def make_scan(stem):
    """Render the scan's own small document, then make it look scanned."""
    import numpy
    import pypdfium2
    from PIL import Image, ImageFilter
    doc = pypdfium2.PdfDocument(compile_typst(HERE / "scan" / f"{stem}.typ"))
    img = doc[0].render(scale=140 / 72).to_pil().convert("L")
    img = img.rotate(0.8, resample=Image.BICUBIC, fillcolor=244)
    img = img.filter(ImageFilter.GaussianBlur(0.5))
    a = numpy.asarray(img).astype("float32")
    rng = numpy.random.default_rng(64)
    a = a * 0.94 + 8
    specks = rng.random(a.shape)
    a[specks < 0.0009] = 70
    a[(specks > 0.0009) & (specks < 0.003)] -= 18
    a[:, :9] -= 60  # dark edge of the glass
    a = numpy.clip(numpy.round(a / 36) * 36, 0, 255).astype("uint8")
    Image.fromarray(a, "L").save(HERE / "scan" / f"{stem}.png", optimize=True)


def build(stem, marker):
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import NameObject, NumberObject
    make_scan(stem)
    raw = compile_typst(HERE / f"{stem}.typ")
    reader = PdfReader(io.BytesIO(raw))
    for key in ("/StructTreeRoot", "/MarkInfo"):  # tags would triple the size
        reader.root_object.pop(key, None)
    writer = PdfWriter(clone_from=reader)
    hits = [n for n, t in enumerate(page_texts(raw)) if marker in t and n > 4]
    assert len(hits) == 1, (stem, marker, hits)
    writer.pages[hits[0]][NameObject("/Rotate")] = NumberObject(90)
    out = HERE / f"{stem}.pdf"
    writer.write(out)
    size = out.stat().st_size
    assert size <= 1 << 20, (out, size)
    print(f"{out.name}: {len(writer.pages)} pages, {size // 1024} KiB, /Rotate on PDF page {hits[0] + 1}")


STOP = set("""a about after again all also an and any are as at be been before but by can could did do does
for from get had has have how i if in into is it its just may me more most much many must my need no not now of off
on one only or our out over per should so some than that the their them then there these they this to too
under up use used using was we were what when where which while who whose why will with would you your""".split())


def words(text):
    out = set()
    text = re.sub(r"^\d+(\.\d+)* ", "", text)
    for w in re.findall(r"[a-z0-9]+", text.lower()):
        if w in STOP:
            continue
        for end in ("ings", "ing", "ies", "es", "ed", "s", "y", "e"):
            if w.endswith(end) and len(w) - len(end) >= 3:
                w = w[: -len(end)]
                break
        out.add(w)
    return out


def has(text, answer):
    return re.search(r"(?<!\w)" + re.escape(squeeze(answer)) + r"(?!\w)", text, re.I) is not None


def outline(path):
    """(level, title, 1-based page) of every bookmark."""
    from pypdf import PdfReader
    reader = PdfReader(path)
    found = []

    def walk(items, level):
        for it in items:
            if isinstance(it, list):
                walk(it, level + 1)
            else:
                found.append((level, it.title, reader.get_destination_page_number(it) + 1))
    walk(reader.outline, 1)
    return found


def check():
    from pypdf import PdfReader
    bad, seen, kinds = [], set(), {}
    texts, marks = {}, {}
    for stem in MANUALS:
        path = HERE / f"{stem}.pdf"
        reader = PdfReader(path)
        texts[path.name] = page_texts(path)
        marks[path.name] = outline(path)
        labels = reader.page_labels
        scans = [n + 1 for n, t in enumerate(texts[path.name]) if not t]
        turned = [n + 1 for n, p in enumerate(reader.pages) if p.get("/Rotate")]
        wide = [n + 1 for n, p in enumerate(reader.pages) if p.mediabox.width > p.mediabox.height]
        print(f"{path.name}: {len(labels)} pages, labels {labels[0]}..{labels[-1]}, scan {scans}, "
              f"rotated {turned}, landscape {wide}, {len(marks[path.name])} bookmarks")
        for what, got in (("scan", scans), ("rotated", turned), ("landscape", wide)):
            if len(got) != 1:
                bad.append(f"{path.name}: {what} pages {got}, expected one")
        if labels[:3] != ["i", "ii", "iii"] or "1" not in labels:
            bad.append(f"{path.name}: page labels {labels[:6]}")
        if not 26 <= len(labels) <= 36 or path.stat().st_size > 1 << 20:
            bad.append(f"{path.name}: {len(labels)} pages, {path.stat().st_size} bytes")
    for q in json.loads((HERE / "questions.json").read_text("utf-8")):
        qid, name = q["id"], q["manual"]
        if set(q) != {"id", "question", "manual", "pages", "answers", "kind"} or qid in seen:
            bad.append(f"{qid}: keys or id")
        seen.add(qid)
        kinds[q["kind"]] = kinds.get(q["kind"], 0) + 1
        if q["kind"] == "absent":
            if q["pages"] or q["answers"] or name not in texts:
                bad.append(f"{qid}: absent, with pages or answers")
            continue
        if not q["pages"] or not q["answers"] or q["kind"] not in ("lexical", "paraphrase"):
            bad.append(f"{qid}: empty or bad field")
        for p in q["pages"]:
            text = texts[name][p - 1]
            for a in q["answers"]:
                if text and not has(text, a):
                    bad.append(f"{qid}: {a!r} is not on page {p} of {name}")
                if text:
                    also = [n + 1 for n, t in enumerate(texts[name]) if has(t, a)
                            and n + 1 not in q["pages"]]
                    if also and "-v" in sys.argv:
                        print(f"  {qid}: {a!r} also on {also}")
            if q["kind"] == "paraphrase":
                here = [t for _, t, n in marks[name] if n == p]
                if not here:  # a page that continues the last section before it
                    here = [[t for _, t, n in marks[name] if n < p][-1]]
                for title in here:
                    shared = words(title) & words(q["question"])
                    if shared:
                        bad.append(f"{qid}: shares {sorted(shared)} with {title!r}")
    if len(seen) - kinds.get("absent", 0) < 40 or kinds.get("paraphrase", 0) < 20:
        bad.append(f"too few questions: {kinds}")
    print(f"{len(seen)} questions: {kinds}")
    print("\n".join(bad) if bad else "all checks passed")
    return 1 if bad else 0


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(check())
    for name, mark in MANUALS.items():
        if len(sys.argv) < 2 or sys.argv[1] == name:
            build(name, mark)
