"""What the client of a progressive model costs: from a chunk's last byte to answers, and what calls feel of it.

    python benchmarks/delivery_client.py [--seconds 2]

Two networks of random weights, ResNet-56 and a wide ResNet-18, are packed into a folder of their own. An upgrade from
the smallest depth to all of it is taken from the cache, so that nothing is measured but verifying, decoding and
swapping; calls go on meanwhile on another thread. What they wait longer than calls just before it is the pause;
stretches without and with an upgrade take turns, so that what else the machine does falls on both.

What is done with a chunk is given in processor time, and beside it by the clock, which other processes lengthen.
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
_LEAST_TURNS = 9
_SETTLING_S = 0.1


def packed(folder: Path, name: str, options: dict[str, int], key: Ed25519PrivateKey) -> Manifest:
    """The network in fp32 and int8, at three depths."""
    example = zoo.example_inputs(name, 1, **options)
    whole = elastic(zoo.build(name, "random", **options), example, order="back")
    total = len(whole.blocks)
    return pack(
        whole, folder, name=name, key=key, example_inputs=example, zoo=name, options=options,
        precisions=("fp32", "int8"), depths=sorted({max(1, total // 4), total // 2, total}),
    )  # fmt: skip


def usable_ms_per_mb(folder: Path, manifest: Manifest, precision: str, repeats: int = 9) -> tuple[float, float]:
    """Medians over upgrades from the smallest depth to all: from each chunk's last byte to callable, ms a MB of chunks.

    Of processor time, and by the clock.

    In it is what is done once the last piece of a chunk (at most 256 KiB) is in memory: hashing it, keeping it in the
    cache, verifying, decoding; and once all chunks are, preparing the network. What was done with earlier pieces while
    later ones were on their way is not.
    """
    rows = sorted((c for c in manifest.configurations if c.precision == precision), key=lambda c: c.depth)
    small, whole = rows[0], rows[-1]
    architecture = (folder / manifest.architecture.file).read_bytes()
    data = {k: (folder / manifest.chunks[k].file).read_bytes() for k in manifest.chunks_of(whole)}
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
            arrived = Arrived(manifest)
            runner = make_network(manifest, architecture)
            for k in manifest.chunks_of(small):
                arrived.add(k, bytearray((folder / manifest.chunks[k].file).read_bytes()))
            runner.prepare(small.depth, arrived.arrays(small))
            runner.settle()
            lacks = [k for k in manifest.chunks_of(whole) if k not in arrived.loaded((whole,))]
            spent = _Spent()
            for k in lacks:
                chunk, view = manifest.chunks[k], memoryview(data[k])
                part = Partial.open(Path(cache, f"{k}.part"), Path(cache, f"{k}"), chunk.sha256, chunk.nbytes)
                assert part is not None
                while part.lacks > PIECE:
                    part.into()[:] = view[part.at : part.at + PIECE]
                    part.took(PIECE)
                part.into()[:] = view[part.at :]
                with spent:
                    part.took(part.lacks)
                    assert part.finish()
                    arrived.add(k, part.data)
            with spent:
                runner.prepare(whole.depth, arrived.arrays(whole))
            kilobytes = sum(len(data[k]) for k in lacks) / 1e3
            times.append((spent.processor_s * 1e6 / kilobytes, spent.clock_s * 1e6 / kilobytes))
    processor, clock = zip(*times, strict=True)
    return statistics.median(processor), statistics.median(clock)


class _Spent:
    """Adds up the time in its blocks: this thread's on a processor, and that by the clock."""

    def __init__(self) -> None:
        self.processor_s = self.clock_s = 0.0

    def __enter__(self) -> None:
        self._began = time.thread_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.processor_s += time.thread_time() - self._began[0]
        self.clock_s += time.perf_counter() - self._began[1]


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
    """How much longer calls take while an upgrade is prepared, ms: of the median call, and of the 99th percentile.

    Upgrades go to the whole in the other precision and back, so calls run the same number of blocks throughout. They
    take turns with stretches of calls alone, as long as they are; what comes right after an upgrade, on weights that no
    cache has yet, belongs to neither. The calls of all turns that overlap an upgrade are compared with those of the
    stretches between.
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
            end, alone_s, turn = time.perf_counter() + seconds, 0.1, 0
            while time.perf_counter() < end or turn < _LEAST_TURNS:
                time.sleep(_SETTLING_S)
                caller.times.clear()
                time.sleep(alone_s)
                start = time.perf_counter()
                model.upgrade(depth=depth, precision=("int8", "fp32")[turn % 2])
                model.wait()
                stop = time.perf_counter()
                alone_s, turn = max(0.02, stop - start), turn + 1
                spans = list(caller.times)
                disturbed += [b - a for a, b in spans if b > start and a < stop]
                quiet += [b - a for a, b in spans if b <= start]
    median_s, tail_s = np.percentile(disturbed, (50, 99)) - np.percentile(quiet, (50, 99))
    return float(median_s) * 1e3, float(tail_s) * 1e3


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
                processor, clock = usable_ms_per_mb(folder, manifest, precision)
                what = f"delivery: last byte to usable, {title}, {precision}"
                report(f"{what}, processor time", processor, "ms/MB", TARGET_MS_PER_MB)
                report(f"{what}, by the clock", clock, "ms/MB")
            median, tail = pause_ms(folder, manifest, public_text(key.public_key()), Path(scratch, "cache"), seconds)
            report(f"delivery: pause by an upgrade, {title}, median", median, "ms", TARGET_PAUSE_MS)
            report(f"delivery: pause by an upgrade, {title}, p99", tail, "ms", TARGET_PAUSE_MS)


if __name__ == "__main__":
    main()
