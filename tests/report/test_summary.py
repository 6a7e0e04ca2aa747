"""What a run comes to, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from airloom.core.run import TRAINING, Phase, RunRecord, SchemeRecord
from airloom.core.topology import Device, Link, Power, Topology
from airloom.core.trace import Event
from airloom.report.folder import read_run
from airloom.report.headline import headline
from airloom.report.scheme_summary import summarise_scheme
from airloom.report.series import read_series
from airloom.report.summary import summarise

CHAIN = ("ue", "cloud")


def _request(k: int, at_s: float, took_s: float, stop: int) -> list[Event]:
    """The UE runs operators 0..stop-1 of 4 in 10 ms, the cloud the rest in 2 ms; 1000 bytes cross."""
    events = [
        Event(at_s=at_s, host="ue", kind="submit", request=k),
        Event(at_s=at_s, host="ue", kind="attempt", request=k, attempt=0),
        Event(
            at_s=at_s + 0.01,
            host="ue",
            kind="stage",
            took_s=0.01,
            request=k,
            attempt=0,
            data={"start": 0, "stop": stop},
        ),
    ]
    if stop < 4:
        events += [
            Event(
                at_s=at_s + 0.01, host="ue", kind="send", request=k, attempt=0,
                data={"dst": "cloud", "what": "task", "nbytes": 900, "wire_nbytes": 1000},
            ),
            Event(
                at_s=at_s + 0.02, host="cloud", kind="stage", took_s=0.002, request=k, attempt=0,
                data={"start": stop, "stop": 4},
            ),
        ]  # fmt: skip
    events.append(Event(at_s=at_s + took_s, host="ue", kind="result", took_s=took_s, request=k, attempt=0))
    return events


def _record(**changes: object) -> RunRecord:
    topology = Topology(
        devices=(
            Device(id="ue", role="ue", power=Power(busy_w=2.0, radio_j_per_bit=1e-6)),
            Device(id="cloud", role="cloud", power=Power(busy_w=100.0)),
        ),
        links=(Link(src="ue", dst="cloud", rate_bps=1e6), Link(src="cloud", dst="ue", rate_bps=1e6)),
        source="ue",
        sink="cloud",
    )
    values = {"model": "m", "topology": topology, "schemes": (), "chain": CHAIN, "labels": (1, 2, 3)} | changes
    return RunRecord(**values)  # type: ignore[arg-type]


def test_numbers_by_hand() -> None:
    events = _request(0, 0.0, 0.1, 2) + _request(1, 1.0, 0.3, 2) + _request(2, 2.0, 0.2, 4)
    scheme = SchemeRecord(
        name="s",
        title="S",
        phases=(
            Phase(name="first", predicted_s=0.22, stops=(2, 4)),
            Phase(name="then", first_request=2, predicted_s=0.1, stops=(4, 4)),
        ),
        predictions=(1, 9, 3),
    )
    s = summarise_scheme(scheme, read_series(events, CHAIN), _record())
    assert (s.requests, s.results, s.errors, s.retried) == (3, 3, {}, 0)
    assert s.p50_s is not None
    assert s.p50_s.value == pytest.approx(0.2)
    assert s.p50_s.basis == "measured"
    assert s.accuracy is not None
    assert s.accuracy.value == pytest.approx(2 / 3)
    # Until the last result: 2.2 s.
    assert s.throughput_hz is not None
    assert s.throughput_hz.value == pytest.approx(3 / 2.2)
    # UE: 3 stages of 10 ms at 2 W and 2 x 8000 bits at 1 uJ; cloud: 2 stages of 2 ms at 100 W.
    assert s.source_energy_j is not None
    assert s.source_energy_j.value == pytest.approx((3 * 0.02 + 2 * 0.008) / 3)
    assert s.energy_j is not None
    assert s.energy_j.value == pytest.approx((3 * 0.02 + 2 * 0.008 + 2 * 0.2) / 3)
    assert s.energy_j.basis == "modelled"
    assert s.wire_nbytes is not None
    assert s.wire_nbytes.value == pytest.approx(2000 / 3)
    first, then = s.phases
    assert (first.results, first.stops, then.results, then.stops) == (2, (2, 4), 1, (4, 4))
    assert first.error == pytest.approx(0.22 / 0.2 - 1)
    assert [(m.first, m.count, m.stops) for m in s.moves] == [(0, 2, (2, 4)), (2, 1, (4, 4))]
    assert [(x.device, x.start, x.stop, x.runs) for x in s.stages] == [
        ("ue", 0, 2, 2),
        ("ue", 0, 4, 1),
        ("cloud", 2, 4, 2),
    ]


def test_every_request_has_one_outcome() -> None:
    events = _request(0, 0.0, 0.1, 2)
    events.append(Event(at_s=1.0, host="ue", kind="submit", request=1))
    events.append(Event(at_s=3.0, host="ue", kind="error", took_s=2.0, request=1, data={"error": "DeadlineExceeded"}))
    events.append(Event(at_s=4.0, host="ue", kind="submit", request=2))
    # An outcome that comes twice is still one.
    events.append(Event(at_s=5.0, host="ue", kind="result", took_s=5.0, request=0, attempt=1))
    s = summarise_scheme(
        SchemeRecord(name="s", title="S"), read_series(sorted(events, key=lambda e: e.at_s), CHAIN), None
    )
    assert (s.requests, s.results, s.errors) == (3, 1, {"DeadlineExceeded": 1, "lost": 1})
    assert s.p50_s is not None
    assert s.p50_s.value == pytest.approx(0.1)


def test_sources_number_their_requests_each_for_itself() -> None:
    events = [Event(at_s=0.1 * k, host=h, kind="submit", request=0) for k, h in enumerate(("ue", "ue2"))]
    data = {"source": "ue2", "start": 0, "stop": 4}
    events.append(Event(at_s=0.3, host="cloud", kind="stage", took_s=0.1, request=0, attempt=0, data=data))
    events += [Event(at_s=1.0 + k, host=h, kind="result", request=0, attempt=0) for k, h in enumerate(("ue", "ue2"))]
    series = read_series(events, ("ue", "ue2", "cloud"))
    assert [s.stops for s in series.served] == [(), (0, 0, 4)]
    assert [s.took_s for s in series.served] == pytest.approx([1.0, 1.9])


def test_simulated_is_modelled() -> None:
    scheme = SchemeRecord(name="s", title="S")
    s = summarise_scheme(scheme, read_series(_request(0, 0.0, 0.1, 2), CHAIN), _record(simulated=True))
    assert s.p50_s is not None
    assert s.wire_nbytes is not None
    assert {s.p50_s.basis, s.wire_nbytes.basis} == {"modelled"}


@pytest.mark.parametrize(
    ("mine", "theirs", "said"),
    [
        (0.1, 0.3, "3.0 times faster"),
        (0.1, 0.12, "20 % faster"),
        (0.2, 0.1, "2.0 times slower"),
        (0.1, 0.1, "as fast as"),
    ],
)
def test_headline_says_what_is_so(mine: float, theirs: float, said: str) -> None:
    schemes = []
    for name, took in (("other", theirs), ("mine", mine)):
        record = SchemeRecord(name=name, title=name)
        schemes.append((record, read_series(_request(0, 0.0, took, 2), CHAIN)))
    summary = summarise(None, schemes)
    assert said in summary.headline
    assert summary.headline == headline(summary.schemes[1], summary.schemes[:1])


def test_a_step_of_training_is_one_run_of_a_stage_and_said_to_be_a_step() -> None:
    events = _request(0, 0.0, 0.1, 4)
    for what, took_s in (("forward", 0.01), ("backward", 0.03), ("update", 0.005)):
        data = {"source": "ue", "start": 0, "stop": 4, "what": what}
        events.insert(-1, Event(at_s=0.05, host="cloud", kind="stage", took_s=took_s, request=0, attempt=0, data=data))
    series = read_series(events, CHAIN)
    summary = summarise(None, [(SchemeRecord(name=TRAINING, title="Split training"), series)])
    stage = next(stage for stage in summary.schemes[0].stages if stage.device == "cloud")
    assert (stage.runs, stage.p50_s and stage.p50_s.value) == (1, pytest.approx(0.045))
    assert summary.headline == "Split training takes 100 ms a step; no step of 1 was lost."


def test_headline_without_a_result() -> None:
    series = read_series([Event(at_s=0.0, host="ue", kind="submit", request=0)], CHAIN)
    assert "none of 1 requests" in summarise(None, [(SchemeRecord(name="s", title="S"), series)]).headline


def test_run_folder(run_folder: Path) -> None:
    run = read_run([run_folder])
    summary = run.summary()
    assert [s.name for s in summary.schemes] == ["ue-only", "cloud-only", "single-split", "airloom"]
    assert all(s.requests == 40 for s in summary.schemes)
    assert summary.schemes[1].errors == {"DeadlineExceeded": 1}
    airloom = summary.schemes[-1]
    assert [m.count for m in airloom.moves] == [22, 18]
    assert all(p.error is not None and abs(p.error) < 0.25 for p in airloom.phases)
    assert airloom.phases[0].stops == airloom.phases[0].predicted_stops != airloom.phases[1].stops


def test_bare_traces(run_folder: Path) -> None:
    run = read_run([run_folder / "traces" / "airloom"])
    assert run.record is None
    (scheme,) = run.summary().schemes
    assert (scheme.requests, scheme.results) == (40, 40)
    assert run.schemes[0].series.chain[0] == "ue"
