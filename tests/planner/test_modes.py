"""Prices and paths of a run's phases: of the pinned plan's path, or of the one that is best then."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import airloom
from airloom.config import load_topology
from airloom.core.plan import Stage
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.tolerance import Contract, Tolerance
from airloom.core.topology import Conditions, Device, DeviceState, Link, LinkState, Topology
from airloom.errors import ConfigError, Infeasible, NoRoute
from airloom.planner.collaborative import Collaboration
from airloom.planner.decide import decide
from airloom.planner.modes import Modes, Pricer, chosen_route, planned_chain
from airloom.planner.phases import predicted_phase
from airloom.planner.training import Training

PROFILE = Profile(
    model="m",
    device="d",
    operators=tuple(OperatorCost(f"op{k}", 0.005) for k in range(4)),
    cuts=tuple(CutSize((30_000,)) for _ in range(5)),
)
SLOW = Conditions(links=(LinkState("ue", "gnb1", rate_bps=1e6),))


@pytest.fixture(scope="module")
def iab() -> Topology:
    return load_topology(Path("examples/hivemind_mmwave_iab.yaml"))


def test_a_run_is_priced_on_the_path_that_is_best_or_pinned(iab: Topology) -> None:
    plan, _ = decide(iab, {"": PROFILE}, runner_ups=0)
    price = Pricer(iab, {"": PROFILE}, conditions=SLOW)
    assert planned_chain(price, None)[1] == "gnb2"
    assert planned_chain(price, None, plan) == plan.chain
    stays, _ = predicted_phase(price(plan.chain), iab, PROFILE, pinned=plan, conditions=SLOW, chain=plan.chain)
    moves, other = predicted_phase(price(planned_chain(price, None)), iab, PROFILE, conditions=SLOW, chain=plan.chain)
    assert stays.stops == plan.stops
    assert (moves.stops, other.chain[1]) == ((), "gnb2")  # stops of a run are told in the order of its chain
    assert moves.predicted_s is not None
    assert stays.predicted_s is not None
    assert moves.predicted_s < stays.predicted_s


def test_a_pinned_plan_over_a_host_that_is_gone_comes_to_nothing(iab: Topology) -> None:
    plan, _ = decide(iab, {"": PROFILE}, runner_ups=0)
    gone = Conditions(devices=(DeviceState("gnb1", up=False),))
    phase, _ = predicted_phase(Pricer(iab, {"": PROFILE}, conditions=gone)(plan.chain), iab, PROFILE, pinned=plan)
    assert phase.predicted_s == float("inf")
    decided, _ = decide(iab, {"": PROFILE}, conditions=gone, runner_ups=0)
    assert decided.chain[1] == "gnb2"


def test_training_needs_the_links_back_whatever_becomes_of_the_result(iab: Topology) -> None:
    price = Pricer(iab, {"": PROFILE}, result_returns=False, modes=Modes(training=Training()))
    route, nominal = chosen_route(price, None)
    assert route.chain == nominal
    assert route.considered == 2
    contract = Contract(Tolerance("m", "", "", "top-1", clean=0.9, samples=1), 0.8)
    with pytest.raises(ConfigError, match="--min-accuracy"):
        Pricer(iab, {"": PROFILE}, contract=contract, modes=Modes(training=Training()))(nominal)


def test_plain_requests_have_no_parts(iab: Topology) -> None:
    plan, _ = decide(iab, {"": PROFILE}, runner_ups=0)
    assert plan.parts == ()


def test_a_program_plans_a_step_over_a_path_of_its_own(iab: Topology) -> None:
    by_hand = ("ue", "gnb2", "gnb3", "gnb4")
    planned = airloom.plan(PROFILE, iab, runner_ups=0, modes=Modes(training=Training(), route=by_hand))
    assert planned.plan.chain == by_hand
    assert planned.plan.parts[0].name == "forward"


def diamond(**hosts: Device) -> Topology:
    """A UE, two hosts side by side, a cloud; every link both ways."""
    devices = {
        "ue": Device("ue", "ue"),
        "a": Device("a", "gnb"),
        "b": Device("b", "gnb"),
        "cloud": Device("cloud", "cloud"),
    }
    pairs = [("ue", "a"), ("ue", "b"), ("a", "cloud"), ("b", "cloud")]
    links = tuple(Link(s, d, rate_bps=1e8, delay_s=0.001) for a, b in pairs for s, d in ((a, b), (b, a)))
    return Topology(devices=tuple((devices | hosts).values()), links=links, source="ue", sink="cloud")


def test_private_operators_and_hosts_that_only_relay_choose_between_paths() -> None:
    # What is priced link by link is no plan of its own: a relay keeps no private operators.
    idle = diamond(a=Device("a", "gnb", computes=False), b=Device("b", "gnb", computes=False, factor=9.0))
    plan, problem = decide(idle, {"": PROFILE}, private_operators=1)
    assert plan.chain[1] in ("a", "b")
    assert plan.stops[0] >= 1
    assert plan.predicted_s == pytest.approx(problem.chain_s(plan.stops))
    with pytest.raises(Infeasible, match="ue must keep 1 operators and may run none"):
        decide(diamond(ue=Device("ue", "ue", computes=False)), {"": PROFILE}, private_operators=1)


def test_hosts_that_cannot_send_or_get_weights_do_not_bar_the_others() -> None:
    # Over `a` the UE neither sends parameters nor gets weights, over `b` both.
    heavy = msgspec.structs.replace(PROFILE, weights=tuple(Weights(1000, (k,), trained=True) for k in range(4)))
    still = Conditions(links=(LinkState("ue", "a", rate_bps=0.0), LinkState("a", "ue", rate_bps=0.0)))
    merged = Modes(collaboration=Collaboration(to="a"))
    before, _ = decide(
        diamond(), {"": heavy}, modes=Modes(training=Training(modelled=True), route=("ue", "a", "cloud"))
    )
    held = msgspec.structs.replace(before, stages=(Stage("s0", "a", 0, 4),))
    moved = Modes(training=Training(previous=held, modelled=True))
    for modes in (merged, moved):
        plan, _ = decide(diamond(), {"": heavy}, conditions=still, modes=modes)
        assert plan.chain[1] == "b"
        assert "ue" not in {stage.device for stage in plan.stages}
    only_ue = diamond(b=Device("b", "gnb", computes=False), cloud=Device("cloud", "cloud", computes=False))
    with pytest.raises(NoRoute, match="can send parameters to a"):
        Pricer(only_ue, {"": heavy}, conditions=still, modes=merged)(("ue",))
