"""Energy and money of stages and hops: worked out by hand from power curves, rates and prices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.plan import PlanCost
from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.core.topology import Conditions, Device, Link, LinkState, Power, Topology
from airloom.planner.carrying import radio_w, receive_j_per_bit, send_j_per_bit
from airloom.planner.chain import Solution
from airloom.planner.objective.assignment import assignment_costs, fastest_options
from airloom.planner.planning import make_plan, predicted_j, roles_of
from airloom.planner.pricing import PAYLOAD_ONLY, build_problem

CURVE = ((1e6, 1.0), (3e6, 2.0), (5e6, 6.0))
PROFILE = Profile(
    model="two",
    device="here",
    operators=(OperatorCost("a", 0.010), OperatorCost("b", 0.020)),
    cuts=(CutSize((1000,)), CutSize((500,)), CutSize((100,))),
    output_nbytes=(100,),
    stage_constant_s=0.001,
)


def net(**cloud: object) -> Topology:
    ue = Device("ue", "ue", power=Power(busy_w=2.0, send_w=CURVE, receive_w=((1e6, 0.5), (9e6, 0.9))))
    far = {"power": Power(busy_w=50.0), "price_per_s": 0.01, **cloud}
    links = (Link("ue", "cloud", rate_bps=4e6, delay_s=0.1), Link("cloud", "ue", rate_bps=5e6, delay_s=0.2))
    return Topology(devices=(ue, Device("cloud", "cloud", **far)), links=links, source="ue", sink="cloud")  # type: ignore[arg-type]


def costs(topology: Topology, stops: tuple[int, ...], *names: str, **what: object) -> dict[str, float]:
    problem = build_problem(topology, ("ue", "cloud"), {"": PROFILE}, framing=PAYLOAD_ONLY, **what)  # type: ignore[arg-type]
    options = fastest_options(problem, stops)
    metrics = {name: (name.partition("@")[0], tuple(filter(None, name.partition("@")[2].split(",")))) for name in names}
    return assignment_costs(problem, stops, options, metrics, roles_of(topology))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "watts"), [(0.5e6, 1.0), (1e6, 1.0), (2e6, 1.5), (3e6, 2.0), (4.5e6, 5.0), (5e6, 6.0), (1e9, 6.0)]
)
def test_power_is_linear_between_points_and_constant_beyond(rate: float, watts: float) -> None:
    assert radio_w(CURVE, rate) == pytest.approx(watts)
    assert send_j_per_bit(Power(send_w=CURVE), rate) == pytest.approx(watts / rate)
    assert receive_j_per_bit(Power(receive_w=CURVE), rate) == pytest.approx(watts / rate)


def test_without_a_curve_a_bit_costs_the_same_at_any_rate() -> None:
    assert send_j_per_bit(Power(radio_j_per_bit=1e-7), 3e6) == 1e-7
    assert receive_j_per_bit(Power(radio_j_per_bit=1e-7), 3e6) == 0.0
    assert radio_w((), 1e6) == 0.0
    # No time passes over an unlimited link, so nothing is drawn.
    assert send_j_per_bit(Power(send_w=CURVE), float("inf")) == 0.0


@given(st.floats(1e5, 1e7), st.floats(1e5, 1e7))
@settings(deadline=None, max_examples=50)
def test_power_lies_between_those_of_neighbouring_rates(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert radio_w(CURVE, low) <= radio_w(CURVE, high) + 1e-12
    assert 1.0 <= radio_w(CURVE, low) <= 6.0
    assert radio_w(CURVE, low) == pytest.approx(float(np.interp(low, *zip(*CURVE, strict=True))))


def test_a_split_by_hand() -> None:
    # ue: 1 + 10 ms at 2 W; 4000 bits at 4 Mbit/s are 1 ms at 4 W; cloud: 1 + 20 ms at 50 W and 0.01 a second;
    # 800 bits come back at 5 Mbit/s: 0.16 ms at 0.7 W on the ue. What the cloud's own network draws is not known.
    found = costs(net(), (1, 2), "energy", "energy@ue", "energy@cloud", "money", "bytes", "bytes@ue", "latency")
    ue = 0.011 * 2.0 + 0.001 * 4.0 + 0.00016 * 0.7
    assert found["energy@ue"] == pytest.approx(ue)
    assert found["energy@cloud"] == pytest.approx(0.021 * 50.0)
    assert found["energy"] == pytest.approx(ue + 0.021 * 50.0)
    assert found["money"] == pytest.approx(0.021 * 0.01)
    assert found["bytes"] == pytest.approx(600)
    assert found["bytes@ue"] == pytest.approx(500)
    assert found["latency"] == pytest.approx(0.011 + 0.101 + 0.021 + 0.20016)


def test_the_rate_in_force_counts() -> None:
    slow = Conditions(links=(LinkState("ue", "cloud", rate_bps=2e6), LinkState("cloud", "ue", rate_bps=1e6)))
    found = costs(net(), (0, 2), "energy@ue", conditions=slow)["energy@ue"]
    assert found == pytest.approx(8000 / 2e6 * 1.5 + 800 / 1e6 * 0.5)


def test_what_is_sent_again_is_paid_for_at_both_ends() -> None:
    topology = net(power=Power(busy_w=50.0, receive_w=((1e6, 10.0),)))
    lossy = Conditions(links=(LinkState("ue", "cloud", loss=0.5),))
    found = costs(topology, (0, 2), "energy@ue", "energy@cloud", "bytes", conditions=lossy)
    sent_s = 2 * 8000 / 4e6
    assert found["energy@ue"] == pytest.approx(sent_s * 4.0 + 0.00016 * 0.7)
    assert found["energy@cloud"] == pytest.approx(0.031 * 50.0 + sent_s * 10.0)
    # Bytes are those of the first transmission: what is sent again is counted apart.
    assert found["bytes"] == pytest.approx(1100)


def test_a_result_that_stays_costs_nobody_its_way_back() -> None:
    found = costs(net(), (0, 2), "energy@ue", "bytes", result_returns=False)
    assert found["energy@ue"] == pytest.approx(8000 / 4e6 * 4.0)
    assert found["bytes"] == 1000


def test_predicted_joules_of_a_plan_are_the_metric_energy() -> None:
    topology = net()
    problem = build_problem(topology, ("ue", "cloud"), {"": PROFILE})
    for stops in ((0, 2), (1, 2), (2, 2)):
        metric = assignment_costs(
            problem, stops, fastest_options(problem, stops), {"energy": ("energy", ())}, roles_of(topology)
        )["energy"]
        assert predicted_j(problem, stops, topology) == metric > 0
        plan = make_plan(problem, Solution(stops, problem.chain_s(stops)), topology, PROFILE)
        assert plan.predicted_j == metric
        assert plan.costs == (PlanCost("latency", pytest.approx(plan.predicted_s)), PlanCost("energy", metric))


def test_a_host_that_only_listens_has_an_energy_too() -> None:
    topology = net(power=Power(receive_w=((1e6, 1.0),)))
    problem = build_problem(topology, ("ue", "cloud"), {"": PROFILE}, framing=PAYLOAD_ONLY)
    assert problem.hops[0].options[0][0].receive_j == pytest.approx(0.002)
    assert problem.hops[0].back.receive_j == pytest.approx(800 / 5e6 * 0.7)
    assert problem.hosts[1].price_per_s == 0.01
