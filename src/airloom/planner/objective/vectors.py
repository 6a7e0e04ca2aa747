"""From a `Problem` and an `Objective` to arrays: what every stage and every crossing costs in each metric.

A transfer crosses one hop, or, where cuts travel coded, several at once: hosts between that run
nothing pass the blob on as it came (`core.problem.best_crossing`), so one coding is chosen for all
of them. Then a `Crossing` spans several hops and hosts in between are not visited at all; without
codings every crossing is one hop, and a host may run nothing and forward.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from airloom.core.objective import Metric, Objective
from airloom.core.problem import Cuts, Floats, HopCost, HostCost, Option, PlainOptions, Problem
from airloom.errors import ConfigError
from airloom.planner.objective.dominance import keep_first_of_equals

#: A bound is met where the cost is at most this much, relative, above it: what rounding does to sums.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Crossing:
    """How a cut gets from host `src` to host `dst`, hosts between them running nothing.

    Attributes:
        costs: `[K, M, L+1]` of each way to carry each cut, the result's way back included; infinity
            where a cut has fewer than K ways, and at L, where nothing is left to carry. No way of a cut is as
            bad as another in every metric.
        picks: `[K, L+1]` of each way, its place among the cut's routes as `route` numbers them; -1 beyond the last.
        routes: for each cut, the options of the hops of each way.
    """

    src: int
    dst: int
    costs: Floats
    picks: Cuts
    routes: Sequence[Sequence[Option | tuple[Option, ...]]]

    def route(self, way: int, cut: int) -> tuple[Option, ...]:
        """The option of every hop."""
        found = self.routes[cut][int(self.picks[way, cut])]
        return (found,) if isinstance(found, Option) else found


@dataclass(frozen=True)
class VectorProblem:
    """A chain of P hosts and L operators priced in M metrics.

    Attributes:
        names: of the metrics, best effort first.
        weights: `[M]` of the sum that is minimised, 0 where a metric is only bounded.
        bounds: `[M]`, infinity where there is none.
        hosts: memory windows and privacy are theirs.
        elapsed: per host, `[M, L+1]` costs of the operators before each cut.
        constant: per host, `[M]` of a stage that is not empty.
        crossings: by the host they leave, each to the next host; where cuts travel coded, to later hosts too.
        relays: whether a host may be visited and run nothing; False where crossings pass hosts over.
        problem: what this was made from.
    """

    names: tuple[str, ...]
    weights: Floats
    bounds: Floats
    hosts: tuple[HostCost, ...]
    elapsed: tuple[Floats, ...]
    constant: tuple[Floats, ...]
    crossings: tuple[tuple[Crossing, ...], ...]
    relays: bool
    problem: Problem

    @property
    def num_operators(self) -> int:
        return self.hosts[0].num_operators

    @functools.cached_property
    def limits(self) -> Floats:
        """`[M]` bounds with what rounding may add."""
        return self.bounds * (1.0 + ROUNDING)

    def value(self, costs: Floats) -> float:
        """The weighted sum that is minimised."""
        return float(self.weights @ costs)

    def excess(self, costs: Floats) -> float:
        """The largest cost over its bound: at most 1 where every bound is met, to rounding."""
        return float(np.max(costs / self.bounds, initial=0.0))

    def meets(self, costs: Floats) -> bool:
        return bool((costs <= self.limits).all())

    def stage(self, host: int, start: int, stop: int) -> Floats:
        """`[M]` of operators start..stop-1."""
        if stop == start:
            return np.zeros(len(self.names))
        return self.constant[host] + self.elapsed[host][:, stop] - self.elapsed[host][:, start]

    def cost(self, stops: Sequence[int], ways: Sequence[int] | None = None) -> Floats:
        """`[M]` the price of an assignment, infinity where it cannot be.

        Args:
            stops: for each host, the cut at which it stops.
            ways: of each transfer, in the order of `transfers`; None takes the ways that meet the bounds
                at the least value, or come closest to meeting them.
        """
        return self.priced(stops, ways)[0]

    def transfers(self, stops: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Hosts (p, q) between which the transfers of an assignment go: single hops, or whole crossings."""
        if self.relays:
            return tuple((p, p + 1) for p, stop in enumerate(stops[:-1]) if stop < self.num_operators)
        return self.problem.crossings(tuple(stops))

    def priced(self, stops: Sequence[int], ways: Sequence[int] | None = None) -> tuple[Floats, tuple[int, ...]]:
        """`cost`, and the ways it is the price of."""
        total, start, impossible = np.zeros(len(self.names)), 0, np.full(len(self.names), np.inf)
        for p, (host, stop) in enumerate(zip(self.hosts, stops, strict=True)):
            if stop < start or stop < host.min_stop or not host.fits(start, stop):
                return impossible, ()
            total = total + self.stage(p, start, stop)
            start = stop
        if start < self.num_operators:
            return impossible, ()
        carried = [self.crossing(p, q).costs[:, :, stops[p]] for p, q in self.transfers(stops)]
        if ways is not None:
            return sum((rows[way] for rows, way in zip(carried, ways, strict=True)), total), tuple(ways)
        sums, taken = total[None, :], np.zeros((1, 0), dtype=np.intp)
        for rows in carried:
            rows = rows[np.isfinite(rows).all(axis=1)]
            if not len(rows):
                return impossible, ()
            pairs = (sums[:, None, :] + rows[None, :, :]).reshape(-1, sums.shape[1])
            way = np.tile(np.arange(len(rows)), len(sums))
            taken = np.column_stack([np.repeat(taken, len(rows), axis=0), way])
            kept = keep_first_of_equals(pairs)
            sums, taken = pairs[kept], taken[kept]
        met = (sums <= self.limits).all(axis=1)
        score = np.where(met, sums @ self.weights, np.inf) if met.any() else (sums / self.bounds).max(axis=1)
        best = int(np.argmin(score))
        return sums[best], tuple(int(way) for way in taken[best])

    def crossing(self, src: int, dst: int) -> Crossing:
        return self.crossings[src][dst - src - 1]

    def options(self, stops: Sequence[int], ways: Sequence[int]) -> tuple[Option | None, ...]:
        """For each hop, how it carries its cut; None where nothing crosses it."""
        found: list[Option | None] = [None] * (len(self.hosts) - 1)
        for (p, q), way in zip(self.transfers(stops), ways, strict=True):
            found[p:q] = self.crossing(p, q).route(way, stops[p])
        return tuple(found)


def vectors(problem: Problem, objective: Objective, roles: Mapping[str, str]) -> VectorProblem:
    """`problem` in the metrics that `objective` names.

    Args:
        roles: of every device of the topology, so that an objective may count a role's devices.

    Raises:
        ConfigError: the objective counts devices that there are none of.
    """
    counted = known_metrics(objective, roles)
    rates = [rates_of(host, counted, roles) for host in problem.hosts]
    coded = problem.is_coded
    crossings = []
    for p in range(len(problem.hosts)):
        ends = range(p + 1, len(problem.hosts) if coded else min(p + 2, len(problem.hosts)))
        crossings.append(tuple(_crossing(problem, p, q, counted, roles) for q in ends))
    return VectorProblem(
        names=tuple(counted),
        weights=weights_of(objective),
        bounds=bounds_of(objective),
        hosts=problem.hosts,
        elapsed=tuple(elapsed_of(host, rate, counted, roles) for rate, host in zip(rates, problem.hosts, strict=True)),
        constant=tuple(rate * host.constant_s for rate, host in zip(rates, problem.hosts, strict=True)),
        crossings=tuple(crossings),
        relays=not coded,
        problem=problem,
    )


#: By name of a metric, the metric and the devices that count.
Counted = Mapping[str, tuple[Metric, tuple[str, ...]]]


def metrics_of(objective: Objective) -> Counted:
    """The metrics that an objective names, best effort first."""
    found: dict[str, tuple[Metric, tuple[str, ...]]] = {}
    for term in objective.minimize:
        found[term.name] = (term.metric, term.devices)
    for bound in objective.require:
        found.setdefault(bound.name, (bound.metric, bound.devices))
    return found


def weights_of(objective: Objective) -> Floats:
    """`[M]` weight of each of `metrics_of`, 0 where a metric is only bounded."""
    names = tuple(metrics_of(objective))
    weights = np.zeros(len(names))
    for term in objective.minimize:
        weights[names.index(term.name)] += term.weight
    return weights


def bounds_of(objective: Objective) -> Floats:
    """`[M]` bound on each of `metrics_of`, infinity where there is none."""
    names = tuple(metrics_of(objective))
    bounds = np.full(len(names), np.inf)
    for bound in objective.require:
        bounds[names.index(bound.name)] = min(bound.limit, bounds[names.index(bound.name)])
    return bounds


def known_metrics(objective: Objective, roles: Mapping[str, str]) -> Counted:
    """`metrics_of`, every device in which is known.

    Raises:
        ConfigError: the objective counts devices that there are none of.
    """
    counted = metrics_of(objective)
    for device in (device for _, devices in counted.values() for device in devices):
        if device not in roles and device not in roles.values():
            raise ConfigError(
                f"the objective counts {device!r}, which is no device and no role here: there are "
                f"{', '.join(dict.fromkeys((*roles, *roles.values())))}"
            )
    return counted


def counts(device: str, devices: tuple[str, ...], roles: Mapping[str, str]) -> bool:
    """Whether a device's share counts: it or its role is among `devices`, or that is empty."""
    return not devices or device in devices or roles.get(device) in devices


def rates_of(host: HostCost, counted: Counted, roles: Mapping[str, str]) -> Floats:
    """`[M]` cost of a second of computing."""
    per_second = {"latency": 1.0, "energy": host.energy_w, "bytes": 0.0, "money": host.price_per_s}
    return np.array(
        [per_second[metric] if counts(host.device, devices, roles) else 0.0 for metric, devices in counted.values()]
    )


def elapsed_of(host: HostCost, rates: Floats, counted: Counted, roles: Mapping[str, str]) -> Floats:
    """`[M, L+1]` costs of a host's operators before each cut; weights that travel for them cost no computing."""
    found: Floats = rates[:, None] * host.busy_s
    if host.haul is None:
        return found
    shares = {"energy": host.haul.joules, "bytes": host.haul.nbytes}
    for row, (metric, devices) in zip(found, counted.values(), strict=True):
        if metric == "latency":
            row += host.haul.seconds
        for device, share in shares.get(metric, {}).items():
            if counts(device, devices, roles):
                row += share
    return found


def option_costs(
    option: Option, sender: HostCost, receiver: HostCost, counted: Counted, roles: Mapping[str, str]
) -> list[float]:
    """`[M]` of one option: its sender's share, and of energy and money its receiver's."""
    found = []
    for metric, devices in counted.values():
        sends, receives = counts(sender.device, devices, roles), counts(receiver.device, devices, roles)
        match metric:
            case "latency":
                found.append(option.total_s)
            case "bytes":
                found.append(float(option.nbytes) if sends else 0.0)
            case "energy":
                found.append(
                    (option.energy_j + option.code_s * sender.energy_w if sends else 0.0)
                    + (option.receive_j + option.decode_s * receiver.energy_w if receives else 0.0)
                )
            case "money":
                found.append(
                    (option.code_s * sender.price_per_s if sends else 0.0)
                    + (option.decode_s * receiver.price_per_s if receives else 0.0)
                )
    return found


def _crossing(problem: Problem, p: int, q: int, counted: Counted, roles: Mapping[str, str]) -> Crossing:
    if q == p + 1:
        return hop_crossing(p, problem.hops[p], problem.hosts[p], problem.hosts[q], counted, roles)
    routes: list[list[tuple[Option, ...]]] = []
    rows: list[Floats] = []
    for cut in range(problem.num_operators):
        found: list[tuple[Option, ...]] = []
        costs = np.zeros((0, len(counted)))
        for legs in _ways_over(problem.hops[p:q], cut):
            here, prices = [()], np.zeros((1, len(counted)))
            for k, leg in enumerate(legs):
                sender, receiver = problem.hosts[p + k], problem.hosts[p + k + 1]
                paid = np.array([option_costs(option, sender, receiver, counted, roles) for option in leg])
                pairs = (prices[:, None, :] + paid[None, :, :]).reshape(-1, len(counted))
                kept = keep_first_of_equals(pairs)
                here = [(*here[i // len(leg)], leg[i % len(leg)]) for i in kept.tolist()]
                prices = pairs[kept]
            found += here
            costs = np.concatenate([costs, prices])
        kept = keep_first_of_equals(costs)
        routes.append([found[i] for i in kept.tolist()])
        rows.append(costs[kept] + _back_costs(problem, p, q, counted, roles))
    routes.append([])
    rows.append(np.zeros((0, len(counted))))
    flat = np.concatenate(rows).T
    return _packed(p, q, routes, flat, np.array([len(row) for row in routes]))


def _ways_over(hops: Sequence[HopCost], cut: int) -> list[list[list[Option]]]:
    """What each hop may do where hosts between them run nothing: a list of legs for each coding (`best_crossing`)."""
    if not all(hop.options[cut] for hop in hops):
        return []  # as in `Problem.chain_s`
    found = []
    last = len(hops) - 1
    for coding in (
        dict.fromkeys(option.coding for option in hops[0].options[cut]) if all(h.relayed for h in hops) else ()
    ):
        legs = [
            [
                msgspec.structs.replace(
                    option,
                    code_s=0.0 if k else option.code_s,
                    decode_s=option.decode_s if k == last else 0.0,
                    accuracy_drop=option.accuracy_drop - (option.coding_drop if k else 0.0),
                    coding_drop=0.0 if k else option.coding_drop,
                )
                for option in (*hop.options[cut], *(hop.relayed[cut] if k else ()))
                if option.coding == coding
            ]
            for k, hop in enumerate(hops)
        ]
        if all(legs):
            found.append(legs)
    if found:
        return found
    # No coding goes the whole way: every host decodes.
    apart = [list(hop.options[cut]) for hop in hops]
    return [apart] if all(apart) else []


def hop_crossing(
    p: int, hop: HopCost, sender: HostCost, receiver: HostCost, counted: Counted, roles: Mapping[str, str]
) -> Crossing:
    """The crossing of one hop from host p to the next one."""
    if isinstance(hop.options, PlainOptions):
        return _plain_crossing(p, hop, hop.options, sender, receiver, counted, roles)
    flat = list(itertools.chain.from_iterable(hop.options))
    costs = np.zeros((len(counted), len(flat)))
    for j, (metric, devices) in enumerate(counted.values()):
        sends, receives = counts(sender.device, devices, roles), counts(receiver.device, devices, roles)
        # As `option_costs`, but only what is there is read: a chain has thousands of options.
        if metric == "latency":
            costs[j] = [o.transfer_s + o.code_s + o.decode_s for o in flat]
        elif metric == "bytes" and sends:
            costs[j] = [o.nbytes for o in flat]
        elif metric == "energy":
            if sends:
                costs[j] += [o.energy_j for o in flat]
            if receives:
                costs[j] += [o.receive_j for o in flat]
        if metric in ("energy", "money"):
            code, decode = (
                (sender.energy_w, receiver.energy_w)
                if metric == "energy"
                else (sender.price_per_s, receiver.price_per_s)
            )
            if sends and code:
                costs[j] += code * np.array([o.code_s for o in flat])
            if receives and decode:
                costs[j] += decode * np.array([o.decode_s for o in flat])
    costs += np.array(option_costs(hop.back, receiver, sender, counted, roles))[:, None]
    return _packed(p, p + 1, hop.options, costs, np.array([len(row) for row in hop.options]))


def _plain_crossing(
    p: int,
    hop: HopCost,
    options: PlainOptions,
    sender: HostCost,
    receiver: HostCost,
    counted: Counted,
    roles: Mapping[str, str],
) -> Crossing:
    """The crossing of a hop that carries every cut raw and in one way."""
    costs = np.zeros((len(counted), len(options)))
    for row, (metric, devices) in zip(costs, counted.values(), strict=True):
        sends, receives = counts(sender.device, devices, roles), counts(receiver.device, devices, roles)
        if metric == "latency":
            row += options.total_s
        elif metric == "bytes" and sends:
            row += options.nbytes
        elif metric == "energy":
            row += (options.energy_j if sends else 0.0) + (options.receive_j if receives else 0.0)
    costs += np.array(option_costs(hop.back, receiver, sender, counted, roles))[:, None]
    picks = np.zeros((1, len(options)), dtype=np.intp)
    costs[:, -1], picks[:, -1] = np.inf, -1  # what is finished goes back and not on
    return Crossing(p, p + 1, costs[None], picks, options)


def _back_costs(problem: Problem, p: int, q: int, counted: Counted, roles: Mapping[str, str]) -> Floats:
    """`[M]` of the result's way back over the hops p..q-1."""
    paid = [
        option_costs(problem.hops[k].back, problem.hosts[k + 1], problem.hosts[k], counted, roles) for k in range(p, q)
    ]
    total: Floats = np.array(paid).sum(axis=0)
    return total


def _packed(
    p: int, q: int, routes: Sequence[Sequence[Option | tuple[Option, ...]]], flat: Floats, sizes: Cuts
) -> Crossing:
    """A crossing from `[M, N]` costs of the ways of all cuts one after the other."""
    sizes = sizes.copy()
    width = max(int(sizes.max(initial=0)), 1)
    cut = np.repeat(np.arange(len(sizes)), sizes)
    way = np.arange(len(cut)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    costs = np.full((width, len(flat), len(sizes)), np.inf)
    costs[way, :, cut] = flat.T
    costs[:, :, -1] = np.inf
    picks = np.full((width, len(sizes)), -1)
    picks[way, cut] = way
    if width > 1:
        costs, picks = _pruned(costs, picks)
    return Crossing(p, q, costs, picks, routes)


def _pruned(costs: Floats, picks: Cuts) -> tuple[Floats, Cuts]:
    """Only the ways that no other way of the cut is as good as in every metric; the first of equals."""
    width = len(costs)
    kept: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(costs), axis=1)  # [K, L+1]
    for k in range(width):
        no_worse = np.all(costs[k] <= costs, axis=1) & kept[k]
        equal = np.all(costs[k] == costs, axis=1)
        kept = kept & ~(no_worse & ~(equal & (np.arange(width)[:, None] <= k)))
    order = np.argsort(~kept, axis=0, kind="stable")[: max(int(kept.sum(axis=0).max()), 1)]
    packed = np.take_along_axis(costs, order[:, None, :], axis=0)
    here = np.take_along_axis(kept, order, axis=0)
    packed = np.where(here[:, None, :], packed, np.inf)
    return packed, np.where(here, np.take_along_axis(picks, order, axis=0), -1)
