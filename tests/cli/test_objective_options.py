"""--minimize, --require and --solver: what is printed, written and refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest

from airloom.cli.main import main
from airloom.core.plan import Plan
from airloom.core.run import RunRecord
from airloom.files import read_value

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAN = ["plan", str(EXAMPLES / "resnet20.json"), str(EXAMPLES / "objectives.yaml"), "--keep-on-ue", "6"]
BOUND = "latency<=50ms"


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    out, err = capsys.readouterr()
    return code, out, err


def row(text: str, first: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(first))


def test_the_costs_their_bounds_and_the_proof(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, *PLAN, "--minimize", "energy", "--require", BOUND)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"energy +\d+ mJ +small +modelled", row(out, "energy"))
    assert re.fullmatch(r"latency +48\.\d ms +<= 50\.0 ms +kept +modelled", row(out, "latency"))
    assert "exact solver: optimal, proven" in out
    assert re.fullmatch(r"UE only +ue 0\.\.76 +182 mJ +60\.6 ms +broken", row(out, "UE only"))
    assert row(out, "cloud only").endswith("not possible within the limits")
    assert row(out, "least latency").endswith("kept")
    assert row(out, "convex solver").endswith("broken")
    assert row(out, "linear solver")
    assert row(out, "nearby 3")


def test_several_terms_show_their_weights(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, *PLAN, "--minimize", "energy@ue=0.5", "--minimize", "money=1e5")
    assert "small, weight 0.5" in row(out, "energy@ue")
    assert "small, weight 100000" in row(out, "money")
    assert "bounds" not in row(out, "beside it")


@pytest.mark.parametrize("solver", ["convex", "linear"])
def test_a_solver_that_breaks_the_bound_says_so(capsys: pytest.CaptureFixture[str], solver: str) -> None:
    code, out, err = call(capsys, *PLAN, "--minimize", "energy", "--require", BOUND, "--solver", solver)
    assert code == 1
    assert re.search(rf"{solver} solver \(HiveMind, Eq. 1[12]\): .*cannot promise bounds", out)
    assert "broken by" in row(out, "latency")
    assert row(out, "exact solver").endswith("kept")
    assert err.count("\n") == 1
    assert "--solver exact" in err


def test_an_impossible_bound_is_one_line_and_the_closest_plan(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = [*PLAN, "--minimize", "energy", "--require", "latency<=30ms"]
    code, out, err = call(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "latency" in err
    assert "30.0 ms" in err
    assert "43.2 ms" in err
    code, out, _ = call(capsys, *argv, "--json", "-")
    assert code == 2
    assert msgspec.json.decode(out, type=Plan).stops == (6, 77, 77)
    code, out, err = call(capsys, *argv, "--json", str(tmp_path / "closest.json"))
    assert (code, out) == (2, "")
    assert read_value(tmp_path / "closest.json", Plan).predicted_s == pytest.approx(0.0432, rel=1e-2)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--minimize", "power"], "airloom: --minimize: no metric 'power'"),
        (["--minimize", "energy@phone"], "airloom: --minimize: no device or role 'phone'"),
        (["--require", "latency<=fast"], "airloom: --require: expected a time"),
        (["--require", "latency<=5"], "airloom: --require: a time needs its unit"),
        (["--solver", "magic"], "airloom: --solver: no solver 'magic'"),
    ],
)
def test_mistakes_name_the_option(capsys: pytest.CaptureFixture[str], argv: list[str], line: str) -> None:
    code, out, err = call(capsys, *PLAN, *argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)


def test_a_metric_that_the_topology_has_no_figures_for(capsys: pytest.CaptureFixture[str]) -> None:
    bare = ["plan", str(EXAMPLES / "figure2_profile.json"), str(EXAMPLES / "figure2.yaml")]
    code, _, err = call(capsys, *bare, "--minimize", "money")
    assert code == 2
    assert err.startswith("airloom: --minimize: no device has a price: give some `price:` in the topology")


def test_a_dry_run_checks_bounds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = str(tmp_path / "plan.json")
    assert call(capsys, *PLAN, "--minimize", "energy", "--require", BOUND, "--json", file)[0] == 0
    code, out, _ = call(capsys, *PLAN, "--dry-run", file)
    assert code == 0
    assert out.rstrip().endswith("; its bounds are kept")
    code, _, err = call(capsys, *PLAN, "--dry-run", file, "--set", "link=ue->gnb,rate=20 Mbit/s")
    assert code == 2
    assert "costs: latency comes to " in err
    assert "the bound is 50.0 ms" in err
    # Other bounds than its own can be checked as well.
    assert call(capsys, *PLAN, "--dry-run", file, "--require", "energy<=0.2 J")[0] == 2
    assert call(capsys, *PLAN, "--dry-run", file, "--require", "energy<=0.4 J")[0] == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("objective")
    for name in ("objectives.yaml", "resnet20.json"):
        shutil.copy(EXAMPLES / name, found)
    (found / "run.yaml").write_text(
        "topology: objectives.yaml\nmodel: resnet20\nprofile: resnet20.json\nprivate_operators: 6\nrequests: 8\n"
        "minimize: energy\nrequire: latency<=50ms\n"
    )
    return found


def test_a_simulation_keeps_the_bound_and_shows_it(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    code, out, _ = call(capsys, "simulate", str(folder / "run.yaml"), "--out", str(tmp_path / "run"))
    assert code == 0
    record = read_value(tmp_path / "run" / "run.json", RunRecord)
    assert record.objective is not None
    assert [cost.name for cost in record.schemes[0].phases[0].costs] == ["energy", "latency"]
    shown = next(line for line in out.splitlines() if "8 of 8" in line)
    assert re.search(r"latency +48\.\d ms +48\.\d ms +48\.\d ms +48\.\d ms +<= 50\.0 ms +8 of 8 +modelled", shown)
    code, out, _ = call(capsys, "report", str(tmp_path / "run"), "--json")
    [scheme] = json.loads(out)["schemes"]
    energy, latency = scheme["costs"]
    assert (latency["kept"], latency["requests"], latency["limit"]) == (8, 8, 0.05)
    assert energy["mean"]["value"] == pytest.approx(energy["predicted"]["value"], rel=1e-6)
    assert {energy["mean"]["basis"], energy["predicted"]["basis"], latency["mean"]["basis"]} == {"modelled"}
    assert "latency <= 50.0 ms kept in all of 8 requests" in json.loads(out)["headline"]


def test_options_stand_in_place_of_the_run_files_keys(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    argv = ["simulate", str(folder / "run.yaml"), "--out", str(tmp_path / "run"), "--solver", "linear"]
    code, out, _ = call(capsys, *argv)
    assert code == 0
    # The linear solver does not heed the bound, and every request breaks it.
    assert "0 of 8" in out
    record = read_value(tmp_path / "run" / "run.json", RunRecord)
    assert record.objective is not None
    assert record.objective.solver == "linear"
    assert [bound.name for bound in record.objective.require] == ["latency"]
    code, _, err = call(capsys, *argv, "--minimize", "energy@nobody")
    assert code == 2
    assert err.startswith("airloom: --minimize: no device or role 'nobody'")


def test_the_way_out_of_a_broken_bound_is_for_the_same_check(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    argv = ["plan", str(folder / "resnet20.json"), str(folder / "objectives.yaml"), "--keep-on-ue", "6"]
    assert call(capsys, *argv, "--require", "latency<=50ms", "--json", str(plan))[0] == 0
    change = "link=ue->gnb,rate=20 Mbit/s"
    code, _, err = call(capsys, *argv, "--dry-run", str(plan), "--set", change)
    assert code == 2
    assert f"--keep-on-ue 6 --set '{change}' " in err
    assert "--require" in err
