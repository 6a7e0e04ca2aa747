"""How long an attempt is waited for before the next one starts, learnt from those that came.

As long as was predicted, with the policy's margin and factor, for itself and each request before it. Where
results take longer than predicted, by that much longer; where nothing was predicted, as it usually takes.
"""

from __future__ import annotations

from collections.abc import Callable

from airloom.engine.config import AttemptPolicy
from airloom.engine.tries import Try

_WEIGHT = 0.2  # of the latest result
_MOST = 10.0  # of took / expected that one result may teach


class Patience:
    """The patience of one source, whose own run takes `own_s()` seconds (None: it cannot run the model)."""

    def __init__(self, policy: AttemptPolicy, own_s: Callable[[], float | None]) -> None:
        self._policy, self._own_s = policy, own_s
        self._surprise = 1.0  # the mean of took / expected, at least 1
        self._usual_s = 0.0

    def seconds(self, tried: Try) -> float:
        """For how long to wait for a try from now on."""
        policy = self._policy
        expected_s = tried.route.predicted_s
        if expected_s != expected_s:  # the objective's costs do not say: as it usually took, or the source would take
            expected_s = self._usual_s or self._own_s() or policy.margin_s
            return policy.margin_s + policy.factor * expected_s * (1 + tried.ahead)
        return policy.margin_s + policy.factor * self._surprise * expected_s * (1 + tried.ahead)

    def learn(self, tried: Try, now_s: float) -> None:
        """A try over the network brought its result now."""
        if not tried.route.hosts:
            return
        took_s = now_s - tried.began_s
        expected_s = tried.route.predicted_s * (1 + tried.ahead)
        if expected_s > 0:
            self._surprise = max(1.0, self._surprise + _WEIGHT * (min(took_s / expected_s, _MOST) - self._surprise))
        self._usual_s += (_WEIGHT if self._usual_s else 1.0) * (took_s / (1 + tried.ahead) - self._usual_s)
