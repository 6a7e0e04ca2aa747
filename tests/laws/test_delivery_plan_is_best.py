"""The plan of a delivery is the best of all orders and all placements, tried one by one on small instances."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airloom.core.delivery_plan import DeliveryAsked
from airloom.core.depth import DepthOrder
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.progressive import Architecture, Chunk, Configuration, Manifest, Part, encodings_of
from airloom.core.topology import Device, Link, Power, Topology
from airloom.errors import Infeasible
from airloom.files import encode_json
from airloom.planner.objective.assignment import assignment_costs, counted, fastest_options
from airloom.planner.planning import roles_of
from airloom.planner.pricing import build_problem
from airloom.planner.progressive import depth_profiles, plan_delivery
from airloom.planner.progressive.places import UNANSWERED

BLOCKS = ("body.0", "body.1")
# Reads no weights, the base, two blocks, the base again.
NAMES = ("pixels.to", "stem.conv", "body.0.conv", "body.1.conv", "head.linear")
PARTS = (None, 0, 1, 2, 0)


def profile_of(seconds, sizes, result):
    return Profile(
        model="tiny",
        device="this",
        operators=tuple(OperatorCost(name=name, compute_s=s) for name, s in zip(NAMES, seconds, strict=True)),
        cuts=tuple(CutSize(tensor_nbytes=(n,)) for n in (*sizes, result)),
        output_nbytes=(result,),
        weights=tuple(Weights(nbytes=1000, operators=(k,)) for k in range(1, 5)),
        stage_constant_s=0.001,
    )


def manifest_of(sizes, accuracies, precisions, depths):
    parts = tuple(Part(name=name, parameters=n) for name, n in zip(("base", *BLOCKS), sizes, strict=True))
    names = dict.fromkeys(name for precision in precisions for name in encodings_of(precision))
    bits = {"int8": 8, "bits-4": 4, "bits-6": 2, "fp16": 16}
    chunks = [
        Chunk(file=f"c/{k}-{name}", nbytes=part.parameters * bits[name] // 8, sha256="0" * 64, part=k, encoding=name)
        for name in names
        for k, part in enumerate(parts)
    ]
    chunks += [
        Chunk(file=f"c/s{d}", nbytes=37, sha256="0" * 64, part=0, encoding="statistics", depth=d) for d in depths
    ]
    order = DepthOrder(kind="back", arrival=(0, 1), depths=depths)
    draft = Manifest(
        model="tiny", architecture=Architecture(kind="graph", name="tiny", blocks=BLOCKS), inputs=("1x1:uint8",),
        parts=parts, order=order, chunks=tuple(chunks), configurations=(),
    )  # fmt: skip
    rows = []
    for (depth, precision), accuracy in zip(itertools.product(depths, precisions), accuracies, strict=False):
        row = Configuration(depth=depth, precision=precision, nbytes=0, parameters=1, accuracy=accuracy)
        nbytes = draft.nbytes_of(row)
        rows.append(Configuration(depth=depth, precision=precision, nbytes=nbytes, parameters=1, accuracy=accuracy))
    return Manifest(
        model="tiny", architecture=draft.architecture, inputs=draft.inputs, parts=parts, order=order,
        chunks=draft.chunks, configurations=tuple(sorted(rows, key=lambda c: c.nbytes)),
    )  # fmt: skip


def topology_of(rates, factors, delay_s, computes=(True, True, True)):
    ids, links = ("ue", "gnb", "cloud"), []
    for k, (src, dst) in enumerate((("ue", "gnb"), ("gnb", "cloud"))):
        links += [Link(src=src, dst=dst, rate_bps=rates[2 * k], delay_s=delay_s)]
        links += [Link(src=dst, dst=src, rate_bps=rates[2 * k + 1], delay_s=delay_s)]
    power = Power(busy_w=2.0, send_w=((1e6, 3.0), (1e8, 4.0)), receive_w=((1e6, 2.0), (1e8, 3.0)))
    devices = tuple(
        Device(id=id, role=role, factor=factor, computes=does, power=power if id == "ue" else Power())
        for id, role, factor, does in zip(ids, ("ue", "gnb", "cloud"), factors, computes, strict=True)
    )
    return Topology(devices=devices, links=tuple(links), source="ue", sink="cloud")


class EveryWay:
    """All orders and placements, each chunk a chance to place requests otherwise; nothing of the planner's is used but
    the prices of a given assignment."""

    def __init__(self, manifest, profiles, topology, asked, *, every_chunk=True):
        self.manifest, self.topology, self.asked, self.every_chunk = manifest, topology, asked, every_chunk
        self.rate, self.chain = asked.requests_per_s, ("ue", "gnb", "cloud")
        self.profiles = profiles
        self.problems = {d: build_problem(topology, self.chain, by_device) for d, by_device in profiles.items()}
        self.down = [topology.link("cloud", "gnb"), topology.link("gnb", "ue")]
        self.goodput = {(x.src, x.dst): x.rate_bps * 1448 / 1500 for x in self.down}
        self.turn = sum(link.delay_s for link in topology.links)
        last = self.topology.link("gnb", "ue").rate_bps
        watts = 2.0 + (3.0 - 2.0) * (min(max(last, 1e6), 1e8) - 1e6) / (1e8 - 1e6)
        self.receive_j = 8 * watts / last * 1500 / 1448
        self.places = functools.lru_cache(None)(self._places)
        self.value = functools.lru_cache(None)(self._value)
        self.sending = functools.lru_cache(None)(self._sending)

    def cost(self, latency, accuracy, joules):
        kind = self.asked.minimize
        if kind == "latency":
            return latency
        return (joules if kind == "energy" else 1.0 - accuracy) + 1e-6 * latency

    def allowed(self, latency, accuracy):
        asked = self.asked
        late = asked.deadline_s is not None and latency > asked.deadline_s * (1 + 1e-12)
        return not late and (asked.min_accuracy is None or accuracy >= asked.min_accuracy - 1e-12)

    def _places(self, held, sending=False):
        """(cost, bit/s for the download, J) of every way of running a request; `sending` while chunks come."""
        found = []
        for row in self.manifest.configurations:
            problem = self.problems[row.depth]
            last = problem.num_operators
            seconds = problem.hosts[0].stage_s(0, last)
            ready = held >= set(self.manifest.chunks_of(row))
            if ready and self.rate * seconds <= 1 and self.allowed(seconds, row.accuracy):
                found.append(
                    (self.cost(seconds, row.accuracy, 2.0 * seconds), min(self.goodput.values()), 2.0 * seconds)
                )
        for depth in self.manifest.order.depths:
            rows = [c for c in self.manifest.configurations if c.depth == depth]
            best = max(rows, key=lambda c: c.accuracy)
            for precision, accuracy in [("", best.accuracy), *((c.precision, c.accuracy) for c in rows)]:
                found += self._splits(held, depth, precision, accuracy, sending)
        return found or [(UNANSWERED, min(self.goodput.values()), 0.0)]

    def _splits(self, held, depth, precision, accuracy, sending):
        problem, last = self.problems[depth], self.problems[depth].num_operators
        kept = {BLOCKS[k] for k in self.manifest.order.kept(depth)}
        parts = [part for name, part in zip(NAMES, PARTS, strict=True) if part in (None, 0) or name[:6] in kept]
        for stops in itertools.product(range(last), range(last + 1), (last,)):
            if stops[1] < stops[0]:
                continue
            needed = {part for part in parts[: stops[0]] if part is not None}
            if bool(needed) != bool(precision) or not self._there(held, depth, precision, needed):
                continue
            latency = problem.chain_s(stops)
            runs = [problem.hosts[p].stage_s(a, b) for p, (a, b) in enumerate(zip((0, *stops), stops, strict=False))]
            # A result that crosses the model's slowest link meets 2 ms and up to a piece of it there.
            slowest = min(self.goodput, key=self.goodput.get)
            crossed = sending and stops[0 if slowest == ("gnb", "ue") else 1] < last
            piece = max(0.001, 8 * 1448 / self.goodput[slowest])
            longest = latency + (0.002 + piece if crossed else 0.0)
            latency += 0.002 + piece / 2 if crossed else 0.0
            if not self.allowed(longest, accuracy) or max(runs) * self.rate > 1:
                continue
            load, fits = dict.fromkeys(self.goodput, 0.0), True
            for p, hop in enumerate(problem.hops):
                if stops[p] == last:
                    break
                up, down = self.topology.link(hop.src, hop.dst), self.topology.link(hop.dst, hop.src)
                sent, back = 8 * hop.best(stops[p]).nbytes * self.rate, 8 * hop.back.nbytes * self.rate
                fits &= sent <= up.rate_bps and back <= down.rate_bps
                load[hop.dst, hop.src] = back
            rate = min(self.goodput[pair] - load[pair] for pair in load)
            if not fits or rate <= 0 or latency == float("inf"):
                continue
            joules = assignment_costs(
                problem, stops, fastest_options(problem, stops), counted("energy", ("ue",)), roles_of(self.topology)
            )["energy@ue"]
            yield self.cost(latency, accuracy, joules), rate, joules

    def _there(self, held, depth, precision, needed):
        if not needed:
            return True
        at = {(c.part, c.encoding, c.depth): k for k, c in enumerate(self.manifest.chunks)}
        chunks = {at[part, e, None] for part in needed for e in encodings_of(precision)} | {at[0, "statistics", depth]}
        return chunks <= held

    def _spend(self, place, seconds, nbytes, energy):
        """(cost, J so far) of a stretch; None where the battery is empty."""
        cost, _, joules = place
        energy += self.rate * seconds * joules + nbytes * self.receive_j
        if self.asked.battery_j is not None and energy > self.asked.battery_j * (1 + 1e-12):
            return None
        return self.rate * seconds * cost + (nbytes * self.receive_j if self.asked.minimize == "energy" else 0), energy

    def _value(self, held, at_s, used, energy):
        """The least cost from here to the horizon."""
        left = self.asked.horizon_s - at_s
        costs = [s[0] for place in self.places(held) if (s := self._spend(place, left, 0, energy))]
        if used < self.asked.steps:
            for row in self.manifest.configurations:
                missing = tuple(k for k in self.manifest.chunks_of(row) if k not in held)
                if not missing:
                    continue
                wait = self.turn * (1 if used else 5)
                costs += self._stretch(held, held, at_s, wait, 0, energy, used, missing)
        return min(costs, default=float("inf"))

    def _sending(self, held, at_s, used, energy, missing):
        taken, after = 1, held | {missing[0]}
        if not self.every_chunk:
            while taken < len(missing) and set(self.places(after, True)) == set(self.places(held, True)):
                after |= {missing[taken]}
                taken += 1
        nbytes = sum(self.manifest.chunks[k].nbytes for k in missing[:taken])
        if not held:
            nbytes += len(encode_json(self.manifest)) + self.manifest.architecture.nbytes
        costs = self._stretch(held, after, at_s, None, nbytes, energy, used, missing[taken:])
        return min(costs, default=float("inf"))

    def _stretch(self, held, after, at_s, seconds, nbytes, energy, used, missing):
        """Costs of all ways to spend one stretch, and what follows at its best."""
        left, found = self.asked.horizon_s - at_s, []
        for place in self.places(held, seconds is None):
            length = 8 * nbytes / place[1] + nbytes * self.asked.ready_s_per_byte if seconds is None else seconds
            within = min(length, left)
            spent = self._spend(place, within, nbytes * within / length if nbytes else 0, energy)
            if spent is None:
                continue
            rest = 0.0
            energy_key = spent[1] if self.asked.battery_j is not None else 0.0
            if length < left:
                follows = self.sending if missing else None
                if follows is not None:
                    rest = follows(after, at_s + length, used, energy_key, missing)
                else:
                    rest = self.value(after, at_s + length, used + 1, energy_key)
            found.append(spent[0] + rest)
        return found


@st.composite
def instances(draw, *, battery=False):
    few = st.sampled_from
    seconds = tuple(draw(few([0.001, 0.004, 0.01, 0.03])) for _ in NAMES)
    sizes = (draw(few([3000, 20_000])), *(draw(few([400, 4000, 30_000])) for _ in range(4)))
    precisions = draw(few([("int8",), ("bits-4", "bits-6"), ("int8", "fp16")])) if not battery else ("int8",)
    depths = draw(few([(1, 2), (0, 2), (2,)])) if not battery else draw(few([(1, 2), (2,)]))
    parameters = tuple(draw(few([2000, 40_000, 200_000])) for _ in range(3))
    count = len(depths) * len(precisions)
    accuracies = [draw(few([0.6, 0.7, 0.8, 0.9])) for _ in range(count)]
    # Results from the cloud nearly fill a link that the model needs: a slower way that spares it may be better.
    contended = draw(st.booleans())
    rates = (4e7, 4e7, 4e7, draw(few([4.8e6, 5e6, 6e6])))
    factors = (draw(few([0.2, 1.0, 3.0])), draw(few([0.5, 1.0, 2.0])), draw(few([0.25, 0.5])))
    if not contended:
        rates = tuple(draw(few([1e6, 5e6, 4e7])) for _ in range(4))
        factors = (draw(few([1.0, 3.0, 12.0])), draw(few([0.5, 1.0, 9.0])), draw(few([0.25, 9.0])))
    gnb_computes = contended or draw(st.booleans())
    topology = topology_of(rates, factors, draw(few([0.0, 0.005, 0.05])), (True, gnb_computes, True))
    asked = DeliveryAsked(
        requests_per_s=20.0 if contended else draw(few([1.0, 6.0, 20.0])),
        horizon_s=draw(few([0.3, 2.0, 20.0])),
        minimize=draw(few(["latency", "energy", "accuracy"])),
        min_accuracy=draw(few([None, 0.65, 0.8])),
        deadline_s=draw(few([None, 0.05, 0.2])),
        battery_j=draw(few([0.5, 2.0, 6.0])) if battery else None,
        steps=draw(few([1, 2])) if battery else draw(few([1, 2, 3])),
    )
    manifest = manifest_of(parameters, accuracies, precisions, depths)
    profiles = {
        d: {"": p}
        for d, p in depth_profiles(
            profile_of(seconds, sizes, 28_000 if contended else draw(few([40, 3500]))), manifest
        ).items()
    }
    return manifest, profiles, topology, asked


def cost_of(plan, every):
    """The plan's cost, from its phases alone."""
    asked, total = plan.asked, 0.0
    for phase in plan.phases:
        one = UNANSWERED
        if phase.where != "none":
            one = every.cost(phase.latency_s, phase.accuracy, phase.energy_j or 0.0)
        total += asked.requests_per_s * phase.seconds * one
    if asked.minimize == "energy":
        total += plan.totals.nbytes * every.receive_j
    return total


def planned(instance):
    manifest, _, _, asked = instance
    if asked.min_accuracy is not None:
        assume(max(c.accuracy for c in manifest.configurations) >= asked.min_accuracy)
    return plan_delivery(*instance)


@given(instances())
@settings(max_examples=60, deadline=None)
def test_no_order_and_no_placement_costs_less(instance):
    plan = planned(instance)
    every = EveryWay(*instance)
    best = every.value(frozenset(), 0.0, 0, 0.0)
    assert cost_of(plan, every) == pytest.approx(best, rel=1e-7, abs=1e-7 + every.receive_j)  # bytes are rounded


@given(instances(battery=True))
@settings(max_examples=40, deadline=None)
def test_under_a_battery_neither(instance):
    every = EveryWay(*instance, every_chunk=False)
    best = every.value(frozenset(), 0.0, 0, 0.0)
    if best == float("inf"):
        with pytest.raises(Infeasible, match=r"battery|accurate"):
            plan_delivery(*instance)
        return
    plan = planned(instance)
    assert cost_of(plan, every) == pytest.approx(best, rel=1e-7, abs=1e-7 + every.receive_j)
    assert plan.totals.energy_j <= plan.asked.battery_j * (1 + 1e-9)
