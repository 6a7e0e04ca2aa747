"""What a program asks of a model, and the configuration that this comes to (Accordion, Steps 1, 2, 4 and 5)."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from airloom.core.progressive import Configuration, Manifest
from airloom.deliver.client.faults import Damaged
from airloom.deliver.client.host import Host
from airloom.errors import ConfigError
from airloom.planner.delivery import Demand, NoConfiguration, choose

_NO_RATE_BPS = 1e-3


class Wait(NamedTuple):
    """What passes besides the time that chunks' bytes take: see `planner.delivery.Demand`."""

    overhead_s: float
    chunk_s: float


def waits(host: Host, rate_bps: float | None, architecture_nbytes: int) -> Wait:
    """Round trips from now on, and the architecture's file.

    Our server sends all in one answer; a static host is asked for each file.

    Args:
        architecture_nbytes: of its file, where that is yet to come; else 0.
    """
    file_s = 8 * architecture_nbytes / rate_bps if rate_bps else 0.0
    if host.streams:
        return Wait(host.rtt_s + file_s, 0.0)
    return Wait(file_s + (host.rtt_s if architecture_nbytes else 0.0), host.rtt_s)


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted; all that is None does not limit.

    Attributes:
        deadline_s: from `asked_s` on; the configuration is all there by then.
        rate_bps: of the link; None takes the server's estimate, or measures.
        depth, precision: of the configuration, where they are known.
        limits: the rest of `planner.delivery.Demand`: accuracy, max_nbytes, max_macs, max_latency_s, ...
        asked_s: when, on the monotonic clock.
    """

    deadline_s: float | None = None
    rate_bps: float | None = None
    depth: int | None = None
    precision: str | None = None
    limits: dict[str, float | int | None] = msgspec.field(default_factory=dict)
    asked_s: float = 0.0

    @property
    def needs_rate(self) -> bool:
        """Whether nothing can be chosen before somebody says how fast the link is."""
        return self.deadline_s is not None and self.rate_bps is None

    def among(self, manifest: Manifest) -> Manifest:
        """The manifest with the configurations alone that have the depth and the precision.

        Raises:
            ConfigError: there is none.
        """
        if self.depth is None and self.precision is None:
            return manifest
        rows = tuple(
            c
            for c in manifest.configurations
            if self.depth in (None, c.depth) and self.precision in (None, c.precision)
        )
        if not rows:
            raise ConfigError(self._none(manifest))
        return msgspec.structs.replace(manifest, configurations=rows)

    def _none(self, manifest: Manifest) -> str:
        """Which of depth and precision `manifest` has not, and what it has."""
        depths = list(dict.fromkeys(sorted(c.depth for c in manifest.configurations)))
        precisions = list(dict.fromkeys(c.precision for c in manifest.configurations))
        if self.depth is not None and self.depth not in depths:
            asked, names = f"depth {self.depth}", [str(depth) for depth in depths]
        elif self.precision is not None and self.precision not in precisions:
            asked, names = f"precision {self.precision!r}", precisions
        else:
            asked, names = f"configuration {self.depth}/{self.precision}", [c.name for c in manifest.configurations]
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        return f"{manifest.model} has no {asked}: it has {shown}"

    def demand(self, have: frozenset[int], *, now_s: float, rate_bps: float | None, wait: Wait | None = None) -> Demand:
        """As the planner takes it; `wait` counts where the program states no `overhead_s`.

        Raises:
            ConfigError: a limit that makes no sense.
        """
        left_s = None if self.deadline_s is None else max(0.0, self.deadline_s - (now_s - self.asked_s))
        try:
            limits: dict[str, Any] = dict(self.limits)
            if wait is not None and not limits.keys() & {"overhead_s", "chunk_s"}:
                limits |= wait._asdict()
            return Demand(deadline_s=left_s, rate_bps=rate_bps, have=have, **limits)
        except TypeError as error:
            raise ConfigError(f"what a model is asked for: {error}") from None


def smallest(manifest: Manifest) -> Configuration:
    """The configuration that is there first."""
    return min(manifest.configurations, key=lambda c: c.nbytes)


def here(goal: Goal, manifest: Manifest, have: frozenset[int]) -> Configuration | None:
    """The best configuration within the goal's limits that is all in `have`, however accurate; None: there is none."""
    limits = {name: value for name, value in goal.limits.items() if name != "accuracy"}
    nothing = msgspec.structs.replace(goal, deadline_s=0.0, rate_bps=_NO_RATE_BPS, limits=limits)
    try:
        return choose(manifest, nothing.demand(have, now_s=goal.asked_s, rate_bps=_NO_RATE_BPS)).configuration
    except NoConfiguration:
        return None


def chosen(
    goal: Goal,
    manifest: Manifest,
    digest: str,
    host: Host,
    have: frozenset[int],
    *,
    now_s: float,
    architecture_nbytes: int = 0,
) -> Configuration | None:
    """The configuration to aim at; None where nobody knows the link's rate yet.

    Args:
        architecture_nbytes: of its file, where that is yet to come; else 0.

    Raises:
        NoConfiguration, ConfigError: none will do.
        Refused, Interrupted: the server does not answer.
    """
    rows = goal.among(manifest)
    rate_bps = known_rate_bps(goal, host)
    wait = waits(host, rate_bps, architecture_nbytes)
    if goal.deadline_s is not None and rate_bps is None and rows is manifest and host.streams:
        # One round trip more: this question.
        wait = wait._replace(overhead_s=wait.overhead_s + host.rtt_s)
        return _planned(goal.demand(have, now_s=now_s, rate_bps=None, wait=wait), manifest, digest, host)
    if host.offline and goal.deadline_s is not None:
        # Nothing comes before any deadline.
        return here(goal, rows, have)
    if goal.deadline_s is not None and rate_bps is None:
        return None
    return choose(rows, goal.demand(have, now_s=now_s, rate_bps=rate_bps, wait=wait)).configuration


def known_rate_bps(goal: Goal, host: Host) -> float | None:
    """The link's rate: as the program states it, else as measured here, else as our server knows it."""
    if goal.rate_bps is not None:
        return goal.rate_bps
    return host.rate_bps if host.rate_bps is not None else host.told_bps


def _planned(demand: Demand, manifest: Manifest, digest: str, host: Host) -> Configuration:
    """What our server chooses, where it has not said how fast the link is."""
    asked = {
        name: value
        for name, value in msgspec.structs.asdict(demand).items()
        if value is not None and name != "have" and not (name in ("overhead_s", "chunk_s") and not value)
    }
    answer = host.plan({**asked, "have": sorted(demand.have), "manifest": digest})
    name = answer.get("configuration")
    for configuration in manifest.configurations:
        if configuration.name == name:
            return configuration
    raise Damaged(f"{host.address}: the server names configuration {str(name)[:40]!r}, which the manifest has not")
