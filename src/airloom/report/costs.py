"""What each request cost in the metrics of an objective, and in how many of them the bounds were kept.

Latency and bytes are as the trace has them; energy and money are modelled: measured (or simulated)
stage times and bytes at the power figures and prices of the topology, with the rate that a link had
when it carried them.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.core.objective import Bound, Objective, Term
from airloom.core.run import RunRecord, SchemeRecord
from airloom.core.topology import Power, Topology
from airloom.core.value import Basis, Value
from airloom.planner.carrying import receive_j_per_bit, send_j_per_bit
from airloom.report.figure import Figure
from airloom.report.series import RESULT, Sending, Series


class CostSummary(Value, frozen=True):
    """One metric of an objective over the requests of a scheme.

    Attributes:
        name: as in the objective: "energy@ue". Figures are in s, J, bytes or money.
        limit: the bound; None for what is only to be small.
        predicted: by the planner for a request, the mean over the stretches of the run.
        mean, p95, worst: over the requests that had a result.
        kept: requests that had a result within the bound; None without one.
        foreseen: of the others, how many a host sent on knowing that no way kept the bounds, or lie in stretches
            of the run in which the planner itself expected this one to be broken.
        requests: all of them; one without a result keeps no bound.
    """

    name: str
    requests: int
    limit: float | None = None
    predicted: Figure | None = None
    mean: Figure | None = None
    p95: Figure | None = None
    worst: Figure | None = None
    kept: int | None = None
    foreseen: int = 0


def summarise_costs(record: SchemeRecord, series: Series, run: RunRecord | None) -> tuple[CostSummary, ...]:
    """A line for each metric of the run's objective, best effort first; empty without one."""
    if run is None or run.objective is None:
        return ()
    basis: Basis = "modelled" if run.simulated else "measured"
    bounds = {bound.name: bound for bound in run.objective.require}
    found = []
    for what in metrics_of(run.objective):
        bound = bounds.get(what.name)
        costs = request_costs(what, series, run.topology)
        done = np.array([s.outcome == RESULT for s in series.served], dtype=bool)
        came = costs[done]
        of: Basis = basis if what.metric in ("latency", "bytes") else "modelled"

        def figure(value: float, of: Basis = of) -> Figure:
            return Figure(value=float(value), basis=of)

        found.append(
            CostSummary(
                name=what.name,
                requests=len(series.served),
                limit=None if bound is None else bound.limit,
                predicted=_predicted(what.name, record, series),
                mean=figure(came.mean()) if came.size else None,
                p95=figure(np.quantile(came, 0.95)) if came.size else None,
                worst=figure(came.max()) if came.size else None,
                kept=None if bound is None else int((came <= bound.limit * (1.0 + 1e-9)).sum()),
                foreseen=0 if bound is None else _foreseen(bound, record, series, costs),
            )
        )
    return tuple(found)


def metrics_of(objective: Objective) -> tuple[Term | Bound, ...]:
    """The metrics that an objective names, each once, best effort first."""
    found: dict[str, Term | Bound] = {term.name: term for term in objective.minimize}
    for bound in objective.require:
        found.setdefault(bound.name, bound)
    return tuple(found.values())


def request_costs(what: Term | Bound, series: Series, topology: Topology) -> NDArray[np.float64]:
    """`[requests]` s, J, bytes or money of each request, in order of submission."""
    costs = np.zeros(len(series.served))
    if what.metric == "latency":
        costs[:] = [served.took_s for served in series.served]
        return costs
    counted = {
        d.id for d in topology.devices if not what.devices or d.id in what.devices or d.role in what.devices
    }  # fmt: skip
    devices = {device.id: device for device in topology.devices}
    if what.metric in ("energy", "money"):
        for run in series.stages:
            if run.index >= 0 and run.device in counted:
                device = devices[run.device]
                costs[run.index] += run.took_s * (
                    device.power.busy_w if what.metric == "energy" else device.price_per_s
                )
    if what.metric == "money":
        return costs
    radios = Radios(topology, series)
    for sending in series.sendings:
        if sending.request < 0:
            continue
        if what.metric == "energy":
            shares = radios.joules(sending)
            costs[sending.request] += sum(j for device, j in shares if device in counted)
        elif sending.src in counted and sending.what != "repair":
            # What is sent again is counted apart, in plans as well.
            costs[sending.request] += sending.nbytes
    return costs


class Radios:
    """Joules of messages: from both ends' power figures and the rate that the link had when one was sent."""

    def __init__(self, topology: Topology, series: Series) -> None:
        self._powers = {device.id: device.power for device in topology.devices}
        self._rates = {(link.src, link.dst): link.rate_bps for link in topology.links}
        self._steps = series.set_rates

    def joules(self, sending: Sending) -> tuple[tuple[str, float], tuple[str, float]]:
        """(sender, J) and (receiver, J)."""
        src, dst, bits = sending.src, sending.dst, 8 * sending.nbytes
        rate = self._rate(src, dst, sending.at_s)
        sent = bits * send_j_per_bit(self._powers.get(src, _NONE), rate)
        return (src, sent), (dst, bits * receive_j_per_bit(self._powers.get(dst, _NONE), rate))

    def _rate(self, src: str, dst: str, at_s: float) -> float:
        steps = self._steps.get((src, dst), ())
        # The last step at or before that moment; before the first one the topology holds.
        k = bisect.bisect_right(steps, at_s, key=lambda step: step[0]) - 1
        known = steps[k][1] if k >= 0 else None
        if known is not None and known <= 0.0:
            # An outage: it waits until the link carries something again.
            known = next((rate for _, rate in steps[k + 1 :] if rate is not None and rate > 0.0), None)
        return known if known is not None else self._rates.get((src, dst), float("inf"))


_NONE = Power()


def energy_j(topology: Topology, series: Series) -> dict[str, float]:
    """Joules of each device over the run: compute time at `busy_w`, and what its radio sends and receives.

    What a device draws when idle is left out: it would draw it without us. Devices without power
    figures are left out too.
    """
    idle = [d.id for d in topology.devices if d.power == Power(idle_w=d.power.idle_w, source=d.power.source)]
    joules = {d.id: 0.0 for d in topology.devices if d.id not in idle}
    busy_w = {d.id: d.power.busy_w for d in topology.devices}
    for run in series.stages:
        if run.device in joules:
            joules[run.device] += run.took_s * busy_w[run.device]
    radios = Radios(topology, series)
    for sending in series.sendings:
        for device, j in radios.joules(sending):
            if device in joules:
                joules[device] += j
    return joules


def _foreseen(bound: Bound, record: SchemeRecord, series: Series, costs: NDArray[np.float64]) -> int:
    hopeless = [any(c.name == bound.name and not c.kept for c in phase.costs) for phase in record.phases]
    starts = [phase.first_request for phase in record.phases]

    def expected(index: int) -> bool:
        return index in series.over or (
            bool(hopeless) and hopeless[max(bisect.bisect_right(starts, index) - 1, 0)]
        )  # fmt: skip

    return sum(
        expected(served.index) and not (served.outcome == RESULT and cost <= bound.limit * (1.0 + 1e-9))
        for served, cost in zip(series.served, costs.tolist(), strict=True)
    )


def _predicted(name: str, record: SchemeRecord, series: Series) -> Figure | None:
    """What planners expected of a request, each stretch weighted by its requests."""
    phases: Sequence[tuple[int, float]] = [
        (phase.first_request, cost.predicted) for phase in record.phases for cost in phase.costs if cost.name == name
    ]
    if not phases and record.plan is not None:
        phases = [(0, cost.predicted) for cost in record.plan.costs if cost.name == name]
    if not phases:
        return None
    firsts = [first for first, _ in phases]
    ends = [*firsts[1:], max(len(series.served), firsts[-1] + 1)]
    weights = [max(end - first, 0) for first, end in zip(firsts, ends, strict=True)]
    total = sum(weights)
    value = sum(w * v for w, (_, v) in zip(weights, phases, strict=True)) / total if total else phases[0][1]
    return Figure(value=value, basis="modelled")
