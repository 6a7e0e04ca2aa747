"""Finding what to report: a run folder, or bare trace files (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from airloom.core.run import RunRecord, SchemeRecord
from airloom.core.simulated import MetricTally, SimulationRecord
from airloom.core.trace import Event
from airloom.errors import ConfigError
from airloom.files import read_value
from airloom.report.costs import CostSummary
from airloom.report.figure import Figure
from airloom.report.headline import headline
from airloom.report.series import Series, read_series
from airloom.report.summary import Summary, summarise
from airloom.report.trace import read_trace, trace_files

RECORD = "run.json"
TRACES = "traces"
SIMULATION = "simulation.json"


@dataclass(frozen=True)
class SchemeRun:
    """A scheme as it was planned, its events, and what they say."""

    record: SchemeRecord
    events: list[Event]
    series: Series


@dataclass(frozen=True)
class Run:
    """A run read back; `record` is None where there were only traces, `simulation` but for a scenario's."""

    record: RunRecord | None
    schemes: tuple[SchemeRun, ...]
    truncated: int = 0
    simulation: SimulationRecord | None = None

    def summary(self) -> Summary:
        """The run summed up."""
        found = summarise(self.record, [(s.record, s.series) for s in self.schemes], truncated=self.truncated)
        if self.simulation is None or self.record is None:
            return found
        return _with_tallies(found, self.simulation, self.record)


def _with_tallies(summary: Summary, simulation: SimulationRecord, record: RunRecord) -> Summary:
    """Energy at the rates of each moment, bytes and costs, as the simulation summed them up; a source is any UE."""
    tallies = {tally.name: tally for tally in simulation.schemes}
    ues = {device.id for device in record.topology.devices if device.role == "ue"} | {record.topology.source}
    schemes = []
    for scheme in summary.schemes:
        tally = tallies.get(scheme.name)
        if tally is not None and tally.energy_j:
            sources = sum(joules for id, joules in tally.energy_j.items() if id in ues)
            scheme = msgspec.structs.replace(
                scheme,
                energy_j=Figure(value=sum(tally.energy_j.values()), basis="modelled"),
                source_energy_j=Figure(value=sources, basis="modelled") if ues & tally.energy_j.keys() else None,
            )
        if tally is not None and tally.sent_nbytes is not None:
            scheme = msgspec.structs.replace(scheme, wire_nbytes=Figure(value=tally.sent_nbytes, basis="modelled"))
        if tally is not None and tally.costs:
            costs = tuple(_cost(metric) for metric in tally.costs)
            scheme = msgspec.structs.replace(scheme, costs=costs)
        schemes.append(scheme)
    *others, judged = schemes
    return msgspec.structs.replace(summary, schemes=tuple(schemes), headline=headline(judged, others))


def _cost(metric: MetricTally) -> CostSummary:
    def figure(value: float | None) -> Figure | None:
        return None if value is None else Figure(value=value, basis="modelled")

    return CostSummary(
        name=metric.name, requests=metric.requests, limit=metric.limit, mean=figure(metric.mean),
        p95=figure(metric.p95), worst=figure(metric.worst), kept=metric.kept, foreseen=metric.foreseen,
    )  # fmt: skip


def read_run(paths: Sequence[Path]) -> Run:
    """Read the run folder `paths[0]`, or trace files and folders of them as one scheme.

    Raises:
        ConfigError: nothing there, or what is there is no trace; the line says where.
    """
    if len(paths) == 1 and (paths[0] / RECORD).is_file():
        return _read_folder(paths[0])
    if not trace_files(paths):
        raise ConfigError(f"no {RECORD} and no .jsonl trace here", where=", ".join(map(str, paths)))
    trace = read_trace(paths)
    _check_some([trace], ", ".join(map(str, paths)))
    record = SchemeRecord(name="trace", title="Trace")
    return Run(None, (SchemeRun(record, list(trace), read_series(trace)),), trace.truncated)


def _read_folder(folder: Path) -> Run:
    record = read_value(folder / RECORD, RunRecord)
    if not record.schemes:
        raise ConfigError("no scheme in this run: nothing to report", where=f"{folder / RECORD}: $.schemes")
    simulation = None
    if (folder / SIMULATION).is_file():
        simulation = read_value(folder / SIMULATION, SimulationRecord)
        if not trace_files([path for path in (folder / TRACES,) if path.is_dir()]):
            raise ConfigError(f"simulated without traces: {SIMULATION} has its figures", where=str(folder))
    schemes, truncated = [], 0
    for k, scheme in enumerate(record.schemes):
        if not scheme.name or not set(scheme.name) <= _NAME:
            raise ConfigError(
                f"a scheme's name is letters, digits, - and _, got {scheme.name!r}",
                where=f"{folder / RECORD}: $.schemes[{k}].name",
            )
        trace = read_trace(folder / TRACES / scheme.name)
        truncated += trace.truncated
        schemes.append(SchemeRun(scheme, list(trace), read_series(trace, record.chain)))
    _check_some([scheme.events for scheme in schemes], str(folder / TRACES))
    return Run(record, tuple(schemes), truncated, simulation)


def _check_some(traces: Sequence[Sequence[Event]], where: str) -> None:
    """A host's file begins with a line that says which trace it is; alone it tells nothing."""
    if not any(event.kind != "trace" for trace in traces for event in trace):
        raise ConfigError("no event in any trace: nothing to report; run it again with some requests", where=where)


_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
