"""Positions along paths, and which cell serves a UE there."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.scenario import Antenna, Cell, Coherence, Handover, Path, Scenario, Ue
from airloom.core.topology import Conditions, Device, DeviceState, Link, Topology
from airloom.radio.cell.coverage import hole, wandering
from airloom.radio.cell.mobility import Route
from airloom.radio.cell.serving import Serving

ANTENNA = Antenna(carrier_hz=28e9, bandwidth_hz=50e6, loss_db=10.0)
CELLS = tuple(
    Cell(device=f"gnb{k}", at_m=(x, 0.0), antenna=ANTENNA, capacity_bps=200e6) for k, x in ((1, 0.0), (2, 400.0))
)


def test_a_loop_comes_back_along_its_closing_leg() -> None:
    route = Route(Path(waypoints=((0.0, 0.0), (30.0, 0.0), (30.0, 40.0)), speed_mps=10.0))
    assert (route.length_m, route.lap_s) == (120.0, 12.0)
    assert route.at([0.0, 3.0, 5.0, 9.5, 12.0, 15.0]) == pytest.approx(
        np.array([[0, 0], [30, 0], [30, 20], [15, 20], [0, 0], [30, 0]], dtype=float)
    )


def test_there_and_back_and_stopping() -> None:
    way = Path(waypoints=((0.0, 0.0), (10.0, 0.0)), speed_mps=2.0, at_end="back")
    assert Route(way).at([4.0, 5.0, 7.0, 10.0])[:, 0] == pytest.approx([8.0, 10.0, 6.0, 0.0])
    assert Route(msgspec.structs.replace(way, at_end="stop")).at([4.0, 9.0, -1.0])[:, 0] == pytest.approx(
        [8.0, 10.0, 0.0]
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)), min_size=2, max_size=5), st.floats(0.5, 50.0))
def test_nobody_is_faster_than_their_speed(points: list[tuple[float, float]], speed_mps: float) -> None:
    where = Route(Path(waypoints=tuple(points), speed_mps=speed_mps)).at(np.arange(200) * 0.1)
    assert (np.hypot(*np.diff(where, axis=0).T) <= 0.1 * speed_mps + 1e-6).all()


def _scenario(**changed: object) -> Scenario:
    topology = Topology(
        devices=(Device(id="ue", role="ue"), Device(id="gnb1", role="gnb"), Device(id="gnb2", role="gnb")),
        links=tuple(Link(src="ue", dst=f"gnb{k}", rate_bps=200e6) for k in (1, 2)),
        source="ue",
        sink="gnb1",
    )
    way = Path(waypoints=((50.0, 10.0), (350.0, 10.0)), speed_mps=10.0, at_end="stop")
    base = Scenario(topology=topology, ues=(Ue(id="ue", path=way),), cells=CELLS, coherence=Coherence(access_s=0.1))
    return msgspec.structs.replace(base, **changed)


def _cells(scenario: Scenario, ticks: int = 400, block: int = 400) -> list[int]:
    serving = Serving(scenario, seed=0, tick_s=0.1)
    return [int(c) for start in range(0, ticks, block) for c in serving.play(start, block).cell[:, 0]]


def test_handover_waits_for_hysteresis_and_time_to_trigger() -> None:
    # Half way, 200 m, at 15 s; 3 dB better is where the distances are as 1 to sqrt(2) (10 m aside): 234.3 m, 18.4 s.
    cells = _cells(_scenario(handover=Handover(hysteresis_db=3.0, time_to_trigger_s=0.5)))
    assert cells.index(1) == pytest.approx((234.3 - 50.0 + 5.0) / 1.0, abs=2)
    assert cells == sorted(cells)


def test_without_hysteresis_the_nearest_serves() -> None:
    assert _cells(_scenario(handover=Handover(hysteresis_db=0.0, time_to_trigger_s=0.0))).index(1) == 151


def test_nothing_serves_while_a_handover_is_under_way() -> None:
    cells = _cells(_scenario(handover=Handover(interruption_s=0.3)))
    assert cells.count(-1) == 3
    assert cells[cells.index(-1) + 3] == 1


def test_a_cell_that_sleeps_hands_over_at_once_and_may_come_back() -> None:
    gone = tuple(
        Conditions(at_s=at, devices=(DeviceState(id="gnb1", up=up),)) for at, up in ((5.0, False), (8.0, True))
    )
    cells = _cells(_scenario(changes=gone))
    assert cells[49] == 0
    assert cells[50] == 1
    assert cells[80] == 1  # not yet better than the other by the hysteresis for long enough
    assert cells[90] == 0


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_matter(block: int) -> None:
    scenario = _scenario(handover=Handover(interruption_s=0.2), cells=tuple(
        msgspec.structs.replace(c, antenna=msgspec.structs.replace(c.antenna, shadowing_db=4.0)) for c in CELLS
    ))  # fmt: skip
    assert _cells(scenario, 448, block)[:400] == _cells(scenario, 448, 448)[:400]


def test_a_hole_is_found_where_the_way_leaves_reach() -> None:
    short = tuple(msgspec.structs.replace(c, antenna=msgspec.structs.replace(ANTENNA, min_snr_db=15.0)) for c in CELLS)
    found = hole(short, Path(waypoints=((0.0, 0.0), (400.0, 0.0)), speed_mps=10.0, at_end="stop"))
    assert found is not None
    assert found.at_s == pytest.approx(found.x_m / 10.0)
    assert found.snr_db < 15.0
    assert hole(CELLS, Path(waypoints=((0.0, 0.0), (400.0, 0.0)), speed_mps=10.0)) is None


def test_wandering_stays_in_coverage() -> None:
    points = wandering(CELLS, (400.0, 100.0), 5, seed=3, ue="ue")
    assert len(points) == 5
    assert hole(CELLS, Path(waypoints=points, speed_mps=1.0)) is None
    assert points == wandering(CELLS, (400.0, 100.0), 5, seed=3, ue="ue")
    assert points != wandering(CELLS, (400.0, 100.0), 5, seed=3, ue="ue2")
