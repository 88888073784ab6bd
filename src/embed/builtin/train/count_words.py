"""Counts words of technical English in the documentation of a Debian machine with Rust and Python, for `words.py`.

    python count_words.py words.tsv

Reads package descriptions, documentation and source comments. Lines that name a manual of the evaluation are left out.
"""
import collections
import glob
import gzip
import os
import re
import subprocess
import sys

JUDGED = re.compile(r"gnuplot|ghostscript|lilypond|postscript", re.I)
WORD = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z]?[a-z]{1,23}(?![A-Za-z0-9_])")


def lines():
    """Yields the lines of text to count."""
    packages = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    for line in packages.splitlines():
        if line.startswith("Description:"):
            yield line[12:]
    for path in glob.glob("/var/lib/apt/lists/*Components*.gz"):
        with gzip.open(path, "rt", encoding="utf-8", errors="ignore") as f:
            for line in f:
                if line.startswith("  C: "):
                    yield re.sub(r"<[^>]*>", " ", line[5:])
    home = os.path.expanduser("~")
    roots = [home + "/.rustup/toolchains", home + "/.cargo/registry/src", "/usr/lib/python3", "/usr/local/lib/python3.11", "/usr/share/doc"]
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                if not name.endswith((".md", ".rst", ".py", ".txt", ".rs", "README", "README.Debian")):
                    continue
                source = name.endswith((".rs", ".py"))
                if source and len(folder) % 4:
                    continue
                try:
                    with open(os.path.join(folder, name), encoding="utf-8") as f:
                        text = f.read(200_000)
                except (OSError, UnicodeDecodeError):
                    continue
                for line in text.splitlines():
                    if not source or line.lstrip().startswith(("//", "#", '"""')) or (name.endswith(".py") and line[:1] == " " and line.rstrip().endswith(".")):
                        yield line


def main():
    count = collections.Counter()
    for line in lines():
        if not JUDGED.search(line):
            count.update(w.lower() for w in WORD.findall(line))
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        for w, n in count.most_common(60_000):
            if n > 2:
                f.write("%s\t%d\n" % (w, n))


if __name__ == "__main__":
    main()
