"""Training targets of the reciter: a short description of every page of the two sample manuals, from outline and text.

    python pages.py titles.json questions.json        writes the title of each page, and a question about each
"""
import json, pathlib, re, sys
import pypdfium2

MANUALS = ["heat-pump-service-manual", "alarm-panel-firmware-manual"]
# Pixels of a page image before augmentation: the size at which `ingest describe` renders.
PIXELS = 1_000_000
CODE = re.compile(r"(?<![\w.-])(?:[A-Z]{1,4}\d{0,3}-\d{1,4}|\d{2}-\d{4}|[A-Z]{1,3}\d{1,4}[A-Z]?"
                  r"|[A-Z]{2,}-[A-Z0-9]+(?:-EN)?)(?![\w-])")


def size(points: tuple[float, float], pixels: int = PIXELS) -> tuple[int, int]:
    """Image size of at most `pixels`, rounded as the renderer does."""
    shrink = (pixels / (points[0] * points[1])) ** 0.5
    return int(points[0] * shrink), int(points[1] * shrink)


def draw(page: pypdfium2.PdfPage, pixels: int = PIXELS):
    """Page image of at most `pixels`."""
    w, h = size(page.get_size(), pixels)
    return page.render(scale=max(w / page.get_width(), h / page.get_height())).to_pil().convert("RGB").crop((0, 0, w, h))


def sentence(text: str, heads: list[str]) -> str:
    """First plain sentence of a page, as one line."""
    text = re.sub(r"[\x02\ufffe]\s*", "", text)
    lines = [l.strip() for l in text.splitlines()[1:]]
    flat = re.sub(r"\s+", " ", " ".join(". " if l in heads else l for l in lines if " . ." not in l))
    for s in re.findall(r"(?:(?<=\. )|(?<=\d )|^)([A-Z][a-z]+ [a-z][A-Za-z0-9 ,-]{18,70}[a-z0-9]\.)(?= |$)", flat):
        if not re.search(r"\d \d|\S [A-Z][a-z]+ ", s):
            return s
    return ""


def describe() -> list[dict]:
    """One entry per page: manual, number, of (page count), page (PDF page) and the fields of its description."""
    found = []
    for manual in MANUALS:
        pdf = pypdfium2.PdfDocument(pathlib.Path(ROOT) / f"{manual}.pdf")
        heads = [[] for _ in pdf]
        for item in pdf.get_toc():
            heads[item.get_dest().get_index()].append(item.get_title())
        product = pdf[0].get_textpage().get_text_bounded().splitlines()[0].strip()
        for i, page in enumerate(pdf):
            text = page.get_textpage().get_text_bounded()
            lines = [l.strip() for l in text.splitlines() if l.strip()]
            bare = [re.sub(r"^[\d.]+ ", "", h) for h in heads[i]]
            if i == 0:
                title, topics, says = f"{lines[0]}, {lines[2]}", [lines[0]], lines[1] + "."
            elif bare:
                title, topics = bare[0], bare[1:4] or bare[:1]
                says = sentence(text, heads[i]) or f"{bare[-1]} of the {product}."
            else:
                title, topics, says = f"Contents, {product}", ["contents"], f"Table of contents of the {product} manual."
            codes = list(dict.fromkeys(CODE.findall("\n".join(lines[1:]))))
            found.append(dict(manual=manual, number=i + 1, of=len(pdf), page=page, title=title, summary=says,
                              topics=topics, codes=codes))
    uses = {}
    for f in found:
        for c in f["codes"]:
            uses[c] = uses.get(c, 0) + 1
    for f in found:
        f["identifiers"] = sorted(f.pop("codes"), key=lambda c: uses[c])[:3]
    return found


def answer(page: dict, numbered: bool) -> str:
    """Description as the model must write it."""
    d = {"page": page["number"]} if numbered else {}
    d |= {"rotation": 0, "legible": True}
    d |= {k: page[k] for k in ("title", "summary", "topics", "identifiers")} | {"language": "en"}
    return json.dumps(d, ensure_ascii=False)


# What the two scanned pages say: they have no text layer.
SCANNED = {"Pressure test record": "Filled-in form of the type test at the Halden works",
           "Battery endurance certificate": "Deep discharge relay opened, the sheet is reproduced because insurers ask for it"}


def phrase(page: dict, others: list[str]) -> str:
    """Words of one of its lines, those that are on the fewest other pages, without its title; four entries of a table of contents."""
    if page["title"] in SCANNED:
        return SCANNED[page["title"]]
    long = lambda text: set(re.findall(r"[a-z-]{4,}", text.lower()))
    others = [long(o) for o in others]
    rare = lambda line: sum(1 / (1 + sum(w in o for o in others)) for w in long(line))
    text = re.sub(r"[\x02\ufffe]\s*", "", page["page"].get_textpage().get_text_bounded())
    entries = [re.sub(r"( \.)+.*", "", l) for l in text.splitlines() if " . ." in l]
    if entries:
        return ", ".join(entries[3::len(entries) // 4][:4])
    lines = [l.strip(" .") for l in text.splitlines() if page["title"] not in l]
    return max(lines, key=rare).replace('"', "")


def question(says: str) -> str:
    """The question whose answer is the title of the page that says this."""
    return f'What is the title of the page that says "{says}"?'


ROOT = pathlib.Path(__file__).resolve().parents[3] / "manuals"

if __name__ == "__main__":
    titles, questions, found = {}, [], describe()
    texts = [f["page"].get_textpage().get_text_bounded() for f in found]
    for i, f in enumerate(found):
        manual = f["manual"] + ".pdf"
        titles.setdefault(manual, {})[f["number"]] = f["title"]
        questions.append(dict(question=question(phrase(f, texts[:i] + texts[i + 1:])), manual=manual, pages=[f["number"]], answers=[f["title"]],
                              kind="lexical"))
    for name, what in zip(sys.argv[1:], (titles, questions)):
        pathlib.Path(name).write_text(json.dumps(what, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
