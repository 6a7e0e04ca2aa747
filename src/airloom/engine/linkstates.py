"""What a host knows of its links: as they were measured, and as they should be when a task uses them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from airloom.core.topology import LinkState
from airloom.engine.config import HostConfig
from airloom.engine.events import LinkMeasured
from airloom.radio.forecast.coherence import Coherence, is_worth
from airloom.radio.forecast.course import Course, course
from airloom.radio.forecast.forecaster import Forecaster
from airloom.radio.forecast.methods import forecaster

#: A course has so many steps, each as long as the link's coherence time, within limits.
_STEPS = 8
_LEAST_STEP_S, _STEP_S = 0.005, 0.1
Key = tuple[str, str]


class LinkStates:
    """The links between this host and its neighbours.

    Attributes:
        taken: how many measurements were.

    Args:
        forecasters: by (src, dst), in place of those that the configuration asks for.
    """

    def __init__(self, config: HostConfig, forecasters: Mapping[Key, Forecaster] | None = None) -> None:
        self._static = {
            (link.src, link.dst): link for link in config.topology.links if config.device in (link.src, link.dst)
        }
        self.taken = 0
        self._seen: dict[Key, tuple[float, float]] = {}
        self._change = config.wave.change
        self._figures: dict[Key, LinkState] = {}
        self._priced: dict[Key, LinkState] = {}
        self._policy = config.forecast
        self._forecasters: dict[Key, Forecaster] = dict(forecasters or {})
        self._coherence: dict[Key, Coherence] = {}

    def get(self, key: Key) -> LinkState | None:
        """As it was last measured; None where it never was."""
        return self._figures.get(key)

    def take(self, measured: LinkMeasured, now_s: float) -> Key | None:
        """Which link that is; None where it is none of this host's, or a figure is impossible."""
        key = (measured.src, measured.dst)
        rate, delay, loss = measured.rate_bps, measured.delay_s, measured.loss
        if key not in self._static or any(
            figure is not None and not figure >= 0 for figure in (rate, delay, loss)
        ):  # also refuses NaN
            return None
        self.taken += 1
        old = self._figures.get(key) or LinkState(src=key[0], dst=key[1])
        self._figures[key] = LinkState(
            src=key[0], dst=key[1],
            rate_bps=old.rate_bps if rate is None else rate,
            delay_s=old.delay_s if delay is None else delay,
            loss=old.loss if loss is None else loss,
        )  # fmt: skip
        if rate is not None and math.isfinite(rate):
            self._seen[key] = now_s, rate
            self._learn(key, rate, now_s)
        return key

    def moved(self, key: Key) -> bool:
        """Whether the link differs from what was last priced by more than the policy's change; it is priced now."""
        now, link = self._figures[key], self._static[key]
        priced = self._priced.get(key) or LinkState(src=link.src, dst=link.dst)

        def moved(new: float | None, old: float | None, static: float, least: float) -> bool:
            was = static if old is None else old
            if new is None or new == was:
                return False
            return abs(new - was) > max(self._change * abs(was), least) or not math.isfinite(was)

        if (
            moved(now.rate_bps, priced.rate_bps, link.rate_bps, 0.0)
            or moved(now.delay_s, priced.delay_s, link.delay_s, 2e-4)
            or moved(now.loss, priced.loss, link.loss, self._change / 10)
        ):
            self._priced[key] = now
            return True
        return False

    def at(self, key: Key, now_s: float, ahead_s: float) -> LinkState | None:
        """The link as it should be `ahead_s` from now: what was measured, with a forecast of the rate where that is
        worth it; None where nothing is known beside the topology."""
        known = self._figures.get(key)
        if not self.forecasts or not self._is_worth(key, ahead_s):
            return known
        rate = self._forecaster(key).predict(now_s + ahead_s)
        if not rate >= 0:  # also refuses NaN; a forecaster may come from anywhere
            return known
        if known is None:
            return LinkState(src=key[0], dst=key[1], rate_bps=rate)
        return msgspec.structs.replace(known, rate_bps=rate)

    def course(self, key: Key, now_s: float, ahead_s: float) -> Course:
        """How the link's rate should go on from now; as it is where forecasting `ahead_s` from now is not worth it."""
        if self.forecasts and self._is_worth(key, ahead_s):
            step_s = min(max(self.coherence_s(key) or _STEP_S, _LEAST_STEP_S), _STEP_S)
            try:
                return course(self._forecaster(key), now_s, step_s=step_s, steps=_STEPS, seen=self._seen.get(key))
            except ValueError:  # a forecaster may come from anywhere
                pass
        known = self._figures.get(key)
        return Course(
            [0.0], [self._static[key].rate_bps if known is None or known.rate_bps is None else known.rate_bps]
        )

    @property
    def forecasts(self) -> bool:
        """Whether rates are forecast at all."""
        return self._policy is not None or bool(self._forecasters)

    def is_dead(self, key: Key) -> bool:
        """Whether nothing comes over the link at present, as far as this host knows."""
        known = self._figures.get(key)
        return known is not None and (known.rate_bps == 0 or (known.loss is not None and known.loss >= 1))

    def coherence_s(self, key: Key) -> float | None:
        """The link's coherence time: the one that was given, or the mean so far; None where nothing is known."""
        if self._policy is not None and self._policy.coherence_s is not None:
            return self._policy.coherence_s
        return self._coherence[key].time_s if key in self._coherence else None

    def _is_worth(self, key: Key, ahead_s: float) -> bool:
        return self._policy is None or is_worth(self._policy.when, ahead_s, self.coherence_s(key))

    def _forecaster(self, key: Key) -> Forecaster:
        found = self._forecasters.get(key)
        if found is None:
            assert self._policy is not None
            found = self._forecasters[key] = forecaster(self._policy, self._static[key].rate_bps)
        return found

    def _learn(self, key: Key, rate_bps: float, now_s: float) -> None:
        if self._policy is not None:
            self._coherence.setdefault(key, Coherence(change=self._change)).observe(now_s, rate_bps)
            self._forecaster(key).observe(now_s, rate_bps)
        elif key in self._forecasters:
            self._forecasters[key].observe(now_s, rate_bps)
