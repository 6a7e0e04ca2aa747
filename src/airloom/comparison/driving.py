"""One scheme's requests, and the changes of the network between or among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from airloom.comparison.setting import Setting
from airloom.config import merged
from airloom.config.changes import change_title
from airloom.core.topology import Conditions, DeviceState, LinkState, Topology
from airloom.deployment import Deployment, Request


@dataclass(frozen=True)
class Step:
    """Before request number `request` of every scheme the network becomes the topology with `conditions`."""

    request: int
    title: str
    conditions: Conditions


@dataclass
class Outcomes:
    """What came of one scheme's requests, in order of submission: a result, or its one error.

    `repair_nbytes` is what hosts sent again meanwhile, where they say.
    """

    requests: list[Request] = field(default_factory=list)
    began_s: float = 0.0
    ended_s: float = 0.0
    repair_nbytes: int | None = None

    def results(self) -> list[Any]:
        """Each request's result, None where it has none."""
        return [None if r.exception() is not None else r.result() for r in self.requests]


def drive(
    net: Deployment,
    setting: Setting,
    inputs: Callable[[int], tuple[Any, ...]],
    requests: int,
    tell: Callable[[int, int], None],
    *,
    steps: Sequence[Step] = (),
    changes: Sequence[Conditions] = (),
) -> tuple[Outcomes, list[Step]]:
    """Send one scheme's requests, as many at once as the deployment takes; change the network on the way.

    Args:
        tell: called with requests done and requests to do.
        steps: in order of request; each falls between two requests, so what is under way ends before it.
        changes: in order of time; each comes when it is due by the clock, whatever is under way, and adds
            to those before it. What lies after the last outcome does not happen.

    Returns:
        What came of the requests, and the changes by the clock as steps, with the request before which they came.
    """
    outcomes, pending = Outcomes(began_s=net.motion.now_s()), set[Future[Any]]()
    waiting, due, now = list(steps), list(changes), Conditions()
    came: list[Step] = []
    while len(outcomes.requests) < requests or pending:
        elapsed_s, k = net.motion.now_s() - outcomes.began_s, len(outcomes.requests)
        while due and due[0].at_s <= elapsed_s:
            change = due.pop(0)
            now = merged(now, change)
            net.apply(restored(setting.topology, now))
            came.append(Step(k, change_title(change), now))
        between = bool(waiting) and waiting[0].request <= k < requests
        if between and not pending:
            net.apply(restored(setting.topology, waiting.pop(0).conditions))
        elif not between and k < requests and len(pending) < setting.options.in_flight:
            request = net.submit(*inputs(k))
            outcomes.requests.append(request)
            pending.add(request)
        else:
            until_s = max(due[0].at_s - elapsed_s, 0.0) if due else None
            pending = wait(pending, timeout=net.motion.real_s(until_s), return_when=FIRST_COMPLETED).not_done
            tell(len(outcomes.requests) - len(pending), requests)
    outcomes.ended_s = net.motion.now_s()
    return outcomes, came


def restored(topology: Topology, conditions: Conditions | None = None) -> Conditions:
    """`conditions`, with every link and device that it leaves out put back as in the topology."""
    links = tuple(
        LinkState(src=link.src, dst=link.dst, rate_bps=link.rate_bps, delay_s=link.delay_s, loss=link.loss)
        for link in topology.links
    )
    devices = tuple(DeviceState(id=device.id) for device in topology.devices)
    whole = Conditions(links=links, devices=devices)
    return whole if conditions is None else merged(whole, conditions)
