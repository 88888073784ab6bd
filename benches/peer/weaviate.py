"""Puts the same pages into a real Weaviate by `ingest sync` and by Weaviate's own Python client, in turns, and looks
for them. `weaviate.sh` starts the server and calls this; prints rows of the table of `all.sh`, and two tables on stderr.

Both start with fresh, empty collections. Ours is the whole process: its start, reading SQLite, and counting what
arrived. Theirs is timed from arrays in memory to the last acknowledged object, in a process that runs and is connected.
Of the client's ways in, each is tried twice, and the fastest one takes part.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import weaviate
from weaviate.classes.data import DataObject
from weaviate.classes.init import AdditionalConfig, Timeout

HOST = "127.0.0.1"
VECTOR = "colqwen"
WIDTH = 128
QUERY_ROWS = 20
# How far a row of a question lies from the row of a page that it was made of, which has length 1.
BLUR = 0.6
INDEXES = {
    "raw": ["--index", "raw"],
    "MUVERA": ["--index", "muvera"],
    "MUVERA + RQ-8": ["--index", "muvera", "--quantiser", "rq-8"],
}


def setting(name, default):
    return int(os.environ.get(name, default))


def say(text):
    print(text, file=sys.stderr, flush=True)


class Server:
    """The server, over REST."""

    def __init__(self, args):
        self.pid, self.port, self.grpc = args.server, args.rest, args.grpc

    def wait(self):
        for _ in range(1200):
            try:
                self.rest("GET", ".well-known/ready")
                socket.create_connection((HOST, self.grpc)).close()
                return
            except OSError:
                os.kill(self.pid, 0)
                time.sleep(0.1)
        sys.exit("Weaviate is not ready after 120 s")

    def rest(self, method, path, body=None):
        url, data = f"http://{HOST}:{self.port}/v1/{path}", body and json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as reply:
            return json.loads(reply.read() or b"null")

    def clear(self):
        """Takes all collections away, and lets the server come to rest."""
        for one in self.rest("GET", "schema")["classes"]:
            self.rest("DELETE", f"schema/{one['class']}")
        time.sleep(1)

    def set_ef(self, collection, ef):
        found = self.rest("GET", f"schema/{collection}")
        found["vectorConfig"][VECTOR]["vectorIndexConfig"]["ef"] = ef
        self.rest("PUT", f"schema/{collection}", found)

    def cpu(self):
        """Seconds of processor time so far; not a number where there is no /proc."""
        try:
            words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def connect(self, rest=None, grpc=None):
        return weaviate.connect_to_custom(
            HOST, rest or self.port, False, HOST, grpc or self.grpc, False,
            additional_config=AdditionalConfig(timeout=Timeout(insert=600, query=600)),
        )  # fmt: skip


class Wire:
    """Hands on what comes to a port, and counts what clients send."""

    def __init__(self, to):
        self.to, self.sent, self.lock = to, 0, threading.Lock()
        self.door = socket.create_server((HOST, 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            client, _ = self.door.accept()
            threading.Thread(target=self.both_ways, args=(client,), daemon=True).start()

    def both_ways(self, client):
        with client, socket.create_connection((HOST, self.to)) as server:
            back = threading.Thread(target=self.pump, args=(server, client, False), daemon=True)
            back.start()
            self.pump(client, server, True)
            back.join()

    def pump(self, source, target, count):
        try:
            while data := source.recv(1 << 16):
                with self.lock:
                    self.sent += len(data) if count else 0
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Ours:
    """`ingest`, with settings and an outbox that are nobody's."""

    def __init__(self, args, server):
        self.ingest, self.helper, self.server = Path(args.ingest).resolve(), Path(args.ours).resolve(), server
        self.work = args.work
        home = {"HOME": args.work, "XDG_DATA_HOME": args.work, "XDG_CONFIG_HOME": args.work}
        self.env = {"PATH": os.environ["PATH"], "no_proxy": HOST, **home}

    def run(self, program, *words):
        done = subprocess.run([program, *map(str, words)], env=self.env, cwd=self.work, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{program.name} {words[0]}: {done.stderr[-2000:]}")
        return json.loads(done.stdout or "null")

    def make(self, name, pages, rows):
        """A library and its vectors, by page."""
        library, bare = f"{self.work}/{name}.db", f"{self.work}/{name}.f32"
        self.run(self.helper, "make", library, bare, pages, rows)
        return library, np.fromfile(bare, "<f4").reshape(pages, rows, WIDTH)

    def prepare(self, index):
        """Our two collections, empty, by a library without pages."""
        empty = f"{self.work}/empty.db"
        if not Path(empty).exists():
            self.make("empty", 0, 1)
        self.sync(empty, "Ours", index)

    def sync(self, library, collection, index, port=None):
        url = f"http://{HOST}:{port or self.server.port}"
        to = ["--to", url, "--to-collection", collection, *INDEXES[index], "--json"]
        return self.run(self.ingest, "sync", "--from", library, *to)

    def ask(self, library, collection, queries):
        return self.run(self.helper, "ask", f"http://{HOST}:{self.server.port}", collection, library, queries)


def batches(pages, size):
    for first in range(0, len(pages), size):
        yield pages[first : first + size]


def add_all(batch, pages):
    for uuid, properties, vectors in pages:
        batch.add_object(properties=properties, uuid=uuid, vector={VECTOR: vectors})


def fixed(size, requests):
    def way(collection, pages):
        with collection.batch.fixed_size(batch_size=size, concurrent_requests=requests) as batch:
            add_all(batch, pages)
        assert not collection.batch.failed_objects, collection.batch.failed_objects[0].message

    return way


def stream(requests):
    def way(collection, pages):
        with collection.batch.stream(concurrency=requests) as batch:
            add_all(batch, pages)
        assert not collection.batch.failed_objects, collection.batch.failed_objects[0].message

    return way


def many(size, threads, kind=np.float32):
    def way(collection, pages):
        def send(some):
            new = [DataObject(properties=p, uuid=u, vector={VECTOR: v.astype(kind, copy=False)}) for u, p, v in some]
            reply = collection.data.insert_many(new)
            assert not reply.has_errors, reply.errors

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(send, batches(pages, size)))

    return way


# A float64 of NumPy is a `float` of Python, which `struct.pack` takes faster than a float32.
WAYS = {
    "`batch.fixed_size(10, 4)`": fixed(10, 4),
    "`batch.stream(concurrency=2)`": stream(2),
    "`insert_many` of 50": many(50, 1),
    "`insert_many` of 10 in 3 threads": many(10, 3),
    "`insert_many` of 25 in 3 threads": many(25, 3),
    "`insert_many` of 10 as float64 in 3 threads": many(10, 3, np.float64),
    "`insert_many` of 25 as float64 in 3 threads": many(25, 3, np.float64),
}


class Run:
    """Everything one measurement needs."""

    def __init__(self, args):
        self.server = Server(args)
        self.server.wait()
        self.ours = Ours(args, self.server)
        self.client = self.server.connect()

    def clocked(self, who, work, pages):
        """Pages a second, and milliseconds of processor time a page, of the client and of the server."""
        usage = lambda: (u := resource.getrusage(who)).ru_utime + u.ru_stime
        start, mine, theirs = time.perf_counter(), usage(), self.server.cpu()
        work()
        wall = time.perf_counter() - start
        return pages / wall, (usage() - mine) / pages * 1e3, (self.server.cpu() - theirs) / pages * 1e3

    def make_theirs(self, model):
        """An empty collection for the client, made as ours was."""
        self.client.collections.create_from_dict({**model, "class": "Theirs"})
        return self.client.collections.get("Theirs")

    def model(self, library, vectors, index):
        """Our collection's definition, and the pages that the client is to store: what we have just stored."""
        self.server.clear()
        self.ours.sync(library, "Ours", index)
        model = self.server.rest("GET", "schema/Ours")
        names = [one["name"] for one in model["properties"]]
        pages = []
        for found in self.client.collections.get("Ours").iterator(return_properties=names):
            properties = {name: value for name, value in found.properties.items() if value is not None}
            pages.append((found.uuid, properties, vectors[properties["page_number"] - 1]))
        pages.sort(key=lambda page: page[1]["page_number"])
        assert len(pages) == len(vectors), f"{len(pages)} pages of {len(vectors)} are there"
        return model, pages

    def one_of_ours(self, library, index, pages):
        self.server.clear()
        self.ours.prepare(index)
        return self.clocked(resource.RUSAGE_CHILDREN, lambda: self.ours.sync(library, "Ours", index), pages)

    def one_of_theirs(self, way, model, pages):
        self.server.clear()
        collection = self.make_theirs(model)
        return self.clocked(resource.RUSAGE_SELF, lambda: WAYS[way](collection, pages), len(pages))

    def best_way(self, model, pages):
        rates = {}
        for way in list(WAYS) * 2:
            rate = self.one_of_theirs(way, model, pages)[0]
            say(f"  {rate:6.1f} pages/s by {way}")
            rates[way] = max(rates.get(way, 0), rate)
        return max(rates, key=rates.get), rates

    def in_turns(self, library, index, way, model, pages, rounds):
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(self.one_of_ours(library, index, len(pages)))
            theirs.append(self.one_of_theirs(way, model, pages))
            say(f"  {index}: ours {ours[-1][0]:.1f}, theirs {theirs[-1][0]:.1f} pages/s")
        return [[statistics.median(column) for column in zip(*side)] for side in (ours, theirs)]

    def wires(self, library, index, way, model, pages):
        """Bytes a page that clients send; compares at the end what both have stored."""
        self.server.clear()
        rest, grpc = Wire(self.server.port), Wire(self.server.grpc)
        self.ours.prepare(index)
        self.ours.sync(library, "Ours", index, rest.port)
        ours, rest.sent = rest.sent, 0
        self.make_theirs(model)
        with self.server.connect(rest.port, grpc.port) as client:
            WAYS[way](client.collections.get("Theirs"), pages)
        self.compare(pages)
        return ours / len(pages), (rest.sent + grpc.sent) / len(pages)

    def compare(self, pages):
        both = [self.client.collections.get(name) for name in ("Ours", "Theirs")]
        for side in both:
            count = side.aggregate.over_all(total_count=True).total_count
            assert count == len(pages), f"{side.name} holds {count} pages of {len(pages)}"
        for uuid, _, vectors in pages[:: max(1, len(pages) // 3)]:
            ours, theirs = (side.query.fetch_object_by_id(uuid, include_vector=True) for side in both)
            assert np.array_equal(np.array(ours.vector[VECTOR], "f4"), vectors), f"{uuid} differs from its source"
            assert ours.vector == theirs.vector and ours.properties == theirs.properties, f"{uuid} differs"


def thousands(number):
    return f"{number:,.0f}"


def storing(run):
    """The first table: pages a second, and what they cost."""
    rows = setting("ROWS", 750)
    counts = {index: setting("MUVERA", 384) for index in INDEXES} | {"raw": setting("RAW", 48)}
    table = [
        "| index | ingest, pages/s | Python client, pages/s | ratio | client CPU, ms a page | server CPU, ms a page "
        "| bytes a page |\n|---|---|---|---|---|---|---|"
    ]
    way = notes = None
    for index in ("MUVERA", "MUVERA + RQ-8", "raw"):
        rounds = setting("RAW_ROUNDS", 3) if index == "raw" else setting("ROUNDS", 5)
        library, vectors = run.ours.make(index.split()[-1], counts[index], rows)
        model, pages = run.model(library, vectors, index)
        if way is None:
            way, notes = run.best_way(model, pages[: len(pages) // 2])
        ours, theirs = run.in_turns(library, index, way, model, pages, rounds)
        wire = run.wires(library, index, way, model, pages)
        both = [f"{ours[i]:.1f} / {theirs[i]:.1f}" for i in (1, 2)] + [" / ".join(map(thousands, wire))]
        rates = f"{ours[0]:.1f} | {theirs[0]:.1f} | {ours[0] / theirs[0]:.2f}"
        table.append(f"| {index} | {rates} | {' | '.join(both)} |")
        what = f"into Weaviate, {index}, pages of {rows} x {WIDTH}, pages/s"
        peer = f"weaviate-client {weaviate.__version__}, {way}"
        print(f"| {what} | {ours[0]:.1f} | {theirs[0]:.1f} ({peer}) | {ours[0] / theirs[0]:.2f} |", flush=True)
    say("\n".join(table))
    say(f"\n{counts['MUVERA']} pages a round ({counts['raw']} for raw) of {rows} x {WIDTH}; medians. "
        f"The client's ways, best of two, pages/s: {', '.join(f'{w} {r:.0f}' for w, r in notes.items())}.\n")


def questions(vectors, count, path):
    """Noisy rows of some pages."""
    rng = np.random.default_rng(11)
    asked = []
    for page in rng.choice(len(vectors), count, replace=count > len(vectors)):
        rows = vectors[page][rng.choice(vectors.shape[1], QUERY_ROWS, replace=False)]
        rows = rows + rng.normal(0, BLUR / WIDTH**0.5, rows.shape)
        asked.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    np.concatenate(asked).astype("<f4").tofile(path)


def finding(run):
    """The second table: how fast and how well pages are found."""
    pages, rows, count = setting("FIND", 1000), setting("FIND_ROWS", 200), setting("QUERIES", 100)
    if pages == 0:
        return
    library, vectors = run.ours.make("find", pages, rows)
    queries = f"{run.ours.work}/queries.f32"
    questions(vectors, count, queries)
    table = ["| index | ef | p50, ms | p95, ms | recall@10 |\n|---|---|---|---|---|"]
    for index in INDEXES:
        run.server.clear()
        run.ours.sync(library, "Ours", index)
        for ef in (128, 512):
            run.server.set_ef("Ours", ef)
            run.ours.ask(library, "Ours", queries)
            seen = run.ours.ask(library, "Ours", queries)
            assert seen["exact_agrees"], "the server's exact search finds other pages than SQLite"
            table.append(f"| {index} | {ef} | {seen['p50']:.1f} | {seen['p95']:.1f} | {seen['recall']:.3f} |")
    asked = f"{count} questions of {QUERY_ROWS} rows by `ingest`'s own search, asked once before"
    say("\n".join(table))
    say(f"\n{pages} pages of {rows} x {WIDTH}, {asked}.")


def free_ports():
    """Six ports that nobody has; gossip and data are neighbours by convention."""
    for first in range(21_003, 32_000, 8):
        held = []
        try:
            for port in range(first, first + 6):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    held.append(socket.socket(socket.AF_INET, kind))
                    held[-1].bind(("0.0.0.0", port))
            return range(first, first + 6)
        except OSError:
            continue
        finally:
            for one in held:
                one.close()
    sys.exit("no six free ports in a row")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["ports", "bench"])
    for number in ("--server", "--rest", "--grpc"):
        parser.add_argument(number, type=int)
    for path in ("--work", "--ingest", "--ours"):
        parser.add_argument(path)
    args = parser.parse_args()
    if args.what == "ports":
        print(*free_ports())
        return
    run = Run(args)
    try:
        storing(run)
        finding(run)
    finally:
        run.client.close()


if __name__ == "__main__":
    main()
