"""A scenario in real processes for a short time: its rates are the relay's, its tasks come by the clock."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from airloom.comparison import Outcomes, Scheme, Setting, Step, deal_traces, repaired_nbytes, run_record
from airloom.core.run import RunRecord, SchemeRecord
from airloom.core.scenario import Scenario
from airloom.core.topology import Conditions, LinkState, Topology
from airloom.deployment import Deployment, Stats
from airloom.errors import Infeasible, Overloaded
from airloom.files import made_folder, write_aside, write_value
from airloom.planner.baselines import baselines
from airloom.planner.planning import make_plan
from airloom.planner.pricing import profile_of
from airloom.playing.crowd import with_ues
from airloom.playing.schemes import AIRLOOM, TITLES
from airloom.playing.simulated import order
from airloom.playing.users import Users, endless
from airloom.radio.cell.network import ScenarioNetwork
from airloom.report.folder import RECORD, TRACES
from airloom.sim.rates import Rates

_AFTER_S = 15.0  # traces hold on for what is still under way when the last task has come


def emulated(scenario: Scenario, seconds: float, folder: Path, *, seed: int | None = None) -> tuple[Scenario, Topology]:
    """The scenario for one UE, and its topology with a rate trace in `folder` for every link that varies.

    Links that never carry anything in that time, of cells that the UE does not meet, are left out.
    """
    alone = with_ues(scenario, 1)
    network = ScenarioNetwork(alone, seed=seed)
    rows = rate_rows(network, seconds + scenario.tasks.deadline_s + _AFTER_S)
    links = []
    for link in network.topology.links:
        row = rows.get((link.src, link.dst))
        if row is not None and not any(rate for _, rate in row):
            continue
        if row is not None:
            file = folder / f"{link.src}-{link.dst}.txt"
            text = "".join(f"{at_s:.6f} {rate / 1e6:.6f}\n" for at_s, rate in row)
            write_aside(file, f"# second Mbit/s\n{text}".encode())
            first = next(rate for _, rate in row if rate)
            link = msgspec.structs.replace(link, trace=str(file.absolute()), rate_bps=first)
        links.append(link)
    return alone, msgspec.structs.replace(network.topology, links=tuple(links))


def rate_rows(network: Rates, seconds: float) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """By link, (second, bit/s) from which on a rate holds, for `seconds`; the first at 0, the last at the end."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {link: [] for link in network.links}
    ticks = math.ceil(seconds / network.period_s)
    for tick in range(ticks):
        for link, rate in zip(network.links, network.rates(tick).tolist(), strict=True):
            row = rows[link]
            if not row or row[-1][1] != rate:
                row.append((tick * network.period_s, rate))
    for row in rows.values():
        row.append((ticks * network.period_s, row[-1][1]))
    return rows


def starting_scheme(name: str, setting: Setting, scenario: Scenario) -> Scheme:
    """The scheme of that name; a baseline is planned for the cells that serve at the start, and pinned.

    Raises:
        Infeasible: a baseline is not possible within the limits.
    """
    if name == AIRLOOM:
        return Scheme(name, TITLES[name], None, "every host follows its own table")
    there = {(link.src, link.dst) for link in setting.topology.links}
    first = next(ScenarioNetwork(scenario).changes())
    links = tuple(state for state in first.links if (state.src, state.dst) in there)
    problem = setting.problem(msgspec.structs.replace(first, links=links))
    solution = baselines(problem)[name]
    if solution is None:
        raise Infeasible(f"{TITLES[name]} is not possible within the limits of memory and privacy: take another scheme")
    profile = profile_of(setting.topology.source, setting.profiles)
    plan = make_plan(problem, solution, setting.topology, profile, runner_ups=0)
    return Scheme(name, TITLES[name], plan, "planned for the network as it begins, and pinned")


def play_real(
    setting: Setting,
    scenario: Scenario,
    scheme: Scheme,
    inputs: Callable[[int], tuple[Any, ...]],
    seconds: float,
    *,
    folder: Path,
    seed: int | None = None,
    count: int | None = None,
    labels: Sequence[int] = (),
    classify: Callable[[Any], int] | None = None,
    notes: tuple[str, ...] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[RunRecord, Stats]:
    """Play `scenario`, as `emulated` gave it, over the topology of `setting` that came with it; write the run folder.

    Args:
        inputs: the inputs of request k.
        seconds: in which tasks come.
        count: of tasks at most.

    Raises:
        UserError: what one machine cannot hold.
    """
    tell = progress or (lambda what, done, total: None)
    started = datetime.now(UTC)
    network = ScenarioNetwork(endless(scenario), seed=seed)
    due = [arrival.at_s for arrival in Users(network, ends_s=seconds, count=count).arrivals()]
    with made_folder(folder), tempfile.TemporaryDirectory(prefix=".run-", dir=folder) as scratch:
        options = dataclasses.replace(setting.options, folder=Path(scratch))
        tell("starting hosts", 0, 0)
        with Deployment(
            setting.captured, setting.topology, setting.profiles, plan=scheme.plan, options=options,
            progress=lambda line: tell(line, 0, 0),
        ) as net:  # fmt: skip
            moves = network.changes()
            _befall(net, next(moves), setting.topology)
            net.rewind()  # traces have gone on while hosts started, handovers of theirs included
            net.motion.sleep(_SETTLE_S)
            net.rewind()
            outcomes, steps, refused = _drive(net, scenario, inputs, due, moves, setting.topology, seconds, tell)
            stats, notes = net.stats(), (*notes, *net.notes, *busy_with_others())
            outcomes.repair_nbytes = repaired_nbytes(stats.hosts)
        deal_traces(Path(scratch) / TRACES, folder / TRACES, {scheme.name: outcomes})
    results = outcomes.results() if classify is not None else []
    said = SchemeRecord(
        name=scheme.name,
        title=scheme.title,
        plan=scheme.plan,
        predictions=tuple(-1 if r is None or classify is None else classify(r) for r in results),
        note=scheme.note,
        repair_nbytes=outcomes.repair_nbytes,
    )
    record = run_record(
        setting,
        (said,),
        (),
        labels=labels[: len(outcomes.requests)],
        notes=notes,
        started=started,
        title=f"{scenario.name}, {scenario.load} load",
    )
    record = msgspec.structs.replace(
        record,
        chain=order(setting.topology, result_returns=setting.options.result_returns),
        emulated=(*record.emulated, *(step.title for step in steps), *said_of(refused)),
    )
    write_value(folder / RECORD, record)
    return record, stats


_SETTLE_S = 1.0


def busy_with_others() -> tuple[str, ...]:
    """That this machine had more to do over the last minute than it has cores for, if so."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores:
        return ()
    return (f"a load average of {load:.1f} on the {cores} cores of this machine: slow motion lets that count less",)


def said_of(refused: int) -> tuple[str, ...]:
    """Tasks that came while as many as may be were under way are not in the traces."""
    return (f"{refused} tasks came while the source was full and were refused",) if refused else ()


def _drive(
    net: Deployment,
    scenario: Scenario,
    inputs: Callable[[int], tuple[Any, ...]],
    due: list[float],
    moves: Iterator[Conditions],
    topology: Topology,
    seconds: float,
    tell: Callable[[str, int, int], None],
) -> tuple[Outcomes, list[Step], int]:
    """Submit each task when it is due by the clock, and bring about what befalls the network meanwhile."""
    outcomes, pending, steps = Outcomes(began_s=net.motion.now_s()), set[Future[Any]](), list[Step]()
    refused = 0
    follows = scenario.tasks.kind == "back-to-back"
    move = next(moves, None)
    waiting = sorted(due, reverse=True)
    while waiting or pending:
        now_s = net.motion.now_s() - outcomes.began_s
        if move is not None and move.at_s <= now_s:
            title = _befall(net, move, topology)
            if title:
                steps.append(Step(len(outcomes.requests), f"at {move.at_s:.1f} s: {title}", move))
            move = next(moves, None)
            continue
        if waiting and waiting[-1] <= now_s:
            waiting.pop()
            try:
                request = net.submit(*inputs(len(outcomes.requests)), block=False)
            except Overloaded:
                refused += 1
                continue
            outcomes.requests.append(request)
            pending.add(request)
            continue
        times = [
            at_s for at_s in (waiting[-1] if waiting else None, None if move is None else move.at_s) if at_s is not None
        ]
        timeout_s = max(0.0, min(times, default=now_s + 1.0) - now_s)
        if pending:
            done, pending = wait(pending, timeout=net.motion.real_s(timeout_s), return_when=FIRST_COMPLETED)
            if follows and done and net.motion.now_s() - outcomes.began_s < seconds:
                waiting.append(net.motion.now_s() - outcomes.began_s)
        else:
            net.motion.sleep(min(timeout_s, 0.25))
        tell("running", len(outcomes.requests) - len(pending), len(due))
    outcomes.ended_s = net.motion.now_s()
    return outcomes, steps, refused


def _befall(net: Deployment, move: Conditions, topology: Topology) -> str:
    """Bring about `move` where it concerns a link or device that is there; what it was, for people."""
    there = {(link.src, link.dst): link for link in topology.links}
    states = [state for state in move.links if (state.src, state.dst) in there]
    rest = [state for state in states if (state.rate_bps, state.delay_s, state.loss, state.snr_db) != (None,) * 4]
    if rest or move.devices:
        net.apply(Conditions(at_s=move.at_s, links=tuple(rest), devices=move.devices))
    ways = [state for state in states if not there[state.src, state.dst].trace]
    for state in ways:
        net.set_link(state.src, state.dst, up=state.up)
    if states:
        net.tell_of_links(_sorted(states))
    up = [f"{s.src} to {s.dst}" for s in states if s.up and topology.device(s.src).role == "ue"]
    gone = [f"{d.id} {'comes' if d.up else 'goes'}" for d in move.devices]
    return ", ".join([*(f"{way}, a handover" for way in up), *gone]) if move.at_s > 0 else ""


def _sorted(states: Sequence[LinkState]) -> list[LinkState]:
    """Those that come up first: nobody is without a way meanwhile."""
    return sorted(states, key=lambda state: not state.up)
