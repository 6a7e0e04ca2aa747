"""What every configuration of an elastic model is worth: accuracy, bytes, MACs and latency, measured.

    table = measure_table(elastic, samples, model="resnet20", precisions=("fp32", "int8", "bits-6"))

Every configuration is measured with the weights that would arrive, decoded from the very bytes that would be sent.
The receiver turns them into fp32, so precision costs bytes and accuracy but neither MACs nor time: latency is
measured once a depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from airloom.core.progressive import PRECISIONS, Configuration, DepthTable
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.score import Score, top1


def measure_table(
    elastic: Any,
    samples: Samples,
    *,
    model: str,
    depths: Iterable[int] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    score: Score = top1,
    metric: str = "top-1",
    batch: int = 125,
    threads: int = 1,
    torch_device: str = "cpu",
    latency_seconds: float = 1.0,
    known: Iterable[Configuration] = (),
    finished: Callable[[Configuration], None] | None = None,
    advance: Callable[[int], None] | None = None,
) -> DepthTable:
    """Measure every depth in every precision.

    Args:
        elastic: an `ElasticModel` with the statistics of each of `depths` in it; as it was afterwards.
        samples: test samples, row k of each input is sample k.
        model: its name in the table.
        depths: of `elastic.order.depths`; None for all.
        precisions: some of `PRECISIONS`.
        score: how right an answer is; `metric` is its name.
        batch: samples in one pass.
        latency_seconds: for how long each depth is timed, at a batch of one; 0 leaves latency out.
        known: configurations measured before with the same weights and samples: not measured again.
        finished: called with every configuration as it is measured.
        advance: called after every pass with how many samples it had; `num_samples` says how many will come.

    Raises:
        ConfigError: no such depth or precision, or a score that is none.
    """
    raise NotImplementedError
