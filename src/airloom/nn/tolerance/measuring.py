"""Accuracy against error rate at a cut: many draws of errors, evaluated in batches.

Sec. IV-B of NeuroMessenger: burst errors lose whole blocks, each with the error rate as its
probability; random errors lose single elements. The first half runs once for a batch of samples;
the second runs on a batch that is tiled over error rates and draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from airloom.core.coding import Coding
from airloom.core.tolerance import Curve, CutTolerance, ErrorPoint, MapOrder, Pattern
from airloom.errors import ConfigError
from airloom.nn.tolerance.channel import Channel
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.score import Score, judged, top1
from airloom.planner.accuracy import fit

#: Rates at which accuracy is measured unless others are asked for; nothing arrives at 1.
DEFAULT_RATES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
DEFAULT_DRAWS = 3
#: What a block of Airloom's own wire carries of a message.
WIRE_BLOCK_BYTES = 1152
#: The payload of the radio's transport block of 30216 bits.
TRANSPORT_BLOCK_BYTES = 3777

#: Called after every pass of the second half with how many messages it evaluated.
Advance = Callable[[int], None]


def check_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """The error rates in ascending order, 0 among them.

    Raises:
        ConfigError: one is not from 0 to 1.
    """
    for rate in rates:
        if not 0.0 <= rate <= 1.0:  # NaN is neither
            raise ConfigError(f"an error rate is from 0 to 1, got {rate:g}")
    return tuple(sorted({0.0, *map(float, rates)}))


def measure_cut(
    halves: Halves,
    samples: Samples,
    cut: int,
    coding: Coding,
    *,
    pattern: Pattern = "burst",
    block_bytes: int = WIRE_BLOCK_BYTES,
    error_rates: Sequence[float] = DEFAULT_RATES,
    draws: int = DEFAULT_DRAWS,
    rng: np.random.Generator,
    score: Score = top1,
    maps: Mapping[int, MapOrder] | None = None,
    advance: Advance | None = None,
) -> CutTolerance:
    """What cut `cut` bears under `coding`.

    Args:
        halves: `halves.tuned(weights)` where the coding is tuned.
        pattern: `burst` loses whole blocks, `random` single elements.
        block_bytes: payload of a block.
        error_rates: 0 is always among them.
        draws: of errors at each rate strictly between 0 and 1; at those two there is one outcome.
        maps: importance and means of feature maps, for codings that need them.

    Raises:
        ConfigError: no such cut or rate, a coding that this cut cannot have, or a score that is none.
    """
    check_cut(halves, cut)
    rates = check_rates(error_rates)
    if draws < 1:
        raise ConfigError(f"draws are at least 1, got {draws}")
    channel = Channel(halves.host, cut, coding, block_bytes=block_bytes, maps=maps or {})
    variants = [rate for rate in rates for _ in range(num_draws(rate, draws))]
    means, nbytes, side = _evaluate(halves, samples, channel, variants, pattern, rng, score, advance)
    points, place = [], 0
    for rate in rates:
        found = means[place : place + num_draws(rate, draws)]
        place += len(found)
        points.append(ErrorPoint(
            error_rate=rate, accuracy=float(np.mean(found)),
            spread=float(np.std(found, ddof=1)) if len(found) > 1 else 0.0, draws=len(found),
        ))  # fmt: skip
    code_s, decode_s = channel.times(halves, samples)
    return CutTolerance(
        cut=cut, coding=coding, pattern=pattern, block_bytes=block_bytes, nbytes=nbytes, side_nbytes=side,
        code_s=code_s, decode_s=decode_s, clean=points[0].accuracy, points=tuple(points), curves=curves_of(points),
    )  # fmt: skip


def curves_of(points: Sequence[ErrorPoint]) -> tuple[Curve, ...]:
    """G through the points, the better first; none where there are too few to fit."""
    return fit(points) if len({point.error_rate for point in points}) > 1 else ()


def check_cut(halves: Halves, cut: int) -> None:
    """ConfigError unless the model has cut `cut`."""
    last = halves.graph.num_operators
    if not 0 <= cut <= last:
        raise ConfigError(f"no cut {cut} in {halves.graph.model}: its cuts are 0 to {last}")


def num_draws(rate: float, draws: int) -> int:
    """How often a rate is drawn: nothing and everything are lost in one way only."""
    return draws if 0.0 < rate < 1.0 else 1


def num_evaluations(halves: Halves, samples: Samples, error_rates: Sequence[float], draws: int) -> int:
    """How many messages the second half will see in one `measure_cut`."""
    return halves.num_messages(samples) * sum(num_draws(rate, draws) for rate in check_rates(error_rates))


def _evaluate(
    halves: Halves,
    samples: Samples,
    channel: Channel,
    variants: Sequence[float],
    pattern: Pattern,
    rng: np.random.Generator,
    score: Score,
    advance: Advance | None,
) -> tuple[NDArray[np.float64], float, float]:
    """Mean score of each variant (an error rate and a draw of it), and mean bytes of a message."""
    rates = torch.tensor(list(variants), dtype=torch.float64)
    sums = np.zeros(len(variants))
    sizes: list[float] = []
    sides: list[float] = []
    for live, labels in halves.front(channel.cut, samples):
        with torch.inference_mode():
            sent = channel.send(live)
            sizes.append(float(sent.nbytes.sum()))
            sides.append(float(sent.side_nbytes.sum()))
            count = len(labels)
            for start in range(0, count * len(variants), halves.messages):
                pairs = np.arange(start, min(start + halves.messages, count * len(variants)))
                variant, message = torch.from_numpy(pairs // count), torch.from_numpy(pairs % count)
                lost = channel.draw(sent, message, rates[variant], pattern, rng)
                outputs = halves.back(channel.cut, channel.receive(sent, message, lost))
                right = message_scores(halves, score, outputs, labels[message.numpy()])
                np.add.at(sums, variant.numpy(), right)
                if advance is not None:
                    advance(len(pairs))
    messages = halves.num_messages(samples)
    return sums / messages, sum(sizes) / messages, sum(sides) / messages


def message_scores(halves: Halves, score: Score, outputs: Any, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Mean score of each message; a short pass has been filled up, so have its labels."""
    count = len(labels)
    short = halves.messages - count
    if short:
        labels = np.concatenate([labels, np.repeat(labels[:1], short, axis=0)])
    flat = labels.reshape(-1, *labels.shape[2:])
    scores = judged(score, outputs, flat).reshape(halves.messages, halves.samples_each)
    means: NDArray[np.float64] = scores[:count].mean(1)
    return means
