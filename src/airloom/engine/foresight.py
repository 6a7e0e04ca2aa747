"""A hop as its links should go on: what each cut costs if it leaves then, not only at one moment.

What leaves at a time t takes until the link has carried its bits from t on; the result comes back when the hosts
beyond are done. So the cost of a stop depends on when it is reached: Eq. (10) of HiveMind with the rate's course in
place of its value at the departure.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.core.problem import Floats, HopCost, HostCost, PlainOptions
from airloom.radio.forecast.course import Course

#: Rates at which a hop is priced to tell bits from what does not depend on the rate.
RATES_BPS = (1e9, 2e9)
#: Messages look at every pair of cuts; of models with more cuts than this at the mean departure only.
MOST_CUTS = 256


class Charge(NamedTuple):
    """What a hop costs at any rate: `fixed_s + bits / rate`, for each cut and for the result's way back."""

    fixed_s: Floats
    bits: Floats
    back_fixed_s: float
    back_bits: float


def charge(slow: HopCost, fast: HopCost) -> Charge | None:
    """Of a hop, from its prices at both of `RATES_BPS`; None where cuts may be coded, or nothing gets through."""
    if not (isinstance(slow.options, PlainOptions) and isinstance(fast.options, PlainOptions)):
        return None
    (slower, faster), back = RATES_BPS, (slow.back.total_s, fast.back.total_s)
    if not (np.isfinite(slow.forward_s).all() and np.isfinite(back).all()):
        return None
    scale = 1.0 / (1.0 / slower - 1.0 / faster)
    bits, back_bits = (slow.forward_s - fast.forward_s) * scale, (back[0] - back[1]) * scale
    return Charge(slow.forward_s - bits / slower, bits, back[0] - back_bits / slower, back_bits)


class Foresight(NamedTuple):
    """A hop over links that go on as `course` and, the other way, `back` say."""

    charge: Charge
    course: Course
    back: Course

    def tail_s(self, departs_s: Floats, said_s: Floats) -> Floats:
        """Seconds from the departure of each cut until the result is back at this host.

        Args:
            departs_s: `[L+1]` or `[n, L+1]` seconds from now.
            said_s: `[L+1]` what the host at the far end said.
        """
        onward = self.charge.fixed_s + self.course.seconds(departs_s, self.charge.bits) + said_s
        return onward + self.charge.back_fixed_s + self.back.seconds(departs_s + onward, self.charge.back_bits)


def departures(host: HostCost, cut: int) -> Floats:
    """`[L+1]` seconds after which a task that is here at `cut` has got to each stop; 0 at that cut and before it."""
    reached: Floats = np.maximum(host.elapsed_s - host.elapsed_s[cut], 0.0)
    reached[cut + 1 :] += host.constant_s
    return reached


def all_departures(host: HostCost) -> Floats:
    """`[L+1, L+1]` the departures of every cut at which a task may come, a row each."""
    reached = host.elapsed_s - host.elapsed_s[:, None]
    return np.asarray(np.where(_beyond(len(reached)), reached + host.constant_s, 0.0), dtype=np.float64)


def message(host: HostCost, tails: Floats) -> Floats:
    """`[L+1]` the least from each cut on; `tails` `[L+1, L+1]` what remains of a start (row) after a stop (column)."""
    costs = np.where(np.tri(len(tails), k=-1, dtype=bool), np.inf, tails + all_departures(host))
    if host.is_limited:
        cuts = np.arange(len(tails))
        costs[(cuts > host.last_stop[:, None]) & (cuts > cuts[:, None])] = np.inf
    return np.asarray(costs.min(axis=1), dtype=np.float64)


@functools.lru_cache(maxsize=8)
def _beyond(count: int) -> NDArray[np.bool_]:
    """`[count, count]` whether the column lies beyond the row."""
    found = ~np.tri(count, dtype=bool)
    found.setflags(write=False)
    return found
