"""Fig. 2: three layers on a UE, a MEC host and a cloud, as the link between the last two gets slower.

examples/figure2.yaml is the paper's example; tests/golden/test_hivemind_figure_2.py holds its figures, worked by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from setting import HERE
from still import SCHEMES, latencies

from airloom.config import load_topology
from airloom.core.topology import Conditions, LinkState
from airloom.planner.chain import solve
from airloom.planner.inputs import load_profile
from airloom.planner.pricing import PAYLOAD_ONLY, build_problem
from airloom.planner.route import chain

EXAMPLES = HERE.parents[1] / "examples"
#: A unit of data is 1 Mbit, one of load a second on the UE.
UNIT = 1e6


def figure_2() -> dict[str, Any]:
    """Units of overhead under each scheme, from a capacity of 1 to 1/10; stops of the multi-split are cuts."""
    topology = load_topology(EXAMPLES / "figure2.yaml")
    profiles = {"": load_profile(EXAMPLES / "figure2_profile.json")}
    found: dict[str, Any] = {"slowdown": [], "stops": [], **{scheme: [] for scheme in SCHEMES}}
    for slowdown in np.linspace(1.0, 10.0, 37):
        state = LinkState(src="mec", dst="cloud", rate_bps=UNIT / float(slowdown))
        problem = build_problem(
            topology, chain(topology), profiles, conditions=Conditions(links=(state,)), framing=PAYLOAD_ONLY
        )
        found["slowdown"].append(float(slowdown))
        found["stops"].append(list(solve(problem).stops))
        for scheme, seconds in latencies(problem).items():
            found[scheme].append(seconds)
    return found
