"""The paper's ideal importance coding, as an upper bound: no code is known that does it.

"An ideal importance-based coding scheme that ensures the error rate of a particular parameter is
inversely proportional to its value while the total error rate is constant" (Sec. V-A of
NeuroMessenger). What a real scheme gives, `Protect` of a coding, is measured beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from airloom.core.tolerance import ErrorPoint
from airloom.errors import ConfigError
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.measuring import (
    DEFAULT_DRAWS,
    DEFAULT_RATES,
    check_cut,
    check_rates,
    message_scores,
    num_draws,
)
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.score import Score, top1

_BISECTIONS = 50


def ideal_rates(values: Tensor, rate: float) -> Tensor:
    """Error rate of each element: inversely proportional to its magnitude, at most 1, `rate` in the mean.

    Args:
        values: `[..., n]`; each row has the mean `rate`.

    Returns:
        min(1, c / |x|), c such that the mean is right. Where more zeros than `rate` of a row stand, they
        share it alone.
    """
    if not 0.0 <= rate <= 1.0:
        raise ConfigError(f"an error rate is from 0 to 1, got {rate:g}")
    size = values.abs().double()
    zero = size == 0
    if rate >= 1.0:
        return torch.ones_like(size)
    low = torch.zeros_like(size[..., :1])
    high = size.amax(-1, keepdim=True)
    for _ in range(_BISECTIONS):
        c = (low + high) / 2
        mean = torch.where(zero, 1.0, (c / size).clamp(max=1.0)).mean(-1, keepdim=True)
        low, high = torch.where(mean < rate, c, low), torch.where(mean < rate, high, c)
    rates = torch.where(zero, 1.0, (((low + high) / 2) / size).clamp(max=1.0))
    # Zeros alone may be more than is to be lost.
    share = zero.double().mean(-1, keepdim=True)
    only_zeros = torch.where(zero, rate / share.clamp(min=1e-12), 0.0)
    return torch.where(share >= rate, only_zeros, rates)


def measure_ideal(
    halves: Halves,
    samples: Samples,
    cut: int,
    *,
    error_rates: Sequence[float] = DEFAULT_RATES,
    draws: int = DEFAULT_DRAWS,
    rng: np.random.Generator,
    score: Score = top1,
) -> tuple[ErrorPoint, ...]:
    """Accuracy under ideal importance coding, single elements lost and zero in their place (Fig. 12).

    Raises:
        ConfigError: as `measure_cut`.
    """
    check_cut(halves, cut)
    points = []
    for rate in check_rates(error_rates):
        found = []
        for _ in range(num_draws(rate, draws)):
            total = 0.0
            for live, labels in halves.front(cut, samples):
                came = {t: _damaged(parts, rate, rng) for t, parts in live.items()}
                total += float(message_scores(halves, score, halves.back(cut, came), labels).sum())
            found.append(total / halves.num_messages(samples))
        spread = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
        points.append(ErrorPoint(error_rate=rate, accuracy=float(np.mean(found)), spread=spread, draws=len(found)))
    return tuple(points)


def _damaged(parts: Tensor, rate: float, rng: np.random.Generator) -> Tensor:
    flat = parts.reshape(len(parts), -1)
    if flat.is_floating_point():
        rates = ideal_rates(flat, rate)
    else:
        rates = torch.full(flat.shape, rate, dtype=torch.float64)
    lost = torch.from_numpy(rng.random(tuple(flat.shape))).to(flat.device) < rates
    return flat.masked_fill(lost, 0).reshape(parts.shape)
