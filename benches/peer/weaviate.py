"""Inserts the same pages into a real Weaviate by `ingest sync` and by the official Python client, interleaved, and searches
them. `weaviate.sh` starts the server and calls this; prints rows of the table of `all.sh`, and two tables on stderr.

Both start with new, empty collections. Ours is timed as a whole process: start, reading SQLite, and counting the stored
pages. The client is timed from arrays in memory to the last acknowledged object, in a connected process. Each insert
method of the client is tried twice, and the fastest one is used.
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
# Distance of a query row from the page row that it is derived from, which has length 1.
BLUR = 0.6
INDEXES = {
    "raw": ["--index", "raw"],
    "MUVERA": ["--index", "muvera"],
    "MUVERA + RQ-8": ["--index", "muvera", "--quantiser", "rq-8"],
}


def env_int(name, default):
    return int(os.environ.get(name, default))


def log(text):
    print(text, file=sys.stderr, flush=True)


class Server:
    """REST client of the server."""

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
        """Deletes all collections, and waits a second for the server to settle."""
        for one in self.rest("GET", "schema")["classes"]:
            self.rest("DELETE", f"schema/{one['class']}")
        time.sleep(1)

    def set_ef(self, collection, ef):
        found = self.rest("GET", f"schema/{collection}")
        found["vectorConfig"][VECTOR]["vectorIndexConfig"]["ef"] = ef
        self.rest("PUT", f"schema/{collection}", found)

    def cpu(self):
        """Processor time so far, in seconds; NaN without /proc."""
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


class CountingProxy:
    """TCP proxy that counts the bytes sent by clients."""

    def __init__(self, to):
        self.to, self.sent, self.lock = to, 0, threading.Lock()
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
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


class IngestRunner:
    """Runs `ingest` with isolated settings and outbox."""

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
        """Creates a library; returns its path and its vectors by page."""
        library, raw_file = f"{self.work}/{name}.db", f"{self.work}/{name}.f32"
        self.run(self.helper, "make", library, raw_file, pages, rows)
        return library, np.fromfile(raw_file, "<f4").reshape(pages, rows, WIDTH)

    def prepare(self, index):
        """Creates our two empty collections by syncing an empty library."""
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


def fixed_size(size, requests):
    def method(collection, pages):
        with collection.batch.fixed_size(batch_size=size, concurrent_requests=requests) as batch:
            add_all(batch, pages)
        assert not collection.batch.failed_objects, collection.batch.failed_objects[0].message

    return method


def stream(requests):
    def method(collection, pages):
        with collection.batch.stream(concurrency=requests) as batch:
            add_all(batch, pages)
        assert not collection.batch.failed_objects, collection.batch.failed_objects[0].message

    return method


def insert_many(size, threads, kind=np.float32):
    def method(collection, pages):
        def send(some):
            new = [DataObject(properties=p, uuid=u, vector={VECTOR: v.astype(kind, copy=False)}) for u, p, v in some]
            reply = collection.data.insert_many(new)
            assert not reply.has_errors, reply.errors

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(send, batches(pages, size)))

    return method


# NumPy's float64 is a Python `float`, which `struct.pack` encodes faster than a float32.
INSERT_METHODS = {
    "`batch.fixed_size(10, 4)`": fixed_size(10, 4),
    "`batch.stream(concurrency=2)`": stream(2),
    "`insert_many` of 50": insert_many(50, 1),
    "`insert_many` of 10 in 3 threads": insert_many(10, 3),
    "`insert_many` of 25 in 3 threads": insert_many(25, 3),
    "`insert_many` of 10 as float64 in 3 threads": insert_many(10, 3, np.float64),
    "`insert_many` of 25 as float64 in 3 threads": insert_many(25, 3, np.float64),
}


class Run:
    """Server, runner and client of a measurement."""

    def __init__(self, args):
        self.server = Server(args)
        self.server.wait()
        self.ours = IngestRunner(args, self.server)
        self.client = self.server.connect()

    def measure(self, who, work, pages):
        """Pages/s, and milliseconds of processor time per page of the client and of the server."""
        usage = lambda: (u := resource.getrusage(who)).ru_utime + u.ru_stime
        start, client_cpu, theirs = time.perf_counter(), usage(), self.server.cpu()
        work()
        wall = time.perf_counter() - start
        return pages / wall, (usage() - client_cpu) / pages * 1e3, (self.server.cpu() - theirs) / pages * 1e3

    def create_client_collection(self, model):
        """Creates an empty collection for the client with the same definition as ours."""
        self.client.collections.create_from_dict({**model, "class": "Theirs"})
        return self.client.collections.get("Theirs")

    def model(self, library, vectors, index):
        """The definition of our collection, and the pages for the client: those that we just stored."""
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

    def run_ingest(self, library, index, pages):
        self.server.clear()
        self.ours.prepare(index)
        return self.measure(resource.RUSAGE_CHILDREN, lambda: self.ours.sync(library, "Ours", index), pages)

    def run_client(self, method, model, pages):
        self.server.clear()
        collection = self.create_client_collection(model)
        return self.measure(resource.RUSAGE_SELF, lambda: INSERT_METHODS[method](collection, pages), len(pages))

    def best_method(self, model, pages):
        rates = {}
        for method in list(INSERT_METHODS) * 2:
            rate = self.run_client(method, model, pages)[0]
            log(f"  {rate:6.1f} pages/s by {method}")
            rates[method] = max(rates.get(method, 0), rate)
        return max(rates, key=rates.get), rates

    def interleave(self, library, index, method, model, pages, rounds):
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(self.run_ingest(library, index, len(pages)))
            theirs.append(self.run_client(method, model, pages))
            log(f"  {index}: ours {ours[-1][0]:.1f}, theirs {theirs[-1][0]:.1f} pages/s")
        return [[statistics.median(column) for column in zip(*side)] for side in (ours, theirs)]

    def bytes_per_page(self, library, index, method, model, pages):
        """Bytes per page sent by each side; compares the stored pages at the end."""
        self.server.clear()
        rest, grpc = CountingProxy(self.server.port), CountingProxy(self.server.grpc)
        self.ours.prepare(index)
        self.ours.sync(library, "Ours", index, rest.port)
        ours, rest.sent = rest.sent, 0
        self.create_client_collection(model)
        with self.server.connect(rest.port, grpc.port) as client:
            INSERT_METHODS[method](client.collections.get("Theirs"), pages)
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


def benchmark_inserts(run):
    """First table: pages/s and their cost."""
    rows = env_int("ROWS", 750)
    counts = {index: env_int("MUVERA", 384) for index in INDEXES} | {"raw": env_int("RAW", 48)}
    table = [
        "| index | ingest, pages/s | Python client, pages/s | ratio | client CPU, ms a page | server CPU, ms a page "
        "| bytes a page |\n|---|---|---|---|---|---|---|"
    ]
    method = notes = None
    for index in ("MUVERA", "MUVERA + RQ-8", "raw"):
        rounds = env_int("RAW_ROUNDS", 3) if index == "raw" else env_int("ROUNDS", 5)
        library, vectors = run.ours.make(index.split()[-1], counts[index], rows)
        model, pages = run.model(library, vectors, index)
        if method is None:
            method, notes = run.best_method(model, pages[: len(pages) // 2])
        ours, theirs = run.interleave(library, index, method, model, pages, rounds)
        sent = run.bytes_per_page(library, index, method, model, pages)
        both = [f"{ours[i]:.1f} / {theirs[i]:.1f}" for i in (1, 2)] + [" / ".join(map(thousands, sent))]
        rates = f"{ours[0]:.1f} | {theirs[0]:.1f} | {ours[0] / theirs[0]:.2f}"
        table.append(f"| {index} | {rates} | {' | '.join(both)} |")
        what = f"into Weaviate, {index}, pages of {rows} x {WIDTH}, pages/s"
        peer = f"weaviate-client {weaviate.__version__}, {method}"
        print(f"| {what} | {ours[0]:.1f} | {theirs[0]:.1f} ({peer}) | {ours[0] / theirs[0]:.2f} |", flush=True)
    log("\n".join(table))
    log(f"\n{counts['MUVERA']} pages a round ({counts['raw']} for raw) of {rows} x {WIDTH}; medians. "
        f"The client's insert methods, best of two, pages/s: {', '.join(f'{w} {r:.0f}' for w, r in notes.items())}.\n")


def make_queries(vectors, count, path):
    """Writes queries: noisy rows of some pages."""
    rng = np.random.default_rng(11)
    asked = []
    for page in rng.choice(len(vectors), count, replace=count > len(vectors)):
        rows = vectors[page][rng.choice(vectors.shape[1], QUERY_ROWS, replace=False)]
        rows = rows + rng.normal(0, BLUR / WIDTH**0.5, rows.shape)
        asked.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    np.concatenate(asked).astype("<f4").tofile(path)


def benchmark_searches(run):
    """Second table: search latency and recall."""
    pages, rows, count = env_int("FIND", 1000), env_int("FIND_ROWS", 200), env_int("QUERIES", 100)
    if pages == 0:
        return
    library, vectors = run.ours.make("find", pages, rows)
    queries = f"{run.ours.work}/queries.f32"
    make_queries(vectors, count, queries)
    table = ["| index | ef | p50, ms | p95, ms | recall@10 |\n|---|---|---|---|---|"]
    for index in INDEXES:
        run.server.clear()
        run.ours.sync(library, "Ours", index)
        for ef in (128, 512):
            run.server.set_ef("Ours", ef)
            run.ours.ask(library, "Ours", queries)
            result = run.ours.ask(library, "Ours", queries)
            assert result["exact_agrees"], "the server's exact search finds other pages than SQLite"
            table.append(f"| {index} | {ef} | {result['p50']:.1f} | {result['p95']:.1f} | {result['recall']:.3f} |")
    asked = f"{count} queries of {QUERY_ROWS} rows by `ingest`'s own search, after one warm-up pass"
    log("\n".join(table))
    log(f"\n{pages} pages of {rows} x {WIDTH}, {asked}.")


def free_ports():
    """Six free ports in a row; gossip and data are adjacent by convention."""
    for first in range(21_003, 32_000, 8):
        sockets = []
        try:
            for port in range(first, first + 6):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sockets.append(socket.socket(socket.AF_INET, kind))
                    sockets[-1].bind(("0.0.0.0", port))
            return range(first, first + 6)
        except OSError:
            continue
        finally:
            for one in sockets:
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
        benchmark_inserts(run)
        benchmark_searches(run)
    finally:
        run.client.close()


if __name__ == "__main__":
    main()
