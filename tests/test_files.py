"""Airloom's files: strict, versioned, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.core.topology import Link
from airloom.errors import ConfigError
from airloom.files import made_folder, read_value, write_aside, write_value

PROFILE = Profile(
    model="tiny",
    device="ue",
    operators=(OperatorCost(name="a", compute_s=0.5), OperatorCost(name="b", compute_s=1.0)),
    cuts=(CutSize(tensor_nbytes=(12,)), CutSize(tensor_nbytes=(4, 8)), CutSize(tensor_nbytes=(4,))),
)


def test_round_trip(tmp_path: Path) -> None:
    write_value(tmp_path / "p.json", PROFILE)
    assert read_value(tmp_path / "p.json", Profile) == PROFILE
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


def _spoil(tmp_path: Path, change) -> str:
    write_value(tmp_path / "p.json", PROFILE)
    data = json.loads((tmp_path / "p.json").read_text())
    change(data)
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError) as caught:
        read_value(tmp_path / "p.json", Profile)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_key_names_the_place(tmp_path: Path) -> None:
    line = _spoil(tmp_path, lambda d: d["operators"][1].update(secs=1))
    assert "$.operators[1]: unknown key `secs`: leave it out" in line


def test_wrong_type_names_the_place(tmp_path: Path) -> None:
    assert "$.cuts[0].tensor_nbytes[0]" in _spoil(tmp_path, lambda d: d["cuts"][0].update(tensor_nbytes=["x"]))


def test_other_schema_is_refused(tmp_path: Path) -> None:
    assert "schema 99" in _spoil(tmp_path, lambda d: d.update(schema=99))


def test_garbage_and_absence(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(b"\x80{")
    with pytest.raises(ConfigError, match="not JSON"):
        read_value(tmp_path / "p.json", Profile)
    (tmp_path / "p.json").write_bytes(b"[" * 100_000)
    with pytest.raises(ConfigError, match="too deep"):
        read_value(tmp_path / "p.json", Profile)
    with pytest.raises(ConfigError, match="cannot read"):
        read_value(tmp_path / "absent.json", Profile)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "p.json"
    target.write_bytes(b"old")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_aside(target, b"new")
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_stage_prediction_uses_scale_and_constant() -> None:
    fitted = Profile(
        model="m", device="d", operators=PROFILE.operators, cuts=PROFILE.cuts, stage_scale=2.0, stage_constant_s=0.1
    )
    assert fitted.stage_s(0, 2) == pytest.approx(0.1 + 3.0)
    assert fitted.stage_s(1, 1) == 0.0


def test_an_unlimited_link_survives_a_file(tmp_path: Path) -> None:
    link = Link(src="a", dst="b", rate_bps=math.inf)
    write_value(tmp_path / "link.json", link)
    assert '"Infinity"' in (tmp_path / "link.json").read_text()
    assert read_value(tmp_path / "link.json", Link) == link


def test_what_cannot_be_written_is_named_and_not_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "taken", tmp_path / "file" / "plan.json"):
        with pytest.raises(OSError) as caught:
            write_aside(path, b"x")
        assert caught.value.filename == str(path)
        assert caught.value.filename2 is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "taken"]


def test_a_folder_made_for_work_that_fails_goes_again_unless_something_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), made_folder(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert not (tmp_path / "a").exists()
    with pytest.raises(FileExistsError), made_folder(tmp_path / "a" / "b") as folder:  # noqa: PT012
        (folder / "kept").mkdir()
        (folder / "kept").mkdir()
    assert (tmp_path / "a" / "b" / "kept").exists()
    (tmp_path / "before").mkdir()
    with pytest.raises(ZeroDivisionError), made_folder(tmp_path / "before"):
        raise ZeroDivisionError
    assert (tmp_path / "before").exists()
    with made_folder(tmp_path / "new"):
        pass
    assert (tmp_path / "new").exists()
