"""Write four tiny page-retrieval data sets in the folder and column layouts of ViDoRe.

    python make_vidore.py vidore

Needs pyarrow 26.0.1 and pillow 13.0.0. The same versions write the same bytes.

FOLDER/v1       as vidore/docvqa_test_subsampled_beir: int64 ids, hyphens in column names, no languages
FOLDER/v2       as vidore/esg_reports_v2: as v1, and queries in several languages, documents
FOLDER/v3       as vidore/vidore_v3_industrial: underscores, page text, grades 1 and 2, two corpus files
FOLDER/v3_mteb  as vidore/vidore_v3_industrial_mteb_format, which is what mteb itself loads:
                one corpus, queries and qrels per language, string ids

The pages and questions are our own. Ids have gaps and the rows are not in id order, so that
code which takes a row number for an id fails.
"""

import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

# corpus id, document, page number in it (from 0), the lines printed on the page
PAGES = [
    (3, "pump_manual", 0, ["PUMP P-20", "OPERATING MANUAL", "Serial number 48812"]),
    (0, "pump_manual", 1, ["FAULT CODE E-104", "Low oil pressure", "Replace filter F-7"]),
    (7, "pump_manual", 2, ["FAULT CODE E-215", "Motor overheats", "Clean the fan grille"]),
    (12, "valve_sheet", 0, ["VALVE V-33", "Opening pressure 6 bar", "Torque 25 Nm"]),
    (5, "valve_sheet", 1, ["SPARE PARTS", "Filter F-7 order no. 9041", "Seal S-2 order no. 9055"]),
    (9, "safety_notes", 0, ["SAFETY", "Wear goggles", "Switch off before service"]),
]

# the question in English and in French, the pages which answer it {corpus id: grade}
QUESTIONS = [
    ("What does fault code E-104 mean?", "Que signifie le code E-104 ?", {0: 2}),
    ("Which filter is replaced after fault E-104 and what is its order number?",
     "Quel filtre remplacer après E-104 et quel est son numéro ?", {0: 1, 5: 2}),
    ("At what pressure does valve V-33 open?", "À quelle pression s'ouvre la vanne V-33 ?", {12: 2}),
    ("Which fault codes does the pump report?", "Quels codes de défaut la pompe signale-t-elle ?",
     {0: 2, 7: 2, 3: 1}),
    ("What to do when the motor overheats?", "Que faire si le moteur surchauffe ?", {7: 2, 9: 1}),
    ("What is the serial number of pump P-20?", "Quel est le numéro de série de la pompe P-20 ?", {3: 2}),
    ("What is the torque of valve V-33?", "Quel est le couple de la vanne V-33 ?", {12: 2}),
    ("What must be worn during service?", "Que faut-il porter pendant l'entretien ?", {9: 2}),
]


def page_image(lines, kind):
    """A white page of 600 x 800 with the lines in black print, as PNG or JPEG bytes."""
    page = Image.new("L", (600, 800), 255)
    draw = ImageDraw.Draw(page)
    for row, line in enumerate(lines):
        # the font which is part of Pillow: no font file of this machine is needed
        draw.text((60, 80 + 60 * row), line, fill=0, font=ImageFont.load_default(size=18 if row == 0 else 14))
    out = io.BytesIO()
    if kind == "PNG":
        page.point(lambda grey: 255 if grey > 127 else 0).save(out, "PNG", optimize=True)  # black and white: small
    else:
        page.save(out, "JPEG", quality=30)
    return out.getvalue()


# The types, each with its name in the "huggingface" schema metadata.
def value(dtype):
    return {"dtype": dtype, "_type": "Value"}, {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}[dtype]


def many(feature):
    return {"feature": feature[0], "_type": "List"}, pa.list_(pa.field("element", feature[1]))


def record(**features):
    return (
        {name: feature[0] for name, feature in features.items()},
        pa.struct([(name, feature[1]) for name, feature in features.items()]),
    )


INT, FLOAT, TEXT = value("int64"), value("float64"), value("string")
IMAGE = {"_type": "Image"}, pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def leaves(columns):
    """The paths of the parquet columns, for example image.bytes and image.path."""
    def below(path, kind):
        if pa.types.is_struct(kind):
            return [leaf for field in kind for leaf in below(f"{path}.{field.name}", field.type)]
        if pa.types.is_list(kind):
            return below(f"{path}.list.element", kind.value_type)
        return [path]

    return [leaf for name, feature in columns.items() for leaf in below(name, feature[1])]


def write(folder, config, columns, rows, files=1):
    """Write rows as FOLDER/CONFIG/test-NNNNN-of-NNNNN.parquet, as the `datasets` library does.

    In v1 and v2 every column is compressed with snappy, as its versions up to 2025 do. In v3 the
    images are not compressed a second time and there is a page index, as version 5 does.
    """
    others = [leaf for leaf in leaves(columns) if not leaf.startswith("image.")]
    recent = {
        "compression": {leaf: "snappy" if leaf in others else "none" for leaf in leaves(columns)},
        "use_dictionary": others,
        "write_page_index": True,
        "use_content_defined_chunking": True,
    }
    options = {"compression": "snappy"} if folder.name in ("v1", "v2") else recent
    info = {"info": {"features": {name: feature[0] for name, feature in columns.items()}}}
    schema = pa.schema(
        [(name, feature[1]) for name, feature in columns.items()], metadata={"huggingface": json.dumps(info)}
    )
    (folder / config).mkdir(parents=True, exist_ok=True)
    size = -(-len(rows) // files)
    for number in range(files):
        part = [dict(zip(columns, row, strict=True)) for row in rows[number * size : (number + 1) * size]]
        pq.write_table(
            pa.Table.from_pylist(part, schema=schema),
            folder / config / f"test-{number:05}-of-{files:05}.parquet",
            # parquet keeps the least and the greatest value of a column, if they have at most 4096
            # bytes. Pages as small as ours would be written up to five times.
            write_statistics=others,
            **options,
        )


def card(folder, configs):
    """The README.md from which `datasets.load_dataset(folder, config)` learns the configs."""
    lines = ["---", "configs:"]
    for config in configs:
        lines += [f"- config_name: {config}", "  data_files:", "  - split: test", f"    path: {config}/test-*"]
    (folder / "README.md").write_text("\n".join(lines + ["---", ""]), encoding="utf-8")


def image(lines, kind="PNG", path=None):
    return {"bytes": page_image(lines, kind), "path": path}


def v1(folder):
    write(folder, "corpus", {"corpus-id": INT, "image": IMAGE},
          [(page, image(lines, path=f"page_{page}.png")) for page, _, _, lines in PAGES])
    write(folder, "queries", {"query-id": INT, "query": TEXT},
          [(10 + n, english) for n, (english, _, _) in enumerate(QUESTIONS)])
    # float64, as in half of the V1 data sets (the others have int64)
    write(folder, "qrels", {"query-id": INT, "corpus-id": INT, "score": FLOAT},
          [(10 + n, page, float(grade)) for n, (_, _, pages) in enumerate(QUESTIONS) for page, grade in pages.items()])
    card(folder, ["corpus", "qrels", "queries"])


def two_languages():
    """4 questions in English and the same 4 in French: (query id, text, language, pages)."""
    for n, (english, french, pages) in enumerate(QUESTIONS[:4]):
        yield 2 * n + 1, english, "english", pages
        yield 20 + n, french, "french", pages


def v2(folder):
    write(folder, "corpus", {"corpus-id": INT, "image": IMAGE, "doc-id": TEXT},
          [(page, image(lines, "JPEG"), document) for page, document, _, lines in PAGES])
    write(folder, "queries", {"query-id": INT, "query": TEXT, "language": TEXT},
          [(query, text, language) for query, text, language, _ in two_languages()])
    rows = [(query, page, grade) for query, _, _, pages in two_languages() for page, grade in pages.items()]
    rows.append((1, 9, 0))  # judged and found not relevant
    write(folder, "qrels", {"query-id": INT, "corpus-id": INT, "score": INT}, rows)
    write(folder, "docs", {"doc-id": TEXT}, [(document,) for document in dict.fromkeys(page[1] for page in PAGES)])
    card(folder, ["corpus", "docs", "qrels", "queries"])


def v3(folder):
    write(folder, "corpus",
          {"corpus_id": INT, "image": IMAGE, "doc_id": TEXT, "markdown": TEXT, "page_number_in_doc": INT},
          [(page, image(lines), document, "# " + "\n\n".join(lines), number) for page, document, number, lines in PAGES],
          files=2)
    write(folder, "queries",
          {"query_id": INT, "query": TEXT, "language": TEXT, "query_types": many(TEXT), "query_format": TEXT,
           "content_type": many(TEXT), "raw_answers": many(TEXT), "query_generator": TEXT,
           "query_generation_pipeline": TEXT, "source_type": TEXT, "query_type_for_generation": TEXT, "answer": TEXT},
          [(query, text, language, ["extractive"], "question", ["Text"], ["See the page."], "human", None, "summary",
            "extractive", "See the page.") for query, text, language, _ in two_languages()])
    box = {"annotator": 0, "x1": 30, "x2": 570, "y1": 70, "y2": 400}
    write(folder, "qrels",
          {"query_id": INT, "corpus_id": INT, "score": INT, "content_type": many(TEXT),
           "bounding_boxes": many(record(annotator=INT, x1=INT, x2=INT, y1=INT, y2=INT))},
          [(query, page, grade, ["Text"], [box]) for query, _, _, pages in two_languages()
           for page, grade in pages.items()])
    documents = list(dict.fromkeys(page[1] for page in PAGES))
    write(folder, "documents_metadata",
          {"file_name": TEXT, "doc_id": TEXT, "url": TEXT, "doc_type": TEXT, "doc_language": TEXT, "doc_year": TEXT,
           "visual_types": many(TEXT), "page_number": INT, "license": TEXT},
          [(document + ".pdf", document, "", "manual", "english", "2026", ["text"],
            sum(page[1] == document for page in PAGES), "cc0-1.0") for document in documents])
    card(folder, ["corpus", "documents_metadata", "qrels", "queries"])


def v3_mteb(folder):
    configs = []
    for wanted in ("english", "french"):
        write(folder, f"{wanted}-corpus", {"image": IMAGE, "id": TEXT},
              [(image(lines), f"corpus-test-{page}") for page, _, _, lines in PAGES])
        write(folder, f"{wanted}-queries", {"language": TEXT, "id": TEXT, "text": TEXT},
              [(language, f"query-test-{query}", text) for query, text, language, _ in two_languages() if language == wanted])
        # the judgements of all languages, in every language, as on the hub
        write(folder, f"{wanted}-qrels", {"query-id": TEXT, "corpus-id": TEXT, "score": INT},
              [(f"query-test-{query}", f"corpus-test-{page}", grade) for query, _, _, pages in two_languages()
               for page, grade in pages.items()])
        configs += [f"{wanted}-corpus", f"{wanted}-qrels", f"{wanted}-queries"]
    card(folder, configs)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for layout in (v1, v2, v3, v3_mteb):
        layout(Path(sys.argv[1]) / layout.__name__)
