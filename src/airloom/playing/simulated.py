"""A scenario in virtual time to a run folder: several schemes on the same draw of the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import airloom
from airloom.core.run import RunRecord, SchemeRecord, promise_of
from airloom.core.scenario import Scenario
from airloom.core.simulated import LinkBandwidth, SchemeTally, SimulationRecord
from airloom.core.speed import with_class_factors
from airloom.core.topology import Topology
from airloom.errors import ConfigError
from airloom.files import made_folder, write_value
from airloom.planner.pricing import profile_of
from airloom.planner.route import parents
from airloom.playing.basis import modelled_notes
from airloom.playing.play import Play, Told, play_scheme
from airloom.playing.schemes import NOTES, TITLES, schemes_of
from airloom.playing.users import endless
from airloom.radio.cell.network import ScenarioNetwork
from airloom.report.folder import RECORD, SIMULATION, TRACES
from airloom.sim.bandwidth import Metered


def play_simulated(
    what: Play,
    *,
    folder: Path | None,
    title: str = "",
    progress: Told | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[RunRecord, SimulationRecord]:
    """Play `what` under each scheme in turn and write the run folder as it goes; None writes nothing.

    Args:
        stop: asked now and then; True ends the run at once, with what came of it so far in the folder.

    Raises:
        UserError: a scheme, a device without a profile, a run without end, a scenario that cannot be planned for.
    """
    schemes = schemes_of(what.schemes)
    if not schemes:
        raise ConfigError("no scheme to simulate", where="--scheme")
    if what.ends_s is None and what.count is None:
        raise ConfigError("a run without end: give --seconds or --requests, or the scenario a duration")
    topology = with_class_factors(what.scenario.topology, what.profiles)
    what = dataclasses.replace(what, scenario=msgspec.structs.replace(what.scenario, topology=topology))
    notes = modelled_notes(topology, what.profiles)
    started = datetime.now(UTC)
    ended = False

    def ends() -> bool:
        nonlocal ended
        ended = ended or stop()
        return ended

    if folder is None:
        tallies, links, seconds, period_s = _play_all(what, schemes, None, progress, ends)
    else:
        with made_folder(folder):
            for old in (folder / TRACES).glob("*/*.jsonl"):
                old.unlink()
            tallies, links, seconds, period_s = _play_all(what, schemes, folder, progress, ends)
    topology = what.scenario.topology
    profile = profile_of(topology.source, what.profiles)
    played = [tally.name for tally in tallies]
    record = RunRecord(
        model=profile.model,
        graph_digest=profile.graph_digest,
        operators=tuple(op.name for op in profile.operators),
        topology=topology,
        chain=order(topology, result_returns=what.result_returns),
        schemes=tuple(
            SchemeRecord(name=name, title=TITLES[name], note=NOTES.get(name, _note(what))) for name in played
        ),
        simulated=True,
        emulated=(*notes, *(("ended before its time",) if ended else ())),
        machine=profile.machine,
        airloom=airloom.__version__,
        started=started.isoformat(timespec="seconds"),
        title=title,
        promise=promise_of(what.contract),
        objective=None if what.demanded.is_latency else what.demanded,
    )
    simulation = SimulationRecord(
        scenario=what.scenario.name or topology.name,
        seconds=seconds,
        ues=len(what.scenario.ues) or 1,
        load=what.scenario.load,
        seed=what.drawn_from,
        period_s=period_s,
        reports=what.reports,
        replan=what.replan,
        schemes=tuple(tallies),
        links=links,
        interrupted=ended,
        modelled=notes,
        spike_s=what.spike_s,
    )
    if folder is not None:
        write_value(folder / SIMULATION, simulation)
        write_value(folder / RECORD, record)
    return record, simulation


def _note(what: Play) -> str:
    said = {
        "task": "a wave of split costs for each task, which waits for it",
        "event": "plans are made when conditions have moved",
        "ideal": "plans are made of the network as it is at each task, and cost nothing",
    }
    return said[what.replan]


def _play_all(
    what: Play, schemes: Sequence[str], folder: Path | None, progress: Told | None, stop: Callable[[], bool]
) -> tuple[list[SchemeTally], tuple[LinkBandwidth, ...], float, float | None]:
    """The tally of each scheme; what links left to UEs, the same for all; seconds simulated; the network's tick."""
    tallies: list[SchemeTally] = []
    links: tuple[LinkBandwidth, ...] = ()
    seconds, period_s = 0.0, None
    for scheme in schemes:
        network = ScenarioNetwork(endless(what.scenario), seed=what.seed)
        metered = Metered(network) if network.links else None
        traces = None if folder is None else folder / TRACES / scheme
        tally, took_s = play_scheme(what, scheme, network, metered, traces, progress, stop)
        tallies.append(tally)
        if metered is not None and took_s >= seconds:
            links, period_s = _bandwidth(what.scenario, metered), network.period_s
        seconds = max(seconds, took_s)
        if stop():
            break
    return tallies, links, seconds, period_s


def _bandwidth(scenario: Scenario, metered: Metered) -> tuple[LinkBandwidth, ...]:
    """What the links between nodes left to a UE, in the scenario's order, then UEs' links to cells."""
    found = metered.bandwidth()
    labels = {(link.src, link.dst): link for link in scenario.links}
    rows = []
    for src, dst in sorted(
        found, key=lambda link: (link not in labels, list(labels).index(link) if link in labels else 0)
    ):
        mean, std = found[src, dst]
        link = labels.get((src, dst))
        published = None if link is None else link.published
        rows.append(
            LinkBandwidth(
                src=src, dst=dst, label="" if link is None else link.label, mean_bps=mean, std_bps=std,
                published_mean_bps=published and published[0], published_std_bps=published and published[1],
            )
        )  # fmt: skip
    return tuple(rows)


def order(topology: Topology, *, result_returns: bool) -> tuple[str, ...]:
    """The source, then all that is no UE, the furthest from the sink first: every way through them keeps the order."""
    ahead = parents(topology, result_returns=result_returns)
    hops: dict[str, int] = {}
    for device in ahead:
        at, count = device, 0
        while (following := ahead[at]) is not None:
            at, count = following, count + 1
        hops[device] = count
    others = [d.id for d in topology.devices if d.role != "ue" and d.id != topology.source]
    return (topology.source, *sorted(others, key=lambda id: -hops[id]))
