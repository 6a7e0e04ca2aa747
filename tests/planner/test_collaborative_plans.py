"""Parameter transfer (HiveMind, Eq. 13) against every assignment with what travels written out."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.objective import Bound, Objective, Term
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.topology import Conditions, Device, Link, LinkState, Power, Topology
from airloom.errors import ConfigError, NoRoute
from airloom.planner.chain import solve
from airloom.planner.collaborative import Collaboration, Senders, with_parameters
from airloom.planner.decide import decide
from airloom.planner.modes import Modes, Pricer
from airloom.planner.pricing import FRAMED, PAYLOAD_ONLY, build_problem


def two_operators() -> Profile:
    """1 s each; 2 MB of weights of the first, 3 MB of the second; cuts of nothing, so links cost nothing."""
    return Profile(
        model="agent",
        device="host",
        operators=(OperatorCost("a", 1.0), OperatorCost("b", 1.0)),
        cuts=(CutSize((0,)), CutSize((0,)), CutSize((0,))),
        weights=(Weights(2_000_000, (0,), state_nbytes=99), Weights(3_000_000, (1,), state_nbytes=99)),
    )


def line(*ids: str, rate_bps: float = 8e6) -> Topology:
    """1 MB a second over every link."""
    links = [Link(s, d, rate_bps) for a, b in itertools.pairwise(ids) for s, d in ((a, b), (b, a))]
    return Topology(devices=tuple(Device(id, "mec") for id in ids), links=tuple(links), source=ids[0], sink=ids[-1])


@pytest.mark.parametrize(
    ("senders", "both", "every", "expected"),
    [
        # Stops of (ue, mec, cloud) with everything on the ue, one operator each on ue and mec, all on the cloud.
        ("last", False, 1, (10.0, 5.0, 0.0)),
        ("last", True, 1, (20.0, 10.0, 0.0)),
        ("last", True, 4, (5.0, 2.5, 0.0)),
        ("stages", False, 1, (10.0, 2 * 2.0 + 3.0, 0.0)),
        ("stages", True, 2, (10.0, 7.0, 0.0)),
    ],
)
def test_transfers_by_hand(senders: Senders, both: bool, every: int, expected: tuple[float, ...]) -> None:
    topology, profile = line("ue", "mec", "cloud"), two_operators()
    plain = build_problem(topology, ("ue", "mec", "cloud"), {"": profile}, framing=PAYLOAD_ONLY)
    collaboration = Collaboration("cloud", every=every, both=both, senders=senders)
    problem = with_parameters(plain, topology, profile, collaboration, framing=PAYLOAD_ONLY)
    for stops, seconds in zip(((2, 2, 2), (1, 2, 2), (0, 0, 2)), expected, strict=True):
        assert problem.chain_s(stops) - plain.chain_s(stops) == pytest.approx(seconds), stops


def test_the_paper_lets_one_layer_at_the_merging_host_send_nothing() -> None:
    """Why each host's own stage is what counts here: Eq. (13) forgets the parameters of earlier stages."""
    topology, profile = line("ue", "cloud"), two_operators()
    plain = build_problem(topology, ("ue", "cloud"), {"": profile}, framing=PAYLOAD_ONLY)
    cost = {
        senders: with_parameters(
            plain, topology, profile, Collaboration("cloud", both=False, senders=senders), framing=PAYLOAD_ONLY
        ).chain_s((1, 2))
        - plain.chain_s((1, 2))
        for senders in ("last", "stages")
    }
    assert cost == pytest.approx({"last": 0.0, "stages": 2.0})


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=80)
def test_no_assignment_is_better_with_every_transfer_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [f"h{k}" for k in range(int(rng.integers(1, 5)))]
    operators = int(rng.integers(1, 6))
    profile = Profile(
        model="m",
        device="d",
        operators=tuple(OperatorCost(f"op{k}", float(rng.exponential(0.05))) for k in range(operators)),
        cuts=tuple(CutSize((int(rng.integers(0, 5000)),)) for _ in range(operators + 1)),
        weights=tuple(
            Weights(int(rng.integers(1, 9000)), tuple(int(k) for k in rng.integers(0, operators, 2)))
            for _ in range(int(rng.integers(1, 6)))
        ),
    )
    links = [
        Link(s, d, float(rng.uniform(1e5, 1e7)), delay_s=0.003)
        for a, b in itertools.pairwise(ids)
        for s, d in ((a, b), (b, a))
    ]
    devices = tuple(Device(id, "mec", factor=float(rng.uniform(0.2, 4))) for id in ids)
    topology = Topology(devices=devices, links=tuple(links), source=ids[0], sink=ids[-1])
    senders: Senders = "last" if rng.random() < 0.5 else "stages"
    collaboration = Collaboration(
        to=str(rng.choice(ids)), every=int(rng.integers(1, 4)), both=bool(rng.random() < 0.5), senders=senders
    )
    plain = build_problem(topology, ids, {"": profile})
    problem = with_parameters(plain, topology, profile, collaboration)

    def trip(src: str, dst: str, tensors: list[int]) -> float:
        begin, end = ids.index(src), ids.index(dst)
        step = 1 if end > begin else -1
        total = 0.0
        for k in range(begin, end, step):
            link = topology.link(ids[k], ids[k + step])
            total += link.delay_s + 8 * FRAMED.wire_nbytes(tuple(tensors)) / link.rate_bps
        return total

    def by_hand(stops: tuple[int, ...]) -> float:
        where = [ids[next(p for p, stop in enumerate(stops) if op < stop)] for op in range(operators)]
        firsts: list[list[int]] = [[] for _ in range(operators)]
        for weight in profile.weights:
            firsts[min(weight.operators)].append(weight.nbytes)
        sent = [(where[op], firsts[op]) for op in range(operators) if firsts[op]]
        if senders == "last":
            sent = [(where[-1], [nbytes for sizes in firsts for nbytes in sizes])]
        total = sum(
            trip(host, collaboration.to, sizes) + (trip(collaboration.to, host, sizes) if collaboration.both else 0.0)
            for host, sizes in sent
        )
        return plain.chain_s(stops) + total / collaboration.every

    priced = {
        (*stops, operators): by_hand((*stops, operators))
        for stops in itertools.combinations_with_replacement(range(operators + 1), len(ids) - 1)
    }
    for stops, seconds in priced.items():
        assert problem.chain_s(stops) == pytest.approx(seconds, rel=1e-9)
    assert solve(problem).seconds == pytest.approx(min(priced.values()), rel=1e-9)
    price = Pricer(topology, {"": profile}, modes=Modes(collaboration=collaboration))
    best = solve(problem)
    parts = price.parts(ids, best.stops, best.seconds)
    assert [part.name for part in parts] == ["forward", "transfers", "parameters"]
    assert sum(part.predicted_s for part in parts) == pytest.approx(best.seconds, rel=1e-9)


def test_hosts_that_cannot_send_their_parameters_run_nothing() -> None:
    topology, profile = line("ue", "mec", "cloud"), two_operators()
    plain = build_problem(topology, ("ue", "mec", "cloud"), {"": profile})
    down = Conditions(links=(LinkState("ue", "mec", up=False),))
    problem = with_parameters(plain, topology, profile, Collaboration("cloud"), conditions=down)
    assert [problem.chain_s(stops) < float("inf") for stops in ((0, 2, 2), (1, 2, 2), (2, 2, 2))] == [
        True, False, False,
    ]  # fmt: skip
    apart = msgspec.structs.replace(topology, devices=(*topology.devices, Device("far", "cloud")))
    with pytest.raises(NoRoute, match="can send parameters to far"):
        with_parameters(plain, apart, profile, Collaboration("far"))


def test_bad_input() -> None:
    topology, profile = line("ue", "cloud"), two_operators()
    plain = build_problem(topology, ("ue", "cloud"), {"": profile})
    with pytest.raises(ConfigError, match="--parameters-to: no device 'moon': there are ue, cloud"):
        with_parameters(plain, topology, profile, Collaboration("moon"))
    with pytest.raises(ConfigError, match="--every"):
        with_parameters(plain, topology, profile, Collaboration("cloud", every=0))


def test_the_standard_split_stands_beside_the_plan() -> None:
    """Without counting parameters the ue is best; with them the cloud is, under an energy objective too."""
    topology, profile = line("ue", "cloud"), two_operators()
    slow = Device("cloud", "cloud", factor=2.0, power=Power(busy_w=1.0))
    quick = Device("ue", "ue", power=Power(busy_w=3.0))
    topology = msgspec.structs.replace(topology, devices=(quick, slow))
    modes = Modes(collaboration=Collaboration("cloud"))
    plan, _ = decide(topology, {"": profile}, framing=PAYLOAD_ONLY, modes=modes)
    assert plan.stops == (0, 2)
    standard = next(other for other in plan.alternatives if other.scheme == "without-parameters")
    assert (standard.stops, standard.predicted_s) == ((2, 2), pytest.approx(2.0 + 10.0))
    # The ue alone keeps a request under 3.9 s, but not with its parameters on their way.
    bounded = Objective(minimize=(Term("energy"),), require=(Bound("latency", 4.5),))
    plan, _ = decide(topology, {"": profile}, framing=PAYLOAD_ONLY, modes=modes, objective=bounded)
    assert plan.stops == (0, 2)
    assert [cost.kept for cost in plan.costs if cost.limit is not None] == [True]
