"""HiveMind's experiments under network dynamics, as small as they get."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "experiments" / "hivemind"))
import dynamics

TINY = dynamics.Effort(seeds=1, tasks=150, seconds=4.0, ues=(2,), whens=("always",), errors=(0.0, 0.3), draws=5)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder with two recordings that fade."""
    for k, rates in enumerate(((900, 800, 20, 700, 0, 650), (300, 310, 5, 290))):
        (tmp_path / f"trace_{k}").write_text("".join(f"{second} {rate}\n" for second, rate in enumerate(rates)))
    return tmp_path


def test_spikes_over_time_and_the_rates_that_make_them(recorded: Path) -> None:
    found = dynamics.figure_6(TINY, recorded)
    assert set(found) == {"synthetic", "synthetic, no slack", "recorded"}
    for network in found.values():
        assert set(network["rates"]) == {"ue->mec1", "mec1->mec2", "mec2->mec3", "mec3->mec4", "mec4->mec5"}
        assert all(len(rates) == 80 for rates in network["rates"].values())
        assert len(network["latencies"]) == network["tally"]["tasks"] > 20
    assert min(found["recorded"]["rates"]["ue->mec1"]) < 0.05 * max(found["recorded"]["rates"]["ue->mec1"]) <= 200.0
    json.dumps(found)


def test_who_knows_what_comes_is_not_later_in_the_mean() -> None:
    bare = dynamics.fading(TINY, None, 0.05)["synthetic"]
    perfect = dynamics.fading(TINY, None, 0.05, method="perfect")["synthetic"]
    row = dynamics.beside(perfect, bare)
    assert row["tasks"] == 150
    assert row["mean_s"] <= bare[0].mean_s
    assert row["spikes"] <= bare[0].spikes


def test_hosts_that_stay_on_the_route_do_the_same_after_a_handover() -> None:
    found = dynamics.unchanged(dynamics.scenario("mmwave_iab", "mid"), 5)
    assert found["hosts"] == ["gnb4", "gnb6", "core7", "core8", "cloud"]
    assert (found["draws"], found["differing"]) == (5, 0)
    assert 0.0 <= found["more_planned_s"] <= found["more_planned_p95_s"] < 0.05


def test_every_scheme_on_a_network_that_moves() -> None:
    found = dynamics.many_ues(TINY)["2"]
    assert {"ue-only", "cloud-only", "single-split", "airloom", "airloom-ideal"} <= set(found)
    assert found["airloom"]["tasks"] == found["ue-only"]["tasks"] > 0
    assert found["off_cloud"] == pytest.approx(1 - found["airloom"]["mean_s"] / found["cloud-only"]["mean_s"])
