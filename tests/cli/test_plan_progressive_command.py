"""`airloom plan --model-size-on-ue`: its table, its file, its errors; and `airloom run` of what cannot be run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airloom.cli.main import main
from airloom.core.delivery_plan import DeliveryPlan
from airloom.core.progressive import DepthTable
from airloom.files import read_value, write_value

EXAMPLES = Path(__file__).parents[2] / "examples"
GIVEN = [
    "plan", str(EXAMPLES / "resnet18.json"), str(EXAMPLES / "progressive.yaml"), "--model-size-on-ue",
    str(EXAMPLES / "progressive_table.json"),
]  # fmt: skip
ASKED = ["--requests-per-s", "2", "--horizon", "30 s"]


def test_it_says_what_to_send_and_where_requests_run_meanwhile(capsys, tmp_path):
    file = tmp_path / "plan.json"
    assert main([*GIVEN, *ASKED, "--minimize", "error", "--deadline", "400ms", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "send 59.6 % of it (7 blocks) in int8" in out
    assert "run it on mec until 3.04 s; split ue - mec from 3.04 s on; run 8/fp16 on ue from 12.9 s on" in out
    assert "download, then UE" in out
    plan = read_value(file, DeliveryPlan)
    assert [phase.where for phase in plan.phases] == ["network", "split", "split", "ue"]
    assert [step.name for step in plan.steps] == ["7/int8", "8/fp16"]
    assert plan.files["model"].endswith("progressive_table.json")
    assert all(phase.latency_s is not None and phase.latency_s <= 0.4 for phase in plan.phases)
    # Phases follow each other over the whole horizon.
    assert [p.end_s for p in plan.phases[:-1]] == [p.start_s for p in plan.phases[1:]]
    assert (plan.phases[0].start_s, plan.phases[-1].end_s) == (0.0, pytest.approx(30.0))
    assert plan.phase_at(5.0).where == "split"
    assert plan.phase_at(99.0).where == "ue"


def test_a_battery_and_a_cheaper_answer(capsys):
    assert main([*GIVEN, *ASKED, "--minimize", "energy", "--min-accuracy", "60%", "--battery", "40 J"]) == 0
    assert "40.0 J for all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--battery", "1 mJ"], "battery"),
        (["--min-accuracy", "95%"], "no configuration of resnet18 is that accurate"),
        (["--requests-per-s", "0"], "--requests-per-s: must be above 0"),
        (["--horizon", "soon"], "--horizon"),
        (["--minimize", "money"], "--minimize: a model that is sent is planned for"),
        (["--minimize", "latency", "--minimize", "energy"], "--minimize: a model that is sent"),
        (["--served-from", "cloud"], "--served-from: no device 'cloud'"),
        (["--train"], "--train: says nothing about a model that is sent"),
        (["--amortise", "3"], "--amortise: says nothing about a model that is sent"),
        (["--labels", "10 B"], "--labels: says nothing about a model that is sent"),
        (["--every", "2"], "--every: says nothing about a model that is sent"),
        (["--parameters-stay"], "--parameters-stay: says nothing about a model that is sent"),
        (["--runner-ups", "1"], "--runner-ups: says nothing about a model that is sent"),
        (["--steps", "0"], "--steps: at least one"),
        (["--deadline", "1ms"], "no answer comes within 1.00 ms: the fastest way that there is within 60.0 s"),
        (["--requests-per-s", "1000"], "none of 1000 requests/s is answered within 60.0 s"),
        (["--deadline", "1ms", "--requests-per-s", "1000"], "none of 1000 requests/s"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(options, line, capsys):
    assert main([*GIVEN, *options]) == 2
    err = [text for text in capsys.readouterr().err.splitlines() if text.startswith("airloom: ")]
    assert len(err) == 1
    assert line in err[0]


def test_what_speed_costs_in_accuracy_is_said(capsys):
    assert main([*GIVEN, *ASKED]) == 0
    assert "no accuracy was demanded: 47.1 % is reached of the best configuration's 69.0 %" in capsys.readouterr().out
    assert main([*GIVEN, *ASKED, "--min-accuracy", "40%"]) == 0
    assert "no accuracy was demanded" not in capsys.readouterr().out


def test_options_of_a_delivery_need_one(capsys):
    assert main([*GIVEN[:3], "--horizon", "10 s"]) == 2
    assert "add --model-size-on-ue" in capsys.readouterr().err


def test_a_profile_of_another_network_and_a_table_that_is_none(capsys, tmp_path):
    other = [*GIVEN[:1], str(EXAMPLES / "figure2_profile.json"), *GIVEN[2:]]
    assert main(other) == 2
    assert "no operator is in block groups.0.0" in capsys.readouterr().err
    table = read_value(EXAMPLES / "progressive_table.json", DepthTable)
    rows = tuple(c for c in table.configurations if c.name != "8/fp16")
    write_value(tmp_path / "table.json", msgspec.structs.replace(table, configurations=rows))
    assert main([*GIVEN[:4], str(tmp_path / "table.json")]) == 2
    assert "not at all 8 blocks" in capsys.readouterr().err
    assert main([*GIVEN[:4], str(tmp_path)]) == 2
    assert "elastic pack" in capsys.readouterr().err


def test_a_table_is_not_enough_to_run(capsys, tmp_path):
    file = tmp_path / "plan.json"
    assert main([*GIVEN, *ASKED, "--json", str(file)]) == 0
    assert main(["run", str(file)]) == 2
    assert "pack the model with `airloom elastic pack`" in capsys.readouterr().err
