"""What requests of a run cost, and bounds kept: worked out by hand from a trace."""

from __future__ import annotations

import pytest

from airloom.core.objective import Bound, Objective, Term
from airloom.core.plan import PlanCost
from airloom.core.run import Phase, RunRecord, SchemeRecord
from airloom.core.topology import Device, Link, Power, Topology
from airloom.core.trace import Event
from airloom.report.costs import energy_j, request_costs
from airloom.report.folder import Run, SchemeRun
from airloom.report.headline import headline
from airloom.report.page import render_page
from airloom.report.scheme_summary import summarise_scheme
from airloom.report.series import read_series
from airloom.report.summary import summarise

CHAIN = ("ue", "cloud")
NET = Topology(
    devices=(
        Device("ue", "ue", power=Power(busy_w=2.0, send_w=((1e6, 1.0), (2e6, 3.0)), receive_w=((1e6, 0.5),))),
        Device("cloud", "cloud", power=Power(busy_w=100.0), price_per_s=0.5),
    ),
    links=(Link("ue", "cloud", rate_bps=1e6), Link("cloud", "ue", rate_bps=4e6)),
    source="ue",
    sink="cloud",
)
OBJECTIVE = Objective(
    minimize=(Term("energy", devices=("ue",)), Term("money", 2.0)),
    require=(Bound("latency", 0.25), Bound("bytes", 1100.0), Bound("energy", 0.03, ("ue",))),
)


def request(k: int, at_s: float, took_s: float, *, result: bool = True) -> list[Event]:
    """10 ms on the ue, 1000 bytes up, 2 ms in the cloud, 50 bytes down."""

    def event(kind: str, host: str, after_s: float, took: float = 0.0, **data: object) -> Event:
        return Event(at_s=at_s + after_s, host=host, kind=kind, took_s=took, request=k, attempt=0, data=data)  # type: ignore[arg-type]

    end = event("result", "ue", took_s, took_s) if result else event("error", "ue", took_s, took_s, error="Late")
    return [
        event("submit", "ue", 0.0),
        event("stage", "ue", 0.01, 0.01, start=0, stop=2),
        event("send", "ue", 0.01, dst="cloud", what="task", wire_nbytes=1000),
        event("stage", "cloud", 0.02, 0.002, start=2, stop=4),
        event("send", "cloud", 0.02, dst="ue", what="result", wire_nbytes=50),
        end,
    ]


def changed(at_s: float, rate: float | None, host: str = "ue") -> Event:
    links = [] if rate is None else [{"src": "ue", "dst": "cloud", "rate_bps": rate}]
    return Event(at_s=at_s, host=host, kind="condition", data={"links": links})


def record(simulated: bool = False, objective: Objective | None = OBJECTIVE) -> RunRecord:
    return RunRecord(model="m", topology=NET, schemes=(), chain=CHAIN, simulated=simulated, objective=objective)


EVENTS = request(0, 0.0, 0.1) + request(1, 1.0, 0.3) + request(2, 2.0, 0.2, result=False)


def test_each_request_by_hand() -> None:
    series = read_series(EVENTS, CHAIN)
    assert list(request_costs(Term("latency"), series, NET)) == pytest.approx([0.1, 0.3, 0.2])
    # 8000 bits at 1 Mbit/s are 8 ms at 1 W; 400 bits at 4 Mbit/s 0.1 ms at 0.5 W on the way back.
    ue = 0.01 * 2.0 + 0.008 * 1.0 + 0.0001 * 0.5
    assert list(request_costs(Term("energy", devices=("ue",)), series, NET)) == pytest.approx([ue] * 3)
    assert list(request_costs(Term("energy"), series, NET)) == pytest.approx([ue + 0.2] * 3)
    assert list(request_costs(Term("money"), series, NET)) == pytest.approx([0.001] * 3)
    assert list(request_costs(Term("bytes"), series, NET)) == pytest.approx([1050] * 3)
    assert list(request_costs(Term("bytes", devices=("cloud",)), series, NET)) == pytest.approx([50] * 3)
    # A role counts as its devices do.
    assert list(request_costs(Term("money", devices=("cloud",)), series, NET)) == pytest.approx([0.001] * 3)
    assert energy_j(NET, series) == pytest.approx({"ue": 3 * ue, "cloud": 0.6})


def test_energy_follows_the_rate_that_a_link_had() -> None:
    def joules(*changes: Event) -> list[float]:
        series = read_series(sorted([*EVENTS, *changes], key=lambda e: e.at_s), CHAIN)
        return list(request_costs(Term("energy", devices=("ue",)), series, NET))

    rest = 0.01 * 2.0 + 0.0001 * 0.5
    # 4 ms at 3 W from second 0.5 on, as the topology has it again from 1.5 on: a simulation names all that differ.
    assert joules(changed(0.5, 2e6), changed(1.5, None)) == pytest.approx([rest + 0.008, rest + 0.012, rest + 0.008])
    # A relay names the link that moved; the others stay as they are.
    other = Event(at_s=1.5, host="relay", kind="condition", data={"links": [{"src": "cloud", "dst": "ue"}]})
    assert joules(changed(0.5, 2e6, "relay"), other) == pytest.approx([rest + 0.008, rest + 0.012, rest + 0.012])


def test_blocks_that_are_sent_again_cost_energy_and_no_bytes_of_the_bound() -> None:
    again = Event(at_s=0.015, host="ue", kind="repair", request=0, data={"dst": "cloud", "wire_nbytes": 500})
    series = read_series([*EVENTS[:3], again, *EVENTS[3:]], CHAIN)
    assert request_costs(Term("bytes"), series, NET)[0] == 1050
    energy = request_costs(Term("energy", devices=("ue",)), series, NET)
    assert energy[0] - energy[1] == pytest.approx(0.004)


def test_bounds_are_counted_over_all_requests() -> None:
    phases = (
        Phase(name="a", costs=(PlanCost("energy@ue", 0.02, 0.03), PlanCost("latency", 0.1, 0.25))),
        Phase(name="b", first_request=1, costs=(PlanCost("energy@ue", 0.05, 0.03), PlanCost("latency", 0.1, 0.25))),
    )
    scheme = SchemeRecord(name="s", title="S", phases=phases)
    s = summarise_scheme(scheme, read_series(EVENTS, CHAIN), record())
    assert [cost.name for cost in s.costs] == ["energy@ue", "money", "latency", "bytes"]
    energy, money, latency, nbytes = s.costs
    assert energy.predicted is not None
    assert energy.predicted.value == pytest.approx((0.02 + 2 * 0.05) / 3)
    assert (energy.kept, energy.requests, energy.limit) == (2, 3, 0.03)
    assert (money.kept, money.limit) == (None, None)
    # One took longer than the bound, one had no result.
    assert (latency.kept, latency.requests) == (1, 3)
    assert latency.mean is not None
    assert latency.worst is not None
    assert (latency.mean.value, latency.worst.value) == (pytest.approx(0.2), pytest.approx(0.3))
    assert nbytes.kept == 2
    # Of the second stretch the planner expected no better: one of its requests has no result, the other kept it.
    assert (energy.foreseen, latency.foreseen) == (1, 0)
    # Law 8: what the trace says is measured, what figures are applied to is modelled.
    assert [cost.mean.basis for cost in s.costs if cost.mean] == ["modelled", "modelled", "measured", "measured"]
    assert energy.predicted.basis == "modelled"
    said = headline(s, ())
    assert "latency <= 250 ms in 1 of 3 requests" in said
    assert "energy@ue <= 30.0 mJ in 2 of 3 requests" in said


def test_a_host_that_knew_of_no_way_foresaw_it() -> None:
    knew = Event(at_s=1.001, host="ue", kind="bound", request=1, data={"cut": 0, "stop": 2, "excess": 1.2})
    events = sorted([*EVENTS, knew], key=lambda event: event.at_s)
    s = summarise_scheme(SchemeRecord(name="s", title="S"), read_series(events, CHAIN), record())
    latency = next(cost for cost in s.costs if cost.name == "latency")
    assert (latency.kept, latency.foreseen, latency.requests) == (1, 1, 3)


def test_of_a_simulation_everything_is_modelled() -> None:
    s = summarise_scheme(SchemeRecord(name="s", title="S"), read_series(EVENTS, CHAIN), record(simulated=True))
    assert {cost.mean.basis for cost in s.costs if cost.mean} == {"modelled"}
    assert all(cost.predicted is None for cost in s.costs)


def test_without_an_objective_nothing_is_said() -> None:
    series, scheme = read_series(EVENTS, CHAIN), SchemeRecord(name="s", title="S")
    for run in (None, record(objective=None)):
        s = summarise_scheme(scheme, series, run)
        assert s.costs == ()
        assert "<=" not in headline(s, ())


def test_the_page_has_a_section_of_costs() -> None:
    series, scheme = read_series(EVENTS, CHAIN), SchemeRecord(name="s", title="S")
    for objective, there in ((OBJECTIVE, True), (None, False)):
        run = record(objective=objective)
        found = Run(record=run, schemes=(SchemeRun(scheme, EVENTS, series),))
        html = render_page(found, summarise(run, [(scheme, series)]))
        assert ("Costs and bounds" in html) == there
        assert ('<span class="bad">1 of 3</span>' in html) == there
        assert ("small energy@ue + 2 x money, latency &lt;= 250 ms" in html) == there
