"""Prices of split training against every assignment, moves written out one by one; hand-computed steps."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.objective import Objective, Term
from airloom.core.plan import Plan, Stage
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights, weights_nbytes
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Power, Topology
from airloom.core.training import TrainingSpec
from airloom.errors import ConfigError, Infeasible, NoRoute, ProfileMismatch, UserError
from airloom.planner.chain import Solution, solve
from airloom.planner.decide import decide
from airloom.planner.modes import Modes, Pricer
from airloom.planner.objective.outcome import outcome
from airloom.planner.objective.vectors import vectors
from airloom.planner.planning import make_plan
from airloom.planner.pricing import FRAMED, PAYLOAD_ONLY
from airloom.planner.training import Training, training_costs, training_problem
from airloom.planner.training_profile import (
    LOSS_NBYTES,
    gradient_messages,
    training_memory,
    training_profile,
    weight_messages,
)
from airloom.sim.training import simulate_training

SPEC = TrainingSpec(optimizer="adam", label_shape=(4,), label_dtype="int64")


def line(ids: str, *, rate_bps: float = 8e6, delay_s: float = 0.0, **devices: Device) -> Topology:
    names = ids.split()
    links = [
        Link(src=src, dst=dst, rate_bps=rate_bps, delay_s=delay_s)
        for a, b in itertools.pairwise(names)
        for src, dst in ((a, b), (b, a))
    ]
    made = tuple(devices.get(id, Device(id=id, role="mec")) for id in names)
    return Topology(devices=made, links=tuple(links), source=names[0], sink=names[-1])


def plan_of(*stages: tuple[str, int, int], chain: tuple[str, ...] = (), stops: tuple[int, ...] = ()) -> Plan:
    return Plan(
        model="m", graph_digest="", problem_digest="", chain=chain, stops=stops, transfers=(), predicted_s=1.0,
        stages=tuple(Stage(id=f"s{k}", device=d, start=a, stop=b) for k, (d, a, b) in enumerate(stages)),
    )  # fmt: skip


def three() -> Profile:
    """Three operators of 1, 2 and 3 s, twice that backwards; 1 MB/s links make a MB a second."""
    return Profile(
        model="m",
        device="host",
        operators=tuple(OperatorCost(f"op{k}", k + 1.0, backward_s=2.0 * (k + 1)) for k in range(3)),
        cuts=(
            CutSize((1_000_000,), (0,), (0,)),
            CutSize((500_000,), (1,), (250_000,)),
            CutSize((100_000,), (2,), (100_000,)),
            CutSize((8,), (3,), (8,)),
        ),
        weights=(
            Weights(1_000_000, (0,), trained=True, state_nbytes=2_000_000),
            Weights(400_000, (1,), trained=True, state_nbytes=800_000),
            Weights(1_000, (2,)),
        ),
        stage_constant_s=0.25,
        backward_constant_s=0.75,
        optimizer="adam",
    )


def test_a_step_by_hand() -> None:
    """ue runs operator 0, mec the rest: 3 + 15 s of passes, 2 stages of 1 s, 0.5 s on, 0.25 s back."""
    topology = line("ue mec")
    problem = training_problem(topology, ("ue", "mec"), {"": three()}, Training(), framing=PAYLOAD_ONLY)
    assert problem.chain_s((1, 3)) == pytest.approx(3 + 15 + 2 + 0.5 + 0.25)
    # Everything at the mec: the input on, only the loss back, for the input has no gradient.
    assert problem.chain_s((0, 3)) == pytest.approx(18 + 1 + 1.0 + LOSS_NBYTES / 1e6)
    assert problem.chain_s((3, 3)) == pytest.approx(18 + 1)


def test_a_move_by_hand() -> None:
    """HiveMind's example: the layer in the middle goes from one host to the other, its optimiser's state too."""
    topology = line("ue gnb mec")
    before = plan_of(("ue", 0, 1), ("mec", 1, 3))
    priced = training_costs(
        topology, ("ue", "gnb", "mec"), {"": three()}, Training(previous=before), framing=PAYLOAD_ONLY
    )
    still = training_problem(topology, ("ue", "gnb", "mec"), {"": three()}, Training(), framing=PAYLOAD_ONLY)
    for stops, moved_s in (
        ((1, 1, 3), 0.0),
        ((2, 2, 3), 2 * 1.2),  # operator 1: 400 kB and 800 kB of state over two links
        ((1, 2, 3), 1.2),  # to the gnb, over one
        ((0, 0, 3), 2 * 3.0),  # operator 0 to the mec
        ((3, 3, 3), 2 * (1.2 + 0.001)),
    ):
        assert priced.problem.chain_s(stops) == pytest.approx(still.chain_s(stops) + moved_s), stops
    spread = training_problem(
        topology, ("ue", "gnb", "mec"), {"": three()}, Training(previous=before, amortise=4), framing=PAYLOAD_ONLY
    )
    assert spread.chain_s((1, 2, 3)) == pytest.approx(still.chain_s((1, 2, 3)) + 0.3)


def test_labels_travel_with_the_activations() -> None:
    topology, profile = line("ue gnb mec"), three()
    chain = ("ue", "gnb", "mec")
    plain = training_problem(topology, chain, {"": profile}, Training(), framing=PAYLOAD_ONLY)
    labelled = training_problem(topology, chain, {"": profile}, Training(labels_nbytes=100_000), framing=PAYLOAD_ONLY)
    for stops, hops in (((3, 3, 3), 0), ((1, 3, 3), 1), ((0, 2, 3), 2)):
        assert labelled.chain_s(stops) - plain.chain_s(stops) == pytest.approx(0.1 * hops)


def test_weights_that_several_operators_read_go_on_and_their_gradients_back() -> None:
    """Operators 0 and 2 share 300 kB: over each cut between them it costs 0.3 s on and 0.3 s back, once."""
    shared = Weights(300_000, (0, 2), trained=True, state_nbytes=300_000)
    profile = three()
    tied = msgspec.structs.replace(profile, weights=(*profile.weights, shared))
    topology, chain = line("ue gnb mec"), ("ue", "gnb", "mec")
    apart = training_problem(topology, chain, {"": profile}, Training(), framing=PAYLOAD_ONLY)
    together = training_problem(topology, chain, {"": tied}, Training(), framing=PAYLOAD_ONLY)
    for stops, hops in (((0, 3, 3), 0), ((1, 3, 3), 1), ((1, 2, 3), 2), ((2, 2, 3), 2), ((3, 3, 3), 0)):
        more = 0.6 + LOSS_NBYTES / 1e6  # with word that the new value is there
        assert together.chain_s(stops) - apart.chain_s(stops) == pytest.approx(more * hops), stops
    # Its state is where the first operator is, and moves with that one alone.
    assert weight_messages(tied, state=True)[0] == (1_000_000, 2_000_000, 300_000, 300_000)
    assert weight_messages(tied, state=True)[2] == (1_000,)
    frozen = msgspec.structs.replace(tied, weights=(*profile.weights, msgspec.structs.replace(shared, trained=False)))
    assert training_problem(topology, chain, {"": frozen}, Training(), framing=PAYLOAD_ONLY).chain_s(
        (1, 3, 3)
    ) == apart.chain_s((1, 3, 3))


def test_memory_holds_gradients_state_and_activations() -> None:
    """Operator 0: 1 MB of weights, as much of gradients, 2 MB of Adam's, 1 MB it reads, 500 kB it makes."""
    held = training_memory(three())
    assert weights_nbytes(held, 0, 1) == 1_000_000 * 2 + 2_000_000 + 1_000_000 + 500_000
    # Operator 1: 400 kB twice, 800 kB, what it reads and what it makes.
    assert weights_nbytes(held, 1, 2) == 400_000 * 2 + 800_000 + 500_000 + 100_000
    # What passes from 0 to 1 is held once where both run.
    assert weights_nbytes(held, 0, 2) == 5_500_000 + 2_200_000 - 500_000
    small = Device(id="ue", role="ue", memory_bytes=2_200_000)
    problem = training_problem(line("ue mec", ue=small), ("ue", "mec"), {"": three()}, Training())
    assert [problem.chain_s((stop, 3)) < float("inf") for stop in range(4)] == [True, False, False, False]
    with pytest.raises(Infeasible, match="for the weights, gradients, optimiser state and activations of operators"):
        solve(training_problem(line("ue", ue=small), ("ue",), {"": three()}, Training()))


def random_case(rng: np.random.Generator) -> tuple[Topology, Profile, Plan, int]:
    ids = [f"h{k}" for k in range(int(rng.integers(1, 5)))]
    operators = int(rng.integers(1, 6))

    def sizes(count: int) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(0, 5000, count))

    cuts = []
    for _ in range(operators + 1):
        count = int(rng.integers(1, 3))
        cuts.append(CutSize(sizes(count), (), sizes(count)))
    weights = tuple(
        Weights(
            nbytes=int(rng.integers(1, 5000)),
            operators=tuple(
                int(op) for op in rng.choice(operators, int(rng.integers(1, min(3, operators) + 1)), replace=False)
            ),
            trained=bool(rng.random() < 0.7),
            state_nbytes=int(rng.integers(0, 5000)),
        )
        for _ in range(int(rng.integers(1, 7)))
    )
    profile = Profile(
        model="m",
        device="h",
        operators=tuple(
            OperatorCost(f"op{k}", float(rng.exponential(0.01)), backward_s=float(rng.exponential(0.02)) + 1e-6)
            for k in range(operators)
        ),
        cuts=tuple(cuts),
        weights=weights,
        stage_scale=1.5,
        backward_scale=0.5,
        stage_constant_s=0.001,
        backward_constant_s=0.002,
        rest_s=0.0005,
        optimizer="sgd",
    )
    links = [
        Link(src=src, dst=dst, rate_bps=float(rng.uniform(1e5, 1e7)), delay_s=0.001, loss=float(rng.choice([0, 0.1])))
        for a, b in itertools.pairwise(ids)
        for src, dst in ((a, b), (b, a))
    ]
    devices = tuple(
        Device(
            id=id,
            role="mec",
            factor=float(rng.uniform(0.5, 3)),
            power=Power(busy_w=float(rng.uniform(1, 5)), radio_j_per_bit=float(rng.uniform(0, 1e-6))),
        )
        for id in ids
    )
    # A device beside the chain may hold weights too.
    devices = (*devices, Device(id="aside", role="mec"))
    links += [Link("aside", ids[-1], 1e6, 0.002), Link(ids[-1], "aside", 1e6, 0.002)]
    cut = sorted(int(c) for c in rng.integers(0, operators + 1, 2))
    spans = [(0, cut[0]), (cut[0], cut[1]), (cut[1], operators)]
    stages = [(str(rng.choice([*ids, "aside"])), a, b) for a, b in spans if b > a]
    topology = Topology(devices=devices, links=tuple(links), source=ids[0], sink=ids[-1])
    return topology, profile, plan_of(*stages), int(rng.integers(1, 4))


def by_hand(topology: Topology, profile: Profile, previous: Plan, amortise: int, stops: tuple[int, ...]) -> float:
    """Seconds of a step, everything that happens added up one by one."""
    chain = [d.id for d in topology.devices if d.id != "aside"]
    links = {(link.src, link.dst): link for link in topology.links}

    def over(src: str, dst: str, tensors: list[int]) -> float:
        link = links[src, dst]
        return link.delay_s + 8 * FRAMED.wire_nbytes(tuple(tensors)) / (1 - link.loss) / link.rate_bps

    total, start = 0.0, 0
    where: dict[int, str] = {}
    for device, stop in zip(chain, stops, strict=True):
        if stop > start:
            ops = profile.operators[start:stop]
            seconds = sum(1.5 * op.compute_s + 0.5 * op.backward_s for op in ops) + 0.001 + 0.002 + 0.0005
            total += topology.device(device).factor * seconds
        for op in range(start, stop):
            where[op] = device
        start = stop
    for (src, dst), stop in zip(itertools.pairwise(chain), stops, strict=False):
        if stop == profile.num_operators:
            break
        lent = [w.nbytes for w in profile.weights if w.trained and min(w.operators) < stop <= max(w.operators)]
        cut = profile.cuts[stop]
        total += over(src, dst, list(cut.tensor_nbytes))
        total += over(src, dst, lent) if lent else 0.0
        total += over(dst, src, [*(n for n in cut.gradient_nbytes if n), *lent] if stop else [LOSS_NBYTES])
        total += over(dst, src, [LOSS_NBYTES]) if lent else 0.0
    had = {op: stage.device for stage in previous.stages for op in range(stage.start, stage.stop)}
    path = [*chain, "aside"]
    for op in range(profile.num_operators):
        tensors: list[int] = []
        for w in profile.weights:
            if min(w.operators) == op:
                tensors += [w.nbytes, *([w.state_nbytes] if w.state_nbytes else [])]
        begin, end = path.index(had[op]), path.index(where[op])
        step = 1 if end > begin else -1
        if tensors:
            total += sum(over(path[k], path[k + step], tensors) for k in range(begin, end, step)) / amortise
    return total


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_no_assignment_is_better_with_every_move_written_out(seed: int) -> None:
    topology, profile, previous, amortise = random_case(np.random.default_rng(seed))
    chain = tuple(d.id for d in topology.devices if d.id != "aside")
    problem = training_problem(topology, chain, {"": profile}, Training(previous=previous, amortise=amortise))
    last = profile.num_operators
    priced = {
        (*stops, last): by_hand(topology, profile, previous, amortise, (*stops, last))
        for stops in itertools.combinations_with_replacement(range(last + 1), len(chain) - 1)
    }
    for stops, seconds in priced.items():
        assert problem.chain_s(stops) == pytest.approx(seconds, rel=1e-9)
    assert solve(problem).seconds == pytest.approx(min(priced.values()), rel=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_parts_add_up_and_energy_is_of_computing_and_radios(seed: int) -> None:
    rng = np.random.default_rng(seed)
    topology, profile, previous, amortise = random_case(rng)
    chain = tuple(d.id for d in topology.devices if d.id != "aside")
    price = Pricer(topology, {"": profile}, modes=Modes(training=Training(previous=previous, amortise=amortise)))
    problem = price(chain)
    last = profile.num_operators
    stops = (*sorted(int(c) for c in rng.integers(0, last + 1, len(chain) - 1)), last)
    seconds = problem.chain_s(stops)
    parts = {part.name: part for part in price.parts(chain, stops, seconds)}
    assert list(parts) == ["forward", "activations", "backward", "gradients", "moves"]
    assert sum(part.predicted_s for part in parts.values()) == pytest.approx(seconds, rel=1e-9)
    # Energy by hand: busy hosts, and the radio of whoever sends: activations, gradients, moves.
    joules, start = 0.0, 0
    for host, stop in zip(problem.hosts, stops, strict=True):
        joules += host.energy_w * host.compute_s(start, stop)
        start = stop
    bits = dict.fromkeys(((link.src, link.dst) for link in topology.links), 0.0)
    lossless = {(link.src, link.dst): 1 - link.loss for link in topology.links}
    for (src, dst), stop in zip(itertools.pairwise(chain), stops, strict=False):
        if stop == last:
            break
        lent = [w.nbytes for w in profile.weights if w.trained and min(w.operators) < stop <= max(w.operators)]
        bits[src, dst] += 8 * FRAMED.wire_nbytes(profile.cuts[stop].tensor_nbytes) / lossless[src, dst]
        bits[src, dst] += 8 * FRAMED.wire_nbytes(tuple(lent)) / lossless[src, dst] if lent else 0.0
        bits[dst, src] += 8 * FRAMED.wire_nbytes(tuple(gradient_messages(profile)[stop])) / lossless[dst, src]
        bits[dst, src] += 8 * FRAMED.wire_nbytes((LOSS_NBYTES,)) / lossless[dst, src] if lent else 0.0
    for (src, _), sent in bits.items():
        joules += sent * topology.device(src).power.radio_j_per_bit
    for p, host in enumerate(problem.hosts):
        if host.haul is not None:
            begin = stops[p - 1] if p else 0
            joules += sum(float(share[stops[p]] - share[begin]) for share in host.haul.joules.values())
    roles = {device.id: device.role for device in topology.devices}
    priced = vectors(problem, Objective(minimize=(Term("energy"),)), roles)
    assert float(outcome(priced, stops).costs[0]) == pytest.approx(joules, rel=1e-9)


def test_moves_cost_radios_energy_and_no_computing() -> None:
    power = Power(busy_w=10.0, radio_j_per_bit=1e-6)
    topology = line("ue mec", ue=Device("ue", "ue", power=power), mec=Device("mec", "mec", power=power))
    training = Training(previous=plan_of(("mec", 0, 3)))
    problem = training_problem(topology, ("ue", "mec"), {"": three()}, training, framing=PAYLOAD_ONLY)
    host = problem.hosts[0]
    assert host.stage_s(0, 2) - host.compute_s(0, 2) == pytest.approx(3.0 + 1.2)
    assert host.haul is not None
    assert {id: float(share[2]) for id, share in host.haul.joules.items()} == pytest.approx({"mec": 4.2e6 * 8 * 1e-6})
    priced = vectors(problem, Objective(minimize=(Term("energy", devices=("mec",)),)), {"ue": "ue", "mec": "mec"})
    assert priced.cost((3, 3))[0] == pytest.approx(4.201e6 * 8e-6)


def test_a_host_that_cannot_be_reached_keeps_its_weights() -> None:
    """mec can send nothing any more: what it had runs there, or nowhere."""
    topology = line("ue gnb mec")
    before = plan_of(("ue", 0, 1), ("mec", 1, 3))
    silent = Conditions(links=(LinkState(src="mec", dst="gnb", up=False),))
    problem = training_problem(
        topology, ("ue", "gnb", "mec"), {"": three()}, Training(previous=before), conditions=silent
    )
    assert problem.chain_s((2, 2, 3)) == problem.chain_s((1, 2, 3)) == float("inf")
    gone = Conditions(devices=(DeviceState(id="mec", up=False),))
    with pytest.raises(NoRoute, match=r"^mec has the weights of operator 1 and cannot be reached.*--from"):
        training_problem(topology, ("ue", "gnb"), {"": three()}, Training(previous=before), conditions=gone)


def test_profiles_by_hand_are_filled_in_and_measured_ones_are_not() -> None:
    plain = Profile(
        model="m",
        device="d",
        operators=(OperatorCost("a", 1.0), OperatorCost("b", 2.0)),
        cuts=(CutSize((10,), (0,)), CutSize((10, 20), (0, 1)), CutSize((5,), (2,))),
        weights=(Weights(7, (0,)),),
        stage_constant_s=0.5,
    )
    filled = training_profile(plain)
    assert [op.backward_s for op in filled.operators] == [2.0, 4.0]
    assert (filled.backward_constant_s, filled.basis) == (1.0, "modelled")
    # The input has no gradient, wherever it still is.
    assert [cut.gradient_nbytes for cut in filled.cuts] == [(0,), (0, 20), (5,)]
    assert filled.weights == (Weights(7, (0,), trained=True),)
    measured = msgspec.structs.replace(plain, graph_digest="sha256:1")
    with pytest.raises(UserError, match="airloom profile --train sgd"):
        training_profile(measured)
    assert training_profile(measured, modelled=True).operators == filled.operators
    trained = three()
    assert training_profile(trained) is trained


def test_bad_input() -> None:
    topology = line("ue mec")
    with pytest.raises(ConfigError, match="--amortise"):
        training_problem(topology, ("ue", "mec"), {"": three()}, Training(amortise=0))
    other = plan_of(("ue", 0, 7))
    with pytest.raises(ProfileMismatch, match="does not place the 3 operators"):
        training_problem(topology, ("ue", "mec"), {"": three()}, Training(previous=other))
    one_way = msgspec.structs.replace(topology, links=topology.links[:1])
    with pytest.raises(NoRoute, match="for the gradients"):
        training_problem(one_way, ("ue", "mec"), {"": three()}, Training())


def test_decide_puts_the_plan_as_it_was_beside_the_new_one() -> None:
    topology = line("ue mec", ue=Device("ue", "ue", factor=20.0), rate_bps=800e6)
    before = plan_of(("ue", 0, 3), chain=("ue", "mec"), stops=(3, 3))
    plan, _ = decide(topology, {"": three()}, modes=Modes(training=Training(previous=before, amortise=10)))
    assert plan.stops == (0, 3)
    as_it_was = next(other for other in plan.alternatives if other.scheme == "previous")
    assert (as_it_was.stops, as_it_was.predicted_s) == ((3, 3), pytest.approx(20 * 19))
    assert {part.name: part.basis for part in plan.parts} == {
        "forward": "measured", "activations": "modelled", "backward": "measured", "gradients": "modelled",
        "moves": "modelled",
    }  # fmt: skip


@pytest.mark.parametrize("delay_s", [0.0, 0.01])
@pytest.mark.parametrize("stops", [(1, 1, 3), (0, 0, 3), (1, 2, 3), (0, 3, 3), (3, 3, 3)])
@pytest.mark.parametrize("tied", [False, True])
def test_hosts_in_virtual_time_take_as_long_as_planned(stops: tuple[int, ...], delay_s: float, tied: bool) -> None:
    """Law 3 for training: a step of the engine's hosts over ideal links is the plan's closed form."""
    profile = three()
    weights = [
        Weights(w.nbytes, w.operators, True, sum(SPEC.slot_nbytes(w.nbytes)))
        for w in (*profile.weights, *((Weights(300_000, (0, 2)),) if tied else ()))
    ]
    profile = msgspec.structs.replace(
        profile,
        weights=tuple(weights),
        cuts=tuple(
            CutSize(c.tensor_nbytes, c.tensors, c.tensor_nbytes if k else (0,)) for k, c in enumerate(profile.cuts)
        ),
    )
    topology, chain = line("ue gnb mec", delay_s=delay_s), ("ue", "gnb", "mec")
    priced = training_problem(topology, chain, {"": profile}, Training(labels_nbytes=32))
    plan = make_plan(priced, Solution(stops, priced.chain_s(stops)), topology, profile, runner_ups=0)
    came = simulate_training(topology, profile, SPEC, plan, 3)
    assert came.error is None
    assert came.step_s == pytest.approx([plan.predicted_s] * 3, rel=1e-6)


def test_hosts_in_virtual_time_move_weights_in_the_time_planned() -> None:
    """Beside the word to move, and that all is there: two control messages."""
    profile, topology, chain = three(), line("ue gnb mec"), ("ue", "gnb", "mec")
    profile = msgspec.structs.replace(
        profile,
        weights=tuple(Weights(w.nbytes, w.operators, True, sum(SPEC.slot_nbytes(w.nbytes))) for w in profile.weights),
    )

    def plan(stops: tuple[int, ...], previous: Plan | None) -> tuple[Plan, float]:
        price = Pricer(topology, {"": profile}, modes=Modes(training=Training(previous=previous, labels_nbytes=32)))
        problem = price(chain)
        made = make_plan(problem, Solution(stops, problem.chain_s(stops)), topology, profile, runner_ups=0)
        return made, next(p.predicted_s for p in price.parts(chain, stops, made.predicted_s) if p.name == "moves")

    begin, _ = plan((1, 1, 3), None)
    for stops in ((1, 2, 3), (3, 3, 3)):
        then, moved_s = plan(stops, begin)
        came = simulate_training(topology, profile, SPEC, begin, 3, replan={1: then})
        assert came.error is None
        assert came.moved_s[1] == pytest.approx(moved_s, abs=2e-3)
