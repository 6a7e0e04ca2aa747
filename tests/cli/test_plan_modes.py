"""Training, merged parameters and paths of `airloom plan`, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airloom.cli.main import main
from airloom.core.plan import Plan
from airloom.core.profile import CutSize, Modules, OperatorCost, Profile
from airloom.files import read_value, write_value

ROOT = Path(__file__).parents[2]
IAB = "examples/hivemind_mmwave_iab.yaml"
RESNET = "examples/resnet20.json"
FIGURE_2, HAND = "examples/figure2.yaml", "examples/figure2_profile.json"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_step_of_training_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A profile by hand has no backward times: twice the forward pass, and it says modelled."""
    assert main(["plan", HAND, FIGURE_2, "--no-framing", "--train", "--runner-ups", "0"]) == 0
    out = capsys.readouterr().out
    assert "a step (modelled)" in out
    rows = {line.split("  ")[0]: line.split()[-1] for line in out.splitlines() if line}
    for part in ("forward pass", "activations on", "backward pass", "gradients back", "weights that move"):
        assert rows[part] == "modelled", part
    assert "cut 0 and gradients" in out


def test_a_measured_profile_without_training_says_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", RESNET, IAB, "--train"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("airloom: the profile of resnet20 has no backward times: measure them with `airloom profile")
    assert said.count("\n") == 1
    assert main(["plan", RESNET, IAB, "--train", "modelled"]) == 0


def test_parts_of_a_step_and_where_it_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert main(["plan", RESNET, IAB, "--train", "modelled", "--json", str(first)]) == 0
    moved = ["--set", "link=ue->gnb1,rate=1 kbit/s", "--set", "link=ue->gnb2,rate=1 kbit/s"]
    argv = ["plan", RESNET, IAB, "--train", "modelled", "--from", str(first), "--amortise", "100", *moved]
    capsys.readouterr()
    assert main([*argv, "--json", str(second)]) == 0
    out = capsys.readouterr().out
    plan = read_value(second, Plan)
    assert plan.stages[0].device == "ue"
    parts = {part.name: part for part in plan.parts}
    assert sum(part.predicted_s for part in plan.parts) == pytest.approx(plan.predicted_s)
    assert parts["moves"].predicted_s > 0
    assert parts["moves"].nbytes > 0
    assert "as it was" in out
    assert "weights that move" in out


def test_merged_parameters_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", RESNET, IAB, "--parameters-to", "cloud", "--every", "10", "--runner-ups", "1"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "parameters to merge" in out
    assert "without parameter transfer" in out
    assert main([*argv, "--parameters-from", "last", "--train", "modelled", "--minimize", "energy"]) == 0
    assert "without parameter transfer" in capsys.readouterr().out


def test_a_path_by_hand_and_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", RESNET, IAB, "--route", "ue, gnb2,gnb3 ,gnb4"]) == 0
    assert capsys.readouterr().out.startswith("resnet20: 77 operators on ue - gnb2 - gnb3 - gnb4,")
    assert main(["plan", RESNET, IAB, "--route", "any"]) == 0
    assert "the best of 6" in capsys.readouterr().out
    assert main(["plan", RESNET, IAB, "--set", "link=ue->gnb1,rate=1 Mbit/s"]) == 0
    out = capsys.readouterr().out
    assert "the usual route" in out
    assert "path ue - gnb2 - gnb3 - gnb4 - gnb6 - core7 - core8 - cloud: the best of 2\n" in out


def test_a_recurrent_network_beside_the_paper_s_standard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = Profile(
        model="rnn",
        device="d",
        operators=tuple(OperatorCost(f"op{k}", 0.01) for k in range(6)),
        cuts=tuple(CutSize((4000,)) for _ in range(7)),
        modules=Modules((0, 2, 4, 6), state_nbytes=2000, input_nbytes=1000, output_nbytes=100),
    )
    write_value(tmp_path / "rnn.json", profile)
    for objective in ([], ["--minimize", "energy", "--require", "latency<=10 s"]):
        assert main(["plan", str(tmp_path / "rnn.json"), IAB, *objective]) == 0
        assert "module split (paper's standard)" in capsys.readouterr().out
    crooked = msgspec.structs.replace(profile, modules=Modules((0, 3, 4)))
    write_value(tmp_path / "rnn.json", crooked)
    assert main(["plan", str(tmp_path / "rnn.json"), IAB]) == 2
    assert "$.modules.starts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--train", "never"], "--train: measured or modelled, got 'never'"),
        (["--from", "plan.json"], "--from: is of training: add --train"),
        (["--labels", "4 KiB"], "--labels: is of training"),
        (["--amortise", "4"], "--amortise: is of training"),
        (["--train", "modelled", "--amortise", "4"], "--amortise: spreads the move from a plan: name that with --from"),
        (["--train", "modelled", "--from", RESNET], "resnet20.json: "),
        (["--train", "modelled", "--from", "nowhere.json"], "nowhere.json"),
        (["--every", "3"], "--every: is of parameters that are merged: add --parameters-to"),
        (["--parameters-stay"], "--parameters-stay: is of parameters"),
        (["--parameters-to", "cloud", "--every", "0"], "--every: merges are at least 1 step apart, got 0"),
        (["--parameters-to", "moon"], "--parameters-to: no device 'moon'"),
        (["--route", "ue,moon"], "--route: no device 'moon'"),
        (["--route", "ue,cloud"], "--route: the link ue->cloud is not in the topology"),
        (["--route", ""], "--route: "),
    ],
)
def test_refusals_are_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", RESNET, IAB, *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
