"""What a run comes to: for each scheme its outcomes, latency, bytes and energy, predicted beside measured.

Law 8: every number carries where it comes from: measured, modelled or published.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np

from airloom.core.objective import format_amount
from airloom.core.run import TRAINING, Phase, RunRecord, SchemeRecord
from airloom.core.value import Basis, Value
from airloom.report.costs import CostSummary, energy_j, summarise_costs
from airloom.report.delivered import Delivered, delivered
from airloom.report.figure import Figure
from airloom.report.series import RESULT, Series
from airloom.units import format_percent, format_seconds


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


class Gain(Value, frozen=True):
    """How many times the judged scheme's p50 fits into that of another: above 1 it is the faster."""

    scheme: str
    p50_ratio: Figure


class Summary(Value, frozen=True):
    """What `airloom report --json` prints; times of a run in slow motion are the network's, not this machine's."""

    model: str
    headline: str
    judged: str
    gains: tuple[Gain, ...]
    schemes: tuple[SchemeSummary, ...]
    simulated: bool = False
    truncated_lines: int = 0
    slow_motion: float = 1.0


def slow_line(slow_motion: float) -> str:
    """What measured times of a run in slow motion are of; begins with a blank, "" in real time."""
    if slow_motion == 1.0:
        return ""
    return (
        f" Measured in slow motion, {slow_motion:g} times: times are divided by that, and what the machine itself "
        f"adds counts 1/{slow_motion:g}."
    )


def _quantile(values: Sequence[float], q: float, basis: Basis) -> Figure | None:
    return Figure(value=float(np.quantile(values, q)), basis=basis) if len(values) else None


def _error(predicted: Figure | None, measured: Figure | None) -> float | None:
    if predicted is None or measured is None or measured.value <= 0:
        return None
    return predicted.value / measured.value - 1.0


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


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 1.95 else f"{100 * (ratio - 1):.0f} %"


def _accuracy_said(judged: SchemeSummary) -> str:
    """The accuracy beside its floor, where one was demanded."""
    found = judged.delivered
    if found is None or found.min_accuracy is None:
        return ""
    best = found.measured or found.predicted
    if best is None:
        return ""
    how = "measured" if best is found.measured else "predicted"
    return f", with {format_percent(best.value)} accuracy ({how}; floor {format_percent(found.min_accuracy)})"


def _bounds_said(judged: SchemeSummary) -> str:
    """In how many requests each bound was kept."""
    kept = [
        f"{c.name} <= {format_amount(c.name, c.limit)} {'kept in all' if c.kept == c.requests else f'in {c.kept}'} "
        f"of {c.requests} requests"
        for c in judged.costs
        if c.limit is not None
    ]
    return "".join(f"; {line}" for line in kept)


def headline(judged: SchemeSummary, others: Sequence[SchemeSummary]) -> str:
    """What was gained, in a sentence; says so where nothing was."""
    training = judged.name == TRAINING
    one = "step" if training else "request"
    if judged.p50_s is None:
        return f"{judged.title}: none of {judged.requests} {one}s had a result."
    mine = judged.p50_s.value
    verb = "takes" if training else "answers in"
    said = f"{judged.title} {verb} {format_seconds(mine)}" + (" a step" if training else "")
    rivals = sorted((o for o in others if o.p50_s is not None), key=lambda o: o.p50_s.value if o.p50_s else 0.0)
    if rivals:
        best = rivals[0]
        theirs = best.p50_s.value if best.p50_s else 0.0
        ratio = theirs / mine
        rival = f"the best other scheme, {best.title} ({format_seconds(theirs)})"
        if ratio >= 1.005:
            said += f" (p50), {_times(ratio)} faster than {rival}"
        elif ratio <= 0.995:
            said += f" (p50), {_times(1 / ratio)} slower than {rival}"
        else:
            said += f" (p50), as fast as {rival}"
    said += _accuracy_said(judged) + _bounds_said(judged)
    lost = judged.requests - judged.results
    count = f"no {one}" if lost == 0 else f"{lost} {one}{'s' if lost > 1 else ''}"
    return f"{said}; {count} of {judged.requests} {'were' if lost > 1 else 'was'} lost."


def summarise(
    record: RunRecord | None, schemes: Sequence[tuple[SchemeRecord, Series]], *, truncated: int = 0
) -> Summary:
    """Sum up a run; the last scheme is the one to be judged by."""
    summaries = [summarise_scheme(scheme, series, record) for scheme, series in schemes]
    *others, judged = summaries
    gains = []
    for other in others:
        if other.p50_s is not None and judged.p50_s is not None and judged.p50_s.value > 0:
            ratio = Figure(value=other.p50_s.value / judged.p50_s.value, basis=judged.p50_s.basis)
            gains.append(Gain(scheme=other.name, p50_ratio=ratio))
    return Summary(
        model="" if record is None else record.model,
        headline=headline(judged, others),
        judged=judged.name,
        gains=tuple(gains),
        schemes=tuple(summaries),
        simulated=record is not None and record.simulated,
        truncated_lines=truncated,
        slow_motion=1.0 if record is None else record.slow_motion,
    )
