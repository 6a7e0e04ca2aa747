"""`airloom plan` as a user meets it: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airloom.cli import plan as command
from airloom.cli import plan as plan_command
from airloom.cli.main import build_parser, main
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.files import decode_value, read_value, write_value

ROOT = Path(__file__).parents[2]
PROFILE, FIGURE_2 = "examples/figure2_profile.json", "examples/figure2.yaml"
RADIO = "examples/nr_uplink.yaml"
SLOW_CORE = ("--no-framing", "--set", "link=mec->cloud,rate=0.5 Mbit/s")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NO_COLOR", "1")


def test_figure_2_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", PROFILE, FIGURE_2, *SLOW_CORE]) == 0
    assert capsys.readouterr().out == (
        "figure2: 3 operators on ue - mec - cloud, 2.43 s a request (modelled)\n"
        "\n"
        "where    what                    predicted  basis\n"
        "ue->mec  cut 0, 146 KiB             600 ms  modelled\n"
        "mec      0..2  layer1 .. layer3     1.83 s  modelled\n"
        "mec->ue  result, 0 B                   0 s  modelled\n"
        "\n"
        "beside it          stages             predicted        costs more\n"
        "UE only            ue 0..2               5.50 s  3.07 s (126.0 %)\n"
        "cloud only         cloud 0..2            3.55 s   1.12 s (45.9 %)\n"
        "best single split  ue 0, cloud 1..2      3.50 s   1.07 s (43.8 %)\n"
        "runner-up 1        ue 0, mec 1..2        2.67 s    233 ms (9.6 %)\n"
        "runner-up 2        mec 0, cloud 1..2     3.27 s   833 ms (34.2 %)\n"
        "runner-up 3        ue 0, cloud 1..2      3.50 s   1.07 s (43.8 %)\n"
        "\n"
        "limited by mec (75.3 %), ue->mec (24.7 %)\n"
    )


def test_the_examples_of_the_help_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.strip() for line in command.EPILOG.splitlines() if line.startswith("  airloom ")]
    assert len(lines) == 8
    for line in lines:
        argv = [str(tmp_path / word) if word == "plan.json" else word for word in shlex.split(line)[1:]]
        assert main(argv) == 0
    assert (tmp_path / "plan.json").exists()
    assert "runner-up" in capsys.readouterr().out


def test_json_on_standard_output_is_the_plan_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", PROFILE, FIGURE_2, *SLOW_CORE, "--json", "-", "--runner-ups", "1"]) == 0
    plan = decode_value(capsys.readouterr().out.encode(), Plan, where="-")
    assert plan.stops == (0, 3, 3)
    assert [a.scheme for a in plan.alternatives] == ["ue-only", "cloud-only", "single-split", ""]


def test_a_plan_written_passes_its_dry_run_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "plan.json")
    assert main(["plan", PROFILE, "examples/line4.yaml", "--json", path]) == 0
    assert read_value(Path(path), Plan).chain == ("ue", "gnb", "mec", "cloud")
    assert main(["plan", PROFILE, "examples/line4.yaml", "--dry-run", path]) == 0
    assert "can run on ue gnb mec cloud" in capsys.readouterr().out
    assert main(["plan", PROFILE, FIGURE_2, "--dry-run", path]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert all(line.startswith(f"airloom: {path}: ") for line in lines)
    assert any("no device 'gnb'" in line for line in lines)
    assert f"{len(lines) - 1} mistakes: mend it, or plan again: `airloom plan {PROFILE} {FIGURE_2} --json" in lines[-1]


def test_the_plan_is_written_even_if_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*parts: object) -> None:
        raise BrokenPipeError

    args = build_parser("plan").parse_args([PROFILE, FIGURE_2, "--json", str(tmp_path / "plan.json")])
    monkeypatch.setattr("builtins.print", gone)
    with pytest.raises(BrokenPipeError):
        plan_command.run(args)
    assert read_value(tmp_path / "plan.json", Plan).model == "figure2"


def test_a_plan_of_another_model_fails_its_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    assert main(["plan", PROFILE, FIGURE_2, "--json", str(path)]) == 0
    write_value(path, msgspec.structs.replace(read_value(path, Plan), graph_digest="sha256:other"))
    assert main(["plan", PROFILE, FIGURE_2, "--dry-run", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"plan again: `airloom plan {PROFILE} {FIGURE_2} --json {path}`")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda plan: {"predicted_s": -1.0}, "the plan: predicted_s is a time from 0 up, got -1"),
        (
            lambda plan: {"stages": (msgspec.structs.replace(plan.stages[0], predicted_s=float("-inf")),)},
            "predicted_s is a time from 0 up, got -inf",
        ),
        (lambda plan: {"transfers": (*plan.transfers, plan.transfers[-1])}, "transfers: 2 carry the result of a chain"),
    ],
)
def test_what_no_plan_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, says: str) -> None:
    path = tmp_path / "plan.json"
    assert main(["plan", PROFILE, FIGURE_2, *SLOW_CORE, "--json", str(path)]) == 0
    plan = read_value(path, Plan)
    write_value(path, msgspec.structs.replace(plan, **spoil(plan)))
    capsys.readouterr()
    assert main(["plan", PROFILE, FIGURE_2, "--dry-run", str(path)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("kept", ["2", "layer2"])
def test_private_operators(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", PROFILE, FIGURE_2, *SLOW_CORE, "--keep-on-ue", kept]) == 0
    out = capsys.readouterr().out
    assert "ue       0..1  layer1 .. layer2" in out
    assert "cloud only         not possible within the limits" in out


def test_a_host_that_is_gone_is_gone_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", PROFILE, FIGURE_2, "--no-framing", "--set", "device=cloud,up=false"]) == 0
    out = capsys.readouterr().out
    assert "on ue - mec, 2.43 s" in out
    assert "cloud is out of reach: mec is the end of the chain" in out


def test_a_result_that_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", PROFILE, FIGURE_2, *SLOW_CORE, "--no-result-back"]) == 0
    assert "result" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["plan", "none.json", FIGURE_2], "none.json: cannot read"),
        (["plan", PROFILE, "none.yaml"], "none.yaml: cannot read"),
        (["plan", FIGURE_2, FIGURE_2], "not JSON"),
        (["plan", PROFILE, FIGURE_2, "--set", "link=mec->mars,rate=1 bps"], "--set: no link mec->mars: there are"),
        (["plan", PROFILE, FIGURE_2, "--set", "link=mec->cloud,rate=0"], "a rate must be above 0"),
        (["plan", PROFILE, FIGURE_2, "--set", "link=ue->mec,snr=4 dB"], "ue->mec has no SNR, as it is no 5G radio"),
        (["plan", PROFILE, RADIO, "--set", "link=ue->gnb,loss=1 %"], "rate and loss follow from its SNR: give snr"),
        (["plan", PROFILE, RADIO, "--set", "link=ue->gnb,rate=1 Mbit/s"], "rate and loss follow from its SNR"),
        (["plan", PROFILE, FIGURE_2, "--keep-on-ue", "4"], "--keep-on-ue: expected 0..3 or an operator's name"),
        (["plan", PROFILE, FIGURE_2, "--keep-on-ue", "layer9"], "--keep-on-ue: expected 0..3"),
        (["plan", PROFILE, FIGURE_2, "--runner-ups", "-1"], "--runner-ups: must not be negative"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "plan.json"
    assert main([*argv, "--json", str(out)]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert not out.exists()


def _profile(path: Path, **fields: object) -> str:
    base = read_value(ROOT / PROFILE, Profile)
    write_value(path, msgspec.structs.replace(base, **fields))
    return str(path)


def test_a_profile_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = read_value(ROOT / PROFILE, Profile)
    negative = tuple(msgspec.structs.replace(op, compute_s=-1.0) for op in base.operators)
    from airloom.core.profile import CutSize, Weights

    cases: list[tuple[dict[str, object], str]] = [
        ({"cuts": base.cuts[:-1]}, "$.cuts: 3 operators have 4 cuts, got 3"),
        ({"operators": (), "cuts": base.cuts[:1]}, "$.operators: no operators"),
        ({"operators": negative}, "$.operators[0].compute_s: a time is finite and not negative, got -1"),
        ({"weights": (Weights(nbytes=1, operators=(3,)),)}, "$.weights[0]: a weight"),
        ({"stage_constant_s": -1.0}, "$.stage_constant_s: must be finite"),
        ({"cuts": (CutSize(tensor_nbytes=(-1,)), *base.cuts[1:])}, "$.cuts[0].tensor_nbytes: a size"),
        ({"cuts": (CutSize(tensor_nbytes=(1,), tensors=(1, 2)), *base.cuts[1:])}, "$.cuts[0].tensors: 2 tensors"),
        ({"schema": 99}, "schema 99"),
    ]
    for fields, says in cases:
        assert main(["plan", _profile(tmp_path / "p.json", **fields), FIGURE_2]) == 2
        assert says in capsys.readouterr().err


def test_memory_that_does_not_suffice_says_how_much_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from airloom.core.profile import Weights

    heavy = _profile(tmp_path / "p.json", weights=(Weights(nbytes=3 * 2**20, operators=(0, 1, 2)),))
    tight = tmp_path / "net.yaml"
    tight.write_text((ROOT / FIGURE_2).read_text().replace("speed: ", "memory: 2 MiB, speed: "))
    assert main(["plan", heavy, str(tight)]) == 2
    assert "needs 3.00 MiB for the weights of operators 0..2, has 2.00 MiB: give it 1.00 MiB" in capsys.readouterr().err


def test_planning_imports_neither_torch_nor_plots() -> None:
    code = (
        "import sys; from airloom.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'matplotlib', 'scipy', 'zenoh', 'cryptography', 'networkx'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", PROFILE, FIGURE_2],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.stderr.strip() == "[]"


LOSSY = ["plan", "examples/resnet20.json", "examples/loss_tolerant.yaml", "--keep-on-ue", "relu"]
FLOOR = ["--tolerance", "examples/tolerance.json", "--min-accuracy"]


def test_an_accuracy_floor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    assert main([*LOSSY, *FLOOR, "88 %", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "int8+structured+neighbours, 25.0 % missing, 26.7 % may be" in out
    assert "92.4 % with nothing lost, floor 88.0 %" in out
    plan = read_value(path, Plan)
    assert plan.min_accuracy == 0.88
    assert plan.clean_accuracy == pytest.approx(0.924)
    assert plan.predicted_accuracy is not None
    assert plan.predicted_accuracy >= 0.88
    coded = next(transfer for transfer in plan.transfers if transfer.coding != "raw")
    first, second = coded.route
    assert first.missing == 0.25
    assert first.tolerable == pytest.approx(4 / 15)
    assert 0.0 < first.rounds < 1.0  # of 15 blocks more than 4 may be lost now and then
    assert (second.missing, second.rounds) == (0.0, 0.0)
    assert main([*LOSSY, "--json", "-"]) == 0
    whole = decode_value(capsys.readouterr().out.encode(), Plan, where="-")
    assert whole.predicted_accuracy is None
    assert plan.predicted_s < 0.75 * whole.predicted_s
    assert main([*LOSSY, *FLOOR[:2]]) == 0
    assert "no floor: everything that is lost is sent again" in capsys.readouterr().out
    assert main([*LOSSY, "--dry-run", str(path)]) == 0


def test_mcs_is_chosen_with_the_cut_and_compared_with_link_adaptation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = (ROOT / "examples/loss_tolerant.yaml").read_text()
    radio = tmp_path / "net.yaml"
    upward = "rate: 10 Mbit/s, delay: 10 ms, loss: 25 %"
    assert upward in net
    radio.write_text(net.replace(upward, "delay: 2 ms, nr: {snr: 10 dB, channel: cdl-c, prb: 6}"))
    argv = ["plan", "examples/resnet20.json", str(radio), "--keep-on-ue", "relu", *FLOOR, "0.8"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "MCS at 10 % BLER" in out
    assert main([*argv, "--json", "-"]) == 0
    free = decode_value(capsys.readouterr().out.encode(), Plan, where="-")
    beside = next(other for other in free.alternatives if other.scheme == "link-adaptation")
    assert beside.predicted_s >= free.predicted_s - 1e-12
    hop = next(hop for transfer in free.transfers for hop in transfer.route if hop.mcs is not None)
    radio.write_text(radio.read_text().replace("prb: 6", "prb: 6, mcs: 3"))
    assert main([*argv, "--json", "-"]) == 0
    fixed = decode_value(capsys.readouterr().out.encode(), Plan, where="-")
    assert all(hop.mcs in (None, 3) for transfer in fixed.transfers for hop in transfer.route)
    assert all(other.scheme != "link-adaptation" for other in fixed.alternatives)
    assert hop.mcs != 3
    assert fixed.predicted_s > free.predicted_s


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([*FLOOR, "88"], "--min-accuracy: an accuracy is above 0 and at most 1 (0.85 is 85 %), got 88"),
        (["--min-accuracy", "0.8"], "--min-accuracy: a floor needs to know what loss costs"),
        ([*FLOOR, "0.95"], "cannot be had: resnet20 reaches 0.924"),
        ([*FLOOR, "0"], "--min-accuracy: an accuracy is above 0"),
        (["--tolerance", "examples/resnet20.json"], "examples/resnet20.json"),
    ],
)
def test_floors_that_cannot_be(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LOSSY, *words]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_floor_that_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*LOSSY, *FLOOR, "much"])
    assert "--min-accuracy: an accuracy reads 0.88 or '88 %', got 'much'" in capsys.readouterr().err


def test_a_tolerance_profile_of_another_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = read_value(ROOT / "examples/resnet20.json", Profile)
    other = tmp_path / "p.json"
    write_value(other, msgspec.structs.replace(base, graph_digest="sha256:0"))
    assert main(["plan", str(other), "examples/loss_tolerant.yaml", *FLOOR, "0.8"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the tolerance profile is of resnet20" in line
    assert main(["plan", PROFILE, "examples/loss_tolerant.yaml", *FLOOR, "0.8"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is of resnet20, the profile of figure2, which names no graph" in line
