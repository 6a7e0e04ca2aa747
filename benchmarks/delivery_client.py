"""What the client of a progressive model costs: from a chunk's last byte to answers, and what calls feel of it.

    python benchmarks/delivery_client.py [--seconds 2]

Two networks of random weights, ResNet-56 and a wide ResNet-18, are packed into a folder of their own. An upgrade from
the smallest depth to all of it is taken from the cache, so that nothing is measured but verifying, decoding and
swapping; calls go on meanwhile on another thread, and their time beside that of calls without an upgrade is the pause.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom import zoo
from airloom.core.progressive import Manifest
from airloom.deliver.arrived import Arrived
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.client.partial import PIECE, Partial
from airloom.deliver.model import ProgressiveModel
from airloom.deliver.network import make_network
from airloom.deliver.packing import pack
from airloom.deliver.signing import public_text
from airloom.nn.elastic import elastic
from harness import report

MODELS: dict[str, tuple[str, dict[str, int]]] = {
    "ResNet-56": ("resnet56", {}),
    "ResNet-18, 45 MB": ("resnet18", {}),
}
TARGET_MS_PER_MB = "<= 5"
TARGET_PAUSE_MS = "<= 2"


def packed(folder: Path, name: str, options: dict[str, int], key: Ed25519PrivateKey) -> Manifest:
    """The network in fp32 and int8, at three depths."""
    example = zoo.example_inputs(name, 1, **options)
    whole = elastic(zoo.build(name, "random", **options), example, order="back")
    total = len(whole.blocks)
    return pack(
        whole, folder, name=name, key=key, example_inputs=example, zoo=name, options=options,
        precisions=("fp32", "int8"), depths=sorted({max(1, total // 4), total // 2, total}),
    )  # fmt: skip


def usable_ms_per_mb(folder: Path, manifest: Manifest, precision: str, repeats: int = 9) -> float:
    """Median over upgrades from the smallest depth to all: from each chunk's last byte to callable, ms a MB of chunks.

    In it is what is done once the last piece of a chunk (at most 256 KiB) is in memory: hashing it, keeping it in the
    cache, verifying, decoding; and once all chunks are, preparing the network. What was done with earlier pieces while
    later ones were on their way is not.
    """
    rows = sorted((c for c in manifest.configurations if c.precision == precision), key=lambda c: c.depth)
    small, whole = rows[0], rows[-1]
    architecture = (folder / manifest.architecture.file).read_bytes()
    data = {k: (folder / manifest.chunks[k].file).read_bytes() for k in manifest.chunks_of(whole)}
    times: list[float] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
            arrived = Arrived(manifest)
            runner = make_network(manifest, architecture)
            for k in manifest.chunks_of(small):
                arrived.add(k, bytearray((folder / manifest.chunks[k].file).read_bytes()))
            runner.prepare(small.depth, arrived.arrays(small))
            runner.settle()
            lacks = [k for k in manifest.chunks_of(whole) if k not in arrived.loaded((whole,))]
            spent_s = 0.0
            for k in lacks:
                chunk, view = manifest.chunks[k], memoryview(data[k])
                part = Partial.open(Path(cache, f"{k}.part"), Path(cache, f"{k}"), chunk.sha256, chunk.nbytes)
                assert part is not None
                while part.lacks > PIECE:
                    part.into()[:] = view[part.at : part.at + PIECE]
                    part.took(PIECE)
                part.into()[:] = view[part.at :]
                start = time.perf_counter()
                part.took(part.lacks)
                assert part.finish()
                arrived.add(k, part.data)
                spent_s += time.perf_counter() - start
            start = time.perf_counter()
            runner.prepare(whole.depth, arrived.arrays(whole))
            spent_s += time.perf_counter() - start
            times.append(spent_s * 1e3 / (sum(len(data[k]) for k in lacks) / 1e6))
    return statistics.median(times)


class Caller:
    """Calls a model over and over on its own thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.times: list[tuple[float, float]] = []
        self._call, self._over = call, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with torch.no_grad():
            while not self._over.is_set():
                start = time.perf_counter()
                self._call()
                self.times.append((start, time.perf_counter()))

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def pause_ms(folder: Path, manifest: Manifest, key: str, cache: Path, seconds: float) -> tuple[float, float]:
    """How much longer calls take while an upgrade is prepared: medians, and 99th percentiles, in ms.

    The configuration that calls run is the same throughout: upgrades go to the whole in the other precision and back,
    and a call counts as disturbed when it lies between the order and the moment before the swap. Calls in between
    upgrades are what it is compared with.
    """
    inputs = zoo.example_inputs(manifest.architecture.name, 1, **dict(manifest.architecture.options))
    depth = max(c.depth for c in manifest.configurations)
    disturbed: list[float] = []
    quiet: list[float] = []
    options = FetchOptions(cache=cache)
    with ProgressiveModel.open(folder, key=key, depth=depth, precision="fp32", options=options) as model:
        model.wait()
        for _ in range(20):
            model(*inputs)
        with Caller(lambda: model(*inputs)) as caller:
            end = time.perf_counter() + seconds
            k = 0
            while time.perf_counter() < end:
                time.sleep(0.15)
                k += 1
                start = time.perf_counter()
                model.upgrade(depth=depth, precision=("fp32", "int8")[k % 2])
                model.wait()
                stop = time.perf_counter()
                time.sleep(0.05)
                spans = list(caller.times)
                caller.times.clear()
                disturbed += [b - a for a, b in spans if b > start and a < stop]
                quiet += [b - a for a, b in spans if b <= start or a >= stop]
    found = [(float(np.percentile(disturbed, q)) - float(np.percentile(quiet, q))) * 1e3 for q in (50, 99)]
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of calls for each network")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    key = Ed25519PrivateKey.generate()
    with tempfile.TemporaryDirectory() as scratch:
        for title, (name, options) in MODELS.items():
            folder = Path(scratch, name)
            manifest = packed(folder, name, options, key)
            for precision in ("fp32", "int8"):
                value = usable_ms_per_mb(folder, manifest, precision)
                report(f"delivery: last byte to usable, {title}, {precision}", value, "ms/MB", TARGET_MS_PER_MB)
            median, tail = pause_ms(folder, manifest, public_text(key.public_key()), Path(scratch, "cache"), seconds)
            report(f"delivery: pause by an upgrade, {title}, median", median, "ms", TARGET_PAUSE_MS)
            report(f"delivery: pause by an upgrade, {title}, p99", tail, "ms", TARGET_PAUSE_MS)


if __name__ == "__main__":
    main()
