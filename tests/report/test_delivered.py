"""What became of the accuracy that was demanded, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from airloom.cli.report import accuracy_tables
from airloom.core.plan import Plan
from airloom.core.run import Phase, Promise, RunRecord, SchemeRecord
from airloom.core.topology import Device, Link, NrRadio, Topology
from airloom.core.trace import Event
from airloom.report.folder import Run, SchemeRun
from airloom.report.page import render_page
from airloom.report.scheme_summary import SchemeSummary
from airloom.report.series import read_series
from airloom.report.summary import summarise

CHAIN = ("ue", "mec")
TOPOLOGY = Topology(
    devices=(Device(id="ue", role="ue"), Device(id="mec", role="mec")),
    links=(
        Link(src="ue", dst="mec", rate_bps=1e6, loss=0.2, nr=NrRadio(snr_db=10.0, mcs=13)),
        Link(src="mec", dst="ue", rate_bps=1e6),
    ),
    source="ue",
    sink="mec",
)
CODED = "int8+structured+neighbours"


def _request(
    k: int, missing: float, accuracy: float | None, *, coding: str = CODED, mcs: int | None = None
) -> list[Event]:
    def event(at_s: float, host: str, kind: Any, **data: Any) -> Event:
        return Event(at_s=k + at_s, host=host, kind=kind, request=k, attempt=0, data=data)

    way = {"coding": coding} if mcs is None else {"coding": coding, "mcs": mcs}
    return [
        event(0.0, "ue", "submit"),
        event(0.1, "ue", "send", dst="mec", what="task", wire_nbytes=1000, **way),
        event(0.2, "mec", "arrive", src="ue", what="task", coding=coding, missing_share=missing, missing=9),
        event(0.2, "ue", "repair", dst="mec", wire_nbytes=100),
        event(0.3, "mec", "stage", start=0, stop=4),
        event(0.4, "mec", "send", dst="ue", what="result", wire_nbytes=100),
        event(0.5, "ue", "result", missing_share=missing, predicted_accuracy=accuracy),
    ]


def _summary(
    events: list[Event], *, floor: float | None = 0.8, labels: tuple[int, ...] = (), predictions: tuple[int, ...] = ()
) -> tuple[Run, SchemeSummary]:
    phases = (
        Phase(name="first", predicted_accuracy=0.9), Phase(name="then", first_request=1, predicted_accuracy=0.84),
    )  # fmt: skip
    plan = Plan(
        model="m", graph_digest="", problem_digest="", chain=CHAIN, stops=(0, 4), stages=(), transfers=(),
        predicted_s=0.1, notes=("pruning saves 3 KiB",),
    )  # fmt: skip
    scheme = SchemeRecord(name="airloom", title="Airloom", plan=plan, phases=phases, predictions=predictions)
    record = RunRecord(
        model="m", topology=TOPOLOGY, schemes=(scheme,), chain=CHAIN, labels=labels,
        promise=Promise(clean=0.92, min_accuracy=floor, metric="top-1", samples=500),
    )  # fmt: skip
    run = Run(record, (SchemeRun(scheme, events, read_series(events, CHAIN)),))
    return run, run.summary().schemes[0]


def test_figures_by_hand() -> None:
    events = _request(0, 0.0, 0.92) + _request(1, 0.25, 0.86) + _request(2, 0.5, 0.78, mcs=20)
    _, scheme = _summary(events, labels=(1, 1, 1), predictions=(1, 1, 0))
    found = scheme.delivered
    assert found is not None
    assert found.clean is not None
    assert (found.clean.value, found.clean.basis) == (0.92, "measured")
    assert found.planned is not None
    assert found.planned.value == pytest.approx((0.9 + 2 * 0.84) / 3)
    assert found.predicted is not None
    assert found.predicted_least is not None
    assert (found.predicted.value, found.predicted.basis) == (pytest.approx((0.92 + 0.86 + 0.78) / 3), "modelled")
    assert found.predicted_least.value == 0.78
    assert (found.below, found.unknown) == (1, 0)
    assert found.missing_mean is not None
    assert found.missing_max is not None
    assert found.incomplete is not None
    assert (found.missing_mean.value, found.missing_max.value) == (0.25, 0.5)
    assert found.incomplete.value == pytest.approx(2 / 3)
    assert found.repair_nbytes is not None
    assert found.repair_nbytes.value == 100
    assert found.repairs is not None
    assert found.repairs.value == 1.0
    assert found.measured is not None
    assert found.measured.value == pytest.approx(2 / 3)
    assert [(w.coding, w.mcs, w.messages) for w in found.carried] == [(CODED, 20, 1), (CODED, 13, 2)]
    assert found.notes == ("pruning saves 3 KiB",)


def test_a_floor_is_judged_by_what_was_measured_within_what_so_few_requests_may_stray() -> None:
    events = [event for k in range(100) for event in _request(k, 0.1, 0.79)]
    for right, kept in ((80, True), (73, True), (71, False)):
        predictions = tuple(int(k < right) for k in range(100))
        _, scheme = _summary(events, labels=(1,) * 100, predictions=predictions)
        assert scheme.delivered is not None
        assert scheme.delivered.kept is kept
    _, scheme = _summary(events)  # classes are not known: predictions count
    assert scheme.delivered is not None
    assert scheme.delivered.kept is False
    assert scheme.delivered.below == 100
    _, scheme = _summary(events, floor=None)
    assert scheme.delivered is not None
    assert scheme.delivered.kept is None


def test_repairs_that_hosts_counted_stand_in_for_those_of_the_trace() -> None:
    events = [event for event in _request(0, 0.0, 0.9) if event.kind != "repair"]
    for counted in (None, 700):
        scheme = SchemeRecord(name="a", title="A", repair_nbytes=counted)
        record = RunRecord(
            model="m", topology=TOPOLOGY, schemes=(scheme,), chain=CHAIN, promise=Promise(clean=0.92)
        )  # fmt: skip
        found = summarise(record, [(scheme, read_series(events, CHAIN))]).schemes[0].delivered
        assert found is not None
        assert found.repairs is None
        assert (found.repair_nbytes and found.repair_nbytes.value) == counted


def test_unknown_accuracy_is_counted() -> None:
    _, scheme = _summary(_request(0, 0.5, None) + _request(1, 0.0, 0.92))
    assert scheme.delivered is not None
    assert scheme.delivered.unknown == 1


def test_nothing_is_said_where_nothing_was_demanded_or_missing() -> None:
    events = [
        Event(at_s=0.0, host="ue", kind="submit", request=0),
        Event(at_s=0.1, host="ue", kind="result", request=0, data={"missing_share": 0.0}),
    ]
    summary = summarise(None, [(SchemeRecord(name="a", title="A"), read_series(events))])
    assert summary.schemes[0].delivered is None
    assert accuracy_tables(summary) == ""


def test_page_terminal_and_headline_say_the_same() -> None:
    events = _request(0, 0.0, 0.92) + _request(1, 0.25, 0.86)
    run, _ = _summary(events, labels=(1, 1), predictions=(1, 1))
    summary = run.summary()
    assert "100.0 % accuracy (measured; floor 80.0 %)" in summary.headline
    text = accuracy_tables(summary)
    page = render_page(run, summary)
    for said in ("80.0 %", "92.0 %", "89.0 %", "86.0 %", CODED, "pruning saves 3 KiB"):
        assert said in text
        assert said in page
    assert '<h2 id="accuracy">Accuracy</h2>' in page
