"""What tests of the client fetch: small signed models, a runner that needs no torch, and hosts that misbehave."""

import hashlib
import re
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom.core.depth import DepthOrder
from airloom.core.progressive import STATISTICS, Architecture, Configuration, Manifest, Part, encodings_of
from airloom.deliver.artifact import EncodedChunk, describe_chunks, describe_file, write_artifact
from airloom.deliver.signing import public_text
from airloom.wire.weights import chunk_labels, encode_part

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = public_text(KEY.public_key())


def write_weights(
    folder, *, name="tiny", blocks=3, rows=64, precisions=("fp32", "bits-4", "bits-6"), seed=0, released=0, file=b""
):
    """A model of real chunks: a base and `blocks` blocks of `rows` x 64 weights, statistics at each depth."""
    rng = np.random.default_rng(seed)
    names = ("base", *(f"b{k}" for k in range(blocks)))
    arrays = [{f"{part}.weight": rng.standard_normal((rows, 64)).astype(np.float32)} for part in names]
    depths = tuple(range(1, blocks + 1))
    chunks = []
    for encoding in dict.fromkeys(e for precision in precisions for e in encodings_of(precision)):
        for k, part in enumerate(names):
            labels = chunk_labels(name, part, encoding)
            chunks.append(EncodedChunk(encode_part(arrays[k], encoding, labels=labels), k, encoding))
    for depth in depths:
        labels = chunk_labels(name, "base", STATISTICS, depth)
        data = encode_part({"norm.running_mean": np.full(4, depth, np.float32)}, STATISTICS, labels=labels)
        chunks.append(EncodedChunk(data, 0, STATISTICS, depth))
    bare = Manifest(
        model=name, architecture=Architecture(kind="zoo", name="mlp", blocks=names[1:]), inputs=("1x4:float32",),
        parts=tuple(Part(name=part, parameters=64 * rows) for part in names),
        order=DepthOrder(kind="back", arrival=tuple(range(blocks)), depths=depths),
        chunks=describe_chunks(chunks, names), configurations=(), released=released,
    )  # fmt: skip
    found = []
    for depth in depths:
        for step, precision in enumerate(sorted(precisions, key=lambda p: p == "fp32")):
            row = Configuration(depth=depth, precision=precision, nbytes=0, parameters=64 * rows * (1 + depth))
            found.append(
                msgspec.structs.replace(
                    row, nbytes=bare.nbytes_of(row), macs=1000 * depth,
                    accuracy=round(0.5 + 0.4 * depth / blocks + 0.01 * step, 3),
                )
            )  # fmt: skip
    manifest = msgspec.structs.replace(bare, configurations=tuple(sorted(found, key=lambda c: c.nbytes)))
    if file:
        manifest = msgspec.structs.replace(manifest, architecture=describe_file(manifest.architecture, file))
    write_artifact(folder, manifest, chunks, KEY, architecture_file=file)
    return manifest


class SumRunner:
    """Runs nothing: says at which depth it is, and the sum of its weights."""

    def __init__(self, manifest, data=None):
        self.settled, self.data = 0, data

    def prepare(self, depth, arrays):
        total = sum(float(np.sum(a, dtype=np.float64)) for a in arrays.values())
        return lambda *inputs: (depth, total)

    def settle(self):
        self.settled += 1

    def weights(self, depth, arrays):
        return dict(arrays)


class Host:
    """A static web server of a folder whose faults a test chooses.

    Attributes:
        sent: bytes of bodies by path; `requests`: (method, path, Range header) in order.
        fault: called with (handler, path, start) before an answer; True means that it has answered.
        ranges: whether Range is understood.
        pace: bytes between naps of `nap_s`.
        cut: {path substring: bytes after which the connection breaks, once each}.
    """

    def __init__(self, folder):
        self.folder, self.sent, self.requests = folder, {}, []
        self.fault, self.ranges, self.pace, self.nap_s, self.cut = None, True, 1 << 30, 0.0, {}
        self.corrupt = {}
        self.headers = {}
        self.lock = threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else a head and its body are 40 ms apart

            def log_message(self, *_):
                pass

            def handle(self):
                with suppress(ConnectionError):
                    super().handle()

            def do_GET(self):
                host.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # A client that has gone is what these tests are about.
            handle_error = staticmethod(lambda *_: None)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, handler):
        path = handler.path.lstrip("/")
        asked = handler.headers.get("Range")
        with self.lock:
            self.requests.append((handler.command, path, asked))
            self.headers[path] = dict(handler.headers)
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        start = int(match[1]) if match and self.ranges else 0
        if self.fault is not None and self.fault(handler, path, start):
            return
        file = self.folder / path
        if not file.is_file():
            handler.send_error(404)
            return
        data = bytearray(file.read_bytes())
        for part, at in self.corrupt.items():
            if part in path:
                data[at] ^= 4
        if start and start >= len(data):
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        self.send(handler, path, bytes(data[start:]))

    def send(self, handler, path, data):
        limit = next((n for part, n in self.cut.items() if part in path), None)
        if limit is not None:
            self.cut = {part: n for part, n in self.cut.items() if part not in path}
            data, handler.close_connection = data[:limit], True
        for at in range(0, len(data), self.pace):
            piece = data[at : at + self.pace]
            handler.wfile.write(piece)
            with self.lock:
                self.sent[path] = self.sent.get(path, 0) + len(piece)
            if self.nap_s:
                time.sleep(self.nap_s)
        if limit is not None:
            handler.connection.close()

    def chunk_requests(self):
        return [r for r in self.requests if r[1].startswith("chunks/")]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def hosted(folder):
    host = Host(folder)
    try:
        yield host
    finally:
        host.close()


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
