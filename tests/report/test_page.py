"""The page: well-formed, alone, and with the same numbers as the JSON."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airloom.core.run import RunRecord
from airloom.core.topology import Device, Link
from airloom.files import read_value, write_value
from airloom.report.folder import Run, read_run
from airloom.report.page import render_page

VOID = {"meta", "br", "rect", "line", "circle", "path"}


class Checker(HTMLParser):
    """Collects what matters, and refuses tags that do not nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[tuple[float, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "data":
            found = dict(attrs)
            self.numbers.append((float(found["value"] or "nan"), found["class"] or ""))
        if tag not in VOID or (tag in ("rect", "path") and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return read_run([run_folder])


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return render_page(run)


def test_well_formed_and_alone(page: str) -> None:
    checker = check(page)
    assert page.startswith("<!doctype html>")
    tags = {tag for tag, _ in checker.tags}
    assert not tags & {"script", "link", "iframe", "img", "object", "form"}
    for _, attributes in checker.tags:
        assert not {"src", "href", "action", "srcset"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?://|@import|url\(", page)


def test_accessible(page: str) -> None:
    checker = check(page)
    ids = [a["id"] for _, a in checker.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in checker.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"] or "") > 20
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    assert 'lang="en"' in page
    assert [tag for tag, _ in checker.tags].count("h1") == 1


def figures(value: Any) -> set[tuple[float, str]]:
    """Every number of a summary that carries a basis."""
    if isinstance(value, dict):
        if set(value) == {"value", "basis"}:
            return {(value["value"], value["basis"])}
        return set().union(*(figures(v) for v in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(figures(v) for v in value)) if value else set()
    return set()


def test_numbers_are_those_of_the_json(page: str, run: Run) -> None:
    known = figures(msgspec.to_builtins(run.summary()))
    shown = {n for n in check(page).numbers if n != (0.0, "modelled")}
    assert len(shown) > 60
    assert shown <= known
    p50 = {(s.p50_s.value, s.p50_s.basis) for s in run.summary().schemes if s.p50_s is not None}
    assert p50 <= shown


def test_says_what_the_run_was(page: str, run: Run) -> None:
    assert run.summary().headline in page
    for said in ("drops to a tenth", "links by a relay", "1 DeadlineExceeded", "Best single split", "a phone"):
        assert said in page


def test_names_are_escaped(run_folder: Path, tmp_path: Path) -> None:
    record = read_value(run_folder / "run.json", RunRecord)
    nasty = msgspec.structs.replace(record, title="<script>\"&'", emulated=("<b>x",))
    (tmp_path / "traces").symlink_to(run_folder / "traces")
    write_value(tmp_path / "run.json", nasty)
    page = render_page(read_run([tmp_path]))
    assert "<script" not in page
    assert "<b>x" not in page
    check(page)


def test_other_devices_than_the_chain(run_folder: Path, tmp_path: Path) -> None:
    record = read_value(run_folder / "run.json", RunRecord)
    topology = record.topology
    more = msgspec.structs.replace(
        topology,
        devices=(*topology.devices, Device(id="ue2", role="ue"), Device(id="alone", role="mec")),
        links=(*topology.links, Link(src="ue2", dst="gnb", rate_bps=float("inf"))),
    )
    (tmp_path / "traces").symlink_to(run_folder / "traces")
    write_value(tmp_path / "run.json", msgspec.structs.replace(record, topology=more))
    page = render_page(read_run([tmp_path]))
    check(page)
    assert ">ue2<" in page
    assert ">alone<" in page


def test_bare_traces(run_folder: Path) -> None:
    check(render_page(read_run([run_folder / "traces" / "airloom"])))


def test_nothing_answered(tmp_path: Path) -> None:
    (tmp_path / "ue.jsonl").write_text('{"at_s": 1.0, "host": "ue", "kind": "submit", "request": 0}\n')
    page = render_page(read_run([tmp_path]))
    check(page)
    assert "none of 1 requests" in page
