"""A scenario played: the same for a seed, one stream a thing, capacities kept, Table I stood beside."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from airloom.config.scenario import load_scenario
from airloom.core.scenario import Background, Scenario, Ue
from airloom.core.scenario import Path as Way
from airloom.radio.cell.bandwidth import bandwidth_table
from airloom.radio.cell.crowd import Crowd, daily
from airloom.radio.cell.network import ScenarioNetwork
from airloom.radio.cell.streams import stream

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"


@pytest.fixture(scope="module")
def iab() -> Scenario:
    return load_scenario(EXAMPLES / "mmwave_iab.yaml").scenario


def _played(network: ScenarioNetwork, ticks: int) -> dict[tuple[str, str], np.ndarray]:
    rates = np.array([network.rates(tick).copy() for tick in range(ticks)])
    return {link: rates[:, k] for k, link in enumerate(network.links)}


def test_the_same_seed_is_the_same_network_and_another_is_not(iab: Scenario) -> None:
    one, two, other = (_played(ScenarioNetwork(iab, seed=seed), 40) for seed in (5, 5, 6))
    assert all((one[link] == two[link]).all() for link in one)
    assert any((one[link] != other[link]).any() for link in one)


def test_ticks_that_are_left_out_are_played_too(iab: Scenario) -> None:
    one, two = ScenarioNetwork(iab), ScenarioNetwork(iab)
    for tick in range(300):
        one.rates(tick)
    assert (one.rates(300) == two.rates(300)).all()
    with pytest.raises(ValueError, match="descend"):
        one.rates(299)


def test_one_more_ue_leaves_all_that_is_not_shared_with_it_as_it_was(iab: Scenario) -> None:
    more = load_scenario(EXAMPLES / "mmwave_iab.yaml").scenario
    far = Ue(id="ue2", path=Way(waypoints=((800.0, 180.0),)))
    topology = msgspec.structs.replace(
        more.topology,
        devices=(*more.topology.devices, msgspec.structs.replace(more.topology.device("ue"), id="ue2")),
        links=(*more.topology.links, *(
            msgspec.structs.replace(link, src=link.src.replace("ue", "ue2"), dst=link.dst.replace("ue", "ue2"))
            for link in more.topology.links if "ue" in (link.src, link.dst)
        )),
    )  # fmt: skip
    more = msgspec.structs.replace(more, topology=topology, ues=(*more.ues, far))
    before, after = _played(ScenarioNetwork(iab), 200), _played(ScenarioNetwork(more), 200)
    assert len(after) == len(before) + 12
    for link in before:  # the first UE is at gnb1, the other at gnb5
        assert after[link] == pytest.approx(before[link], rel=1e-9), link
    assert (after["ue2", "gnb5"] > 0.0).all()


def test_rates_are_within_capacity_and_one_cell_serves(iab: Scenario) -> None:
    network = ScenarioNetwork(iab)
    capacity = {(link.src, link.dst): link.rate_bps for link in network.topology.links}
    cells = [cell.device for cell in iab.cells]
    for _, rates in _played(network, 600).items():
        assert (rates >= 0.0).all()
    rates = _played(ScenarioNetwork(iab), 600)
    assert all((rates[link] <= capacity[link] * (1 + 1e-9)).all() for link in rates)
    assert (sum((rates["ue", cell] > 0.0).astype(int) for cell in cells) == 1).all()
    assert all((rates[link.src, link.dst] > 0.0).all() for link in iab.links)


def test_rates_hold_still_for_the_coherence_time(iab: Scenario) -> None:
    times = msgspec.structs.replace(iab.coherence, access_s=0.01, backhaul_s=0.02, wired_s=0.05)
    restless = tuple(
        msgspec.structs.replace(
            link, background=msgspec.structs.replace(link.background, swing=1.0, swing_s=0.1, rate_bps=20e6)
        )
        for link in iab.links
    )
    network = ScenarioNetwork(msgspec.structs.replace(iab, coherence=times, links=restless))
    assert network.period_s == 0.01
    played = _played(network, 200)
    for link, ticks in ((("gnb1", "gnb4"), 2), (("core8", "cloud"), 5)):
        moves = np.flatnonzero(np.diff(played[link])) + 1
        assert len(moves) > 20
        assert (moves % ticks == 0).all()


def test_changes_agree_with_rates(iab: Scenario) -> None:
    network = ScenarioNetwork(iab)
    up = {pair for pair in network.links if "ue" in pair}
    changes = network.changes()
    ahead = next(changes)
    for tick in range(1400):  # 70 s: two handovers
        at_s = tick * network.period_s
        while ahead.at_s <= at_s + 1e-9:
            for link in ahead.links:
                (up.add if link.up else up.discard)((link.src, link.dst))
            ahead = next(changes)
        rates = dict(zip(network.links, network.rates(tick), strict=True))
        assert {pair for pair in rates if "ue" in pair and rates[pair] > 0.0} == up


def test_quiet_networks_say_so() -> None:
    changes = ScenarioNetwork(load_scenario(EXAMPLES / "sub6.yaml").scenario).changes()
    first = list(itertools.islice(changes, 4))
    assert [round(change.at_s) for change in first] == [0, 10, 20, 30]
    assert not any(change.links for change in first[1:])


def test_scheduled_rates_and_sleep() -> None:
    network = ScenarioNetwork(load_scenario(EXAMPLES / "handover.yaml").scenario)
    played = _played(network, 1100)
    assert (played["gnb6", "core7"][1001:] <= 20e6).all() if ("gnb6", "core7") in played else True
    assert (played["ue", "gnb2"][801:] == 0.0).all()
    assert (played["ue", "gnb3"][810:] > 0.0).all()
    gone = [c for c in itertools.takewhile(lambda c: c.at_s < 55, network.changes()) if c.devices]
    assert [(c.at_s, c.devices[0].id, c.devices[0].up) for c in gone] == [(40.0, "gnb2", False)]


def test_a_trace_is_replayed_as_a_link() -> None:
    scenario = load_scenario(EXAMPLES / "replayed_trace.yaml").scenario
    network = ScenarioNetwork(scenario)
    rows = [line.split() for line in (EXAMPLES.parent / "traces" / "walk_5g.txt").read_text().splitlines()[1:]]
    rates = _played(network, 2500)["ue", "gnb"]
    for second, rate in rows:
        assert rates[int(second) * 20 + 10] == pytest.approx(float(rate) * 1e6)
    assert rates[2410] == rates[10]
    assert network.topology.link("ue", "gnb").trace == ""


def test_tasks_come_as_asked() -> None:
    scenario = load_scenario(EXAMPLES / "many_ues.yaml").scenario
    came = list(ScenarioNetwork(scenario).tasks())
    assert [at for at, _ in came] == sorted(at for at, _ in came)
    assert len(came) == pytest.approx(100 * 120, rel=0.03)
    assert len({ue for _, ue in came}) == 100
    every = msgspec.structs.replace(scenario, tasks=msgspec.structs.replace(scenario.tasks, kind="every", count=1000))
    regular = list(ScenarioNetwork(every).tasks())
    assert len(regular) == 1000
    own = [at for at, ue in regular if ue == "ue7"]
    assert np.diff(own) == pytest.approx(0.5)
    back = msgspec.structs.replace(scenario, tasks=msgspec.structs.replace(scenario.tasks, kind="back-to-back"))
    assert len(list(ScenarioNetwork(back).tasks())) == 100


def test_load_scales_population_and_bit_rate() -> None:
    means = {}
    for load in ("low", "mid", "high"):
        rows = bandwidth_table(ScenarioNetwork(load_scenario(EXAMPLES / "mmwave_iab.yaml", load=load).scenario), 120)
        means[load] = {row.label: row.mean_bps for row in rows if row.label}
    assert all(means["low"][k] > means["mid"][k] > means["high"][k] for k in "ABCDEFGH")


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mmwave_iab", {"A": (66.49, 19.47), "B": (71.89, 19.72), "C": (47.06, 8.95), "D": (54.03, 11.61),
                        "E": (48.59, 9.41), "F": (54.05, 12.94), "G": (36.03, 8.63), "H": (18.12, 4.43)}),
        ("sub6", {"B": (33.94, 8.45), "C": (18.78, 3.66)}),
    ],
)  # fmt: skip
def test_snapshot_bandwidth_stands_beside_table_i(name: str, published: dict[str, tuple[float, float]]) -> None:
    rows = bandwidth_table(ScenarioNetwork(load_scenario(EXAMPLES / f"{name}.yaml").scenario), 900)
    found = {row.label: row for row in rows if row.label}
    assert found.keys() == published.keys()
    for label, (mean, deviation) in published.items():
        row = found[label]
        assert (row.published_mean_bps, row.published_std_bps) == pytest.approx((mean * 1e6, deviation * 1e6))
        assert row.mean_bps / 1e6 == pytest.approx(mean, rel=0.12), label
        assert row.std_bps / 1e6 == pytest.approx(deviation, rel=0.4), label


def _number_over_time(background: Background, seconds: int, start_hour: float = 12.0) -> np.ndarray:
    crowd = Crowd(background, seed=1, name="x", scale=1.0, alone=lambda draws: 1.0, start_hour=start_hour)
    there: set[int] = set()
    count = []
    for second in range(seconds):
        for coming in crowd.until(float(second)):
            (there.add if coming.alone else there.discard)(coming.place)
        count.append(len(there))
    return np.array(count)


def test_population_has_its_mean_and_spread() -> None:
    count = _number_over_time(Background(users=12.0, presence=0.4, stay_s=5.0, rate_bps=1e6), 20_000)
    assert count.mean() == pytest.approx(12.0, rel=0.03)
    assert count.var() == pytest.approx(12.0 * 0.6, rel=0.1)


def test_population_follows_the_day() -> None:
    background = Background(users=20.0, presence=0.5, stay_s=5.0, rate_bps=1e6, peak_hour=21.0, trough=0.8)
    assert daily(background, 21.0) == 1.0
    assert daily(background, 9.0) == pytest.approx(0.2)
    assert _number_over_time(background, 3000, 9.0).mean() == pytest.approx(20.0 * 0.2, rel=0.2)


def test_bit_rates_are_log_normal_with_their_mean() -> None:
    background = Background(users=50.0, presence=1.0, stay_s=1.0, rate_bps=10e6, rate_spread=0.6)
    crowd = Crowd(background, seed=1, name="x", scale=1.0, alone=lambda draws: 1.0)
    means = np.array([c.mean_bps for c in crowd.until(400.0) if c.alone])
    assert len(means) > 15_000
    assert means.mean() == pytest.approx(10e6, rel=0.03)
    assert np.log(means).std() == pytest.approx(0.6, rel=0.03)


def test_streams_are_told_apart_by_name_and_seed() -> None:
    draws = [stream(*given).random() for given in ((1, "a", "b"), (1, "a", "b"), (1, "ab"), (2, "a", "b"))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_memory_does_not_grow(iab: Scenario) -> None:
    import tracemalloc

    network = ScenarioNetwork(iab)
    network.rates(400)
    tracemalloc.start()
    try:
        network.rates(800)
        first, _ = tracemalloc.get_traced_memory()
        network.rates(4000)
        last, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last < first + 200_000
