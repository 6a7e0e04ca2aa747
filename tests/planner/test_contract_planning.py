"""Cut, coding, protection and MCS chosen together under an accuracy floor."""

from __future__ import annotations

import functools
import itertools
import math

import msgspec
import numpy as np
import pytest
from engine_cases import contract as made_contract
from engine_cases import line, random_profile
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.coding import parse_coding
from airloom.core.framing import Framing
from airloom.core.problem import RadioChoice
from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.core.repair import expected_repair
from airloom.core.tolerance import Contract, CutTolerance, ErrorPoint, Tolerance
from airloom.core.topology import Conditions, Device, Link, LinkState, Topology
from airloom.errors import Infeasible, ProfileMismatch
from airloom.planner.accuracy import fit
from airloom.planner.chain import Solution, runner_ups, solve
from airloom.planner.contract import bearable, expected_accuracy, measured_at
from airloom.planner.planning import make_plan, price_plan
from airloom.planner.pricing import build_problem

CLEAN = 0.9
RATES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8)
CODINGS = ("raw", "structured+neighbours", "pruned+random", "int8+structured+neighbours", "fp16+random")


#: Many examples share a few curves.
fitted = functools.lru_cache(fit)


def entry(
    cut: int, coding: str, nbytes: float, *, fall: float, clean: float = CLEAN, block: int = 1152, seconds: float = 1e-4
) -> CutTolerance:
    """A cut whose accuracy falls with the square of the share of missing blocks."""
    points = tuple(ErrorPoint(error_rate=r, accuracy=max(0.1, clean - fall * r * r), draws=8) for r in RATES)
    return CutTolerance(
        cut=cut, coding=parse_coding(coding), pattern="burst", block_bytes=block, nbytes=nbytes, clean=clean,
        points=points, curves=fitted(points), code_s=seconds, decode_s=2 * seconds,
    )  # fmt: skip


def tolerance(*entries: CutTolerance, digest: str = "") -> Tolerance:
    return Tolerance(
        model="toy", graph_digest=digest, weights_digest="", metric="top-1", clean=CLEAN, samples=1000, cuts=entries
    )


def profile(sizes: tuple[int, ...] = (150_000, 400_000, 100_000, 50_000, 40), digest: str = "") -> Profile:
    return Profile(
        model="toy", device="here", graph_digest=digest, output_nbytes=(40,),
        operators=tuple(OperatorCost(name=f"op{i}", compute_s=0.002) for i in range(len(sizes) - 1)),
        cuts=tuple(CutSize(tensor_nbytes=(n,)) for n in sizes),
    )  # fmt: skip


def pair(rate_bps: float = 2e7, loss: float = 0.3, delay_s: float = 0.004) -> Topology:
    return Topology(
        devices=(Device(id="ue", role="ue", factor=20.0), Device(id="mec", role="mec", factor=2.0)),
        links=(
            Link(src="ue", dst="mec", rate_bps=rate_bps, delay_s=delay_s, loss=loss),
            Link(src="mec", dst="ue", rate_bps=1e8, delay_s=0.003),
        ),
        source="ue",
        sink="mec",
    )


def relayed(loss: float = 0.3) -> Topology:
    """The same with a base station between that only forwards."""
    return Topology(
        devices=(Device(id="ue", role="ue", factor=20.0), Device(id="gnb", role="gnb", computes=False),
                 Device(id="mec", role="mec")),
        links=(Link(src="ue", dst="gnb", rate_bps=2e7, delay_s=0.004, loss=loss),
               Link(src="gnb", dst="ue", rate_bps=1e8, delay_s=0.004),
               Link(src="gnb", dst="mec", rate_bps=3e7, delay_s=0.001),
               Link(src="mec", dst="gnb", rate_bps=1e9, delay_s=0.001)),
        source="ue", sink="mec",
    )  # fmt: skip


FULL = tolerance(
    entry(1, "structured+neighbours", 400_000, fall=0.3), entry(1, "pruned+random", 130_000, fall=0.6),
    entry(2, "raw", 100_000, fall=2.0), entry(2, "structured+neighbours", 100_000, fall=0.3),
    entry(2, "int8+structured+neighbours", 26_000, fall=0.3, clean=0.895), entry(3, "raw", 50_000, fall=3.0),
)  # fmt: skip


@st.composite
def entries(draw: st.DrawFn) -> tuple[CutTolerance, ...]:
    pairs = draw(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from(CODINGS), st.sampled_from([1152, 3777])), unique=True)
    )
    return tuple(
        entry(
            cut, coding, draw(st.integers(500, 300_000)), block=block, fall=draw(st.sampled_from([0.0, 0.1, 0.5, 3.0])),
            clean=draw(st.sampled_from([0.8, 0.88, CLEAN])), seconds=draw(st.sampled_from([0.0, 1e-3])),
        )
        for cut, coding, block in pairs
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    entries(), st.floats(0.5, CLEAN), st.floats(0.0, 0.9), st.sampled_from([1e5, 1e6, 3e7]),
    st.lists(st.tuples(st.floats(1e5, 1e8), st.floats(0.0, 0.95)), max_size=4),
)  # fmt: skip
def test_one_lossy_hop_is_planned_as_well_as_by_trying_everything(
    known: tuple[CutTolerance, ...], floor: float, loss: float, rate: float, radio: list[tuple[float, float]]
) -> None:
    """The plan equals brute force over cut, coding and MCS."""
    net, prof, framing = pair(rate, loss), profile(), Framing()
    contract = Contract(tolerance=tolerance(*known), min_accuracy=floor)
    choices = [RadioChoice(mcs=k, rate_bps=r, loss=q, block_bytes=3777) for k, (r, q) in enumerate(radio)]
    problem = build_problem(net, ("ue", "mec"), {"": prof}, contract=contract, choices={("ue", "mec"): choices})
    plan = make_plan(problem, solve(problem), net, prof)

    back_s = 0.003 + 8 * framing.wire_nbytes((40,)) / 1e8
    ue, mec = prof.operators[0].compute_s * 20, prof.operators[0].compute_s * 2
    links = [(c.rate_bps, c.loss, c.mcs) for c in choices] or [(rate, loss, None)]
    found = [(4 * ue, "raw", None, 0.0)]
    for cut, (bps, lost, mcs) in itertools.product(range(4), links):
        ways: list[tuple[str, int, float, float]] = [("raw", prof.cuts[cut].nbytes, 0.0, 0.0)]
        for known_entry in measured_at(contract.tolerance, cut, framing).values():
            bears = bearable(known_entry, floor)
            if bears >= 0.0:
                name = known_entry.coding.name
                size = prof.cuts[cut].nbytes if name == "raw" else math.ceil(known_entry.nbytes)
                ways.append((name, size, bears, known_entry.code_s * 20 + known_entry.decode_s * 2))
        for name, size, bears, code_s in ways:
            sizes = (size,) if name == "raw" else (size, 0)  # a blob, and the list of its gaps
            blocks = framing.num_blocks(framing.message_nbytes(sizes))
            block_s = 8 * framing.wire_nbytes(sizes) / blocks / bps
            repair = expected_repair(blocks, math.floor(bears * blocks + 1e-9), lost, 0.007 / block_s)
            seconds = 0.004 + block_s * (blocks + repair.blocks + repair.waits) + code_s
            found.append((cut * ue + (4 - cut) * mec + seconds + back_s, name, mcs, repair.rounds))
    best = min(found, key=lambda f: f[0])
    assert plan.predicted_s == pytest.approx(best[0], rel=1e-9)
    equal = [
        (name, mcs, pytest.approx(rounds, abs=1e-6)) for s, name, mcs, rounds in found if s == pytest.approx(best[0])
    ]
    hop = next((hop for transfer in plan.transfers if transfer.dst for hop in transfer.route), None)
    taken = ("raw", None, 0.0) if hop is None else (plan.transfers[-2].coding, hop.mcs, hop.rounds)
    assert taken in equal
    assert plan.predicted_accuracy is not None
    assert floor - 1e-9 <= plan.predicted_accuracy <= CLEAN


def test_without_a_contract_nothing_changes() -> None:
    problem = build_problem(pair(), ("ue", "mec"), {"": profile()})
    assert [len(row) for row in problem.hops[0].options] == [1] * 5
    assert not problem.is_coded
    plan = make_plan(problem, solve(problem), pair(), profile())
    assert (plan.min_accuracy, plan.predicted_accuracy, plan.notes) == (None, None, ())
    assert problem.hops[0].options[1][0].rounds == 0


def test_a_floor_is_kept_and_a_lower_one_is_no_slower() -> None:
    seconds, accuracies = [], []
    for floor in (CLEAN, 0.89, 0.87, 0.84):
        contract = Contract(tolerance=FULL, min_accuracy=floor)
        problem = build_problem(pair(), ("ue", "mec"), {"": profile()}, contract=contract)
        plan = make_plan(problem, solve(problem), pair(), profile())
        assert plan.predicted_accuracy is not None
        assert plan.predicted_accuracy >= floor - 1e-9
        seconds.append(plan.predicted_s)
        accuracies.append(plan.predicted_accuracy)
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] < seconds[0]
    assert accuracies[0] == CLEAN


def test_a_contract_without_a_floor_takes_only_what_costs_no_accuracy() -> None:
    problem = build_problem(pair(), ("ue", "mec"), {"": profile()}, contract=Contract(tolerance=FULL))
    for row in problem.hops[0].options:
        assert all(option.accuracy_drop == 0.0 and option.tolerable == 0.0 for option in row)
    assert {option.coding for option in problem.hops[0].options[2]} == {"raw", "structured+neighbours"}


def test_blocks_are_whole() -> None:
    few = tolerance(entry(2, "int8+random", 9_000, fall=0.3))
    contract = Contract(tolerance=few, min_accuracy=0.85)
    (coded,) = (
        o for o in build_problem(pair(), ("ue", "mec"), {"": profile()}, contract=contract).hops[0].options[2]
        if o.coding != "raw"
    )  # fmt: skip
    blocks = Framing().num_blocks(Framing().message_nbytes((9_000,)))
    bears = bearable(few.cuts[0], 0.85)
    assert blocks == 8
    assert coded.tolerable * blocks == pytest.approx(math.floor(bears * blocks))
    assert coded.tolerable < bears
    assert coded.missing == min(coded.tolerable, 0.3)
    assert coded.accuracy_drop == pytest.approx(CLEAN - expected_accuracy(few.cuts[0], coded.missing))


def test_a_host_that_runs_nothing_neither_decodes_nor_codes_again() -> None:
    contract = Contract(tolerance=FULL, min_accuracy=0.84)
    net, prof = relayed(), profile()
    problem = build_problem(net, ("ue", "gnb", "mec"), {"": prof}, contract=contract)
    best = solve(problem)
    every = [problem.chain_s((cut, cut, 4)) for cut in range(5)]
    assert best.seconds == min(every)
    plan = make_plan(problem, best, net, prof)
    transfer = plan.transfers[-2]
    assert transfer.coding == "int8+structured+neighbours"
    first, second = transfer.route
    framing = Framing()
    assert first.nbytes == second.nbytes == framing.wire_nbytes((26_000, 0))
    assert second.predicted_s == pytest.approx(0.001 + 8 * second.nbytes / 3e7)
    near, far = plan.stages  # the stages at the ends bear the coding
    coded = next(o for o in problem.hops[0].options[near.stop] if o.coding == transfer.coding)
    decoded = next(o for o in problem.hops[1].relayed[near.stop] if o.coding == transfer.coding)
    assert near.predicted_s == pytest.approx(problem.hosts[0].stage_s(0, near.stop) + coded.code_s)
    assert far.predicted_s == pytest.approx(problem.hosts[2].stage_s(near.stop, 4) + decoded.decode_s)
    assert decoded.decode_s > 0.0
    assert second.tolerable == second.missing == 0.0
    # What the coding itself costs is borne once, though it crosses two hops.
    known = next(e for e in FULL.cuts if e.coding.precision == "int8")
    assert transfer.accuracy_drop == pytest.approx(CLEAN - expected_accuracy(known, first.missing))
    total = sum(s.predicted_s for s in plan.stages) + sum(h.predicted_s for t in plan.transfers for h in t.route)
    assert plan.predicted_s == pytest.approx(total)
    assert price_plan(plan, problem) == plan.predicted_s
    seconds = [solution.seconds for solution in runner_ups(problem, 3)]
    assert best.seconds <= min(seconds)
    assert seconds == sorted(seconds)


def test_an_aggressive_mcs_may_win_where_the_data_bears_it() -> None:
    safe = RadioChoice(mcs=10, rate_bps=2e7, loss=0.01, block_bytes=3777)
    bold = RadioChoice(mcs=16, rate_bps=4e7, loss=0.4, block_bytes=3777)
    contract = Contract(tolerance=tolerance(entry(2, "structured+neighbours", 100_000, fall=0.1)), min_accuracy=0.85)
    taken = {}
    for name, floor in (("raw", None), ("coded", contract)):
        problem = build_problem(
            pair(), ("ue", "mec"), {"": profile()}, contract=floor, choices={("ue", "mec"): (safe, bold)}
        )
        taken[name] = problem.hops[0].best(2).mcs, problem.chain_s((2, 4))
    assert taken["coded"][0] == 16
    restricted = build_problem(
        pair(), ("ue", "mec"), {"": profile()}, contract=contract, choices={("ue", "mec"): (safe,)}
    )
    assert restricted.hops[0].best(2).mcs == 10
    assert taken["coded"][1] < restricted.chain_s((2, 4))


def test_a_radio_link_that_is_down_carries_nothing() -> None:
    down = Conditions(links=(LinkState(src="ue", dst="mec", up=False),))
    problem = build_problem(
        pair(), ("ue", "mec"), {"": profile()}, conditions=down, contract=Contract(tolerance=FULL, min_accuracy=0.8),
        choices={("ue", "mec"): (RadioChoice(mcs=1, rate_bps=1e6, loss=0.0, block_bytes=100),)},
    )  # fmt: skip
    assert np.all(np.isinf(problem.hops[0].forward_s))
    assert solve(problem).stops == (4, 4)


def test_tuned_weights_are_not_offered_where_another_host_could_run_the_rest() -> None:
    """The gNB would decode and hand over to the MEC host, which runs the weights as they were."""
    known = tolerance(entry(1, "structured+neighbours+tuned", 9_000, fall=0.1), entry(1, "structured", 9_000, fall=0.1))
    contract, net = Contract(tolerance=known, min_accuracy=0.84), relayed()
    every = tuple(msgspec.structs.replace(device, computes=True) for device in net.devices)
    offered = []
    for topology in (net, msgspec.structs.replace(net, devices=every)):
        problem = build_problem(topology, ("ue", "gnb", "mec"), {"": profile()}, contract=contract)
        offered.append([{o.coding for o in hop.options[1]} for hop in problem.hops])
    both = {"raw", "structured+neighbours+tuned", "structured"}
    assert offered == [[both, both], [{"raw", "structured"}, both]]


def test_what_pruning_adds_over_the_cut_after_the_pooling_is_said() -> None:
    known = tolerance(entry(1, "pruned", 60_000, fall=0.1))
    prof, slow = profile(), pair(2e6)
    problem = build_problem(slow, ("ue", "mec"), {"": prof}, contract=Contract(tolerance=known, min_accuracy=0.85))
    plan = make_plan(problem, Solution((1, 4), problem.chain_s((1, 4))), slow, prof)
    assert plan.transfers[-2].coding == "pruned"
    (note,) = plan.notes
    assert "cut 1, pruned, carries" in note
    assert "cut 2, after the pooling" in note
    assert "pruning saves" in note


def test_contracts_that_cannot_be_kept() -> None:
    above = Contract(tolerance=FULL, min_accuracy=0.91)
    with pytest.raises(Infeasible, match=r"at least 0\.91 cannot be had: toy reaches 0\.9"):
        build_problem(pair(), ("ue", "mec"), {"": profile()}, contract=above)
    other = Contract(tolerance=tolerance(digest="sha256:1"), min_accuracy=0.5)
    with pytest.raises(ProfileMismatch, match="tolerance profile is of toy"):
        build_problem(pair(), ("ue", "mec"), {"": profile(digest="sha256:2")}, contract=other)


@pytest.mark.parametrize("seed", range(20))
def test_law_1_where_several_hops_may_be_coded(seed: int) -> None:
    """Every assignment of a chain of three is tried: hosts between may forward blobs, or decode and code again."""
    rng = np.random.default_rng(seed)
    prof = random_profile(rng, int(rng.integers(4, 20)))
    factors = tuple(float(f) for f in np.sort(rng.uniform(1, 30, 3))[::-1])
    rates = tuple(float(10 ** rng.uniform(6, 8)) for _ in range(2))
    losses = tuple(float(rng.choice([0.0, 0.2, 0.6])) for _ in range(2))
    net = line(factors, rates, (0.003, 0.001), losses=losses)
    if seed % 2:
        devices = tuple(msgspec.structs.replace(d, computes=d.id != "gnb") for d in net.devices)
        net = msgspec.structs.replace(net, devices=devices)
    agreed = made_contract(prof, float(rng.choice([0.55, 0.64, 0.69])), share=float(rng.uniform(0.1, 0.9)))
    cuts = tuple(
        msgspec.structs.replace(e, code_s=float(rng.choice([0.0, 0.02])), decode_s=float(rng.choice([0.0, 0.02])))
        for e in agreed.tolerance.cuts
    )
    agreed = msgspec.structs.replace(agreed, tolerance=msgspec.structs.replace(agreed.tolerance, cuts=cuts))
    problem = build_problem(net, ("ue", "gnb", "mec"), {"": prof}, contract=agreed)
    last = prof.num_operators
    every = itertools.combinations_with_replacement(range(last + 1), 2)
    assert solve(problem).seconds == pytest.approx(min(problem.chain_s((*stops, last)) for stops in every), rel=1e-9)
