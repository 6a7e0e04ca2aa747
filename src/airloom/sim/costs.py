"""What requests cost in the metrics of an objective, and how many kept its bounds, summed up event by event."""

from __future__ import annotations

from collections.abc import Callable

from airloom.core.objective import Bound, Objective, Term
from airloom.core.simulated import MetricTally
from airloom.core.topology import Topology
from airloom.core.trace import Event
from airloom.planner.carrying import receive_j_per_bit, send_j_per_bit
from airloom.sim.histogram import Histogram

_SLACK = 1.0 + 1e-9  # a bound that is met to rounding is kept
_Key = tuple[str, int | None]


class _Metric:
    """One metric over all requests."""

    def __init__(self, what: Term | Bound, bound: Bound | None, topology: Topology) -> None:
        self.name, self.metric = what.name, what.metric
        self.limit = None if bound is None else bound.limit
        self.counted = frozenset(
            d.id for d in topology.devices if not what.devices or d.id in what.devices or d.role in what.devices
        )
        self.came = Histogram()
        self.kept = self.foreseen = 0

    def settle(self, amount: float, *, came: bool, over: bool) -> None:
        """A request is at its end: `came` where it had a result, `over` where a host knew of no way to keep bounds."""
        if came:
            self.came.add(amount)
        if self.limit is None:
            return
        if came and amount <= self.limit * _SLACK:
            self.kept += 1
        elif over:
            self.foreseen += 1


class CostTally:
    """The metrics of an objective, each request's until it has its outcome, then sums alone.

    Args:
        rate_bps: of a link (src, dst) at the moment, for the energy of its radios.
    """

    def __init__(self, objective: Objective, topology: Topology, rate_bps: Callable[[str, str], float]) -> None:
        bounds = {bound.name: bound for bound in objective.require}
        named: dict[str, Term | Bound] = {term.name: term for term in objective.minimize}
        for bound in objective.require:
            named.setdefault(bound.name, bound)
        self._metrics = [_Metric(what, bounds.get(name), topology) for name, what in named.items()]
        self._powers = {device.id: device.power for device in topology.devices}
        self._prices = {device.id: device.price_per_s for device in topology.devices}
        self._rate_bps = rate_bps
        self._open: dict[_Key, list[float]] = {}
        self._over: set[_Key] = set()
        self._requests = 0

    def add(self, event: Event) -> None:
        key = str(event.data.get("source", event.host)), event.request
        match event.kind:
            case "submit":
                self._requests += 1
                self._open[key] = [0.0] * len(self._metrics)
            case "result" | "error":
                self._settle(key, event)
            case "bound":
                self._over.add(key)
            case "stage" if key in self._open:
                self._stage(self._open[key], event)
            case "send" | "repair" if key in self._open:
                self._send(self._open[key], event)
            case _:
                pass

    def summary(self) -> tuple[MetricTally, ...]:
        """A tally for each metric, best effort first."""
        found = []
        for metric in self._metrics:
            p95 = metric.came.quantiles([0.95])
            found.append(
                MetricTally(
                    name=metric.name, limit=metric.limit, requests=self._requests, mean=metric.came.mean,
                    p95=p95[0] if p95 else None, worst=metric.came.most if metric.came.count else None,
                    kept=None if metric.limit is None else metric.kept, foreseen=metric.foreseen,
                )
            )  # fmt: skip
        return tuple(found)

    def _settle(self, key: _Key, event: Event) -> None:
        amounts, over = self._open.pop(key, None), key in self._over
        self._over.discard(key)
        if amounts is None:
            return
        for metric, amount in zip(self._metrics, amounts, strict=True):
            amount = event.took_s if metric.metric == "latency" else amount
            metric.settle(amount, came=event.kind == "result", over=over)

    def _stage(self, amounts: list[float], event: Event) -> None:
        for k, metric in enumerate(self._metrics):
            if event.host not in metric.counted:
                continue
            if metric.metric == "energy":
                amounts[k] += event.took_s * self._powers[event.host].busy_w
            elif metric.metric == "money":
                amounts[k] += event.took_s * self._prices[event.host]

    def _send(self, amounts: list[float], event: Event) -> None:
        nbytes, src, dst = event.data["wire_nbytes"], event.host, event.data["dst"]
        for k, metric in enumerate(self._metrics):
            if metric.metric == "bytes" and src in metric.counted and event.kind == "send":
                amounts[k] += nbytes  # what is sent again is counted apart, in plans as well
            elif metric.metric == "energy":
                rate_bps = self._rate_bps(src, dst)
                if rate_bps <= 0.0:
                    continue
                if src in metric.counted:
                    amounts[k] += 8 * nbytes * send_j_per_bit(self._powers[src], rate_bps)
                if dst in metric.counted:
                    amounts[k] += 8 * nbytes * receive_j_per_bit(self._powers[dst], rate_bps)
