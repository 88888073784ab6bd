"""A describing model in the process, `ingest` beside mlx-vlm; `describe.sh` calls this. Prints Markdown.

The same tiny models with random weights and the same pictures on both sides, f32, greedy, every answer as long as it may
be: what is compared is all that stands around the arithmetic, from the file of a picture to words. In turns, medians.

    describe.py PEER-DESCRIBE MODEL...
"""
import json, os, pathlib, statistics, subprocess, sys, time
from importlib.metadata import version

import mlx.core as mx
from mlx.utils import tree_map
from mlx_vlm import apply_chat_template, batch_generate, generate, load

TOKENS, LANES, WORDS = 128, 4, "What is on this page?"
PICTURES = ["tests/golden/pages/page_0.png"] * LANES
# Where the MLX lies that ours is linked with; theirs is another release.
OURS = os.environ | {"LD_LIBRARY_PATH": os.environ.get("OUR_MLX", "")}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Peer:
    """A model, as mlx-vlm runs it, in f32."""

    def __init__(self, folder):
        self.model, self.processor = load(folder)
        wide = lambda x: x.astype(mx.float32) if x.dtype == mx.bfloat16 else x
        self.model.update(tree_map(wide, self.model.parameters()))
        self.prompt = apply_chat_template(self.processor, self.model.config, WORDS, num_images=1)

    def one_by_one(self):
        how = dict(max_tokens=TOKENS, temperature=0.0)
        return [generate(self.model, self.processor, self.prompt, image=[p], **how).text for p in PICTURES]

    def together(self):
        prompts = [WORDS] * len(PICTURES)  # It applies the template itself.
        return batch_generate(self.model, self.processor, PICTURES, prompts=prompts, max_tokens=TOKENS).texts


def timed(work):
    begun = time.perf_counter()
    said = work()
    return time.perf_counter() - begun, said


def compare(program, folder, rounds):
    peer, name = Peer(folder), pathlib.Path(folder).name
    for lanes, way in ((1, peer.one_by_one), (LANES, peer.together)):
        ours, theirs = [], []
        way()
        for turn in range(rounds):
            command = [program, folder, str(TOKENS), str(lanes), WORDS, *PICTURES]
            told = json.loads(subprocess.check_output(command, env=OURS))
            ours.append(told["seconds"][1])
            seconds, said = timed(way)
            theirs.append(seconds)
            say(f"{name}, {lanes} at once, round {turn + 1}: ingest {ours[-1]:.2f} s, mlx-vlm {seconds:.2f} s")
        same = sum(a == b for a, b in zip(told["said"], said))
        if same < len(said):
            sys.exit(f"{name}, {lanes} at once: only {same} of {len(said)} answers are equal")
        ours, theirs = (len(PICTURES) * TOKENS / statistics.median(times) for times in (ours, theirs))
        what = f"describe pages with a tiny {name} on MLX, {lanes} at once, tokens/s with all that stands around"
        print(f"| {what} | {ours:.0f} | {theirs:.0f} (mlx-vlm {version('mlx-vlm')}, same BLAS, equal answers) "
              f"| {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    for model in sys.argv[2:]:
        compare(os.path.abspath(sys.argv[1]), model, int(os.environ.get("ROUNDS", 5)))
