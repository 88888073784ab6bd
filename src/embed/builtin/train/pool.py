"""Draws training crops into shards of 256 on disk.

    python pool.py FOLDER words.tsv FIRST COUNT

Shard `n` depends on `n` only. A shard is `n.*.npy` (pixels and maps) and `n.json` (targets); the JSON is written last.
"""
import json
import os
import random
import sys

import numpy as np

from draw import Drawer

SHARD = 256


def write(folder, n, drawer):
    """Draws shard `n` unless it exists."""
    done = os.path.join(folder, "%05d.json" % n)
    if os.path.exists(done):
        return
    drawer.start(1_000_003 * (n + 1))
    crops = [drawer.crop() for _ in range(SHARD)]
    for k, name in ((0, "pixels"), (2, "chars"), (3, "start"), (4, "last")):
        np.save(os.path.join(folder, "%05d.%s.npy" % (n, name)), np.stack([c[k] for c in crops]))
    with open(done + ".part", "w", encoding="utf-8") as f:
        json.dump([[(t, cells, round(em, 1), thirds) for t, cells, em, thirds in c[1]] for c in crops], f)
    os.rename(done + ".part", done)


def main():
    folder, counts, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    os.makedirs(folder, exist_ok=True)
    drawer = Drawer(random.Random(), counts)
    for n in range(first, first + count):
        write(folder, n, drawer)


if __name__ == "__main__":
    main()
