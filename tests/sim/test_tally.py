"""Sums of a run in bounded memory, and traces that are written as they come."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from engine_cases import line

from airloom.core.topology import Device, Link, Power, Topology
from airloom.core.trace import Event, Kind
from airloom.report.trace import read_trace
from airloom.sim.histogram import Histogram
from airloom.sim.sink import TraceFolder
from airloom.sim.tally import SPANS, Tally


def event(
    kind: Kind, at_s: float, host: str = "ue", request: int | None = None, took_s: float = 0.0, **data: object
) -> Event:
    return Event(at_s=at_s, host=host, kind=kind, took_s=took_s, request=request, data=data)


def test_quantiles_are_within_a_thousandth_and_the_mean_is_exact() -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(-3.0, 1.0, 5000)
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    assert histogram.mean == pytest.approx(values.mean())
    assert histogram.std == pytest.approx(values.std())
    shares = [0.0, 0.05, 0.5, 0.95, 0.99, 1.0]
    exact = np.quantile(values, shares)
    assert histogram.quantiles(shares) == pytest.approx(tuple(exact), rel=0.0011)


def test_a_histogram_of_one_value_is_that_value_and_of_none_nothing() -> None:
    histogram = Histogram()
    assert histogram.mean is None
    assert histogram.quantiles([0.5]) == ()
    histogram.add(0.25)
    assert histogram.quantiles([0.0, 0.5, 1.0]) == (0.25, 0.25, 0.25)


def powered() -> Topology:
    curve = ((1e6, 1.0), (11e6, 3.0))
    ue = Device(id="ue", role="ue", power=Power(busy_w=2.0, send_w=curve))
    gnb = Device(id="gnb", role="gnb", power=Power(receive_w=((1e6, 0.5),)))
    return Topology(devices=(ue, gnb), links=(Link(src="ue", dst="gnb", rate_bps=6e6),), source="ue", sink="gnb")


def test_energy_is_compute_and_radio_at_the_rate_of_the_moment() -> None:
    tally = Tally(powered(), lambda src, dst: 6e6)
    tally.add(event("submit", 0.0, request=0))
    tally.add(event("stage", 0.5, request=0, took_s=0.5, start=0, stop=3))
    tally.add(event("send", 0.5, request=0, dst="gnb", wire_nbytes=75_000))  # 0.1 s at 6 Mbit/s: 2 W and 0.5 W
    tally.add(event("result", 1.0, request=0, took_s=1.0, attempts=1))
    found = tally.summary("airloom", "Airloom")
    assert found.energy_j == pytest.approx({"ue": 0.5 * 2.0 + 0.1 * 2.0, "gnb": 0.1 * 0.5})
    assert (found.sent_nbytes, found.operators) == (75_000, {"ue": 3.0})


def test_requests_errors_retries_spikes_and_the_wait_for_plans_are_counted() -> None:
    tally = Tally(line(), lambda src, dst: 1e6, spike_s=0.1)
    for k, took_s in enumerate((0.05, 0.2)):
        tally.add(event("submit", float(k), request=k))
        tally.add(event("attempt", k + 0.02, request=k))
        tally.add(event("attempt", k + 0.03, request=k))  # another try: no plan is waited for
        tally.add(event("result", k + took_s, request=k, took_s=took_s, attempts=1 + k))
    tally.add(event("submit", 3.0, request=2))
    tally.add(event("error", 4.0, request=2, error="DeadlineExceeded"))
    found = tally.summary("airloom", "Airloom")
    assert (found.requests, found.results, found.errors) == (3, 2, {"DeadlineExceeded": 1})
    assert (found.retried, found.spikes) == (1, 1)
    assert found.planning_s == pytest.approx(0.02)


def test_stretches_of_time_merge_and_lose_nothing() -> None:
    tally = Tally(line(), lambda src, dst: 1e6)
    for k in range(3600):
        tally.add(event("result", float(k), request=k, took_s=0.01, attempts=1))
    tally.handover(17.0)
    spans = tally.summary("airloom", "Airloom").spans
    assert len(spans) <= 2 * SPANS
    assert sum(span.requests for span in spans) == 3600
    assert [span.handovers for span in spans if span.start_s <= 17.0 < span.end_s] == [1]
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(spans))


def test_traces_are_read_back_as_those_of_runs_are(tmp_path: Path) -> None:
    with TraceFolder(tmp_path, version="1") as folder:
        for k in range(5):
            folder.write(event("submit", float(k), "ue", k))
            folder.write(event("link", k + 0.5, "gnb", src="gnb", dst="mec", rate_bps=1e6))
    trace = read_trace(tmp_path)
    assert [e.kind for e in trace if e.host == "ue"] == ["trace", *["submit"] * 5]
    assert len([e for e in trace if e.kind == "link"]) == 5


@pytest.mark.parametrize(("keep", "kinds"), [("requests", {"trace", "submit"}), ("none", set())])
def test_less_is_kept_where_less_is_asked_for(tmp_path: Path, keep: str, kinds: set[str]) -> None:
    with TraceFolder(tmp_path, keep=keep) as folder:  # type: ignore[arg-type]
        folder.write(event("submit", 0.0, request=0))
        folder.write(event("link", 0.5, src="ue", dst="gnb", rate_bps=1e6))
    assert {e.kind for e in read_trace(tmp_path)} == kinds
