"""`airloom run` before anything runs: what is refused, how early, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from airloom import api, running, zoo
from airloom.cli.inputs import read_arrays, rows_of
from airloom.cli.main import main
from airloom.core.plan import Plan
from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.errors import ConfigError
from airloom.files import read_value, write_value

TOPOLOGY = """\
source: ue
sink: cloud
devices: [{id: ue, role: ue, speed: 0.1}, {id: cloud, role: cloud}]
links: [{from: ue, to: cloud, rate: 50 Mbit/s, delay: 1 ms, both: true}]
"""
PROFILE = Profile(
    model="vgg11",
    device="this",
    graph_digest="sha256:1",
    operators=(OperatorCost(name="a", compute_s=0.01), OperatorCost(name="b", compute_s=0.01)),
    cuts=tuple(CutSize(tensor_nbytes=(n,)) for n in (3072, 4096, 40)),
    output_nbytes=(40,),
)


def graph(digest: str = "sha256:1", model: str = "vgg11") -> Any:
    return SimpleNamespace(
        model=model, digest=digest, inputs=(0,), tensors={0: SimpleNamespace(shape=(1, 3, 32, 32), dtype="uint8")}
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.yaml").write_text(TOPOLOGY)
    (tmp_path / "run.yaml").write_text("topology: net.yaml\nmodel: vgg11\nprofile: p.json\nrequests: 3\n")
    write_value(tmp_path / "p.json", PROFILE)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def plan_of(place: Path) -> Path:
    assert main(["plan", str(place / "p.json"), str(place / "net.yaml"), "--json", str(place / "plan.json")]) == 0
    return place / "plan.json"


def refused(place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on standard error of a run that leaves no folder."""
    capsys.readouterr()
    assert main(["run", str(place / "run.yaml"), "--out", str(place / "new" / "out"), *words]) == 2
    assert not (place / "new").exists()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_files_are_read_before_the_model_is_captured(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def capture(model: str) -> Any:
        raise AssertionError("captured before everything cheaper was looked at")

    monkeypatch.setattr(api, "capture", capture)
    assert "none.npy: cannot read: No such file" in refused(place, capsys, "--inputs", str(place / "none.npy"))
    (place / "text.npy").write_text("1, 2, 3")
    line = refused(place, capsys, "--inputs", str(place / "text.npy"))
    assert "text.npy: not arrays of numbers: write them with numpy.save" in line
    assert "pickle" not in line
    assert "none.json: cannot read" in refused(place, capsys, "--plan", str(place / "none.json"))
    path = plan_of(place)
    write_value(path, msgspec.structs.replace(read_value(path, Plan), chain=("ue", "mars")))
    line = refused(place, capsys, "--plan", str(path))
    assert "plan.json: chain: no device 'mars'" in line
    assert line.endswith("plan again for this topology")
    (place / "p.json").write_text("{}")
    assert "p.json" in refused(place, capsys)
    (place / "cell.txt").write_text("<html>")
    (place / "net.yaml").write_text(TOPOLOGY.replace("both", "trace: cell.txt, both"))
    assert "links[0].trace: " in refused(place, capsys)


def test_a_profile_or_plan_of_another_model_leaves_no_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(place)
    monkeypatch.setattr(api, "capture", lambda model: SimpleNamespace(graph=graph("sha256:2")))
    assert "the profile is of another model than vgg11" in refused(place, capsys)
    (place / "run.yaml").write_text("topology: net.yaml\nmodel: vgg11\n")
    assert "plan.json is for another model than vgg11" in refused(place, capsys, "--plan", str(plan))


@pytest.mark.parametrize("model", ["vgg11", "resnet20"])
def test_random_weights_have_a_note_and_no_accuracy(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    class Started(Exception):
        pass

    given: dict[str, Any] = {}

    def run_scheme(*_: Any, **kwargs: Any) -> None:
        given.update(kwargs)
        raise Started

    (place / "run.yaml").write_text(f"topology: net.yaml\nmodel: {model}\nprofile: p.json\nrequests: 3\n")
    monkeypatch.setattr(api, "capture", lambda name: SimpleNamespace(graph=graph(model=model)))
    monkeypatch.setattr(running, "run_scheme", run_scheme)
    monkeypatch.setattr(zoo, "bundled_weights", lambda name: Path("w") if name == "resnet20" else None)
    with pytest.raises(Started):
        main(["run", str(place / "run.yaml"), "--out", str(place / "out")])
    if model == "resnet20":
        assert len(given["labels"]) == 3
        assert given["notes"] == ()
    else:
        assert given["labels"] == []
        assert given["classify"] is None
        assert given["notes"] == ("random weights stand for trained ones, of which none are bundled for vgg11: no accuracy",)  # fmt: skip  # noqa: E501


def test_rows_of_a_file_are_the_requests(tmp_path: Path) -> None:
    pictures = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3, 32, 32)
    np.savez(tmp_path / "pictures.npz", pictures)
    inputs = rows_of(read_arrays(tmp_path / "pictures.npz"), graph(), where="f")
    assert np.array_equal(inputs(3)[0], pictures[1:])
    for arrays, says in (
        ([pictures, pictures], "2 arrays for a model of 1 inputs"),
        ([pictures[:, :1]], r"rows of \[1, 32, 32\] of uint8; vgg11 takes"),
        ([pictures.astype(np.float32)], "of float32; vgg11 takes"),
    ):
        with pytest.raises(ConfigError, match=says):
            rows_of(arrays, graph(), where="f")


def test_files_without_arrays_of_numbers_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "scalar.npy", np.float32(1))
    np.savez(tmp_path / "uneven.npz", np.zeros(2), np.zeros(3))
    np.savez(tmp_path / "none.npz")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "uneven.npz").read_bytes()[:200])
    for name, says in (
        ("object.npy", "not arrays of numbers"), ("empty.npy", "not arrays of numbers"),
        ("cut.npz", "not arrays of numbers"), ("scalar.npy", "no rows"), ("none.npz", "no rows"),
        ("uneven.npz", "the arrays have different numbers of rows"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"{name}: {says}") as caught:
            read_arrays(tmp_path / name)
        assert "pickle" not in str(caught.value)
