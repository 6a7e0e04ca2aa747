"""What rounds cost: local steps, then the parameters' way; with it in the plan and without."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.objective import LATENCY, Bound, Objective, Term
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.topology import Device, Link, Power, Topology
from airloom.errors import ConfigError, Infeasible
from airloom.federate.cost import RoundNetwork, RoundPlans, plan_rounds
from airloom.federate.games import TwoStepGame
from airloom.federate.learned import learned_agents, learned_rounds
from airloom.federate.qmix import QMIXSettings, train_qmix
from airloom.federate.rounds import FederatedRun, FederatedSettings, RoundScore
from airloom.planner.collaborative import Collaboration
from airloom.planner.pricing import PAYLOAD_ONLY
from airloom.planner.route import chain
from airloom.planner.training import LOSS_NBYTES, Training
from airloom.zoo import vgg11


def _profile(compute_s: list[float], cuts: list[int], weights: list[int]) -> Profile:
    """Written by hand: backward twice the forward pass, gradients of the size of what they are of."""
    return Profile(
        model="hand",
        device="this",
        operators=tuple(OperatorCost(name=f"op{k}", compute_s=s) for k, s in enumerate(compute_s)),
        cuts=tuple(CutSize(tensor_nbytes=(nbytes,), tensors=(k,)) for k, nbytes in enumerate(cuts)),
        output_nbytes=(cuts[-1],),
        weights=tuple(Weights(nbytes=nbytes, operators=(k,)) for k, nbytes in enumerate(weights)),
        basis="modelled",
    )


def _line(*rates: float, ues: int = 1, factors: tuple[float, ...] = ()) -> Topology:
    """UEs, then hosts in a line; both directions at the same rate (bit/s), no delay."""
    hosts = [f"h{k}" for k in range(1, len(rates) + 1)]
    power = Power(busy_w=2.0, radio_j_per_bit=1e-6)
    names = [f"ue{k}" for k in range(ues)]
    devices = [Device(id=id, role="ue", power=power, factor=factors[0] if factors else 1.0) for id in names]
    devices += [
        Device(id=id, role="mec" if id != hosts[-1] else "cloud", factor=factors[k] if factors else 1.0)
        for k, id in enumerate(hosts, 1)
    ]
    pairs = [(ue, hosts[0], rates[0]) for ue in names]
    pairs += [(a, b, rate) for a, b, rate in zip(hosts, hosts[1:], rates[1:], strict=False)]
    links = [Link(src=a, dst=b, rate_bps=r) for x, y, r in pairs for a, b in ((x, y), (y, x))]
    return Topology(devices=tuple(devices), links=tuple(links), source=names[0], sink=hosts[-1])


def _plans(topology: Topology, profile: Profile, objective: Objective = LATENCY, **merge: object) -> RoundPlans:
    network = RoundNetwork(topology, {"": profile}, framing=PAYLOAD_ONLY)
    return plan_rounds(network, Collaboration(to=topology.sink, **merge), Training(), objective=objective)  # type: ignore[arg-type]


def test_a_round_by_hand() -> None:
    """Two hosts 8 Mbit/s (1 byte a us) apart; everything at the UE: 3 * 5 ms a step, and 3000 bytes there and back.

    At the cloud: 100 kB of input cost 100 ms a step.
    """
    plans = _plans(_line(8e6), _profile([0.004, 0.001], [100_000, 50_000, 8], [1000, 2000]), every=4, senders="stages")
    [agent] = plans.aware.agents
    assert agent.stops == (2, 2)
    assert agent.cost("latency") == pytest.approx(4 * 3 * 0.005 + 2 * 3000e-6)
    assert agent.cost("bytes") == pytest.approx(2 * 3000)
    assert agent.cost("energy") == pytest.approx(2.0 * 4 * 3 * 0.005 + 8 * 3000 * 1e-6)
    assert plans.aware == plans.standard
    assert plans.modelled_backward
    assert plans.steps == 4


def test_the_way_of_the_parameters_moves_the_plan() -> None:
    """A model of 300 kB and inputs of 10 kB: 30 ms a step saved at the UE, 600 ms a merge spent."""
    profile = _profile([0.001, 0.001], [10_000, 40_000, 8], [100_000, 200_000])
    plans = _plans(_line(8e6), profile, every=2, senders="stages")
    assert plans.standard.agents[0].stops == (2, 2)
    assert plans.aware.agents[0].stops == (0, 2)
    assert plans.standard.seconds == pytest.approx(2 * 0.006 + 0.6)
    # On with the input, back with word of the loss.
    assert plans.aware.seconds == pytest.approx(2 * (0.006 + 0.010 + LOSS_NBYTES * 1e-6))
    seldom = _plans(_line(8e6), profile, every=1000, senders="stages")
    assert seldom.aware.agents[0].stops == (2, 2)


def test_bounds_that_the_standard_plan_breaks() -> None:
    profile = _profile([0.001, 0.001], [10_000, 40_000, 8], [100_000, 200_000])
    tight = Objective(minimize=(Term("energy"),), require=(Bound("latency", 0.1),))
    plans = _plans(_line(8e6), profile, tight, every=1, senders="stages")
    assert plans.aware.kept
    assert not plans.standard.kept
    limits = {cost.name: cost.limit for cost in plans.standard.agents[0].costs}
    assert limits["latency"] == 0.1
    with pytest.raises(Infeasible, match="latency"):
        _plans(_line(8e6), profile, Objective(require=(Bound("latency", 1e-4),)), every=1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), every=st.integers(1, 30), senders=st.sampled_from(["last", "stages"]))
def test_counting_the_parameters_never_costs_more(seed: int, every: int, senders: str) -> None:
    """Both are priced by one rule, and the aware plan is its optimum."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 7))
    profile = _profile(
        list(rng.uniform(1e-4, 1e-2, length)),
        [int(n) for n in rng.integers(10, 200_000, length + 1)],
        [int(n) for n in rng.integers(10, 1_000_000, length)],
    )
    hops = int(rng.integers(1, 4))
    topology = _line(*rng.uniform(1e6, 1e8, hops), factors=tuple(rng.uniform(0.2, 10.0, hops + 1)))
    for objective, metric in ((LATENCY, "latency"), (Objective(minimize=(Term("energy"),)), "energy")):
        plans = _plans(topology, profile, objective, every=every, senders=senders)
        aware, standard = plans.aware.agents[0].cost(metric), plans.standard.agents[0].cost(metric)
        assert aware <= standard * (1 + 1e-9)
        alone = plans.standard.agents[0]
        again = _plans(topology, profile, objective, every=2 * every, senders=senders).standard.agents[0]
        assert again.stops == alone.stops  # what is left out cannot matter
        assert again.cost(metric) <= 2 * alone.cost(metric) * (1 + 1e-9)  # two rounds' steps, one merge


def test_every_ue_has_an_agent_and_the_slowest_counts() -> None:
    topology = _line(8e6, ues=2)
    slow = tuple(
        msgspec.structs.replace(device, factor=3.0) if device.id == "ue1" else device for device in topology.devices
    )
    topology = msgspec.structs.replace(topology, devices=slow)
    plans = _plans(topology, _profile([0.004, 0.001], [100_000, 50_000, 8], [1000, 2000]), every=4, senders="stages")
    assert [agent.source for agent in plans.aware.agents] == ["ue0", "ue1"]
    seconds = [agent.cost("latency") for agent in plans.aware.agents]
    assert plans.aware.seconds == max(seconds) == seconds[1]
    assert plans.aware.nbytes == pytest.approx(2 * 2 * 3000)
    with pytest.raises(ConfigError, match="no device 'ue7'"):
        plan_rounds(
            RoundNetwork(topology, {"": _profile([0.1], [1, 1], [1])}), Collaboration(to="h1"), Training(),
            sources=("ue7",),
        )  # fmt: skip


def test_what_was_spent_grows_by_a_round() -> None:
    plans = _plans(_line(8e6, ues=2), _profile([0.004], [100_000, 8], [1000]), every=4, senders="stages")
    scores = tuple(
        RoundScore(round=k, accuracy=k / 10, loss=1.0, participants=who, nbytes=0)
        for k, who in ((1, (0, 1, 2)), (2, (1,)))
    )
    run = FederatedRun(vgg11(width=1), FederatedSettings(), 0.05, scores)
    learned = learned_rounds(run, plans, seed=3)
    one = plans.aware.agents[0]
    assert learned.points[0].aware.seconds == pytest.approx(one.cost("latency"))
    assert learned.points[0].aware.joules == pytest.approx(3 * one.cost("energy"))
    assert learned.points[1].aware.joules == pytest.approx(4 * one.cost("energy"))
    assert [point.score for point in learned.points] == [0.1, 0.2]
    assert (learned.score_basis, learned.cost_basis) == ("measured", "modelled")
    assert msgspec.json.decode(msgspec.json.encode(learned), type=type(learned)) == learned


def test_agents_merge_after_so_many_updates() -> None:
    plans = _plans(_line(8e6), _profile([0.004], [100_000, 8], [1000]), every=5, senders="stages")
    options = QMIXSettings(episodes=30, batch=11, hidden=4, evaluate_every=15, evaluations=1, epsilon_end=1.0)
    run = train_qmix(TwoStepGame(), options, np.random.default_rng(0))
    learned = learned_agents(run, plans, agents=2, seed=0)
    # Updates begin with the 11th episode: 5 of them by the 15th, 20 by the 30th.
    assert [point.round for point in learned.points] == [1, 4]
    assert learned.points[1].aware.nbytes == pytest.approx(4 * 2 * plans.aware.agents[0].cost("bytes"))


def test_each_plan_takes_the_path_that_is_best_for_it() -> None:
    """Two ways to the merging host: the usual one has a slow host on it, the other a fast one."""
    devices = (
        Device(id="ue", role="ue", factor=8.0),
        Device(id="a", role="mec", factor=50.0),
        Device(id="b", role="mec", factor=1.0),
        Device(id="sink", role="cloud", factor=50.0),
    )
    pairs = [("ue", "a", 1e6), ("a", "sink", 1e6), ("ue", "b", 0.99e6), ("b", "sink", 0.99e6)]
    links = tuple(Link(src=a, dst=b, rate_bps=r) for x, y, r in pairs for a, b in ((x, y), (y, x)))
    topology = Topology(devices=devices, links=links, source="ue", sink="sink")
    assert chain(topology) == ("ue", "a", "sink")
    plans = _plans(topology, _profile([0.1, 0.1], [1000, 100, 10], [50, 50]))
    for cost in (plans.aware, plans.standard):
        assert cost.agents[0].chain == ("ue", "b", "sink")
        assert cost.agents[0].stops == (0, 2, 2)
