"""Fonts of the training pages: all Latin text faces that fontconfig lists, common families with a higher weight."""
import os
import re
import subprocess

from PIL import ImageFont

_NOT = re.compile(
    r"symbol|emoji|math|braille|ornament|music|caps|dingbat|D050000L|Z003|chorus|Thin|Hairline|ExtraLight|UltraLight|unsl|dunh|"
    r"cmunui|cmunvi|cmunci|cmunbmo|LinBiolinum_K|LinLibertine_M|LinLibertine_I|RZI",
    re.I,
)
_COMMON = re.compile(
    r"^(Liberation|Nimbus|texgyre(heros|termes|pagella|schola|cursor)|lm(roman|sans|mono)|cmun|DejaVu|Roboto|OpenSans|NotoSans|NotoSerif|Arimo|Tinos|"
    r"Cousine|Carlito|Caladea|FreeSans|FreeSerif|P052|C059|Lato|Inter)"
)
_MONO = re.compile(r"mono|cursor|cousine|code|inconsolata|hack|cmuntt|cmunit|cmunst|cmuntb|cmuntx|cmunvt|typewriter", re.I)


def _family(name):
    return re.split(r"[-_]|\d", name)[0] if not name.startswith("cmun") else name[:6]


def _latin(path):
    try:
        font = ImageFont.truetype(path, 20)
        a, g = font.getmask("a"), font.getmask("g")
        return bool(a.getbbox() and g.getbbox() and bytes(a) != bytes(g))
    except OSError:
        return False


class Faces:
    """Font families with their files, for sampling."""

    def __init__(self):
        out = subprocess.run(["fc-list", ":lang=en", "file"], capture_output=True, text=True, check=True).stdout
        files = sorted({line.split(":")[0] for line in out.splitlines()})
        self.families = {}
        for f in files:
            name = os.path.basename(f)
            if not f.endswith((".ttf", ".otf")) or _NOT.search(name) or not _latin(f):
                continue
            self.families.setdefault(_family(name), []).append(f)
        names = sorted(self.families)
        self.proportional = [n for n in names if not _MONO.search(n)]
        self.mono = [n for n in names if _MONO.search(n)]
        self._weights = {id(g): [4 if _COMMON.search(n) else 1 for n in g] for g in (self.proportional, self.mono)}
        self._cache = {}

    def pick(self, r, mono=False):
        """Samples a file of a random family."""
        group = self.mono if mono else self.proportional
        return r.choice(self.families[r.choices(group, self._weights[id(group)])[0]])

    def sibling(self, r, path, pattern):
        """Another face of the same family whose name matches, or the same file."""
        family = self.families[_family(os.path.basename(path))]
        fit = [f for f in family if re.search(pattern, os.path.basename(f), re.I)]
        return r.choice(fit) if fit else path

    def font(self, path, size):
        """The font and its table of advance widths, cached."""
        key = (path, size)
        if key not in self._cache:
            if len(self._cache) > 1500:
                self._cache.clear()
            self._cache[key] = (ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC), {})
        return self._cache[key]
