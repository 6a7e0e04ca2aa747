from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from airloom.core.plan import Hop, Plan, Slice, Stage, Transfer
from airloom.core.problem import Problem
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.topology import Device, Link, Power, Topology
from airloom.errors import ConfigError
from airloom.files import read_value, write_value
from airloom.planner.baselines import ue_only
from airloom.planner.chain import Solution, runner_ups, solve
from airloom.planner.planning import check_plan, make_plan, price_plan
from airloom.planner.pricing import build_problem
from airloom.planner.route import chain

# A residual network of six operators: the cuts inside its block carry two tensors.
PROFILE = Profile(
    model="toy",
    device="bench",
    operators=tuple(OperatorCost(name=f"op{i}", compute_s=0.01) for i in range(6)),
    cuts=(
        CutSize(tensor_nbytes=(4000,), tensors=(0,)),
        CutSize(tensor_nbytes=(2000,), tensors=(1,)),
        CutSize(tensor_nbytes=(2000, 1000), tensors=(1, 2)),
        CutSize(tensor_nbytes=(2000, 1000), tensors=(1, 3)),
        CutSize(tensor_nbytes=(1000,), tensors=(4,)),
        CutSize(tensor_nbytes=(500,), tensors=(5,)),
        CutSize(tensor_nbytes=(40, 8), tensors=(6, 7)),
    ),
    output_nbytes=(40, 8),
    weights=tuple(Weights(nbytes=100, operators=(i,)) for i in range(6)),
    graph_digest="sha256:toy",
)
CHAIN = ("ue", "gnb", "mec", "cloud")


def topology(**ue: Any) -> Topology:
    pairs = list(itertools.pairwise(CHAIN))
    return Topology(
        devices=tuple(
            Device(id=id, role="mec", factor=factor, **(ue if id == "ue" else {}))
            for id, factor in zip(CHAIN, (8.0, 4.0, 2.0, 1.0), strict=True)
        ),
        links=tuple(Link(src=s, dst=d, rate_bps=4e6, delay_s=0.001) for a, b in pairs for s, d in ((a, b), (b, a))),
        source="ue",
        sink="cloud",
    )


def planned(stops: tuple[int, ...], net: Topology | None = None, **options: Any) -> tuple[Plan, Problem]:
    net = net or topology()
    problem = build_problem(net, chain(net), {"": PROFILE}, **options)
    return make_plan(problem, Solution(stops, problem.chain_s(stops)), net, PROFILE), problem


@pytest.mark.parametrize(
    "stops", [(6, 6, 6, 6), (0, 0, 0, 6), (1, 1, 4, 6), (0, 3, 3, 6), (1, 2, 3, 6), (0, 6, 6, 6), (2, 2, 6, 6)]
)
@pytest.mark.parametrize("returns", [True, False])
def test_every_plan_made_is_sound_and_its_parts_add_up(stops: tuple[int, ...], returns: bool) -> None:
    plan, problem = planned(stops, result_returns=returns)
    assert check_plan(plan, topology(), PROFILE) == ()
    parts = sum(s.predicted_s for s in plan.stages) + sum(h.predicted_s for t in plan.transfers for h in t.route)
    assert parts == pytest.approx(plan.predicted_s, abs=1e-12)
    assert price_plan(plan, problem) == plan.predicted_s == problem.chain_s(stops)


def test_stages_and_transfers_of_a_split_that_skips_hosts() -> None:
    plan, problem = planned((2, 2, 2, 6))
    assert [(s.device, s.start, s.stop, s.inputs, s.outputs) for s in plan.stages] == [
        ("ue", 0, 2, (0,), (1, 2)),
        ("cloud", 2, 6, (1, 2), (6, 7)),
    ]
    task = plan.transfers[1]
    assert [s.tensor for s in task.slices] == [1, 2]
    assert [(h.src, h.dst) for h in task.route] == [("ue", "gnb"), ("gnb", "mec"), ("mec", "cloud")]
    assert {h.nbytes for h in task.route} == {problem.hops[0].best(2).nbytes}
    result = plan.transfers[2]
    assert [(h.src, h.dst) for h in result.route] == [("cloud", "mec"), ("mec", "gnb"), ("gnb", "ue")]
    assert [s.tensor for s in result.slices] == [6, 7]
    assert plan.limits[0] in {"ue", "cloud"}


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan, _ = planned((1, 1, 4, 6))
    write_value(tmp_path / "plan.json", plan)
    assert read_value(tmp_path / "plan.json", Plan) == plan


def test_alternatives_are_baselines_then_runner_ups() -> None:
    net = topology()
    problem = build_problem(net, chain(net), {"": PROFILE})
    best = solve(problem)
    plan = make_plan(problem, best, net, PROFILE, runner_ups=4)
    assert [a.scheme for a in plan.alternatives] == ["ue-only", "cloud-only", "single-split", "", "", "", ""]
    assert all(a.predicted_s >= plan.predicted_s for a in plan.alternatives)
    beside = [a.stops for a in plan.alternatives if not a.scheme]
    assert beside == [s.stops for s in runner_ups(problem, 4)]
    # A baseline's plan finds the optimum among those beside it, and not itself.
    alone = ue_only(problem)
    assert alone is not None
    other = make_plan(problem, alone, net, PROFILE, runner_ups=2)
    assert next(a.stops for a in other.alternatives if not a.scheme) == best.stops
    assert make_plan(problem, best, net, PROFILE, runner_ups=0).alternatives == plan.alternatives[:3]


def test_a_private_model_has_no_cloud_baseline() -> None:
    net = topology()
    problem = build_problem(net, chain(net), {"": PROFILE}, private_operators=2)
    plan = make_plan(problem, solve(problem), net, PROFILE)
    assert "cloud-only" not in {a.scheme for a in plan.alternatives}


def test_energy_is_busy_power_and_radio() -> None:
    assert planned((2, 2, 2, 6))[0].predicted_j is None
    net = topology(power=Power(idle_w=9.0, busy_w=2.0, radio_j_per_bit=1e-6))
    plan, problem = planned((2, 2, 2, 6), net)
    stage_s = problem.hosts[0].stage_s(0, 2)
    nbytes = problem.hops[0].best(2).nbytes
    assert plan.predicted_j == pytest.approx(2.0 * stage_s + 8e-6 * nbytes)


def test_limits_are_sorted_by_share() -> None:
    plan, _ = planned((1, 3, 4, 6))
    share = {s.device: s.predicted_s for s in plan.stages} | {
        f"{h.src}->{h.dst}": h.predicted_s for t in plan.transfers for h in t.route
    }
    assert list(plan.limits) == sorted(share, key=lambda name: -share[name])


def test_a_plan_of_another_chain_is_not_priced() -> None:
    plan, _ = planned((1, 1, 4, 6))
    net = topology()
    shorter = build_problem(net, ("ue", "gnb"), {"": PROFILE})
    with pytest.raises(ConfigError, match="ue gnb mec cloud, prices are for ue gnb"):
        price_plan(plan, shorter)


def _changed(**fields: Any) -> Plan:
    return msgspec.structs.replace(planned((1, 1, 4, 6))[0], **fields)


def _stage(index: int, **fields: Any) -> tuple[Stage, ...]:
    stages = list(planned((1, 1, 4, 6))[0].stages)
    stages[index] = msgspec.structs.replace(stages[index], **fields)
    return tuple(stages)


def _transfer(index: int, **fields: Any) -> tuple[Transfer, ...]:
    transfers = list(planned((1, 1, 4, 6))[0].transfers)
    transfers[index] = msgspec.structs.replace(transfers[index], **fields)
    return tuple(transfers)


ROUND = [("ue", "gnb"), ("gnb", "ue"), ("ue", "gnb"), ("gnb", "mec")]


@pytest.mark.parametrize(
    ("plan", "mistake"),
    [
        (_changed(chain=("ue", "gnb", "mars", "cloud")), "chain: no device 'mars'"),
        (_changed(chain=("gnb", "ue", "mec", "cloud")), "chain: starts at gnb"),
        (_changed(chain=("ue", "mec", "gnb", "cloud")), "chain: no link ue->mec"),
        (_changed(stops=(1, 1, 6)), "stops: 3 for a chain of 4 devices"),
        (_changed(stops=(1, 4, 1, 6)), "stops: a later device stops before"),
        (_changed(stops=(-1, 1, 4, 6)), "stops: a later device stops before"),
        (_changed(stops=(1, 1, 4, 5)), "stops: end at cut 5, the model at 6"),
        (_changed(stops=(1, 2, 4, 6)), "stages: differ from what the stops say"),
        (_changed(stages=_stage(1, start=2)), "stages: nobody runs operators 1..1"),
        (_changed(stages=()), "stages: there are none"),
        (_changed(stages=_stage(1, id="s0")), "stage 's0': the id is used twice"),
        (_changed(stages=_stage(1, device="mars")), "stage 's1': no device 'mars'"),
        (_changed(stages=_stage(2, stop=9)), "stage 's2': ends at cut 9, the model at 6"),
        (_changed(stages=_stage(2, stop=5)), "stages: nobody runs operators 5..5"),
        (_changed(stages=_stage(0, start=1)), "stage 's0': operators 1..0 are none"),
        (_changed(stages=_stage(1, inputs=(1, 9))), "stage 's1': tensors 9 are not sent to it"),
        (_changed(transfers=_transfer(1, src="s9")), "transfer 1 (s9 to s1): no stage 's9'"),
        (_changed(transfers=_transfer(1, slices=(Slice(tensor=1), Slice(tensor=5)))), "has no tensors 5 to send"),
        (_changed(transfers=_transfer(1, route=())), "the route ends at ue, not at mec"),
        (_changed(transfers=_transfer(1, route=(Hop(src="ue", dst="mec"),))), "no link ue->mec"),
        (_changed(transfers=_transfer(1, route=(Hop(src="gnb", dst="mec"),))), "the route breaks off at ue"),
        (
            _changed(transfers=_transfer(1, route=tuple(Hop(src=a, dst=b) for a, b in ROUND))),
            "transfer 1 (s0 to s1): the route comes back to ue",
        ),
        (_changed(transfers=_transfer(1, dst="s2")), "stage 's1': nothing is sent to it"),
        (_changed(transfers=_transfer(0, src="s2")), "wait for each other"),
        (_changed(transfers=planned((1, 1, 4, 6))[0].transfers[:-1]), "none carries the result"),
        (_changed(transfers=_transfer(0, dst="")), "joins no stage"),
        (_changed(transfers=_transfer(3, slices=(Slice(tensor=6),))), "has 2 outputs, the plan does not deliver"),
        (_changed(graph_digest="sha256:other"), "the plan is for toy (sha256:other), the profile of toy (sha256:toy)"),
    ],
)  # fmt: skip
def test_every_mistake_is_named(plan: Plan, mistake: str) -> None:
    found = check_plan(plan, topology(), PROFILE)
    assert any(mistake in line for line in found), found


def test_memory_and_hosts_that_only_forward() -> None:
    plan, _ = planned((3, 3, 3, 6))
    assert "ue needs 300 B for its weights, has 299 B" in check_plan(plan, topology(memory_bytes=299), PROFILE)
    assert check_plan(plan, topology(memory_bytes=300), PROFILE) == ()
    assert any("ue only forwards" in line for line in check_plan(plan, topology(computes=False), PROFILE))


def test_without_a_profile_the_plan_stands_for_itself() -> None:
    assert check_plan(_changed(graph_digest="sha256:other"), topology()) == ()


SIDE_BY_SIDE = Plan(
    model="toy",
    graph_digest="sha256:toy",
    problem_digest="",
    chain=(),
    stops=(),
    stages=(
        Stage(id="head", device="ue", start=0, stop=1, inputs=(0,), outputs=(1,)),
        Stage(id="left", device="gnb", start=1, stop=4, inputs=(1,), outputs=(4,)),
        Stage(id="right", device="mec", start=1, stop=4, inputs=(1,), outputs=(4,)),
        Stage(id="tail", device="cloud", start=4, stop=6, inputs=(4,), outputs=(6, 7)),
    ),
    transfers=(
        Transfer(src="", dst="head", slices=(Slice(tensor=0),)),
        Transfer(src="head", dst="left", slices=(Slice(tensor=1, maps=(0, 1)),), route=(Hop(src="ue", dst="gnb"),)),
        Transfer(
            src="head",
            dst="right",
            slices=(Slice(tensor=1, maps=(2, 3)),),
            route=(Hop(src="ue", dst="gnb"), Hop(src="gnb", dst="mec")),
        ),
        Transfer(
            src="left",
            dst="tail",
            slices=(Slice(tensor=4, maps=(0, 1)),),
            route=(Hop(src="gnb", dst="mec"), Hop(src="mec", dst="cloud")),
        ),
        Transfer(src="right", dst="tail", slices=(Slice(tensor=4, maps=(2, 3)),), route=(Hop(src="mec", dst="cloud"),)),
        Transfer(src="tail", dst="", slices=(Slice(tensor=6), Slice(tensor=7))),
    ),
    predicted_s=1.0,
)


def test_stages_side_by_side_are_a_plan() -> None:
    assert check_plan(SIDE_BY_SIDE, topology(), PROFILE) == ()


def test_a_cycle_is_named_without_those_that_wait_for_it() -> None:
    loop = Transfer(src="right", dst="left", slices=(), route=(Hop(src="mec", dst="gnb"),))
    back = Transfer(src="left", dst="right", slices=(), route=(Hop(src="gnb", dst="mec"),))
    plan = msgspec.structs.replace(SIDE_BY_SIDE, transfers=(*SIDE_BY_SIDE.transfers, loop, back))
    assert check_plan(plan, topology(), PROFILE) == ("stages left, right wait for each other",)


def test_random_optima_make_sound_plans() -> None:
    rng = np.random.default_rng(0)
    net = topology()
    for _ in range(50):
        drawn = msgspec.structs.replace(
            PROFILE,
            operators=tuple(
                OperatorCost(name=f"op{i}", compute_s=float(s)) for i, s in enumerate(rng.exponential(0.01, 6))
            ),
        )
        links = tuple(msgspec.structs.replace(link, rate_bps=float(rng.exponential(1e7))) for link in net.links)
        moved = msgspec.structs.replace(net, links=links)
        problem = build_problem(moved, chain(net), {"": drawn})
        plan = make_plan(problem, solve(problem), moved, drawn)
        assert check_plan(plan, moved, drawn) == ()
        assert price_plan(plan, problem) == pytest.approx(plan.predicted_s, abs=1e-12)
