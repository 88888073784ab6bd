#!/usr/bin/env python3
"""One layer of each kind of ColQwen2.5-3B on a large page, ours beside torch's, in one run.

    python benches/peer/embed.py [COMMAND...]

Needs torch. COMMAND runs our side, the example `peer-embed` where none is given. Both sides: random weights,
3,072 patches, 779 tokens, CPU time of one thread, best of three, f32 and (where the CPU multiplies it) torch's bf16.
"""
import json, os, pathlib, subprocess, sys, time
import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).parents[2]
PATCHES, TOKENS = 3072, 779
# How often each kind of layer runs for a page.
COUNT = {"vit window": 28, "vit full": 4, "lm": 36}


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
    return best * 1e3


def torchs(dtype):
    return {"vit window": measure(vit(dtype, 64)), "vit full": measure(vit(dtype, PATCHES)), "lm": measure(lm(dtype))}


def main():
    torch.set_num_threads(1)
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    times = {"torch f32": torchs(torch.float32)}
    if "avx512_bf16" in flags or "amx_bf16" in flags:                       # elsewhere it is hundreds of times slower
        times["torch bf16"] = torchs(torch.bfloat16)
    command = sys.argv[1:] or ["cargo", "run", "--quiet", "--release", "--example", "peer-embed"]
    out = subprocess.run(command, cwd=ROOT, env=os.environ | {"RAYON_NUM_THREADS": "1"}, check=True,
                         capture_output=True, text=True).stdout
    ours = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    times["ours f32"] = {line["layer"]: line["ms"] for line in ours}
    print(f"torch {torch.__version__}; ms of CPU a layer, one thread; s a page = 28 window + 4 full + 36 lm")
    print("| |" + "|".join(COUNT) + "|s a page|\n|---|" + "---|" * 4)
    page = {name: sum(COUNT[kind] * ms for kind, ms in row.items()) / 1e3 for name, row in times.items()}
    for name, row in times.items():
        print(f"|{name}|" + "|".join(f"{row[kind]:.0f}" for kind in COUNT) + f"|{page[name]:.1f}|")
    best = min((name for name in page if name != "ours f32"), key=page.get)
    print(f"ours / {best}: " + ", ".join(f"{kind} {times['ours f32'][kind] / times[best][kind]:.2f}" for kind in COUNT)
          + f", page {page['ours f32'] / page[best]:.2f} (below 1 is faster than torch)")


if __name__ == "__main__":
    main()
