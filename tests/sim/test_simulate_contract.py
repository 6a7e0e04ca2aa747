"""A contract in virtual time: the closed form with codings, just enough repair, the floor, the same trace twice."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from engine_cases import SMALL_CODING, chain_profile, contract, line, random_profile

from airloom.core.coding import RAW
from airloom.core.framing import Framing
from airloom.core.tolerance import Contract
from airloom.core.topology import Link, NrRadio, Topology
from airloom.core.trace import Event
from airloom.errors import Infeasible, ProfileMismatch
from airloom.planner.chain import solve
from airloom.planner.pricing import build_problem
from airloom.sim.simulate import Arrival, Simulation, simulate

# A device that only looks, behind a slow link, and a fast host: everything crosses at cut 0.
PROFILE = chain_profile((0.010, 0.010), (200_000, 150_000, 40))


def pair(loss: float, *, rate_bps: float = 50e6, delay_s: float = 0.01, burst_s: float = 0.0) -> Topology:
    topology = line((200.0, 1.0), (rate_bps,), (delay_s,), losses=(loss,))
    links = tuple(msgspec.structs.replace(link, burst_s=burst_s) for link in topology.links)
    return msgspec.structs.replace(topology, links=(links[0], msgspec.structs.replace(links[1], loss=0.0)))


def run(loss: float, agreed: Contract | None, *, requests: int = 12, seed: int = 0) -> list[Event]:
    return simulate(
        pair(loss), PROFILE, [Arrival(2.0 * k, deadline_s=60.0) for k in range(requests)], seed=seed, contract=agreed
    )


def of(trace: list[Event], kind: str, **data: object) -> list[Event]:
    return [e for e in trace if e.kind == kind and all(e.data.get(k) == v for k, v in data.items())]


def took(trace: list[Event]) -> float:
    return float(np.median([e.took_s for e in of(trace, "result")]))


@pytest.mark.parametrize("seed", range(25))
def test_law_3_with_codings(seed: int) -> None:
    """Over links without loss the simulated time is the plan's closed form, coding and decoding included."""
    rng = np.random.default_rng(seed)
    profile = random_profile(rng, int(rng.integers(1, 12)))
    topology = line(
        tuple(float(f) for f in rng.uniform(0.5, 20, 2)), (float(10 ** rng.uniform(6, 9)),),
        (float(rng.uniform(0, 0.01)),),
    )  # fmt: skip
    agreed = contract(profile, 0.6, share=float(rng.uniform(0.1, 0.8)))
    best = solve(build_problem(topology, ("ue", "gnb"), {"": profile}, contract=agreed))
    trace = Simulation(
        topology, profile, [Arrival(3.0 * k, deadline_s=5.0) for k in range(3)], probe_s=None, contract=agreed
    ).run()
    assert [e.took_s for e in of(trace, "result")] == pytest.approx([best.seconds] * 3, abs=1e-9)


def test_law_4_bytes_of_a_blob_are_those_planned() -> None:
    trace = run(0.0, contract(PROFILE))
    (sent,) = {e.data["wire_nbytes"] for e in of(trace, "send", what="task")}
    assert sent == Framing().wire_nbytes((60_000, 0))
    assert {e.data["coding"] for e in of(trace, "send", what="task")} == {SMALL_CODING.name}


def test_below_the_tolerable_share_nothing_is_repaired_and_latency_is_flat() -> None:
    """G^-1 of the floor is about 0.37 here; the mean of missing shares is that of the link."""
    clean, lossy = run(0.0, contract(PROFILE)), run(0.25, contract(PROFILE), requests=30)
    assert took(lossy) == pytest.approx(took(clean), abs=2e-3)
    assert np.mean([e.took_s for e in of(lossy, "result")]) == pytest.approx(took(clean), abs=2e-3)
    shares = [e.data["missing_share"] for e in of(lossy, "arrive", what="task")]
    assert 0.15 < np.mean(shares) < 0.35
    assert all(e.data["predicted_accuracy"] >= 0.64 for e in of(lossy, "result"))
    assert all(e.data["missing_share"] > 0 for e in of(lossy, "result") if e.data["predicted_accuracy"] < 0.70)


@pytest.mark.parametrize("loss", [0.1, 0.3, 0.5, 0.7, 0.9, 0.95])
def test_no_message_breaks_the_floor(loss: float) -> None:
    for seed in range(3):
        trace = run(loss, contract(PROFILE), seed=seed)
        results = of(trace, "result")
        assert len(results) == 12
        assert min(e.data["predicted_accuracy"] for e in results) >= 0.64


def test_without_a_floor_everything_is_repaired() -> None:
    trace = run(0.5, contract(PROFILE, None))
    assert [e.data["missing_share"] for e in of(trace, "result")] == [0.0] * 12
    assert {e.data["predicted_accuracy"] for e in of(trace, "result")} == {0.71}


def test_a_lower_floor_is_faster() -> None:
    seconds = [took(run(0.6, contract(PROFILE, floor))) for floor in (0.50, 0.64, 0.69, None)]
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.7 * seconds[-1]


def test_the_budget_is_shared_by_lossy_hops_and_kept_over_both() -> None:
    """ue -> gnb -> mec, both hops lossy, the gNB only forwards: a blob with gaps gets more of them."""
    topology = line((200.0, 1.0, 1.0), (50e6, 50e6), (0.005, 0.005), losses=(0.5, 0.5, 0.0))
    devices = tuple(
        msgspec.structs.replace(d, computes=False) if d.id == "gnb" else d for d in topology.devices
    )  # fmt: skip
    topology = msgspec.structs.replace(topology, devices=devices)
    trace = simulate(
        topology, PROFILE, [Arrival(2.0 * k, deadline_s=60.0) for k in range(10)], contract=contract(PROFILE), seed=2
    )
    first = [e.data["missing_share"] for e in of(trace, "arrive", what="task") if e.host == "gnb"]
    second = [e.data["missing_share"] for e in of(trace, "arrive", what="task") if e.host == "mec"]
    assert len(first) == len(second) == 10
    assert all(0 < a <= b for a, b in zip(first, second, strict=True))
    assert max(first) < max(second)
    assert min(e.data["predicted_accuracy"] for e in of(trace, "result")) >= 0.64


def test_same_seed_same_trace() -> None:
    assert run(0.4, contract(PROFILE), seed=5) == run(0.4, contract(PROFILE), seed=5)
    assert run(0.4, contract(PROFILE), seed=5) != run(0.4, contract(PROFILE), seed=6)


def test_a_radio_link_sends_with_the_mcs_that_was_priced() -> None:
    radio = NrRadio(snr_db=12.0, channel="cdl-c")
    links = (
        Link(src="ue", dst="gnb", rate_bps=60e6, delay_s=0.001, nr=radio),
        Link(src="gnb", dst="ue", rate_bps=60e6, delay_s=0.001),
    )
    topology = msgspec.structs.replace(pair(0.0), links=links)
    simulation = Simulation(topology, PROFILE, [Arrival(0.0, deadline_s=9.0)], contract=contract(PROFILE), seed=1)
    trace = simulation.run()
    (sent,) = of(trace, "send", what="task")
    assert sent.data["mcs"] == simulation._carriers["ue", "gnb"]._model.mcs  # type: ignore[attr-defined]
    assert of(trace, "result")[0].data["predicted_accuracy"] >= 0.64


def test_a_contract_of_another_model_or_beyond_the_model_is_refused() -> None:
    other = msgspec.structs.replace(contract(PROFILE).tolerance, graph_digest="sha256:" + "00" * 32)
    with pytest.raises(ProfileMismatch, match="airloom tolerance"):
        run(0.0, Contract(tolerance=other, min_accuracy=0.6))
    with pytest.raises(Infeasible, match=r"reaches 0\.71"):
        run(0.0, contract(PROFILE, 0.72))


def test_raw_live_sets_go_whole_where_their_losses_were_not_measured() -> None:
    """Only cut 1 has codings; cut 0 travels raw, with a floor or without."""
    agreed = contract(PROFILE)
    only = tuple(entry for entry in agreed.tolerance.cuts if entry.cut == 1)
    agreed = Contract(tolerance=msgspec.structs.replace(agreed.tolerance, cuts=only), min_accuracy=0.6)
    trace = run(0.3, agreed)
    assert {e.data["coding"] for e in of(trace, "arrive", what="task")} == {RAW.name}
    assert [e.data["missing_share"] for e in of(trace, "result")] == [0.0] * 12


@pytest.mark.parametrize("floor", [0.64, 0.69, None])
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9])
def test_what_is_planned_is_what_repair_takes(loss: float, floor: float | None) -> None:
    """Law 5 with repairs: the simulator's mean is the planner's price, from no loss to nine blocks in ten."""
    agreed = contract(PROFILE, floor)
    best = solve(build_problem(pair(loss), ("ue", "gnb"), {"": PROFILE}, contract=agreed))
    results = of(run(loss, agreed, requests=30, seed=3), "result")
    assert len(results) == 30
    assert np.mean([e.took_s for e in results]) == pytest.approx(best.seconds, rel=0.17)
