"""Traces read back: strict, except for the last line of a host that was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airloom.errors import ConfigError
from airloom.report.trace import read_trace

LINE = json.dumps({"at_s": 1.0, "host": "ue", "kind": "submit", "request": 0})


def test_merged_in_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LINE.replace("1.0", "3.0") + "\n" + LINE + "\n")
    (tmp_path / "b.jsonl").write_text(LINE.replace("1.0", "2.0") + "\n")
    assert [e.at_s for e in read_trace(tmp_path)] == [1.0, 2.0, 3.0]
    assert [e.at_s for e in read_trace([tmp_path / "b.jsonl"])] == [2.0]


def test_a_short_last_line_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "ue.jsonl"
    path.write_text(LINE + "\n" + LINE[:20])
    trace = read_trace(path)
    assert (len(trace), trace.truncated) == (1, 1)
    # Only its end of line is missing: nothing is lost.
    path.write_text(LINE + "\n" + LINE)
    trace = read_trace(path)
    assert (len(trace), trace.truncated) == (2, 0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("garbage", "not JSON"),
        ('{"at_s": 1.0, "host": "ue"}', "kind"),
        ('{"at_s": 1.0, "host": "ue", "kind": "unheard"}', "kind"),
        ('{"at_s": 1.0, "host": "ue", "kind": "submit", "extra": 1}', "extra"),
        ('{"at_s": 1.0, "host": "ue", "kind": "trace", "data": {"schema": 99}}', "schema 99"),
    ],
)
def test_a_bad_line_names_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "ue.jsonl").write_text(f"{LINE}\n{line}\n{LINE}\n")
    with pytest.raises(ConfigError, match=said) as caught:
        read_trace(tmp_path)
    assert "ue.jsonl:2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such"):
        read_trace(tmp_path / "nowhere")
