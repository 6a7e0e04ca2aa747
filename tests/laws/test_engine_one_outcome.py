"""Law 9: a request has exactly one outcome, whatever dies, however the network drops, doubles and reorders."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import chain_profile, contract, line, random_profile, tree
from engine_chaos import Chaos, Weather
from test_mesh_wave import diamond
from test_objectives_hop_by_hop import powered
from test_pinned import BRANCHED, branched_plan

from airloom.core.forecast import METHODS, ForecastPolicy
from airloom.core.messages import Parcel
from airloom.core.objective import LATENCY, Bound, Objective, Term
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.engine.config import WavePolicy
from airloom.engine.events import Cancel, LinkMeasured
from airloom.errors import Cancelled, DeadlineExceeded, Overloaded, RequestError, StageFailed

SMALL = chain_profile((0.001, 0.002, 0.004, 0.002, 0.001), (12288, 65536, 32768, 8192, 8192, 40))
STORM_S = 4.0


def run(chaos: Chaos, rng: np.random.Generator, *, requests: int, deadline_s: tuple[float, float]) -> None:
    """Requests at random times through a storm, some withdrawn; then a calm until the last deadline."""
    chaos.storm(STORM_S)
    began_s = chaos.now_s
    for number in range(requests):
        at_s, source = began_s + float(rng.uniform(0, STORM_S)), str(rng.choice(chaos.sources))
        chaos.submit(at_s, number, source, float(rng.uniform(*deadline_s)))
        if rng.random() < 0.05:
            chaos.push(at_s + float(rng.exponential(0.1)), source, Cancel(number))
    chaos.run(began_s + STORM_S + deadline_s[1] + 0.001)


def check(chaos: Chaos, ids: tuple[int, ...]) -> list[Parcel | RequestError]:
    """One outcome each, by the deadline; the outcomes."""
    outcomes = []
    for key, due_s in chaos.deadlines.items():
        finishes = chaos.finished.get(key, [])
        assert len(finishes) == 1, (key, finishes)
        ((at_s, finish),) = finishes
        assert at_s <= due_s + 1e-9
        if isinstance(finish.outcome, Parcel):
            assert finish.outcome.tensors == ids
        else:
            assert isinstance(finish.outcome, DeadlineExceeded | Cancelled | Overloaded | StageFailed)
            assert "\n" not in str(finish.outcome)
        outcomes.append(finish.outcome)
    for source in chaos.sources:
        snapshot = chaos.hosts[source].snapshot()
        assert snapshot.in_flight == 0
    return outcomes


@pytest.mark.parametrize("seed", range(120))
def test_one_outcome_by_the_tables(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    weather = Weather(
        drop=float(rng.uniform(0, 0.3)), duplicate=float(rng.uniform(0, 0.3)), kills=float(rng.uniform(0, 3)),
        raises=float(rng.choice([0.0, 0.05])), unnoticed=float(rng.choice([0.0, 0.3])),
    )  # fmt: skip
    topology = line() if seed % 2 else tree()
    profile = random_profile(rng)
    chaos = Chaos(topology, profile, weather, seed, private_operators=int(rng.integers(0, 3)))
    run(chaos, rng, requests=25, deadline_s=(0.05, 3.0))
    check(chaos, profile.cuts[-1].tensors)


OBJECTIVES = (
    Objective(minimize=(Term("energy"), Term("latency", 10.0))),
    Objective(minimize=(Term("energy"),), require=(Bound("latency", 0.05), Bound("money", 0.001))),
    Objective(minimize=(Term("bytes"),), require=(Bound("latency", 0.2),), solver="convex"),
    Objective(minimize=(Term("bytes"),), require=(Bound("energy", 0.5),), solver="linear"),
)


@pytest.mark.parametrize("seed", range(48))
def test_one_outcome_under_objectives_forecasts_and_waves_on_demand(seed: int) -> None:
    rng = np.random.default_rng(7000 + seed)
    weather = Weather(
        drop=float(rng.uniform(0, 0.2)), duplicate=float(rng.uniform(0, 0.2)), kills=float(rng.uniform(0, 2)),
        raises=float(rng.choice([0.0, 0.05])), unnoticed=float(rng.choice([0.0, 0.3])),
    )  # fmt: skip
    topology = powered((line(), tree(), diamond())[seed % 3])
    method = METHODS[seed % len(METHODS)]
    chaos = Chaos(
        topology, SMALL, weather, seed, max_in_flight=100,
        objective=(LATENCY, *OBJECTIVES)[seed % 5],
        forecast=None if seed % 2 else ForecastPolicy(method=method, when="always", tick_s=0.01),
        wave=WavePolicy(per_request=seed % 4 < 2, hold_s=0.05, spontaneous=seed % 8 < 4),
    )  # fmt: skip
    for k in range(60):
        link = topology.links[int(rng.integers(len(topology.links)))]
        rate, loss = float(10 ** rng.uniform(4, 9)), float(rng.choice([0.0, 0.2, 1.0]))
        chaos.push(chaos.now_s + 0.06 * k, link.src, LinkMeasured(link.src, link.dst, rate_bps=rate, loss=loss))
    run(chaos, rng, requests=20, deadline_s=(0.05, 3.0))
    check(chaos, (5,))


@pytest.mark.parametrize("seed", range(60))
def test_one_outcome_under_a_contract(seed: int) -> None:
    """Coded live sets, gaps and all; what is reported of a result is what its gaps should have cost."""
    rng = np.random.default_rng(4000 + seed)
    weather = Weather(
        drop=float(rng.uniform(0, 0.2)), duplicate=0.1, kills=float(rng.uniform(0, 2)), raises=0.02, gaps=0.3
    )
    topology = line(losses=(0.1, 0.0, 0.1)) if seed % 2 else tree()
    chaos = Chaos(topology, SMALL, weather, seed, contract=contract(SMALL), max_in_flight=100)
    run(chaos, rng, requests=25, deadline_s=(0.05, 3.0))
    check(chaos, (5,))
    for ((_, finish),) in chaos.finished.values():
        accuracy = finish.predicted_accuracy
        assert accuracy is None or 0.0 <= accuracy <= 0.71
        if isinstance(finish.outcome, Parcel) and finish.missing:
            assert accuracy is None or accuracy <= 0.70 + 1e-9


@pytest.mark.parametrize("seed", range(60))
def test_with_time_enough_every_request_has_a_result(seed: int) -> None:
    rng = np.random.default_rng(2000 + seed)
    weather = Weather(drop=0.2, kills=2.0)
    chaos = Chaos(line() if seed % 2 else tree(), SMALL, weather, seed, max_in_flight=100)
    run(chaos, rng, requests=10, deadline_s=(8.0, 9.0))
    lost = [o for o in check(chaos, (5,)) if not isinstance(o, Parcel | Cancelled)]
    assert not lost


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("fallback", ["self", "table"])
def test_one_outcome_by_a_pinned_plan(seed: int, fallback: str) -> None:
    rng = np.random.default_rng(3000 + seed)
    plan: Plan = branched_plan()
    profile: Profile = BRANCHED
    chaos = Chaos(line(), profile, Weather(kills=2.0), seed, plan=plan, pinned_fallback=fallback)
    run(chaos, rng, requests=15, deadline_s=(0.1, 3.0))
    check(chaos, (4,))


def test_in_calm_weather_no_request_is_tried_twice() -> None:
    calm = Weather(drop=0, duplicate=0, kills=0, gaps=0, spread_s=0.001)
    chaos = Chaos(line(), SMALL, calm, 0)
    chaos.run(chaos.now_s + 1.0)
    for number in range(50):
        chaos.submit(chaos.now_s + 0.1 * number, number, "ue", 2.0)
    chaos.run(chaos.now_s + 10.0)
    assert all(isinstance(o, Parcel) for o in check(chaos, (5,)))
    # Messages of the first moment come before the news that their sender is up.
    assert {reason for h in chaos.hosts.values() for reason in h.snapshot().counters} <= {
        "cost not from the parent", "older cost",
    }  # fmt: skip
    assert all(finish.missing == 0 for ((_, finish),) in chaos.finished.values())


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_one_outcome_in_many_more_storms(block: int) -> None:
    for seed in range(10_000 + 300 * block, 10_300 + 300 * block):
        test_one_outcome_by_the_tables(seed)
        test_one_outcome_by_a_pinned_plan(seed, "self" if seed % 2 else "table")
