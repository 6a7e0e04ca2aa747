"""What a link should carry over the time to come: a rate may change while a message is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from airloom.radio.forecast.forecaster import Forecaster

    Floats = NDArray[np.float64]


#: Who knows how a rate goes on is asked for at least this long.
HORIZON_S = 0.5
_EVER_S = 1e5
_NEXT_TO_NOTHING = 1e-5


class Foresees(Protocol):
    """A forecaster may have this too: it then says at once how the rate goes on, and when it changes."""

    def course(self, from_s: float, until_s: float) -> tuple[Sequence[float], Sequence[float]]:
        """Ascending moments, the first `from_s`, and bit/s from each of them to the next; the last one goes on."""


class Course:
    """A rate in steps, the last of which goes on for ever.

    Args:
        starts_s: ascending seconds from the present on, the first 0.
        rates_bps: from each of them on.
    """

    def __init__(self, starts_s: Sequence[float], rates_bps: Sequence[float]) -> None:
        if not len(starts_s) or len(starts_s) != len(rates_bps) or starts_s[0] != 0.0:
            raise ValueError(f"a rate for each moment from 0 on, got {len(starts_s)} and {len(rates_bps)}")
        starts, rates = np.asarray(starts_s, dtype=np.float64), np.asarray(rates_bps, dtype=np.float64)
        if not bool((rates >= 0).all()) or bool((np.diff(starts) <= 0).any()):  # also refuses NaN
            raise ValueError("rates are at least 0, moments ascend")
        self._steady = bool((rates == rates[0]).all())
        self._times = np.append(starts, starts[-1] + _EVER_S)
        steps = rates * np.diff(self._times)
        # What has been carried must ascend to be looked up: a link that stands still carries next to nothing.
        self._carried = np.concatenate(([0.0], np.cumsum(steps + _NEXT_TO_NOTHING)))

    @property
    def is_steady(self) -> bool:
        """Whether the rate is the same all the time."""
        return self._steady

    def seconds(self, departs_s: Floats, bits: Floats | float) -> Floats:
        """How long messages of `bits` take that leave at `departs_s`; infinity where they never get through.

        A message that would leave at infinity takes infinitely long.
        """
        times, carried = self._times, self._carried
        arrives: Floats = np.interp(np.interp(departs_s, times, carried) + bits, carried, times, right=np.inf)
        with np.errstate(invalid="ignore"):
            arrives -= departs_s
        # Nothing arrives before it leaves, and infinity less infinity is no number.
        return np.fmax(np.where(np.isnan(arrives), np.inf, arrives), 0.0)


def course(
    forecaster: Forecaster, now_s: float, *, step_s: float, steps: int, seen: tuple[float, float] | None = None
) -> Course:
    """How the link should go on from `now_s`: as the forecaster says it, or its forecasts every `step_s`.

    Args:
        step_s: also how long a rate holds: forecasts begin where that of the last measurement ends.
        seen: when the link was last measured, and bit/s.
    """
    foresees = getattr(forecaster, "course", None)
    if foresees is not None:
        moments, rates = foresees(now_s, now_s + max(HORIZON_S, step_s * steps))
        return Course([moment - now_s for moment in moments], rates)
    holds_s = 0.0 if seen is None else min(step_s, max(0.0, seen[0] + step_s - now_s))
    starts = [holds_s + k * step_s for k in range(steps)]
    # A forecast is for the middle of its step.
    rates = [forecaster.predict(now_s + start + step_s / 2) for start in starts]
    if seen is not None and holds_s > 0.0:
        starts, rates = [0.0, *starts], [seen[1], *rates]
    return Course(starts, rates)
