"""HiveMind's experiments: a few draws of each section, and what their recorded results must hold."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "hivemind"
MODULES = [path.stem for path in FOLDER.glob("*.py")]
Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Imports a module of the experiment; other experiments have modules of the same names."""
    others = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path[:] = path
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(others)


def test_numbers_of_the_paper(load: Load) -> None:
    paper = load("paper")
    assert paper.TABLE_I["H"] == (50, 18.12, 4.43)
    assert paper.TABLE_I_SUB6["A & B"] == (50, 33.94, 8.45)
    assert len(paper.TABLE_I) == 8
    assert (paper.OFF_CLOUD, paper.OFF_SINGLE) == ((37.0, 90.0), (32.0, 55.0))
    assert (paper.FIG18_LINEAR, paper.FIG18_LESS, paper.FIG18_BOUND_MS) == ((75.0, 476.0), 22.9, 120.0)
    assert paper.FIG19_RNN == {"low": 1.7, "high": 2.3}
    assert paper.FIG16_LEFT == {10: 12.0, 50: 0.0}


def test_every_profile_has_its_command(load: Load) -> None:
    assert set(load("profiles").MEASURED) == {path.stem for path in (FOLDER / "profiles").glob("*.json")}


def test_figure_2_is_the_papers(load: Load) -> None:
    found = load("figure2").figure_2()
    assert found["slowdown"][0] == 1.0
    assert found["slowdown"][-1] == 10.0
    assert found["cloud-only"][-1] == pytest.approx(1.15 + 12)
    assert found["airloom"][0] == pytest.approx(0.6 + 0.5 / 3 + 1 + 0.5)
    assert found["airloom"][-1] == pytest.approx(0.6 + 5.5 / 3)
    assert found["single-split"][-1] == found["ue-only"][-1] == pytest.approx(5.5)


@pytest.mark.parametrize("network", ["mmwave_iab", "sub6"])
def test_airloom_is_never_worse_on_a_network_that_holds_still(load: Load, network: str) -> None:
    still = load("still")
    for load_name, model, cost in (("low", "resnet18", still.latency), ("high", "resnet18-train", still.energies)):
        found = still.trials(network, load_name, model, 3, cost)
        assert found["worse_than_best_baseline"] == 0
        assert found["trials"] == 3
        for own, *others in zip(found["airloom"]["values"], *(found[s]["values"] for s in still.SCHEMES), strict=True):
            assert 0 < own <= min(others) * (1 + 1e-5)


def test_only_load_sends_sub_6_ghz_back_to_the_ue(load: Load) -> None:
    still = load("still")
    ratio = {}
    for name in ("low", "high"):
        found = still.trials("sub6", name, "resnet18", 8, still.latency)
        ratio[name] = found["airloom"]["mean"] / found["ue-only"]["mean"]
    assert ratio["low"] < 0.5
    assert 0.7 < ratio["high"] <= 1.0


def test_faster_hosts_never_cost_time(load: Load) -> None:
    still = load("still")
    found = still.figure_14(2)
    for tier in still.TIERS:
        own = [found[tier][str(factor)]["airloom"] for factor in still.FACTORS]
        assert own == sorted(own, reverse=True)
    assert found["IAB"]["20.0"]["airloom"] < found["IAB"]["0.1"]["airloom"]


def test_the_exact_solver_keeps_every_bound_that_can_be_kept(load: Load) -> None:
    tradeoffs = load("tradeoffs")
    for setting in tradeoffs.SETTINGS[1::4]:
        found = tradeoffs.play(setting, 3)
        exact = found["ways"]["exact"]
        assert exact["answers"] + found["impossible"] == 3
        assert exact["violations"] == found["impossible_though_a_plan_keeps_it"] == 0
        for row in (*found["ways"].values(), *found["sweep"].values()):
            if row["answers"] == exact["answers"] and not row["violations"]:
                assert exact["cost"] <= row["cost"] * (1 + 1e-6)


def test_one_weight_does_not_keep_two_bounds(load: Load) -> None:
    pytest.importorskip("highspy")
    found = load("tradeoffs").random_chains(2)
    assert found["ways"]["exact"]["violations"] == 0
    assert found["ways"]["exact"]["worst_excess"] <= 1 + 1e-9
    assert found["ways"]["linear"]["violations"] > 0


def test_whoever_prices_what_travels_besides_never_pays_more(load: Load) -> None:
    nonlinear, setting = load("nonlinear"), load("setting")
    asked = nonlinear.objective(float("inf"))
    sample = setting.draws(
        setting.scenario("mmwave_iab", "high"), setting.profile(nonlinear.AGENT), 2, seed=6,
        speeds=setting.profile("resnet18"),
    )  # fmt: skip
    for draw in sample:
        aware, unaware = nonlinear.collaborative(draw, asked, 1)
        assert 1.5 * aware.value < unaware.value
        literal, _ = nonlinear.collaborative(draw, asked, 1, "last")
        assert literal.value <= aware.value * (1 + 1e-9)  # Eq. (13) forgets what earlier stages have


def test_an_unrolled_network_beats_a_module_split_again_and_again(load: Load) -> None:
    nonlinear, setting = load("nonlinear"), load("setting")
    model = setting.profile("gru200")
    for draw in setting.draws(setting.scenario("mmwave_iab", "low"), model, 1, seed=5):
        own, standard = nonlinear.recurrent(draw, nonlinear.objective(float("inf")))
        same, off = nonlinear.recurrent(draw, nonlinear.objective(float("inf")), leaves=True)
        assert own.solution.stops == same.solution.stops
        assert own.value < standard.value < off.value
        assert off.solution.stops[0] < off.solution.stops[-1]


def test_bandwidths_stand_beside_table_i(load: Load) -> None:
    found = load("setting").bandwidths("mmwave_iab", "mid", 20.0, 1)
    for label, (capacity, mean, _) in load("paper").TABLE_I.items():
        assert 0.6 * mean < found[label]["mean"] < min(1.5 * mean, capacity)


def test_sections_become_tables_and_pictures(load: Load, tmp_path: Path) -> None:
    run, waves = load("run"), load("waves")
    results: dict[str, Any] = {
        "figure_2": load("figure2").figure_2(),
        "updates": waves.updates(3.0),
    }
    assert 0.01 < results["updates"]["mid"]["planning_s"] < 0.1
    run.report(run.short(results), tmp_path / "results.json")
    text = (tmp_path / "tables.md").read_text()
    assert "(paper: 27 ms)" in text
    assert all(len(line.split("|")) > 3 for line in text.splitlines() if line.startswith("|"))
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"fig2.png"}
    assert json.loads((tmp_path / "results.json").read_text())["figure_2"]["slowdown"][0] == 1.0


def test_sections_are_known_by_name(load: Load, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--only", "figure_99"])
    with pytest.raises(SystemExit):
        load("run").main()
    assert "no section figure_99" in capsys.readouterr().err


def test_numbers_are_short_and_finite(load: Load) -> None:
    short = load("run").short
    assert short({"a": (1.23456789, float("inf"), True, "x", None)}) == {"a": [1.23457, None, True, "x", None]}


def test_recorded_results_hold_what_the_readme_says_of_them() -> None:
    results = json.loads((FOLDER / "results.json").read_text())
    for loads in results["figures_11_and_12"].values():
        for tasks in loads.values():
            assert all(task["worse_than_best_baseline"] == 0 for task in tasks.values())
    for setting in results["figure_18"].values():
        assert setting["ways"]["exact"]["violations"] == setting["impossible_though_a_plan_keeps_it"] == 0
    assert results["random_chains"]["ways"]["exact"]["violations"] == 0
    assert results["figure_19"]["recurrent"]["low"]["energy_ratio"] >= 1.7
    assert results["figure_19"]["recurrent"]["high"]["energy_ratio"] >= 2.3
    assert results["figure_19"]["collaborative"]["high"]["energy_ratio"] >= 1.5
    assert all(row["lower"] == {"mean": True, "p95": True} for row in results["under_dynamics"].values())
    text = (FOLDER / "README.md").read_text()
    pictures = {line.split("](")[1].rstrip(")\n") for line in text.splitlines() if line.startswith("![")}
    assert all((FOLDER / picture).exists() for picture in pictures)
