"""Random pages in the layout of manuals, as Typst source, with the words of `words.py`."""
import math
import re

import draw
import words

SERIF = (
    ["Latin Modern Roman", "CMU Serif", "New Computer Modern", "TeX Gyre Termes", "Nimbus Roman", "Liberation Serif", "Tinos"] * 3
    + ["TeX Gyre Pagella", "P052", "DejaVu Serif", "Noto Serif", "C059", "TeX Gyre Schola", "FreeSerif", "Libertinus Serif", "STIX"] * 2
    + ["Charis SIL", "Gentium Plus", "Linux Libertine O", "EB Garamond 12", "Caladea", "TeX Gyre Bonum", "URW Bookman", "CMU Concrete"]
)
SANS = (
    ["Liberation Sans", "Arimo", "Nimbus Sans", "TeX Gyre Heros", "Roboto", "Open Sans", "Noto Sans", "DejaVu Sans"] * 3
    + ["Carlito", "Lato", "Inter", "FreeSans", "Latin Modern Sans", "CMU Sans Serif", "CMU Bright"] * 2
    + ["Linux Biolinum O", "Cabin", "Cantarell", "Go", "Gillius ADF", "Universalis ADF Std", "TeX Gyre Adventor", "URW Gothic", "B612", "Quicksand"]
)
MONO = (
    ["Latin Modern Mono", "CMU Typewriter Text", "DejaVu Sans Mono", "Liberation Mono", "Nimbus Mono PS"] * 3
    + ["Cousine", "FreeMono", "TeX Gyre Cursor", "Fira Code", "Inconsolata", "Hack", "JetBrains Mono", "Go Mono", "mononoki", "League Mono"]
)
# Width and height in points, and type size relative to A4, where body text has 10 points.
PAPERS = [(595, 842, 1.0)] * 8 + [(612, 792, 1.0)] * 6 + [(420, 595, 0.75), (432, 648, 0.8), (504, 661, 0.9), (842, 595, 1.1), (720, 405, 1.4)]
ACRONYMS = "I/O TCP/IP CPU GPU RAM ROM USB PDF URL GUI API FTP HTTP WWW XML JSON SQL SSH DNS LED LCD PID PWM AC DC EMC ESD PCB UI OS ID IP TV CD".split()


def escape(text):
    """Escapes text for Typst."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


class Layout:
    """The style of one document, and the blocks of its pages."""

    def __init__(self, r, vocabulary):
        self.r, self.v = r, vocabulary
        self.width, self.height, rel = r.choice(PAPERS)
        self.body = rel * r.choices([r.gauss(10.2, 0.9), r.gauss(8.6, 0.7), r.uniform(6.2, 13.5)], [0.66, 0.14, 0.2])[0]
        self.body = max(6.0 * rel, self.body)
        self.sans = r.random() < 0.45
        self.font = r.choice(SANS if self.sans else SERIF)
        self.title_font = self.font if r.random() < 0.65 else r.choice(SANS if r.random() < 0.8 else SERIF)
        self.mono = r.choice(MONO)
        self.weight = r.choice(["bold", "bold", "bold", "regular", "semibold"])
        self.colour = r.choice(["luma(0)"] * 5 + ["luma(70)", "rgb(20,60,150)", "rgb(150,20,30)", "rgb(0,100,80)", "rgb(230,110,0)"])
        self.ratio = r.choice([1.1, 1.2, 1.2, 1.25, 1.35, 1.5])
        self.lead = r.uniform(0.45, 0.85)
        self.justify = r.random() < 0.55
        self.columns = r.choice([1] * 6 + [2] * 3 + [3])

    # Words

    def prose(self, low, high):
        """Running text."""
        return " ".join(self.accent(draw.prose(self.r, self.v)) for _ in range(self.r.randint(low, high)))

    def accent(self, word):
        """A word, sometimes bold, italic or monospaced."""
        x = self.r.random()
        body = escape(word)
        if x < 0.03:
            return "#strong[%s]" % body
        if x < 0.06:
            return "#emph[%s]" % body
        if x < 0.10:
            return '#text(font: "%s")[%s]' % (self.mono, escape(words.identifier(self.r, self.v)))
        if x < 0.12:
            return escape(self.r.choice(ACRONYMS))
        return body

    def title(self, longest=7):
        """The text of a heading, sometimes in capitals."""
        r = self.r
        out = []
        for i in range(min(longest, 1 + int(r.expovariate(0.45)))):
            x = r.random()
            if x < 0.10:
                w = r.choice(ACRONYMS)
            elif x < 0.18:
                w = words.identifier(r, self.v)
            elif x < 0.30 and i:
                w = r.choice(self.v.stop)
            else:
                w = self.v.content(r)
                w = w[:1].upper() + w[1:] if r.random() < 0.75 else w
            out.append(w)
        text = " ".join(out)
        return text.upper() if r.random() < 0.06 else text

    def number(self):
        """A section number."""
        r = self.r
        return ".".join(str(r.randint(1, 24)) for _ in range(r.choice([1, 2, 2, 3, 3, 4]))) if r.random() < 0.9 else "%s.%d" % (r.choice("ABCDE"), r.randint(1, 9))

    def text(self, body, em, font=None, weight="regular", fill=None, tracking=None):
        """Styled text."""
        extra = (", fill: " + fill if fill else "") + (", tracking: %.2fem" % tracking if tracking else "")
        return '#text(font: "%s", size: %.2fpt, weight: "%s"%s)[%s]' % (font or self.font, em, weight, extra, body)

    # Blocks

    def heading(self, level=None):
        """A heading; level 0 starts a chapter."""
        r = self.r
        level = r.choice([0, 1, 1, 2, 2, 2, 3]) if level is None else level
        em = self.body * (r.uniform(1.8, 4.2) if level == 0 else self.ratio ** (4 - level) * r.uniform(0.92, 1.1))
        number = self.number() + ("." if r.random() < 0.2 else "") + "#h(%.1fem)" % r.uniform(0.4, 1.2) if r.random() < 0.6 else ""
        name = escape(self.title(5 if level == 0 else 8))
        if level == 0 and r.random() < 0.3:
            number = escape("%s %d" % (r.choice(["Chapter", "Part", "Appendix", "Section"]), r.randint(1, 20))) + r.choice(["#linebreak()", "#h(1em)", ": "])
        line = self.text(number + name, em, self.title_font, self.weight, self.colour, r.uniform(0.02, 0.1) if r.random() < 0.05 else None)
        if r.random() < 0.12:
            line = "#align(center)[%s]" % line
        rule = "\n#line(length: 100%%, stroke: %.1fpt)" % r.uniform(0.3, 1.5) if r.random() < 0.12 else ""
        return "#block(below: %.1fpt, above: %.1fpt)[#set par(justify: false)\n%s%s]" % (em * r.uniform(0.4, 0.9), em * r.uniform(0.7, 1.4), line, rule)

    def paragraph(self):
        return self.prose(12, 110)

    def small(self):
        """Small print: notes, captions, legal lines."""
        return self.text(self.prose(15, 70), max(self.body * self.r.uniform(0.62, 0.85), 5.8))

    def caption(self):
        r = self.r
        tag = escape("%s %s%s" % (r.choice(["Figure", "Table", "Fig.", "Listing"]), self.number(), r.choice([":", ".", ""])))
        return "#align(%s)[%s]" % (r.choice(["center", "left"]), self.text("#strong[%s] %s" % (tag, self.prose(3, 16)), self.body * r.uniform(0.75, 1)))

    def items(self):
        r = self.r
        mark = r.choice(["-", "-", "+"])
        return "\n".join("%s %s" % (mark, self.prose(2, 26)) for _ in range(r.randint(3, 9)))

    def terms(self):
        """Definitions of names, as in references of functions and options."""
        r, out = self.r, []
        for _ in range(r.randint(2, 5)):
            name = words.identifier(r, self.v)
            tail = " ".join(self.v.content(r) for _ in range(r.randint(0, 4)))
            line = self.text("#strong[%s]" % escape(name), self.body, self.mono if r.random() < 0.6 else None) + (" #emph[%s]" % escape(tail) if tail else "")
            out.append("#block(above: %.1fpt)[%s]\n#pad(left: %.1fem)[%s]" % (self.body, line, r.uniform(1, 4), self.prose(5, 50)))
        return "\n".join(out)

    def cell(self, kind):
        r = self.r
        if kind == "id":
            return escape(words.identifier(r, self.v))
        if kind == "num":
            return escape(words.number(r))
        if kind == "name":
            return escape(self.title(3))
        return self.prose(1, 9)

    def table(self):
        r = self.r
        n = r.randint(2, 3 if self.columns > 1 else 6)
        kinds = [r.choice(["id", "num", "num", "name", "text"]) for _ in range(n)]
        widths = ", ".join("%dfr" % (3 if k == "text" else 2) if r.random() < 0.8 else "auto" for k in kinds)
        head = ", ".join("[#strong[%s]]" % escape(self.title(2)) for _ in kinds)
        rows = ",\n".join(", ".join("[%s]" % self.cell(k) for k in kinds) for _ in range(r.randint(3, 14)))
        fill = r.choice(["none"] * 4 + ["(_, y) => if y == 0 { luma(220) }", "(_, y) => if calc.odd(y) { luma(238) }"])
        stroke = r.choice(["0.4pt", "0.8pt", "none", "(x, y) => (bottom: 0.5pt)", "0.4pt + luma(150)"])
        em = self.body * r.uniform(0.75, 1.0)
        return "#[#set text(size: %.2fpt)\n#set par(justify: false)\n#table(columns: (%s,), inset: %.1fpt, fill: %s, stroke: %s,\n%s,\n%s)]" % (em, widths, r.uniform(2, 6), fill, stroke, head, rows)

    def listing(self):
        """A program listing or a terminal session."""
        r, lines, depth = self.r, [], 0
        for _ in range(r.randint(3, 14)):
            depth = max(0, min(4, depth + r.choice([-1, 0, 0, 1])))
            parts = []
            for _ in range(r.randint(1, 6)):
                x = r.random()
                w = words.identifier(r, self.v) if x < 0.45 else words.number(r) if x < 0.6 else self.v.content(r)
                parts.append(w + (r.choice(["();", ";", ",", ":", " =", "(", ")", " {"]) if r.random() < 0.3 else ""))
            lines.append("#h(%dem)" % depth + escape(" ".join(parts)[:70]))
        body = self.text(" \\\n".join(lines), self.body * r.uniform(0.8, 1.0), self.mono)
        fill = r.choice(["none", "none", "luma(240)", "luma(225)", "rgb(245,242,228)"])
        return "#block(width: 100%%, fill: %s, inset: %.1fpt)[#set par(justify: false)\n%s]" % (fill, r.uniform(0, 6), body)

    def contents(self):
        """Lines of a table of contents."""
        r, lines = self.r, []
        fill = r.choice(["repeat[.]", "repeat[. ]", "h(1fr)"])
        for _ in range(r.randint(6, 24)):
            name = "%s#h(0.8em)%s" % (self.number(), escape(self.title(6))) if r.random() < 0.8 else escape(self.title(6))
            lines.append("#h(%.1fem)%s #box(width: 1fr, %s) %d" % (r.choice([0, 0, 1.5, 3]), name, fill, r.randint(1, 900)))
        return "#[#set par(justify: false)\n%s]" % " \\\n".join(lines)

    def index(self):
        """Lines of an index in narrow columns."""
        r = self.r
        lines = [escape("%s, %s" % (self.title(3), ", ".join(str(r.randint(1, 900)) for _ in range(r.randint(1, 3))))) for _ in range(r.randint(15, 45))]
        em = self.body * r.uniform(0.7, 0.9)
        return "#[#set text(size: %.2fpt)\n#set par(justify: false, hanging-indent: 1em)\n#columns(%d)[%s]]" % (em, 2 if self.columns == 1 else 1, " \\\n".join(lines))

    def callout(self):
        """A warning on a dark or tinted background or in a frame."""
        r = self.r
        ground, ink = r.choice(
            [("luma(0)", "white"), ("luma(60)", "white"), ("rgb(20,60,140)", "white"), ("rgb(190,20,20)", "white"), ("luma(215)", "luma(0)"), ("rgb(255,240,200)", "luma(30)"), ("none", "luma(100)"), ("none", "luma(140)")]
        )
        name = self.text(escape(r.choice(["Warning", "Caution", "Note", "Tip", "Danger", self.title(3)])), self.body * r.uniform(1, 1.7), self.title_font, "bold", ink)
        return "#block(width: 100%%, fill: %s, inset: %.1fpt, stroke: %s)[%s \\\n#set text(fill: %s)\n%s]" % (
            ground, r.uniform(3, 9), r.choice(["none", "0.8pt"]), name, ink, self.prose(4, 40))

    def figure(self):
        """A drawing with labels."""
        r = self.r
        w, h = (self.width - 120) / self.columns, r.uniform(60, 160)
        out = []
        for _ in range(r.randint(3, 12)):
            x, y, stroke = r.uniform(0, w * 0.8), r.uniform(0, h * 0.8), "%.1fpt" % r.uniform(0.3, 1.6)
            shape = r.choice(["rect(width: %.0fpt, height: %.0fpt, stroke: %s)", "ellipse(width: %.0fpt, height: %.0fpt, stroke: %s)", "line(end: (%.0fpt, %.0fpt), stroke: %s)"])
            out.append("#place(dx: %.0fpt, dy: %.0fpt, %s)" % (x, y, shape % (r.uniform(10, w * 0.4), r.uniform(0, h * 0.5), stroke)))
        for _ in range(r.randint(2, 9)):
            label = words.number(r) if r.random() < 0.3 else self.title(2)
            out.append("#place(dx: %.0fpt, dy: %.0fpt)[%s]" % (r.uniform(0, w * 0.8), r.uniform(0, h * 0.9), self.text(escape(label), self.body * r.uniform(0.65, 1.1), r.choice(SANS))))
        return "#block(width: 100%%, height: %.0fpt)[%s]" % (h, "\n".join(out))

    def poster(self):
        """Very large type, as on covers and dividers."""
        r = self.r
        em = self.body * r.uniform(2.2, 5.5)
        return "#block(above: %.0fpt, below: %.0fpt)[#set par(justify: false)\n%s]" % (em, em, self.text(escape(self.title(5)), em, self.title_font, self.weight, self.colour))

    def page(self):
        """One page of blocks, the last of which may be truncated."""
        r = self.r
        side = self.width * r.uniform(0.06, 0.16)
        top = self.height * r.uniform(0.06, 0.12)
        ground = r.choice(["white"] * 12 + ["luma(245)", "luma(228)", "rgb(255,250,235)"])
        out = [
            '#page(width: %gpt, height: %gpt, margin: (x: %.0fpt, y: %.0fpt), fill: %s, columns: %d, header: [%s], footer: [%s])[#set text(font: "%s", size: %.2fpt, lang: "%s", fallback: true)\n#set par(justify: %s, leading: %.2fem, spacing: %.2fem, first-line-indent: %.1fem)'
            % (self.width, self.height, side, top, ground, self.columns,
               self.text(escape(self.title(5)) + "#h(1fr)" + str(r.randint(1, 999)), self.body * r.uniform(0.75, 1)) if r.random() < 0.5 else "",
               "#h(1fr)%d" % r.randint(1, 999) if r.random() < 0.5 else "",
               self.font, self.body, r.choice(["en"] * 4 + ["de"]), "true" if self.justify else "false", self.lead, r.uniform(0.6, 1.3), r.choice([0, 0, 1, 1.5]))
        ]
        kinds = [self.paragraph] * 8 + [self.items] * 2 + [self.terms] * 3 + [self.table] * 3 + [self.listing] * 2
        kinds += [self.contents, self.index, self.callout, self.callout, self.figure, self.caption, self.small, self.small, self.poster]
        if r.random() < 0.3:
            out.append(self.heading(0))
        for _ in range(14 if self.columns == 1 else 20):
            if r.random() < 0.4:
                out.append(self.heading())
            out.append(r.choice(kinds)())
        return "\n\n".join(out) + "\n]"


def document(r, vocabulary, pages):
    """Source of a document, each page in its own style."""
    return "\n".join(Layout(r, vocabulary).page() for _ in range(pages))
