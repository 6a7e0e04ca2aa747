"""What became of the accuracy that was demanded: predicted and measured, what was missing, how cuts travelled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from airloom.core.run import Promise, RunRecord, SchemeRecord
from airloom.core.topology import Topology
from airloom.core.value import Basis, Value
from airloom.report.figure import Figure
from airloom.report.series import RESULT, Series


class Carried(Value, frozen=True):
    """One way in which cuts went over a link.

    Attributes:
        mcs: of a radio link; None where there is none.
        messages: how many went so.
        missing_mean, missing_max: share of such a message that was missing where it arrived.
    """

    src: str
    dst: str
    coding: str
    messages: int
    mcs: int | None = None
    missing_mean: Figure | None = None
    missing_max: Figure | None = None


class Delivered(Value, frozen=True):
    """The accuracy of one scheme's results, and what it took.

    Attributes:
        min_accuracy: the floor that was demanded; None without one.
        clean: accuracy of the model whole, as its tolerance profile has it.
        planned: what the planner expected of the whole run, a mean over its requests.
        predicted, predicted_least: what the hosts expected of the results, from what was missing in
            each: the mean, and the least.
        unknown: results of which nobody could say what their accuracy is.
        below: results predicted to be below the floor.
        measured: share of the results that are right, where the classes are known.
        kept: whether what is known best, measured or else predicted, is at least the floor; None
            without one. Measured accuracy is held to the floor less what as few requests may stray.
        missing_mean, missing_max, incomplete: share of a result's bytes that never came, and share
            of the results with any missing.
        repairs, repair_nbytes: how often blocks were sent again on any link, and their bytes, for one result;
            None where nobody wrote it down.
        carried: how cuts went, link by link.
        notes: the planner's remarks, a line each.
    """

    clean: Figure | None = None
    metric: str = ""
    min_accuracy: float | None = None
    planned: Figure | None = None
    predicted: Figure | None = None
    predicted_least: Figure | None = None
    unknown: int = 0
    below: int = 0
    measured: Figure | None = None
    kept: bool | None = None
    missing_mean: Figure | None = None
    missing_max: Figure | None = None
    incomplete: Figure | None = None
    repairs: Figure | None = None
    repair_nbytes: Figure | None = None
    carried: tuple[Carried, ...] = ()
    notes: tuple[str, ...] = ()


def delivered(
    record: SchemeRecord, series: Series, run: RunRecord | None, measured: Figure | None, basis: Basis
) -> Delivered | None:
    """Sum up accuracy; None where nothing was demanded and nothing was missing.

    Args:
        measured: accuracy of the results against known classes.
        basis: of what the trace says.
    """
    promise: Promise | None = None if run is None else run.promise
    results = [s for s in series.served if s.outcome == RESULT]
    missing = [s.missing_share for s in results]
    predicted = [s.predicted_accuracy for s in results if s.predicted_accuracy is not None]
    if promise is None and not predicted and not any(missing):
        return None
    floor = None if promise is None else promise.min_accuracy
    repaired = sum(nbytes for (_, _, what), nbytes in series.sent.items() if what == "repair")
    known = series.repairs > 0 or (run is not None and run.simulated)
    counted = known or record.repair_nbytes is not None
    repaired = max(repaired, record.repair_nbytes or 0)
    mean = _figure(predicted, np.mean, "modelled")
    return Delivered(
        clean=None if promise is None else Figure(value=promise.clean, basis="measured"),
        metric="" if promise is None else promise.metric,
        min_accuracy=floor,
        planned=_planned(record, series),
        predicted=mean,
        predicted_least=_figure(predicted, np.min, "modelled"),
        unknown=len(results) - len(predicted) if promise is not None else 0,
        # A prediction is told in steps of 1/10000.
        below=0 if floor is None else sum(value < floor - 1e-4 for value in predicted),
        measured=measured,
        kept=_kept(floor, measured, mean, len(results)),
        missing_mean=_figure(missing, np.mean, basis),
        missing_max=_figure(missing, np.max, basis),
        incomplete=_figure([float(share > 0) for share in missing], np.mean, basis),
        repairs=Figure(value=series.repairs / len(results), basis=basis) if results and known else None,
        repair_nbytes=Figure(value=repaired / len(results), basis=basis) if results and counted else None,
        carried=_carried(series, None if run is None else run.topology, basis),
        notes=_notes(record),
    )


def _figure(values: Sequence[float], of: object, basis: Basis) -> Figure | None:
    return Figure(value=float(of(values)), basis=basis) if values else None  # type: ignore[operator]


def _kept(floor: float | None, measured: Figure | None, predicted: Figure | None, count: int) -> bool | None:
    if floor is None or (measured is None and predicted is None):
        return None
    if measured is None:
        return predicted is not None and predicted.value >= floor - 1e-4
    # Two standard errors of a share from `count` requests.
    return measured.value >= floor - 2.0 * float(np.sqrt(floor * (1.0 - floor) / max(count, 1)))


def _planned(record: SchemeRecord, series: Series) -> Figure | None:
    """Weighted by the requests of each phase."""
    known = [phase for phase in record.phases if phase.predicted_accuracy is not None]
    if not known:
        plan = record.plan
        if plan is None or plan.predicted_accuracy is None:
            return None
        return Figure(value=plan.predicted_accuracy, basis="modelled")
    firsts = [phase.first_request for phase in record.phases]
    ends = [*firsts[1:], max(len(series.served), firsts[-1] + 1)]
    weights = {id(p): max(end - p.first_request, 0) for p, end in zip(record.phases, ends, strict=True)}
    total = sum(weights[id(phase)] for phase in known)
    if total == 0:
        return Figure(value=float(known[0].predicted_accuracy or 0.0), basis="modelled")
    value = sum(weights[id(phase)] * (phase.predicted_accuracy or 0.0) for phase in known) / total
    return Figure(value=value, basis="modelled")


def _carried(series: Series, topology: Topology | None, basis: Basis) -> tuple[Carried, ...]:
    fixed = {} if topology is None else {(x.src, x.dst): x.nr.mcs for x in topology.links if x.nr is not None}
    lost: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for (src, dst, coding), shares in series.arrived.items():
        lost[src, dst, coding] = shares
    found = []
    place = {device: k for k, device in enumerate(series.chain)}
    ways = sorted(series.carried.items(), key=lambda item: (place.get(item[0][0], len(place)), str(item[0])))
    for (src, dst, coding, mcs), messages in ways:
        shares = lost.get((src, dst, coding), [])
        found.append(
            Carried(
                src=src,
                dst=dst,
                coding=coding,
                messages=messages,
                mcs=fixed.get((src, dst)) if mcs is None else mcs,
                missing_mean=_figure(shares, np.mean, basis),
                missing_max=_figure(shares, np.max, basis),
            )
        )
    return tuple(found)


def _notes(record: SchemeRecord) -> tuple[str, ...]:
    lines = [*(record.plan.notes if record.plan is not None else ()), *(n for p in record.phases for n in p.notes)]
    return tuple(dict.fromkeys(lines))
