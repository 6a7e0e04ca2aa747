"""Which configuration of a progressive model to send, and by which steps it arrives.

Source: Ayed et al., "Accordion", "Practical Implementation": Step 2 (a look-up table of configurations, the link's
throughput and the deadline say what to send) and Step 5 (the same table says what to add to what is there).

A transfer takes `overhead_s + 8 * nbytes / rate_bps` seconds, and nothing where nothing lacks. Where the accuracy of
configurations was not measured, the larger is taken as the better; `Choice.note` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from airloom.core.depth import DepthOrder
from airloom.core.progressive import STATISTICS, Configuration, Manifest, encodings_of
from airloom.core.value import Value
from airloom.errors import ConfigError, Infeasible
from airloom.units import format_bytes, format_joules, format_rate, format_seconds

#: A first answer is to be there before this share of the bytes, where the table has a configuration that small.
FIRST_SHARE = 0.15

_POSITIVE = ("rate_bps", "latency_factor")
_NOT_NEGATIVE = (
    "deadline_s", "overhead_s", "max_nbytes", "max_macs", "max_latency_s", "max_joules", "joules_per_mac", "watts",
)  # fmt: skip


class Demand(Value, frozen=True):
    """What a UE asks for (Step 1); all that is None does not limit.

    Attributes:
        deadline_s: the last byte is there within; needs `rate_bps`.
        rate_bps: of the link, bit/s.
        overhead_s: before the first byte comes: round trips, what the server takes.
        accuracy: at least this, 0 to 1; then the fewest bytes are sent that give it.
        max_nbytes: to send now, over what is there already.
        max_macs: of one answer.
        max_latency_s: of one answer, on the UE.
        latency_factor: how many times as long as the manifest's device the UE takes.
        max_joules: of one answer: `joules_per_mac * macs + watts * latency_s * latency_factor`.
        joules_per_mac, watts: of that model; at least one of them where `max_joules` is given.
        have: indices of the chunks that the UE holds.
    """

    deadline_s: float | None = None
    rate_bps: float | None = None
    overhead_s: float = 0.0
    accuracy: float | None = None
    max_nbytes: int | None = None
    max_macs: int | None = None
    max_latency_s: float | None = None
    latency_factor: float = 1.0
    max_joules: float | None = None
    joules_per_mac: float | None = None
    watts: float | None = None
    have: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name in (*_POSITIVE, *_NOT_NEGATIVE, "accuracy"):
            value = getattr(self, name)
            if value is None:
                continue
            if not math.isfinite(value):
                raise ConfigError(f"{name} is a finite number, got {value}")
            if value < 0 or (value == 0 and name in _POSITIVE):
                raise ConfigError(f"{name} is {'above' if name in _POSITIVE else 'at least'} 0, got {value}")
        if self.accuracy is not None and self.accuracy > 1:
            raise ConfigError(f"accuracy lies in [0, 1], got {self.accuracy}: write 90 % as 0.9")
        if self.max_joules is not None and self.joules_per_mac is None and self.watts is None:
            raise ConfigError("max_joules needs joules_per_mac or watts: what an answer costs follows from them")


class Choice(Value, frozen=True):
    """What to send.

    Attributes:
        chunks: indices that lack, in order of arrival.
        nbytes: of those chunks.
        expected_s: until the last byte is there; None where no rate is known.
        decided_by: the limit that kept a better configuration away, a name of `Demand`'s; "" where none did.
        note: what the choice rests on, where that is less than a measurement; "" else.
    """

    configuration: Configuration
    chunks: tuple[int, ...]
    nbytes: int
    expected_s: float | None
    decided_by: str = ""
    note: str = ""


class NoConfiguration(Infeasible):
    """No configuration meets a demand.

    Attributes:
        nearest: that which comes nearest, None where the table cannot say.
    """

    def __init__(self, message: str, *, nearest: Configuration | None = None) -> None:
        self.nearest = nearest
        super().__init__(message)


def choose(manifest: Manifest, demand: Demand) -> Choice:
    """The most accurate configuration within all limits; of equals, that with the fewest bytes to send.

    With `demand.accuracy`, the configuration within all limits that needs the fewest bytes to be as accurate.

    Raises:
        NoConfiguration: none is within the limits; the line names the nearest and what it lacks.
        ConfigError: the demand asks what the manifest cannot know.
    """
    raise NotImplementedError


def transfer_s(nbytes: int, demand: Demand) -> float | None:
    """Seconds until `nbytes` are there; None without a rate."""
    if nbytes == 0:
        return 0.0
    return None if demand.rate_bps is None else demand.overhead_s + 8.0 * nbytes / demand.rate_bps


def upgrade_path(
    manifest: Manifest, have: Iterable[int], target: Configuration, *, spare_nbytes: int | None = None
) -> tuple[Configuration, ...]:
    """The configurations to pass on the way to `target`, ascending, `target` last.

    Args:
        have: indices of the chunks that are there.
        spare_nbytes: how many bytes may be sent that `target` itself does not need; None does not limit.
    """
    raise NotImplementedError


def arrival(manifest: Manifest, have: Iterable[int], path: Iterable[Configuration]) -> tuple[int, ...]:
    """Indices of the chunks that lack, in the order in which the configurations of `path` need them."""
    held, found = set(have), []
    for configuration in path:
        for k in manifest.chunks_of(configuration):
            if k not in held:
                held.add(k)
                found.append(k)
    return tuple(found)


def runnable(manifest: Manifest, have: Iterable[int]) -> tuple[Configuration, ...]:
    """The configurations of the table that the chunks `have` are enough for, in the table's order."""
    held = set(have)
    return tuple(c for c in manifest.configurations if held.issuperset(manifest.chunks_of(c)))
