#!/usr/bin/env python3
"""Checks the questions in other words against the manuals in fetched/.

    python manuals/paraphrases.py [FILE ...]

For each question: every answer stands on each of its pages, and no word of the
question, stop words aside, has the same English stem as a word of those pages.
Prints each failure; exit status 1 if there is one. Without FILE, both files are
checked. Wheels (Python 3.11 or newer): pypdfium2==5.15.2 snowballstemmer==3.1.1
"""
import functools
import json
import pathlib
import re
import sys

import pypdfium2
import snowballstemmer

HERE = pathlib.Path(__file__).resolve().parent
FILES = ("paraphrases-tune.json", "paraphrases-report.json")
STEMMER = snowballstemmer.stemmer("english")
# The list of src/analysis/terms.rs, and what is left of "doesn't" and "user's".
STOP_WORDS = frozenset("""
a about an and any are as at be been but by can could did do does for from get had has have how i if in into is it its
me my no not of on or our should so that the their them then there these they this to was we were what when where
which who why will with would you your
s t
""".split())


def squeeze(text: str) -> str:
    """Text of a page with line-end hyphens joined and white space made single."""
    text = re.sub("[\u0002\ufffe\u00ad](\r?\n)?|-\r?\n", "", text.replace("\u00a0", " "))
    return re.sub(r"\s+", " ", text).strip()


@functools.cache
def pages(manual: str) -> list[str]:
    """Raw texts of the pages of a manual."""
    with pypdfium2.PdfDocument(HERE / "fetched" / manual) as pdf:
        return [page.get_textpage().get_text_bounded() for page in pdf]


def stems(text: str) -> dict[str, str]:
    """Stems of the words of a text that are no stop words, each with one such word."""
    words = set(re.findall(r"[^\W_]+", text.lower())) - STOP_WORDS
    return {STEMMER.stemWord(word): word for word in words}


@functools.cache
def page_stems(manual: str, page: int) -> frozenset[str]:
    """Stems of a page, with the halves of words that are split at line ends both joined and apart."""
    raw = pages(manual)[page - 1]
    return frozenset(stems(squeeze(raw)) | stems(raw))


def failures(question: dict) -> list[str]:
    """What is wrong with a question."""
    manual = question["manual"]
    out = []
    for page in question["pages"]:
        text = squeeze(pages(manual)[page - 1])
        out += [f"page {page}: answer {a!r} is not there" for a in question["answers"] if squeeze(a) not in text]
        out += [
            f"page {page}: word {word!r} is there"
            for stem, word in sorted(stems(question["question"]).items())
            if stem in page_stems(manual, page)
        ]
    return out


def main() -> int:
    count = bad = 0
    for path in [pathlib.Path(arg) for arg in sys.argv[1:]] or [HERE / name for name in FILES]:
        for question in json.loads(path.read_text(encoding="utf-8")):
            count += 1
            found = failures(question)
            bad += bool(found)
            for failure in found:
                print(f"{question['id']}: {failure}")
    print(f"{count} questions, {bad} with failures")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
