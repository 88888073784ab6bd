"""Compares ingest with pypdfium2 on the PDF files of public test suites: readable or not, pages, pages stored; see `suites.sh`.

    suites.py INGEST CACHE [--files FOLDER]
"""

import argparse
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

import pypdfium2 as pdfium

# Repository, commit, number of PDF files, and the SHA-256 of their paths and git object ids.
SUITES = [
    ("py-pdf/sample-files", "6921079eb3e1ed0944db5ec75016910d59da7fdb", 32,
     "ab49a2e3763533123630fe24577e0703b07af3d8ca0f56a1556f7d516d004ac3"),
    ("ocrmypdf/OCRmyPDF", "62b42095eca831faaa3c84ddb699674788c4c1b7", 42,
     "35a9b30e3062b0a5c0970d71251b7be78bdc1b05ef3e246a7c4a72c992706652"),
    ("pdfminer/pdfminer.six", "9e1243c4ad000bf9bbe60e81fc8dde2fccc0ed3b", 55,
     "92079efbb316fb268395f3a73a988704a3d4d254273c3c3ed88d3eec5fd0f366"),
    ("jsvine/pdfplumber", "147f2c4c07dc1191fc1d05bb589b4f6af3aaf74a", 56,
     "7e14d7b18720722916803ff13c3ea95dfbbf29774fdaf1a49dc578968c2273e5"),
    ("pypdfium2-team/pypdfium2", "f768bdc67f400718d0f79aa7bf3d68118c389df4", 14,
     "2d243788d9cfb609cba8d997d9af77ba0efab3f3aa0e379e3ac688c773292aa8"),
]
URL = "https://github.com/%s/archive/%s.tar.gz"


def is_pdf(path):
    return path.suffix.lower() == ".pdf"


def download(repository, commit):
    """Returns the PDF files of a repository: bytes by path."""
    print("fetching", repository, file=sys.stderr)
    url = URL % (repository, commit)
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            archive = tarfile.open(fileobj=io.BytesIO(answer.read()))
    except (OSError, tarfile.TarError) as error:
        sys.exit("%s: %s" % (url, error))
    files = {}
    for member in archive:
        path = pathlib.PurePosixPath(member.name)
        if member.isfile() and is_pdf(path):
            # The first part is the archive's own folder.
            files["/".join(path.parts[1:])] = archive.extractfile(member).read()
    return files


def digest(files):
    """Returns the SHA-256 of the sorted lines of git object id and path."""
    lines = []
    for path, data in files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        lines.append("%s %s\n" % (blob, path))
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def fetch(cache, repository, commit, count, expected):
    """Puts the PDF files of a repository into the cache, unless they are there."""
    folder = cache / repository / commit
    if folder.exists():
        return
    files = download(repository, commit)
    if len(files) != count or digest(files) != expected:
        sys.exit("%s: the archive of %s does not have the %d expected PDF files" % (repository, commit, count))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        part = pathlib.Path(temporary) / "part"
        for path, data in files.items():
            target = part / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        part.rename(folder)


def by_pypdfium2(path):
    """Returns the pages that the file has and those that can be drawn, or why it cannot be read."""
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        return str(error)
    drawn = 0
    for index in range(len(document)):
        try:
            document[index].render(scale=0.5)
            drawn += 1
        except pdfium.PdfiumError:
            pass
    pages = len(document)
    document.close()
    return (pages, drawn) if pages else "no pages"


def by_ingest(ingest, paths):
    """Indexes all files in one run; returns for each the pages that it has and those stored, or why it cannot be read."""
    with tempfile.TemporaryDirectory() as temporary:
        # Neither the settings nor the library of the user.
        own = {name: temporary for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
        settings = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
        command = [ingest, *map(str, paths), "--store", temporary + "/library.db", "--json", "--quiet"]
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=temporary, env={**settings, **own})
    try:
        manuals = json.loads(done.stdout)["manuals"]
    except ValueError:
        sys.exit("ingest printed no report and exited with %d" % done.returncode)
    named = {m["manual"]: m for m in manuals}
    # A file with the bytes of another is stored once: its record names that one.
    stored = {m["path"]: named[m["same_as"]] if m.get("same_as") else m for m in manuals}
    return {path: m["error"] or (m["pages"], m["stored"]) for path, m in stored.items()}


def words(result):
    """Formats one side of a difference."""
    return "not read: " + result if isinstance(result, str) else "%d pages, %d drawn" % result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ingest", type=pathlib.Path)
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("--files", type=pathlib.Path, metavar="FOLDER", help="folder of PDF files; nothing is downloaded")
    args = parser.parse_args()
    folder = (args.files or args.cache).resolve()
    if args.files is None:
        for suite in SUITES:
            fetch(folder, *suite)
    paths = sorted(path for path in folder.rglob("*") if is_pdf(path) and path.is_file())
    if not paths:
        sys.exit("%s: no PDF files" % folder)
    ours = by_ingest(args.ingest.resolve(), paths)
    differences, pages = [], 0
    for path in paths:
        mine, theirs = ours.get(str(path), "not in the report"), by_pypdfium2(path)
        if isinstance(theirs, str) and isinstance(mine, str) or mine == theirs:
            pages += 0 if isinstance(mine, str) else mine[0]
        else:
            differences.append((path.relative_to(folder), words(mine), words(theirs)))
    if differences:
        print("| file | ingest | pypdfium2 |\n|---|---|---|")
        for row in differences:
            print("| %s | %s | %s |" % row)
        print()
    print("%d files; %d pages in files that are read alike; %d differences" % (len(paths), pages, len(differences)))
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
