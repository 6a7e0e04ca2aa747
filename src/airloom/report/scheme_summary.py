"""What one scheme comes to: its outcomes, latency, bytes and energy, predicted beside measured."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np

from airloom.core.run import Phase, RunRecord, SchemeRecord
from airloom.core.value import Basis, Value
from airloom.report.costs import CostSummary, energy_j, summarise_costs
from airloom.report.delivered import Delivered, delivered
from airloom.report.figure import Figure
from airloom.report.series import RESULT, Series


class PhaseSummary(Value, frozen=True):
    """Predicted beside measured over a stretch of requests.

    Attributes:
        error: predicted over measured median, less one.
        stops: what most of its requests took; `predicted_stops` what was expected.
    """

    name: str
    requests: int
    results: int
    p50_s: Figure | None = None
    p95_s: Figure | None = None
    predicted_s: Figure | None = None
    error: float | None = None
    stops: tuple[int, ...] = ()
    predicted_stops: tuple[int, ...] = ()


class StageSummary(Value, frozen=True):
    """One stage as it ran: `runs` executions of operators `start..stop-1`."""

    device: str
    start: int
    stop: int
    runs: int
    p50_s: Figure
    p95_s: Figure
    predicted_s: Figure | None = None
    error: float | None = None


class Move(Value, frozen=True):
    """From request `first` (and second `at_s`) on, `count` requests in a row took these stops."""

    first: int
    at_s: float
    count: int
    stops: tuple[int, ...]


class LinkBytes(Value, frozen=True):
    """Bytes on the wire over a link, by what they were: task, result, repair, control, ..."""

    src: str
    dst: str
    nbytes: dict[str, Figure]


class SchemeSummary(Value, frozen=True):
    """One scheme: `p50_s` and the like are over the requests that had a result.

    `energy_j` is of all devices and `source_energy_j` of the source alone, for one result;
    `wire_nbytes` is over all links for one result. `missing_nbytes` never came and were zero-filled,
    which `incomplete` results bear. `delivered` is what became of the accuracy that was demanded,
    `costs` what each metric of the objective came to, and in how many requests its bound was kept.
    """

    name: str
    title: str
    requests: int
    results: int
    errors: dict[str, int]
    retried: int
    p50_s: Figure | None = None
    p95_s: Figure | None = None
    mean_s: Figure | None = None
    throughput_hz: Figure | None = None
    accuracy: Figure | None = None
    energy_j: Figure | None = None
    source_energy_j: Figure | None = None
    wire_nbytes: Figure | None = None
    missing_nbytes: int = 0
    incomplete: int = 0
    phases: tuple[PhaseSummary, ...] = ()
    stages: tuple[StageSummary, ...] = ()
    moves: tuple[Move, ...] = ()
    links: tuple[LinkBytes, ...] = ()
    drops: dict[str, int] = msgspec.field(default_factory=dict)
    note: str = ""
    delivered: Delivered | None = None
    costs: tuple[CostSummary, ...] = ()


def summarise_scheme(record: SchemeRecord, series: Series, run: RunRecord | None) -> SchemeSummary:
    """Sum up one scheme's series; `run` is None where there are only traces."""
    basis: Basis = "modelled" if run is not None and run.simulated else "measured"
    results = [s for s in series.served if s.outcome == RESULT]
    took = [s.took_s for s in results]
    errors = Counter(s.outcome for s in series.served if s.outcome != RESULT)
    accuracy = joules = source_joules = None
    if run is not None and run.labels and record.predictions:
        pairs = [(p, y) for p, y in zip(record.predictions, run.labels, strict=False) if p >= 0]
        if pairs:
            accuracy = Figure(value=sum(p == y for p, y in pairs) / len(pairs), basis=basis)
    if run is not None and results and (by_device := energy_j(run.topology, series)):
        joules = Figure(value=sum(by_device.values()) / len(results), basis="modelled")
        if run.topology.source in by_device:
            source_joules = Figure(value=by_device[run.topology.source] / len(results), basis="modelled")
    links: dict[tuple[str, str], dict[str, Figure]] = defaultdict(dict)
    for (src, dst, what), nbytes in sorted(series.sent.items()):
        links[src, dst][what] = Figure(value=nbytes, basis=basis)
    total = sum(series.sent.values())
    rate = len(results) / series.seconds if series.seconds > 0 else None
    return SchemeSummary(
        name=record.name,
        title=record.title,
        requests=len(series.served),
        results=len(results),
        errors=dict(sorted(errors.items())),
        retried=sum(s.attempts > 1 for s in series.served),
        p50_s=_quantile(took, 0.5, basis),
        p95_s=_quantile(took, 0.95, basis),
        mean_s=Figure(value=float(np.mean(took)), basis=basis) if took else None,
        throughput_hz=None if rate is None else Figure(value=rate, basis=basis),
        accuracy=accuracy,
        energy_j=joules,
        source_energy_j=source_joules,
        wire_nbytes=Figure(value=total / len(results), basis=basis) if results and total else None,
        missing_nbytes=series.missing_nbytes,
        incomplete=sum(s.missing_share > 0 for s in results),
        phases=_phases(record, series, basis),
        stages=_stages(record, series, basis),
        moves=_moves(series),
        links=tuple(LinkBytes(src=src, dst=dst, nbytes=kinds) for (src, dst), kinds in links.items()),
        drops=dict(sorted(series.drops.items())),
        note=record.note,
        delivered=delivered(record, series, run, accuracy, basis),
        costs=summarise_costs(record, series, run),
    )


def phase_of(phases: Sequence[Phase], index: int) -> int:
    """Which phase request `index` belongs to."""
    return max((k for k, phase in enumerate(phases) if phase.first_request <= index), default=0)


def _phases(record: SchemeRecord, series: Series, basis: Basis) -> tuple[PhaseSummary, ...]:
    phases = record.phases
    if not phases and record.plan is not None:
        plan = record.plan
        phases = (Phase(name="whole run", predicted_s=plan.predicted_s, stops=plan.stops, basis=plan.basis),)
    if not phases and (known := [s.predicted_s for s in series.served if s.predicted_s is not None]):
        # Nobody wrote down what was expected, but the source did with every request.
        phases = (Phase(name="whole run", predicted_s=float(np.median(known))),)
    out = []
    for k, phase in enumerate(phases):
        served = [s for s in series.served if phase_of(phases, s.index) == k]
        took = [s.took_s for s in served if s.outcome == RESULT]
        p50 = _quantile(took, 0.5, basis)
        predicted = None if phase.predicted_s is None else Figure(value=phase.predicted_s, basis=phase.basis)
        usual = Counter(s.stops for s in served if s.stops).most_common(1)
        out.append(
            PhaseSummary(
                name=phase.name,
                requests=len(served),
                results=len(took),
                p50_s=p50,
                p95_s=_quantile(took, 0.95, basis),
                predicted_s=predicted,
                error=_error(predicted, p50),
                stops=usual[0][0] if usual else (),
                predicted_stops=phase.stops,
            )
        )
    return tuple(out)


def _stages(record: SchemeRecord, series: Series, basis: Basis) -> tuple[StageSummary, ...]:
    order = {device: k for k, device in enumerate(series.chain)}
    runs: dict[tuple[int, str, int, int], list[float]] = defaultdict(list)
    steps: dict[tuple[int, str, int, int], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for run in series.stages:
        key = order.get(run.device, len(order)), run.device, run.start, run.stop
        if run.part and run.index >= 0:
            steps[key][run.index] += run.took_s
        else:
            runs[key].append(run.took_s)
    for key, parts in steps.items():  # forward, backward and update of a step of training are one run
        runs[key] += parts.values()
    expected = {} if record.plan is None else {(s.device, s.start, s.stop): s.predicted_s for s in record.plan.stages}
    expected |= {(s.device, s.start, s.stop): s.predicted_s for s in record.predicted_stages}
    out = []
    for (_, device, start, stop), took in sorted(runs.items()):
        p50 = Figure(value=float(np.median(took)), basis=basis)
        p95 = Figure(value=float(np.quantile(took, 0.95)), basis=basis)
        seconds = expected.get((device, start, stop))
        predicted = None if seconds is None else Figure(value=seconds, basis="modelled")
        out.append(
            StageSummary(
                device=device,
                start=start,
                stop=stop,
                runs=len(took),
                p50_s=p50,
                p95_s=p95,
                predicted_s=predicted,
                error=_error(predicted, p50),
            )
        )
    return tuple(out)


def _moves(series: Series) -> tuple[Move, ...]:
    moves: list[Move] = []
    for s in series.served:
        if not s.stops:
            continue
        if moves and moves[-1].stops == s.stops:
            last = moves.pop()
            moves.append(Move(first=last.first, at_s=last.at_s, count=last.count + 1, stops=last.stops))
        else:
            moves.append(Move(first=s.index, at_s=s.submitted_s, count=1, stops=s.stops))
    return tuple(moves)


def _quantile(values: Sequence[float], q: float, basis: Basis) -> Figure | None:
    return Figure(value=float(np.quantile(values, q)), basis=basis) if len(values) else None


def _error(predicted: Figure | None, measured: Figure | None) -> float | None:
    if predicted is None or measured is None or measured.value <= 0:
        return None
    return predicted.value / measured.value - 1.0
