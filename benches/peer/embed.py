"""Benchmark of ColQwen2.5-3B and ColQwen3-2B on a CPU: `ingest`, torch and colpali-engine; called by `embed.sh`. Prints
Markdown.

Two comparisons, f32 on both sides. By layer: one of each kind on a page of 3,072 patches and 779 tokens, CPU time of one
thread, best of three, summed up for a page of the whole model; torch may use bf16 where the CPU supports it. End
to end: a random checkpoint of the real widths with few of the layers, the same weights and images on both sides, on all
cores, from pixels to vectors, in alternating rounds.
"""
import json, os, statistics, subprocess, sys, time
from importlib.metadata import version
import numpy as np
import torch
import torch.nn.functional as F

PATCHES, TOKENS = 3072, 779
# Layers of each kind in the model.
COUNT = {"vit window": 28, "vit full": 4, "lm": 36}


def log(text):
    print(text, file=sys.stderr, flush=True)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def vit(dtype, window):
    n = lambda *shape: torch.randn(*shape).mul_(0.02).to(dtype)
    qkv, proj, gate, up, down = n(3840, 1280), n(1280, 1280), n(3420, 1280), n(3420, 1280), n(1280, 3420)
    b3, b1, bi, norm = n(3840), n(1280), n(3420), n(1280)
    cos, sin = torch.randn(PATCHES, 40), torch.randn(PATCHES, 40)

    def forward(x):
        y = F.linear(F.rms_norm(x, (1280,), norm, 1e-6), qkv, b3).view(PATCHES, 3, 16, 80).permute(1, 2, 0, 3)
        q, k, v = rotate(y[0].float(), cos, sin).to(dtype), rotate(y[1].float(), cos, sin).to(dtype), y[2]
        cut = lambda t: t.reshape(16, PATCHES // window, window, 80).transpose(0, 1)
        y = F.scaled_dot_product_attention(cut(q), cut(k), cut(v))
        x = x + F.linear(y.transpose(1, 2).reshape(PATCHES, 1280), proj, b1)
        y = F.rms_norm(x, (1280,), norm, 1e-6)
        return x + F.linear(F.silu(F.linear(y, gate, bi)) * F.linear(y, up, bi), down, b1)

    return forward, n(PATCHES, 1280)


def lm(dtype):
    n = lambda *shape: torch.randn(*shape).mul_(0.02).to(dtype)
    wq, wk, wv, wo = n(2048, 2048), n(256, 2048), n(256, 2048), n(2048, 2048)
    gate, up, down, norm, bq, bk = n(11008, 2048), n(11008, 2048), n(2048, 11008), n(2048), n(2048), n(256)
    cos, sin = n(TOKENS, 64), n(TOKENS, 64)

    def forward(x):
        y = F.rms_norm(x, (2048,), norm, 1e-6)
        heads = lambda t: t.view(1, TOKENS, -1, 128).transpose(1, 2)
        q, k, v = heads(F.linear(y, wq, bq)), heads(F.linear(y, wk, bk)), heads(F.linear(y, wv, bk))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + F.linear(y.transpose(1, 2).reshape(TOKENS, 2048), wo)
        y = F.rms_norm(x, (2048,), norm, 1e-6)
        return x + F.linear(F.silu(F.linear(y, gate)) * F.linear(y, up), down)

    return forward, n(TOKENS, 2048)


def measure(layer):
    forward, x = layer
    best = float("inf")
    with torch.inference_mode():
        forward(x)
        for _ in range(3):
            start = time.process_time()
            forward(x)
            best = min(best, time.process_time() - start)
    return best


def torch_times(dtype):
    return {"vit window": measure(vit(dtype, 64)), "vit full": measure(vit(dtype, PATCHES)), "lm": measure(lm(dtype))}


def by_layer(run):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    times = {"f32": torch_times(torch.float32)}
    if "avx512_bf16" in flags or "amx_bf16" in flags:                       # on other CPUs bf16 is hundreds of times slower
        times["bf16"] = torch_times(torch.bfloat16)
    torch.set_num_threads(threads)
    times["ours"] = run("layers", "colqwen2.5", RAYON_NUM_THREADS="1")
    page = {name: sum(COUNT[kind] * layer[kind] for kind in COUNT) for name, layer in times.items()}
    for name, layer in times.items():
        log(f"ms a layer, {name}: " + ", ".join(f"{kind} {layer[kind] * 1e3:.0f}" for kind in COUNT))
    best = min((name for name in page if name != "ours"), key=page.get)
    row("ColQwen2.5-3B, a large page summed up by layer, f32, s of one core", page["ours"], page[best], 1,
        f"torch {version('torch')}, {best}")


class Colpali:
    """The checkpoint on colpali-engine."""

    def __init__(self, folder, family):
        from colpali_engine import models
        model, processor = {"colqwen2.5": (models.ColQwen2_5, models.ColQwen2_5_Processor),
                            "colqwen3": (models.ColQwen3, models.ColQwen3Processor)}[family]
        self.model = model.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = processor.from_pretrained(folder)

    def embed(self, image):
        with torch.inference_mode():
            batch = self.processor.process_images([image])
            return self.model(**batch)[0][batch["attention_mask"][0].bool()].numpy()


def page_images(work, count):
    """Pages of a sample manual, as files and as images."""
    import pypdfium2
    manual = pypdfium2.PdfDocument("manuals/heat-pump-service-manual.pdf")
    both = []
    for number in range(count):
        both.append((f"{work}/{number}.png", manual[number + 7].render(scale=150 / 72).to_pil().convert("RGB")))
        both[-1][1].save(both[-1][0])
    return zip(*both)


def whole(run, work, rounds, family, name):
    files, pages = page_images(work, 2)
    peer, ours, theirs = Colpali(f"{work}/{family}", family), [], []
    for turn in range(rounds):
        ours += run("pages", family, f"{work}/ours.f32", *files)
        made = []
        for page in pages:
            start = time.perf_counter()
            made.append(peer.embed(page))
            theirs.append(time.perf_counter() - start)
        log(f"{family}, round {turn + 1}, s a page: ingest {statistics.median(ours):.2f}, "
            f"colpali-engine {statistics.median(theirs):.2f}")
    made = np.concatenate(made)
    mine = np.fromfile(f"{work}/ours.f32", "<f4").reshape(-1, made.shape[1])
    assert mine.shape == made.shape, "the numbers of vectors differ"
    apart = np.abs(mine - made).max()
    assert apart < 1e-2, f"the vectors differ by {apart}"
    row(f"{name}, from pixels to vectors, f32, all cores, pages/s",
        1 / statistics.median(ours), 1 / statistics.median(theirs), -1,
        f"colpali-engine {version('colpali-engine')}, same weights; vectors differ by {apart:.0e} at most")


def row(what, ours, theirs, sense, peer):
    """Prints a table row; `sense` is 1 if less is better, -1 if more is better."""
    print(f"| {what} | {ours:.3g} | {theirs:.3g} ({peer}) | {(theirs / ours) ** sense:.2f} |", flush=True)


def main():
    program, work = os.path.abspath(sys.argv[1]), sys.argv[2]

    def run(what, family, *words, **env):
        command = [program, what, f"{work}/{family}", *words]
        return json.loads(subprocess.check_output(command, env=os.environ | env) or b"null")

    for family in ["colqwen2.5", "colqwen3"]:
        os.mkdir(f"{work}/{family}")
        run("make", family, family)
    by_layer(run)
    rounds = int(os.environ.get("ROUNDS", 3))
    whole(run, work, rounds, "colqwen2.5", "the same model cut to 4 of 32 and 4 of 36 layers")
    whole(run, work, rounds, "colqwen3", "ColQwen3-2B cut to 4 of 24 and 4 of 28 layers")


if __name__ == "__main__":
    main()
