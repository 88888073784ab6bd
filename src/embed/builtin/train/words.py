"""Text of training pages (words, part numbers, quantities), and its tokenization.

The tokenization equals that of queries (`src/embed/builtin/query_words.rs`): lower case, split at everything that is
neither letter nor digit, but `-`, `.`, `/`, `_` and `'` between two of them are kept; accents are dropped. A token with
such a connector also yields its parts.
"""
import collections
import hashlib
import itertools
import math
import re

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
JOINTS = "-./_'"
ACCENTS = "äöüßéèêëàâáåçñíîïóôúûùøæœ"
PRINTED = ".,:;()[]{}\"+=*#@&%$<>|~°!?\\^•–µ×±→©®"
# Class 0 of the character map means "no label", class 1 the gap within a line of text.
CLASSES = ["", " "] + list(LETTERS + JOINTS + ACCENTS + PRINTED)
CLASS_OF = {c: i for i, c in enumerate(CLASSES) if c}
STOP = set(
    "a about after all also an and any are as at be been but by can could did do does for from had has have how i if in "
    "into is it its may me more most my no not of on one only or other our should so some such than that the their them "
    "then there these they this to used using was we were what when where which while who why will with would you "
    "your".split()
)
_FOLD = str.maketrans(ACCENTS, "aouseeeeaaaacniiioouuuoao")
_TOKEN = re.compile(r"[a-z0-9](?:[-./_']?[a-z0-9])*")
_SPLIT = re.compile(r"[-./_']")


def fold(text):
    """Lower case without accents, character by character."""
    return text.lower().translate(_FOLD)


def tokens(text):
    """Yields `(start, end, token)` for every token of a text."""
    low = fold(text)
    if len(low) != len(text):
        return
    for m in _TOKEN.finditer(low):
        yield m.start(), m.end(), m.group()


def parts(start, token):
    """Yields `(start, end, part)` for the parts of a compound token that get a vector of their own."""
    if not _SPLIT.search(token):
        return
    at = start
    for p in _SPLIT.split(token):
        if len(p) >= 3 or (len(p) == 2 and p.isalpha()):
            yield at, at + len(p), p
        at += len(p) + 1


def wanted(token):
    """Whether a token gets a target: stop words and single letters do not."""
    return token not in STOP and (len(token) > 1 or token.isdigit())


def held_out(word):
    """One dictionary word in fifty is never printed in training."""
    return hashlib.md5(word.encode()).digest()[0] < 5


def _read(path):
    with open(path, encoding="utf-8") as f:
        return [w.strip() for w in f if "'" not in w]


def _sums(weights):
    return list(itertools.accumulate(weights))


class Vocabulary:
    """Dictionary words with weights: by frequency in technical English, and other words occasionally."""

    def __init__(self, counts_path):
        plain = [w for w in _read("/usr/share/dict/american-english") if w.isascii() and len(w) > 1]
        count = collections.Counter()
        with open(counts_path, encoding="utf-8") as f:
            for line in f:
                w, n = line.split("\t")
                count[w] = int(n)
        self.held = sorted(w for w in plain if held_out(w.lower()) and wanted(w.lower()))
        plain = [w for w in plain if not held_out(w.lower())]
        known = {w.lower() for w in plain}
        common = [w for w in count if w not in STOP and not held_out(w) and (w in known or count[w] > 60)]
        self.plain = plain
        self.common, self.cum = common, _sums(math.pow(count[w], 0.55) for w in common)
        self.short = [w for w in common if len(w) <= 4]
        self.short_cum = _sums(math.pow(count[w], 0.4) for w in self.short)
        self.foreign = [
            w
            for p in ("/usr/share/dict/ngerman", "/usr/share/dict/french")
            for w in _read(p)
            if all(c in CLASS_OF for c in w.lower()) and 2 < len(w) < 15
        ]
        self.stop = sorted(STOP - {"i", "me", "my"})

    def content(self, r):
        """One content word, usually in lower case."""
        x = r.random()
        if x < 0.12:
            return r.choices(self.short, cum_weights=self.short_cum)[0]
        if x < 0.64:
            return r.choices(self.common, cum_weights=self.cum)[0]
        if x < 0.94:
            return r.choice(self.plain)
        return r.choice(self.foreign)


UNITS = "V mV kV A mA kA W kW mW Hz kHz MHz GHz mm cm m km kg g mg N Nm kN bar psi Pa kPa MPa °C °F K s ms min h dB lm lx rpm ml l % MB GB KiB px pt in ft kbit/s m/s l/min kWh Ah mAh Ohm".split()


def number(r):
    """A number as in manuals, with or without a unit."""
    x = r.random()
    if x < 0.25:
        return str(r.randint(0, 10 ** r.randint(1, 5)))
    if x < 0.45:
        return "%.*f" % (r.randint(1, 3), r.random() * 10 ** r.randint(0, 3))
    if x < 0.75:
        v = str(r.randint(1, 600)) if r.random() < 0.6 else "%.1f" % (r.random() * 100)
        return v + r.choice(UNITS)
    if x < 0.85:
        return r.choice(["%d.%d" % (r.randint(1, 19), r.randint(1, 30)), "%d.%d.%d" % (r.randint(1, 12), r.randint(1, 20), r.randint(1, 9))])
    if x < 0.9:
        return "0x%0*X" % (r.choice([2, 4]), r.randint(0, 65535 if r.random() < 0.5 else 255))
    if x < 0.95:
        return "%d-%d" % (r.randint(1, 99), r.randint(1, 400))
    return r.choice(["±%d", "+%d", "-%d", "<%d", "1/%d", "%d%%", "%d:1", "(%d)", "[%d]"]) % r.randint(1, 200)


def _run(r, alphabet, a, b):
    return "".join(r.choice(alphabet) for _ in range(r.randint(a, b)))


def identifier(r, vocabulary):
    """A part number, error code, function or option name."""
    up, dig = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
    x = r.random()
    if x < 0.15:
        return _run(r, up, 1, 3) + r.choice(["-", "", "", "-", "."]) + _run(r, dig, 1, 4)
    if x < 0.22:
        return _run(r, up, 1, 2) + _run(r, dig, 1, 3) + r.choice(["-", "/", "."]) + _run(r, up + dig, 1, 4)
    if x < 0.30:
        return r.choice(["-", "-", "-", "/", "."]).join(_run(r, dig, 2, 5) for _ in range(r.choice([2, 2, 2, 3])))
    if x < 0.34:
        return "M%dx%s" % (r.randint(1, 24), r.choice(["0.5", "1", "1.25", "1.5"]) if r.random() < 0.3 else r.randint(2, 120))
    if x < 0.40:
        return _run(r, up + dig, 2, 8)
    if x < 0.44:
        return _run(r, up, 2, 4)
    if x < 0.47:
        return r.choice("PBCU") + _run(r, dig, 4, 4)
    a, b = vocabulary.content(r).lower(), vocabulary.content(r).lower()
    if x < 0.57:
        return a + "_" + b if r.random() < 0.7 else (a + "_" + b).upper()
    if x < 0.64:
        return a + "-" + b
    if x < 0.70:
        return a[:7] + b[:7].capitalize()
    if x < 0.76:
        return a[: r.randint(2, 5)] + b[: r.randint(2, 6)]
    if x < 0.82:
        return r.choice(["-", "--", "\\", "/", "$", "."]) + (a if r.random() < 0.6 else a + "-" + b)
    if x < 0.88:
        return a + r.choice([".", "/"]) + b[: r.choice([2, 3, 4, 9])]
    if x < 0.94:
        return _run(r, "abcdefghijklmnopqrstuvwxyz", 3, 9)
    return a + r.choice(["()", "(%s)" % b, "=%s" % b, "[%d]" % r.randint(0, 9), ":%d" % r.randint(1, 99)])


def dress(r, w):
    """Capitalises some words, as on a page."""
    x = r.random()
    if x < 0.16:
        return w[:1].upper() + w[1:]
    if x < 0.21:
        return w.upper()
    return w
