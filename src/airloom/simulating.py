"""A run in virtual time to a run folder: the plan, the same hosts on modelled links, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

import airloom
from airloom.config import merged
from airloom.config.changes import change_title
from airloom.config.nr import with_radio
from airloom.core.forecast import ForecastPolicy
from airloom.core.objective import Objective
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.run import Change, Phase, RunRecord, SchemeRecord, promise_of
from airloom.core.tolerance import Contract
from airloom.core.topology import Conditions, LinkState, Topology
from airloom.core.trace import Event
from airloom.core.value import SCHEMA_VERSION
from airloom.engine.config import WavePolicy
from airloom.engine.following import PINNED_NOTE, followed, hosts_follow
from airloom.engine.radios import at_planned_mcs, radio_choices
from airloom.errors import ConfigError
from airloom.files import made_folder, write_aside, write_value
from airloom.planner.decide import decide
from airloom.planner.modes import Pricer, planned_chain
from airloom.planner.phases import predicted_phase
from airloom.planner.pricing import profile_of
from airloom.report.folder import RECORD, TRACES
from airloom.sim.simulation import Arrival, Simulation


@dataclass(frozen=True)
class Pretence:
    """What is simulated.

    Attributes:
        profiles: by device id; the one under "" is for all others.
        interval_s: between two requests; None is twice the predicted latency.
        follow: `tables` lets every host decide by split cost messages; `plan` pins the plan.
        changes: of the network, in order of time; each adds to those before it.
        repair_rounds: how often a receiver asks for what is missing, where no contract says.
        seed: of the links' losses.
        forecast, ask_wave_s: as of `DeployOptions`.
        objective: what requests are to be good at, and the bounds they are to keep; None is the least latency.
    """

    topology: Topology
    profiles: Mapping[str, Profile]
    contract: Contract | None = None
    requests: int = 100
    interval_s: float | None = None
    deadline_s: float = 10.0
    follow: Literal["tables", "plan"] = "tables"
    private_operators: int = 0
    result_returns: bool = True
    changes: Sequence[Conditions] = ()
    repair_rounds: int = 2
    seed: int = 0
    objective: Objective | None = None
    forecast: ForecastPolicy | None = None
    ask_wave_s: float | None = None

    @property
    def pins(self) -> bool:
        """Whether the plan is pinned: as asked for, or because hosts do not follow this objective by their tables."""
        return self.follow == "plan" or not hosts_follow(self.objective)


def simulate_run(what: Pretence, *, folder: Path, title: str = "") -> tuple[RunRecord, Plan]:
    """Plan `what`, run it in virtual time and write the run folder; radio links keep the planned MCS.

    Returns:
        The record that was written, and the plan for the network as it begins.

    Raises:
        UserError: what `airloom.plan` refuses.
    """
    started = datetime.now(UTC)
    topology, returns = what.topology, what.result_returns
    plan, _ = decide(
        topology,
        what.profiles,
        private_operators=what.private_operators,
        result_returns=returns,
        contract=what.contract,
        choices=radio_choices(topology),
        runner_ups=0,
        objective=what.objective,
    )
    fixed = at_planned_mcs(topology, plan)
    every_s = 2.0 * plan.predicted_s if what.interval_s is None else what.interval_s
    now, changes = Conditions(), list[Conditions]()
    for change in sorted(what.changes, key=lambda change: change.at_s):
        now = merged(now, change)
        changes.append(now)
    events = Simulation(
        fixed,
        what.profiles,
        [Arrival(at_s=k * every_s, deadline_s=what.deadline_s) for k in range(what.requests)],
        changes=changes,
        pinned=plan if what.pins else None,
        objective=followed(what.objective),
        forecast=what.forecast,
        wave=WavePolicy.asked(what.ask_wave_s),
        seed=what.seed,
        private_operators=what.private_operators,
        result_returns=returns,
        repair_rounds=what.repair_rounds,
        contract=what.contract,
    ).run()
    phases = _phases(what, fixed, plan, changes, every_s)
    profile = profile_of(topology.source, what.profiles)
    record = RunRecord(
        model=profile.model,
        graph_digest=profile.graph_digest,
        operators=tuple(op.name for op in profile.operators),
        topology=fixed,
        chain=plan.chain,
        schemes=(
            SchemeRecord(
                name="airloom",
                title="Airloom",
                plan=plan,
                phases=phases,
                note="" if hosts_follow(what.objective) else PINNED_NOTE,
            ),
        ),
        changes=tuple(
            Change(request=phase.first_request, title=phase.name, conditions=phase.conditions) for phase in phases[1:]
        ),
        simulated=True,
        machine=profile.machine,
        airloom=airloom.__version__,
        started=started.isoformat(timespec="seconds"),
        title=title,
        promise=promise_of(what.contract),
        objective=what.objective,
    )
    with made_folder(folder):
        write_traces(folder / TRACES / "airloom", events)
        write_value(folder / RECORD, record)
    return record, plan


def with_conditions(topology: Topology, conditions: Conditions) -> Topology:
    """The topology as it is under `conditions`; what is down is left out of it.

    Raises:
        ConfigError: what is left has no source or sink.
    """
    states = {(state.src, state.dst): state for state in conditions.links}
    loads = {state.id: state for state in conditions.devices}
    gone = {state.id for state in conditions.devices if not state.up}
    for end in (topology.source, topology.sink):
        if end in gone:
            raise ConfigError(f"{end} is where the model's input or result is: it cannot be down from the start")
    links = []
    for link in topology.links:
        state = states.get((link.src, link.dst), LinkState(src=link.src, dst=link.dst))
        if not state.up or {link.src, link.dst} & gone:
            continue
        given = {"rate_bps": state.rate_bps, "delay_s": state.delay_s, "loss": state.loss}
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if link.nr is not None and (state.rate_bps, state.loss) != (None, None):
            raise ConfigError(f"link {link.src}->{link.dst}: rate and loss follow from its radio: change its snr")
        if "rate_bps" in changed:
            changed["trace"] = ""
        link = msgspec.structs.replace(link, **changed)
        if link.nr is not None and state.snr_db is not None:
            link = with_radio(link, msgspec.structs.replace(link.nr, snr_db=state.snr_db))
        links.append(link)
    devices = tuple(
        msgspec.structs.replace(device, factor=device.factor * (1.0 + loads[device.id].load))
        if device.id in loads
        else device
        for device in topology.devices
        if device.id not in gone
    )
    return msgspec.structs.replace(topology, devices=devices, links=tuple(links))


def write_traces(folder: Path, events: Sequence[Event]) -> None:
    """One trace file a host, in place of those that are there; events of before the first request stay in."""
    for old in folder.glob("*.jsonl"):
        old.unlink()
    by_host: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.kind != "trace":
            by_host[event.host].append(event)
    encoder = msgspec.json.Encoder()
    for host, own in by_host.items():
        data = {"schema": SCHEMA_VERSION, "clock": "virtual", "airloom": airloom.__version__}
        lines = [Event(at_s=own[0].at_s, host=host, kind="trace", data=data), *own]
        write_aside(folder / f"{host}.jsonl", b"".join(encoder.encode(event) + b"\n" for event in lines))


def _phases(
    what: Pretence, topology: Topology, plan: Plan, changes: Sequence[Conditions], every_s: float
) -> tuple[Phase, ...]:
    """What is expected before the first change, and after each."""
    phases = []
    for k, conditions in enumerate((Conditions(), *changes)):
        first = 0 if k == 0 else min(what.requests, -int(-conditions.at_s // every_s)) if every_s > 0 else 0
        pinned = plan if what.pins else None
        price = Pricer(
            topology,
            what.profiles,
            conditions=conditions,
            private_operators=what.private_operators,
            result_returns=what.result_returns,
            contract=what.contract,
            choices=radio_choices(topology, conditions),
        )
        problem = price(planned_chain(price, what.objective, pinned))
        phase, _ = predicted_phase(
            problem,
            topology,
            profile_of(topology.source, what.profiles),
            pinned=pinned,
            objective=what.objective,
            chain=plan.chain,
            name="at the start" if k == 0 else change_title(sorted(what.changes, key=lambda c: c.at_s)[k - 1]),
            first_request=first,
            conditions=conditions,
        )
        phases.append(phase)
    return tuple(phases)
