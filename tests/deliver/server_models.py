"""Artifacts to serve: real manifests and signatures, and chunks of random bytes, which a server never reads."""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom.core.depth import DepthOrder
from airloom.core.progressive import STATISTICS, Architecture, Configuration, Manifest, Part, encodings_of
from airloom.deliver.artifact import EncodedChunk, describe_chunks, write_artifact

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def write_model(folder, *, name="tiny", blocks=3, nbytes=4000, precisions=("bits-4", "bits-6"), seed=0, key=KEY):
    """A model of a base and `blocks` blocks, each chunk of about `nbytes`; returns its manifest."""
    rng = np.random.default_rng(seed)
    names = ("base", *(f"b{k}" for k in range(blocks)))
    parts = range(1 + blocks)
    encodings = dict.fromkeys(name for precision in precisions for name in encodings_of(precision))
    chunks = [EncodedChunk(rng.bytes(nbytes + 7 * part), part, encoding) for encoding in encodings for part in parts]
    depths = tuple(range(1, blocks + 1))
    chunks += [EncodedChunk(rng.bytes(40 + depth), 0, STATISTICS, depth) for depth in depths]
    bare = Manifest(
        model=name,
        architecture=Architecture(kind="zoo", name="mlp", blocks=names[1:]),
        inputs=("1x4:float32",),
        parts=tuple(Part(name=part, parameters=100) for part in names),
        order=DepthOrder(kind="back", arrival=tuple(range(blocks)), depths=depths),
        chunks=describe_chunks(chunks, names),
        configurations=(),
    )
    rows = []
    for depth in depths:
        for step, precision in enumerate(precisions):
            row = Configuration(depth=depth, precision=precision, nbytes=0, parameters=100 * (1 + depth))
            rows.append(
                Configuration(
                    depth=depth,
                    precision=precision,
                    nbytes=bare.nbytes_of(row),
                    parameters=row.parameters,
                    macs=1000 * depth,
                    accuracy=round(0.5 + 0.4 * depth / blocks + 0.01 * step, 3),
                    latency_s=1e-3 * depth,
                )
            )
    fields = {field: getattr(bare, field) for field in bare.__struct_fields__}
    manifest = Manifest(**fields | {"configurations": tuple(sorted(rows, key=lambda row: row.nbytes))})
    write_artifact(folder, manifest, chunks, key)
    return manifest


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The reason of a refusal, which is one line of JSON."""
        assert 400 <= self.status < 600, self
        assert self.headers["content-type"] == "application/json"
        line = self.json["error"]
        assert line
        assert "\n" not in line
        assert "Traceback" not in line
        return line


def ask(app, method, path, *, query="", body=b"", headers=None, client=("10.0.0.1", 5)):
    """One request to an ASGI application, its path as it is after percent-decoding."""
    lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": quote(path).encode(), "root_path": "",
        "query_string": query.encode(), "headers": lines, "client": client, "server": ("test", 80),
        "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    parts = [body] if isinstance(body, bytes) else list(body)
    sent = []

    async def receive():
        part = parts.pop(0) if parts else b""
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append({**message, "body": bytes(message.get("body", b""))})

    asyncio.run(app(scope, receive, send))
    assert sent[0]["type"] == "http.response.start"
    assert not sent[-1].get("more_body", False)
    found = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    data = b"".join(message["body"] for message in sent[1:])
    if "content-length" in found and method != "HEAD" and sent[0]["status"] != 304:
        assert int(found["content-length"]) == len(data)
    return Reply(sent[0]["status"], found, data)


class Server:
    """A running server, and one-line HTTP against it."""

    def __init__(self, *args, ca=None, code=None):
        command = [sys.executable, "-m", "airloom.cli.main", "serve-model", *map(str, args), "--port", "0", "--json"]
        if code is not None:
            command = [sys.executable, "-c", code, *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.said = json.loads(line)
        url = urlsplit(self.said["url"])
        self.address = (url.hostname, url.port)
        self._tls = ssl.create_default_context(cafile=ca) if ca else None

    def connect(self, **options):
        sock = socket.socket()
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.settimeout(10)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return self._tls.wrap_socket(sock, server_hostname="localhost") if self._tls else sock

    def ask(self, head, body=b"", sock=None):
        """Status, header fields and body of the answer to one request."""
        with contextlib.ExitStack() as stack:
            sock = sock or stack.enter_context(self.connect())
            lines = [*head.split("\n"), "Host: test"]
            if body:
                lines.append(f"Content-Length: {len(body)}")
            sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            return answer(sock, head.split()[0])

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err


def answer(sock, method="GET"):
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        assert more, data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    length = 0 if method == "HEAD" or " 304 " in first else int(fields["content-length"])
    while len(body) < length:
        more = sock.recv(1 << 20)
        assert more
        body += more
    assert len(body) == length
    return int(first.split()[1]), fields, body


@contextlib.contextmanager
def running(*args, **rest):
    server = Server(*args, **rest)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        server.process.stdout.close()
        server.process.stderr.close()
