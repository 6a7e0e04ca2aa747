"""Costs of simulated requests in the metrics of an objective, and bounds kept, without reading traces back."""

from __future__ import annotations

import numpy as np
import pytest

from airloom.core.objective import Objective, parse_bound, parse_term
from airloom.core.topology import Device, Link, Power, Topology
from airloom.core.trace import Event, Kind
from airloom.sim.costs import CostTally
from airloom.sim.histogram import Histogram
from airloom.sim.tally import Tally

CURVE = ((1e6, 1.0), (11e6, 3.0))
UE = Device(id="ue", role="ue", power=Power(busy_w=2.0, send_w=CURVE), price_per_s=0.5)
GNB = Device(id="gnb", role="gnb", power=Power(busy_w=7.0, receive_w=((1e6, 0.5),)))
NETWORK = Topology(devices=(UE, GNB), links=(Link(src="ue", dst="gnb", rate_bps=6e6),), source="ue", sink="gnb")


def event(kind: Kind, at_s: float, host: str = "ue", request: int = 0, took_s: float = 0.0, **data: object) -> Event:
    return Event(at_s=at_s, host=host, kind=kind, took_s=took_s, request=request, data=data)


def objective(*terms: str, require: tuple[str, ...] = ()) -> Objective:
    return Objective(
        minimize=tuple(parse_term(term) for term in terms), require=tuple(parse_bound(bound) for bound in require)
    )


def one_request(tally: CostTally, request: int = 0, took_s: float = 1.0) -> None:
    tally.add(event("submit", 0.0, request=request))
    tally.add(event("stage", 0.5, request=request, took_s=0.5, source="ue", start=0, stop=3))
    tally.add(event("send", 0.5, request=request, source="ue", dst="gnb", wire_nbytes=75_000))
    tally.add(event("repair", 0.6, request=request, source="ue", dst="gnb", wire_nbytes=7_500, blocks=1))
    tally.add(event("stage", 0.9, "gnb", request, took_s=0.25, source="ue", start=3, stop=5))
    tally.add(event("result", took_s, request=request, took_s=took_s, attempts=1))


def test_every_metric_of_a_request_at_the_rate_of_the_moment() -> None:
    what = objective("energy", "energy@ue", "bytes", "money", require=("latency<=2s",))
    tally = CostTally(what, NETWORK, lambda src, dst: 6e6)
    one_request(tally)
    found = {metric.name: metric for metric in tally.summary()}
    radio_s = 8 * 82_500 / 6e6  # what is sent again costs energy; its bytes are counted apart
    ue_j, gnb_j = 0.5 * 2.0 + radio_s * 2.0, 0.25 * 7.0 + radio_s * 0.5
    assert found["energy"].mean == pytest.approx(ue_j + gnb_j)
    assert found["energy@ue"].mean == pytest.approx(ue_j)
    assert found["bytes"].mean == 75_000
    assert found["money"].mean == pytest.approx(0.25)
    assert (found["latency"].mean, found["latency"].kept, found["latency"].limit) == (1.0, 1, 2.0)
    assert found["money"].kept is None


def test_bounds_count_requests_without_a_result_as_broken_and_say_what_was_foreseen() -> None:
    tally = CostTally(objective("energy", require=("latency<=100ms",)), NETWORK, lambda src, dst: 6e6)
    for k, took_s in enumerate((0.05, 0.1, 0.2, 0.3)):
        tally.add(event("submit", float(k), request=k))
        if k == 3:
            tally.add(event("bound", k + 0.01, "gnb", k, source="ue"))
        tally.add(event("result", k + took_s, request=k, took_s=took_s, attempts=1))
    tally.add(event("submit", 5.0, request=4))
    tally.add(event("error", 6.0, request=4, took_s=1.0, error="DeadlineExceeded"))
    energy, latency = tally.summary()
    assert (latency.kept, latency.foreseen, latency.requests) == (2, 1, 5)
    assert latency.worst == 0.3
    assert energy.limit is None


def test_what_comes_after_the_outcome_is_nobodys_and_sources_count_each_for_themselves() -> None:
    tally = CostTally(objective("bytes"), NETWORK, lambda src, dst: 6e6)
    tally.add(event("submit", 0.0, "ue"))
    tally.add(event("submit", 0.0, "gnb"))
    tally.add(event("send", 0.1, "ue", source="ue", dst="gnb", wire_nbytes=10))
    tally.add(event("send", 0.1, "gnb", source="gnb", dst="ue", wire_nbytes=30))
    tally.add(event("result", 1.0, "ue", took_s=1.0, attempts=1))
    tally.add(event("send", 1.1, "ue", source="ue", dst="gnb", wire_nbytes=1000))
    tally.add(event("result", 1.2, "gnb", took_s=1.2, attempts=1))
    (found,) = tally.summary()
    assert (found.mean, found.worst) == (20.0, 30.0)


def test_the_least_latency_has_no_costs_of_its_own() -> None:
    plain, asked = (Tally(NETWORK, lambda src, dst: 6e6, objective=what) for what in (Objective(), objective("bytes")))
    assert plain.summary("airloom", "Airloom").costs == ()
    assert [metric.name for metric in asked.summary("airloom", "Airloom").costs] == ["bytes"]


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_a_quantile_between_two_values_is_between_them_as_reports_of_traces_have_it(count: int) -> None:
    values = np.random.default_rng(count).lognormal(-3.0, 1.5, count)
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    shares = [0.0, 0.25, 0.5, 0.95, 1.0]
    assert histogram.quantiles(shares) == pytest.approx(tuple(np.quantile(values, shares)), rel=0.0011)
