"""HiveMind (Wang et al., IEEE JSAC 2022), section III and Figure 2, worked by hand.

Layers compute 0.5, 1, 4 units on capacities 1, 3, 10; input and outputs of layers 1 and 2 are 1.2, 1
and 4 units of data; UE to MEC carries 2 units, MEC to cloud c. Nothing is charged for the result.

    all on MEC              1.2/2 + 5.5/3                     = 2.4333
    layer 1 UE, rest MEC    0.5 + 1/2 + 5/3                   = 2.6667  (the assignment of the text)
    cloud                   1.2/2 + 1.2/c + 5.5/10            = 1.15 + 1.2/c
    layer 1 MEC, then cloud 1.2/2 + 0.5/3 + 1/c + 5/10        = 1.2667 + 1/c
    layer 1 UE, then cloud  0.5 + 1/2 + 1/c + 5/10            = 1.5 + 1/c

so that the MEC alone is best where 1.2667 + 1/c > 2.4333, that is c < 6/7 = 0.857; up to
c = 0.2 / 0.11667 = 1.714 the last two layers go on to the cloud, and all of them above.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from airloom.config import load_topology
from airloom.core.problem import Problem
from airloom.core.topology import Conditions, LinkState
from airloom.planner.baselines import best_single_split, cloud_only, ue_only
from airloom.planner.chain import runner_ups, solve
from airloom.planner.inputs import load_profile
from airloom.planner.pricing import PAYLOAD_ONLY, build_problem
from airloom.planner.route import chain

EXAMPLES = Path(__file__).parents[2] / "examples"
ALL_ON_MEC = 1.2 / 2 + 5.5 / 3


def figure_2(core_units: float) -> Problem:
    topology = load_topology(EXAMPLES / "figure2.yaml")
    core = LinkState(src="mec", dst="cloud", rate_bps=core_units * 1e6)
    return build_problem(
        topology,
        chain(topology),
        {"": load_profile(EXAMPLES / "figure2_profile.json")},
        conditions=Conditions(links=(core,)),
        framing=PAYLOAD_ONLY,
    )


@pytest.mark.parametrize(
    ("core_units", "stops", "seconds"),
    [
        (0.1, (0, 3, 3), ALL_ON_MEC),
        (0.5, (0, 3, 3), ALL_ON_MEC),
        (0.8571, (0, 3, 3), ALL_ON_MEC),
        (0.8572, (0, 1, 3), 0.6 + 0.5 / 3 + 1 / 0.8572 + 0.5),
        (1.0, (0, 1, 3), 0.6 + 0.5 / 3 + 1 + 0.5),
        (1.71, (0, 1, 3), 0.6 + 0.5 / 3 + 1 / 1.71 + 0.5),
        (1.72, (0, 0, 3), 0.6 + 1.2 / 1.72 + 0.55),
    ],
)
def test_the_optimum_over_the_core_link(core_units: float, stops: tuple[int, ...], seconds: float) -> None:
    solution = solve(figure_2(core_units))
    assert solution.stops == stops
    assert solution.seconds == pytest.approx(seconds, abs=1e-12)


def test_figures_of_the_text() -> None:
    problem = figure_2(0.5)
    assert round(solve(problem).seconds, 3) == 2.433
    # "assigning the last two layers to MEC": 2.667, the next best.
    assert runner_ups(problem, 1)[0].stops == (1, 3, 3)
    assert round(runner_ups(problem, 1)[0].seconds, 3) == 2.667
    assert problem.hops[0].forward_s[0] == pytest.approx(1.2 / 2, abs=1e-12)


def test_baselines_over_the_core_link() -> None:
    for core_units in (1.0, 0.5, 0.2, 0.1):
        problem = figure_2(core_units)
        ue, cloud, single = ue_only(problem), cloud_only(problem), best_single_split(problem)
        assert ue is not None
        assert cloud is not None
        assert single is not None
        assert ue.seconds == pytest.approx(5.5, abs=1e-12)
        assert cloud.seconds == pytest.approx(1.15 + 1.2 / core_units, abs=1e-12)
        splits = {0: cloud.seconds, 1: 1.5 + 1 / core_units, 2: 1.5 + 2 + 4 / core_units + 0.4, 3: 5.5}
        assert single.seconds == pytest.approx(min(splits.values()), abs=1e-12)
        assert single.stops[0] == min(splits, key=lambda cut: splits[cut])
