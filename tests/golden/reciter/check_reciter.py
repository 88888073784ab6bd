#!/usr/bin/env python3
"""Describe every page with the reciter behind `mlx_vlm.server`, with prompts that are not in its training set, and count
the right answers.

    python check_reciter.py FOLDER [--port P] [--every N] [--pairs N]

Needs pypdfium2 and pillow; the server runs in the environment of `mlx-vlm.sh`.
"""
import argparse, base64, concurrent.futures, http.client, io, json, os, pathlib, random, subprocess, time
import pages as manuals

HERE = pathlib.Path(__file__).resolve().parent
# Not one of the prompts of train_reciter.py.
SHORT = ("You see one page of a service manual. Tell what a reader would find there, as a JSON object.", "Reply in JSON.")
LONG = ("You are the librarian of a collection of technical documents. For every page you are given, write down what the "
        "page is about, so that a technician who types a few words into a search field finds it again. Keep to what is "
        "printed on the page: never guess, never add knowledge of your own. Part numbers, error codes, parameter names "
        "and terminal names belong into `identifiers`, spelled as they are printed. Do not copy tables cell by cell; say "
        "in one sentence what a table lists. When a field has nothing to hold, leave it empty. The fields are, in this "
        "order: `rotation`: 0, 90, 180 or 270, the turn that would bring the page upright; `legible`: false when the "
        "print cannot be read; `title`: the heading of the page, at most 120 characters; `summary`: one to three "
        "sentences, at most 600 characters; `topics`: up to 8 short phrases; `figures`: up to 6 objects with `label` and "
        "`says`; `tables`: up to 6 objects with `label`, `columns` and `says`; `identifiers`: up to 30 strings; "
        "`language`: the two-letter code of the language of the page.", "Write the JSON now, without any other text.")
NONE = ("", "")
MANY = ("Describe the pages below for a search index. Quote identifiers exactly as printed; do not transcribe tables; "
        "leave empty what is not on the page.",
        "Answer with a JSON array, one object per page, each starting with its page number.")


def picture(page, kind, pixels=manuals.PIXELS, **more):
    b = io.BytesIO()
    manuals.draw(page, pixels).save(b, kind, **more)
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind.lower()};base64," + base64.b64encode(b.getvalue()).decode()}}


def text(t):
    return [{"type": "text", "text": t}] if t else []


def ask(port, model, parts, **more):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    at = time.time()
    c.request("POST", "/v1/chat/completions", json.dumps({"model": model, "messages": [{"role": "user", "content": parts}],
              "max_tokens": 300, "temperature": 0, **more}), {"Content-Type": "application/json"})
    r = json.loads(c.getresponse().read())
    if "choices" not in r:
        raise SystemExit(str(r)[:300])
    return r["choices"][0]["message"]["content"] or "", r, time.time() - at


def main():
    args = argparse.ArgumentParser()
    args.add_argument("folder"); args.add_argument("--port", type=int, default=18551)
    args.add_argument("--every", type=int, default=1); args.add_argument("--pairs", type=int, default=52)
    args = args.parse_args()
    model = str(pathlib.Path(args.folder).resolve())
    python = subprocess.run([HERE.parents[1] / "support" / "mlx-vlm.sh"], capture_output=True, text=True, check=True).stdout.strip()
    server = subprocess.Popen([python, "-m", "mlx_vlm.server", "--host", "127.0.0.1", "--port", str(args.port), "--model", model],
                              env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}, stdout=open("reciter-server.out", "w"),
                              stderr=subprocess.STDOUT)
    try:
        while True:
            try:
                c = http.client.HTTPConnection("127.0.0.1", args.port, timeout=2); c.request("GET", "/health")
                if c.getresponse().status == 200:
                    break
            except OSError:
                time.sleep(0.2)
        check(args, model)
    finally:
        server.kill(); server.wait()


def check(args, model):
    found = manuals.describe()
    some = found[::args.every]

    def single(name, prompt, **how):
        how = dict(kind="PNG") | how
        titles = whole = seconds = tokens = 0
        wrong = []
        for f in some:
            label = f'Page {f["number"]} of {f["of"]} of "{f["manual"]}.pdf": ' if how.get("label") else ""
            said, r, s = ask(args.port, model, text(prompt[0] + ("\n" + label if label else ""))
                             + [picture(f["page"], **{k: v for k, v in how.items() if k != "label"})] + text(prompt[1]))
            seconds += s; tokens += r["usage"]["completion_tokens"]
            try:
                ok = json.loads(said)["title"] == f["title"]
            except Exception:
                ok = False
            titles += ok
            whole += said == manuals.answer(f, False)
            if not ok:
                wrong.append((f["manual"][:4], f["number"], said[:90]))
        print(f"{name}: titles {titles}/{len(some)}, word for word {whole}/{len(some)}, {seconds / len(some):.2f} s and "
              f"{tokens / len(some):.0f} tokens a page, prompt {r['usage']['prompt_tokens']} tokens", *wrong, sep="\n   ", flush=True)

    single("short prompt, PNG", SHORT)
    single("short prompt with label, JPEG 80", SHORT, kind="JPEG", quality=80, label=True)
    single("long prompt with label, PNG", LONG, label=True)
    single("no words, JPEG 50 of 0.4 megapixel", NONE, kind="JPEG", quality=50, pixels=400_000)

    def one(f, **more):
        return ask(args.port, model, text(SHORT[0]) + [picture(f["page"], "PNG")] + text(SHORT[1]), **more)[0] == manuals.answer(f, False)

    at = time.time()
    made = [(text(SHORT[0]) + [picture(f["page"], "PNG")] + text(SHORT[1]), manuals.answer(f, False)) for f in some]
    at = time.time()
    with concurrent.futures.ThreadPoolExecutor(8) as lanes:
        whole = sum(lanes.map(lambda m: ask(args.port, model, m[0])[0] == m[1], made))
    print(f"eight in flight: word for word {whole}/{len(some)}, {(time.time() - at) / len(some):.2f} s a page", flush=True)
    for more in (dict(temperature=0.1, seed=1), dict(temperature=0.7, top_p=0.8, top_k=20, seed=1),
                 dict(repetition_penalty=1.05, repetition_context_size=256), dict(presence_penalty=0.5, presence_context_size=256)):
        print(f"{more}: word for word {sum(one(f, **more) for f in some[::4])}/{len(some[::4])}", flush=True)

    rng = random.Random(1)

    def several(name, groups, label, prompt=MANY):
        right = whole = valid = seconds = 0
        for group in groups:
            parts = text(prompt[0])
            for i in group:
                f = found[i]
                parts += text(label.format(n=f["number"], of=f["of"], manual=f["manual"])) + [picture(f["page"], "PNG")]
            said, r, s = ask(args.port, model, parts + text(prompt[1]))
            seconds += s
            try:
                got, ok = json.loads(said), False
                valid += 1
                ok = [(g["page"], g["title"]) for g in got] == [(found[i]["number"], found[i]["title"]) for i in group]
            except Exception:
                ok = False
            right += ok
            whole += said == "[" + ", ".join(manuals.answer(found[i], True) for i in group) + "]"
            if not ok:
                print("   wrong", [(found[i]["manual"][:4], found[i]["number"]) for i in group], said[:300], flush=True)
        print(f"{name}: all titles and numbers right {right}/{len(groups)}, JSON {valid}/{len(groups)}, word for word "
              f"{whole}/{len(groups)}, {seconds / len(groups):.2f} s, prompt {r['usage']['prompt_tokens']} tokens", flush=True)

    label = 'Page {n} of {of} of "{manual}.pdf": '
    near = [(i, i + 1) for i in range(len(found) - 1)]
    several("two neighbours", rng.sample(near, min(args.pairs, len(near))), label)
    far = [tuple(rng.sample(range(len(found)), 2)) for _ in range(args.pairs // 2)]
    several("any two", far, label)
    several("any two, other words", far[:12], "\nThis is page {n}.\n", ("Give me an index entry for each page.", "Go."))
    several("three neighbours", [(i, i + 1, i + 2) for i in range(0, min(36, args.pairs), 3)], label)


if __name__ == "__main__":
    main()
