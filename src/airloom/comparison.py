"""Run several schemes of placing a model on the same emulated network, and keep what came of it.

The result is a run folder (docs/formats.md): `run.json` with what was planned and predicted, and
each scheme's traces. `airloom report` reads it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import airloom
from airloom.config import merged
from airloom.config.changes import change_title
from airloom.core.plan import Plan, Stage
from airloom.core.problem import Problem
from airloom.core.profile import Profile
from airloom.core.run import Change, RunRecord, SchemeRecord, promise_of
from airloom.core.topology import Conditions, DeviceState, LinkState, Topology
from airloom.core.trace import Event
from airloom.deployment import Deployment, DeployOptions, Request
from airloom.engine.following import PINNED_NOTE, hosts_follow
from airloom.engine.radios import radio_choices
from airloom.errors import Infeasible
from airloom.files import made_folder, write_aside, write_value
from airloom.planner.baselines import TITLES, baselines
from airloom.planner.deciding import plan_for
from airloom.planner.modes import Pricer, planned_chain
from airloom.planner.phases import predicted_phase
from airloom.planner.planning import make_plan
from airloom.planner.pricing import profile_of
from airloom.report.folder import RECORD, TRACES

if TYPE_CHECKING:
    from airloom.nn.captured import Captured
    from airloom.runtime.commands import HostStatus

AIRLOOM = "airloom"
# Between two schemes: stragglers of the one before come in, and links are measured as they are again.
_SETTLE_S = 0.5


@dataclass(frozen=True)
class Scheme:
    """A way of placing the model: a plan that is pinned, or with None the hosts' own tables."""

    name: str
    title: str
    plan: Plan | None
    note: str = ""


@dataclass(frozen=True)
class Step:
    """Before request number `request` of every scheme the network becomes the topology with `conditions`."""

    request: int
    title: str
    conditions: Conditions


@dataclass
class Outcomes:
    """What came of one scheme's requests, in order of submission: a result, or its one error.

    `repair_nbytes` is what hosts sent again meanwhile, where they say.
    """

    requests: list[Request] = field(default_factory=list)
    began_s: float = 0.0
    ended_s: float = 0.0
    repair_nbytes: int | None = None

    def results(self) -> list[Any]:
        """Each request's result, None where it has none."""
        return [None if r.exception() is not None else r.result() for r in self.requests]


@dataclass(frozen=True)
class Setting:
    """What is the same for all schemes of a comparison.

    Attributes:
        profiles: by device id; the one under "" is for all others.
    """

    captured: Captured
    topology: Topology
    profiles: Mapping[str, Profile]
    options: DeployOptions = field(default_factory=DeployOptions)

    def pricer(self, conditions: Conditions | None = None) -> Pricer:
        """Prices of any path under `conditions`."""
        topology = self.options.priced(self.topology)
        return Pricer(
            topology,
            self.profiles,
            conditions=conditions,
            private_operators=self.options.private_operators,
            result_returns=self.options.result_returns,
            contract=self.options.contract,
            choices=radio_choices(topology, conditions),
        )

    def problem(self, conditions: Conditions | None = None, pinned: Plan | None = None) -> Problem:
        """Prices under `conditions` on the way from source to sink that is best then, or on that of a pinned plan."""
        price = self.pricer(conditions)
        return price(planned_chain(price, self.options.objective, pinned))

    def schemes(self, names: Sequence[str]) -> tuple[Scheme, ...]:
        """The schemes of these names: `airloom`, or a baseline's.

        Raises:
            Infeasible: a baseline is not possible within the limits, or no plan keeps every bound.
        """
        problem, profile = self.problem(), profile_of(self.topology.source, self.profiles)
        objective = self.options.objective
        possible, found = baselines(problem), []
        for name in names:
            if name == AIRLOOM:
                if objective is None or hosts_follow(objective):
                    found.append(Scheme(name, "Airloom", None, "every host follows its own table"))
                else:
                    plan = plan_for(problem, objective, self.topology, profile, runner_ups=0)
                    found.append(Scheme(name, "Airloom", plan, PINNED_NOTE))
                continue
            solution = possible[name]
            if solution is None:
                raise Infeasible(
                    f"{TITLES[name]} is not possible within the limits of memory and privacy: leave it out"
                )
            plan = make_plan(problem, solution, self.topology, profile, runner_ups=0)
            found.append(Scheme(name, TITLES[name], plan, "planned for the network as it begins, and pinned"))
        return tuple(found)


def compare(
    setting: Setting,
    schemes: Sequence[Scheme],
    inputs: Callable[[int], tuple[Any, ...]],
    requests: int,
    *,
    folder: Path,
    steps: Sequence[Step] = (),
    labels: Sequence[int] = (),
    classify: Callable[[Any], int] | None = None,
    title: str = "",
    progress: Callable[[str, int, int], None] | None = None,
) -> RunRecord:
    """Send `requests` requests under each scheme in turn, and write the run folder.

    Args:
        inputs: the inputs of request k.
        steps: changes of the network, the same for every scheme; undone before the next one.
        labels: the true class of each request's inputs, where known.
        classify: the class that a result stands for, to compare with the labels.
        progress: called with the scheme's title, requests done and requests to do.
    """
    tell = progress or (lambda what, done, total: None)
    started = datetime.now(UTC)
    steps = sorted(steps, key=lambda step: step.request)
    with made_folder(folder), tempfile.TemporaryDirectory(prefix=".run-", dir=folder) as scratch:
        options = dataclasses.replace(setting.options, folder=Path(scratch))
        tell("starting hosts", 0, 0)
        outcomes: dict[str, Outcomes] = {}
        with Deployment(setting.captured, setting.topology, setting.profiles, options=options) as net:
            # Tables first: a pinned scheme leaves links measured at their worst, and an idle link is slow to show
            # that it has recovered.
            for scheme in sorted(schemes, key=lambda scheme: scheme.plan is not None):
                net.pin(scheme.plan)
                net.apply(restored(setting.topology))
                net.motion.sleep(_SETTLE_S)
                before = repaired_nbytes(net.status())
                came, _ = drive(net, setting, inputs, requests, partial(tell, scheme.title), steps=steps)
                after = repaired_nbytes(net.status())
                if before is not None and after is not None:  # a host that died has forgotten what it sent
                    came.repair_nbytes = max(0, after - before)
                outcomes[scheme.name] = came
            notes = net.notes
        deal_traces(Path(scratch) / TRACES, folder / TRACES, outcomes)
    records = tuple(scheme_record(setting, scheme, steps, outcomes[scheme.name], classify) for scheme in schemes)
    record = run_record(setting, records, steps, labels=labels[:requests], notes=notes, started=started, title=title)
    write_value(folder / RECORD, record)
    return record


def run_record(
    setting: Setting,
    schemes: tuple[SchemeRecord, ...],
    steps: Sequence[Step],
    *,
    labels: Sequence[int],
    notes: tuple[str, ...],
    started: datetime,
    title: str = "",
) -> RunRecord:
    """What `run.json` says of a run that began at `started`; `notes` is `Deployment.notes`."""
    graph = setting.captured.graph
    return RunRecord(
        model=graph.model,
        graph_digest=graph.digest,
        operators=tuple(op.name for op in graph.operators),
        topology=setting.topology,
        chain=planned_chain(setting.pricer(), setting.options.objective),
        schemes=schemes,
        labels=tuple(labels),
        changes=tuple(Change(request=s.request, title=s.title, conditions=s.conditions) for s in steps),
        emulated=notes,
        machine=profile_of(setting.topology.source, setting.profiles).machine,
        airloom=airloom.__version__,
        started=started.isoformat(timespec="seconds"),
        title=title,
        promise=promise_of(setting.options.contract),
        objective=setting.options.objective,
        slow_motion=setting.options.slow_motion,
    )


def drive(
    net: Deployment,
    setting: Setting,
    inputs: Callable[[int], tuple[Any, ...]],
    requests: int,
    tell: Callable[[int, int], None],
    *,
    steps: Sequence[Step] = (),
    changes: Sequence[Conditions] = (),
) -> tuple[Outcomes, list[Step]]:
    """Send one scheme's requests, as many at once as the deployment takes; change the network on the way.

    Args:
        tell: called with requests done and requests to do.
        steps: in order of request; each falls between two requests, so what is under way ends before it.
        changes: in order of time; each comes when it is due by the clock, whatever is under way, and adds
            to those before it. What lies after the last outcome does not happen.

    Returns:
        What came of the requests, and the changes by the clock as steps, with the request before which they came.
    """
    outcomes, pending = Outcomes(began_s=net.motion.now_s()), set[Future[Any]]()
    waiting, due, now = list(steps), list(changes), Conditions()
    came: list[Step] = []
    while len(outcomes.requests) < requests or pending:
        elapsed_s, k = net.motion.now_s() - outcomes.began_s, len(outcomes.requests)
        while due and due[0].at_s <= elapsed_s:
            change = due.pop(0)
            now = merged(now, change)
            net.apply(restored(setting.topology, now))
            came.append(Step(k, change_title(change), now))
        between = bool(waiting) and waiting[0].request <= k < requests
        if between and not pending:
            net.apply(restored(setting.topology, waiting.pop(0).conditions))
        elif not between and k < requests and len(pending) < setting.options.in_flight:
            request = net.submit(*inputs(k))
            outcomes.requests.append(request)
            pending.add(request)
        else:
            until_s = max(due[0].at_s - elapsed_s, 0.0) if due else None
            pending = wait(pending, timeout=net.motion.real_s(until_s), return_when=FIRST_COMPLETED).not_done
            tell(len(outcomes.requests) - len(pending), requests)
    outcomes.ended_s = net.motion.now_s()
    return outcomes, came


def restored(topology: Topology, conditions: Conditions | None = None) -> Conditions:
    """`conditions`, with every link and device that it leaves out put back as in the topology."""
    links = tuple(
        LinkState(src=link.src, dst=link.dst, rate_bps=link.rate_bps, delay_s=link.delay_s, loss=link.loss)
        for link in topology.links
    )
    devices = tuple(DeviceState(id=device.id) for device in topology.devices)
    whole = Conditions(links=links, devices=devices)
    return whole if conditions is None else merged(whole, conditions)


def scheme_record(
    setting: Setting,
    scheme: Scheme,
    steps: Sequence[Step],
    outcomes: Outcomes,
    classify: Callable[[Any], int] | None,
) -> SchemeRecord:
    """The scheme with what the planner predicts of it, stretch by stretch."""
    phases, stages = [], list[Stage]()
    chain = planned_chain(setting.pricer(), setting.options.objective)
    for step in (Step(0, "at the start", Conditions()), *steps):
        phase, plan = predicted_phase(
            setting.problem(step.conditions, scheme.plan),
            setting.topology,
            profile_of(setting.topology.source, setting.profiles),
            pinned=scheme.plan,
            name=step.title,
            first_request=step.request,
            conditions=step.conditions,
            objective=setting.options.objective,
            chain=chain,
        )
        phases.append(phase)
        if scheme.plan is None:
            stages += [stage for stage in plan.stages if stage not in stages]
    results = outcomes.results()
    return SchemeRecord(
        name=scheme.name,
        title=scheme.title,
        plan=scheme.plan,
        phases=tuple(phases),
        predicted_stages=tuple(stages),
        predictions=tuple(-1 if r is None else classify(r) for r in results) if classify else (),
        note=scheme.note,
        repair_nbytes=outcomes.repair_nbytes,
    )


def repaired_nbytes(hosts: Mapping[str, HostStatus | None]) -> int | None:
    """Bytes of blocks that these hosts have sent again so far; None where none of them counts."""
    counts = [h.counters.get("data_sent_repair_bytes") for h in hosts.values() if h is not None]
    known = [count for count in counts if count is not None]
    return int(sum(known)) if known else None


def deal_traces(source: Path, target: Path, outcomes: Mapping[str, Outcomes]) -> None:
    """Give each scheme the events of its own stretch of time, and each file its head; older traces go."""
    for old in list(target.glob("*/*.jsonl")):
        old.unlink()
        if not any(old.parent.iterdir()):
            old.parent.rmdir()
    for file in sorted(source.glob("*.jsonl")):
        head, *lines = file.read_bytes().splitlines(keepends=True)
        events = [(msgspec.json.decode(line, type=Event).at_s, line) for line in lines if line.endswith(b"\n")]
        for name, span in outcomes.items():
            kept = [line for at_s, line in events if span.began_s <= at_s <= span.ended_s]
            write_aside(target / name / file.name, b"".join((head, *kept)))
