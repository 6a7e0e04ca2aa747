"""Whether a plan can run on a topology: every mistake by name, before anything starts.

A plan is a directed graph of stages. A chain's stops must agree with its stages; stages side by
side (parts of a pruned network) have no stops and are checked as a graph alone.
"""

from __future__ import annotations

from airloom.core.plan import Plan, Stage, Transfer
from airloom.core.profile import Profile
from airloom.core.topology import Topology
from airloom.errors import ConfigError
from airloom.units import format_bytes


def check_plan(plan: Plan, topology: Topology, profile: Profile | None = None) -> tuple[str, ...]:
    """What is wrong with `plan`, a line each; empty where it can run.

    Args:
        profile: of the model; without it the number of operators is taken to be the plan's own, and
            digests, memory and outputs are not checked.
    """
    last = profile.num_operators if profile is not None else max((s.stop for s in plan.stages), default=0)
    mistakes = [*_chain(plan, topology, last), *_stages(plan, topology, last)]
    mistakes += _transfers(plan, topology)
    mistakes += _cycle(plan)
    mistakes += _tensors(plan)
    if profile is not None:
        mistakes += [*_model(plan, profile), *_memory(plan, topology, profile)]
    return tuple(mistakes)


def require_plan(plan: Plan, topology: Topology, profile: Profile | None = None, *, where: str) -> None:
    """Refuse a plan that `check_plan` finds mistakes in.

    Raises:
        ConfigError: its first mistake, how many more there are, and what to do.
    """
    mistakes = check_plan(plan, topology, profile)
    if mistakes:
        more = f" (and {len(mistakes) - 1} more: `airloom plan --dry-run` lists them)" if len(mistakes) > 1 else ""
        raise ConfigError(f"{mistakes[0]}{more}: plan again for this topology", where=where)


def _chain(plan: Plan, topology: Topology, last: int) -> list[str]:
    known = {device.id for device in topology.devices}
    mistakes = [f"chain: no device {id!r} in the topology" for id in plan.chain if id not in known]
    if plan.chain and plan.chain[0] != topology.source:
        mistakes.append(f"chain: starts at {plan.chain[0]}, the topology's source is {topology.source}")
    links = {(link.src, link.dst) for link in topology.links}
    for src, dst in zip(plan.chain, plan.chain[1:], strict=False):
        if {src, dst} <= known and (src, dst) not in links:
            mistakes.append(f"chain: no link {src}->{dst} in the topology")
    if not plan.stops:
        return mistakes  # stages side by side: there is no order of stops
    if len(plan.stops) != len(plan.chain):
        return [*mistakes, f"stops: {len(plan.stops)} for a chain of {len(plan.chain)} devices"]
    if any(a > b for a, b in zip((0, *plan.stops), plan.stops, strict=False)):
        mistakes.append("stops: a later device stops before an earlier one")
    elif plan.stops[-1] != last:
        mistakes.append(f"stops: end at cut {plan.stops[-1]}, the model at {last}")
    else:
        runs = zip(plan.chain, (0, *plan.stops), plan.stops, strict=False)
        expected = [(device, start, stop) for device, start, stop in runs if stop > start]
        if expected != [(stage.device, stage.start, stage.stop) for stage in plan.stages]:
            mistakes.append("stages: differ from what the stops say")
    return mistakes


def _stages(plan: Plan, topology: Topology, last: int) -> list[str]:
    devices = {device.id: device for device in topology.devices}
    mistakes = [] if plan.stages else ["stages: there are none"]
    seen: set[str] = set()
    for stage in plan.stages:
        name = f"stage {stage.id!r}"
        if not stage.id or stage.id in seen:
            mistakes.append(f"{name}: the id is {'used twice' if stage.id else 'empty'}")
        seen.add(stage.id)
        if stage.device not in devices:
            mistakes.append(f"{name}: no device {stage.device!r} in the topology")
        elif not devices[stage.device].computes:
            mistakes.append(f"{name}: {stage.device} only forwards")
        if not 0 <= stage.start < stage.stop:
            mistakes.append(f"{name}: operators {stage.start}..{stage.stop - 1} are none")
        elif stage.stop > last:
            mistakes.append(f"{name}: ends at cut {stage.stop}, the model at {last}")
    done = 0
    for start, stop in sorted((stage.start, stage.stop) for stage in plan.stages):
        if start > done:
            mistakes.append(f"stages: nobody runs operators {done}..{start - 1}")
        done = max(done, stop)
    if done < last:
        mistakes.append(f"stages: nobody runs operators {done}..{last - 1}")
    return mistakes


def _transfers(plan: Plan, topology: Topology) -> list[str]:
    stages = {stage.id: stage for stage in plan.stages}
    links = {(link.src, link.dst) for link in topology.links}
    mistakes: list[str] = []
    for i, transfer in enumerate(plan.transfers):
        name = f"transfer {i} ({transfer.src or 'input'} to {transfer.dst or 'result'})"
        unknown = [id for id in (transfer.src, transfer.dst) if id and id not in stages]
        if unknown:
            mistakes += [f"{name}: no stage {id!r}" for id in unknown]
            continue
        if not transfer.src and not transfer.dst:
            mistakes.append(f"{name}: joins no stage")
        begin = stages[transfer.src].device if transfer.src else topology.source
        end = stages[transfer.dst].device if transfer.dst else topology.source
        here = begin
        for hop in transfer.route:
            if hop.src != here:
                mistakes.append(f"{name}: the route breaks off at {here}, its next hop is {hop.src}->{hop.dst}")
            if (hop.src, hop.dst) not in links:
                mistakes.append(f"{name}: no link {hop.src}->{hop.dst} in the topology")
            here = hop.dst
        visits = [begin, *(hop.dst for hop in transfer.route)]
        again = next((id for k, id in enumerate(visits) if id in visits[:k]), None)
        if again is not None:
            mistakes.append(f"{name}: the route comes back to {again}: leave that round out")
        stays = not transfer.dst and not transfer.route  # a result may be left where it is made
        if here != end and not stays:
            mistakes.append(f"{name}: the route ends at {here}, not at {end}")
    results = sum(not transfer.dst for transfer in plan.transfers)
    if plan.chain and plan.stops and results > 1:
        mistakes.append(f"transfers: {results} carry the result of a chain, which has one")
    for what, seconds in (
        ("the plan", plan.predicted_s),
        *((f"stage {stage.id!r}", stage.predicted_s) for stage in plan.stages),
        *((f"transfer {i}", hop.predicted_s) for i, transfer in enumerate(plan.transfers) for hop in transfer.route),
    ):
        if not seconds >= 0:
            mistakes.append(f"{what}: predicted_s is a time from 0 up, got {seconds:g}")
    reached = {transfer.dst for transfer in plan.transfers}
    mistakes += [f"stage {id!r}: nothing is sent to it" for id in stages if id not in reached]
    if plan.stages and "" not in reached:
        mistakes.append("transfers: none carries the result")
    return mistakes


def _cycle(plan: Plan) -> list[str]:
    """Stages that wait for each other."""
    waits = {stage.id: {t.src for t in plan.transfers if t.dst == stage.id and t.src} for stage in plan.stages}
    while ready := [id for id, sources in waits.items() if not sources & waits.keys()]:
        for id in ready:
            del waits[id]
    # What only waits for a cycle is no part of it: take away those that nobody left waits for.
    while idle := [id for id in waits if not any(id in sources for sources in waits.values())]:
        for id in idle:
            del waits[id]
    return [f"stages {', '.join(sorted(waits))} wait for each other"] if waits else []


def _tensors(plan: Plan) -> list[str]:
    """Every tensor that a stage reads must be sent to it by one that has it."""
    mistakes: list[str] = []
    stages: dict[str, Stage] = {stage.id: stage for stage in plan.stages}
    for stage in plan.stages:
        arriving = {s.tensor for t in plan.transfers if t.dst == stage.id for s in t.slices}
        lacking = sorted(set(stage.inputs) - arriving)
        if lacking:
            mistakes.append(f"stage {stage.id!r}: tensors {_listed(lacking)} are not sent to it")
    for i, transfer in enumerate(plan.transfers):
        if transfer.src not in stages:
            continue
        unmade = sorted({s.tensor for s in transfer.slices} - set(stages[transfer.src].outputs))
        if unmade:
            mistakes.append(f"transfer {i}: stage {transfer.src!r} has no tensors {_listed(unmade)} to send")
    return mistakes


def _model(plan: Plan, profile: Profile) -> list[str]:
    mistakes: list[str] = []
    if plan.graph_digest != profile.graph_digest:
        mistakes.append(
            f"the plan is for {plan.model} ({_short(plan.graph_digest)}), "
            f"the profile of {profile.model} ({_short(profile.graph_digest)})"
        )
    results: list[Transfer] = [transfer for transfer in plan.transfers if not transfer.dst]
    delivered = {s.tensor for transfer in results for s in transfer.slices}
    missing = sorted(set(profile.cuts[-1].tensors) - delivered)
    if missing:
        mistakes.append(
            f"the model has {len(profile.cuts[-1].tensors)} outputs, the plan does not deliver "
            f"tensors {_listed(missing)}"
        )
    return mistakes


def _memory(plan: Plan, topology: Topology, profile: Profile) -> list[str]:
    mistakes: list[str] = []
    for device in topology.devices:
        runs = [(stage.start, stage.stop) for stage in plan.stages if stage.device == device.id]
        if device.memory_bytes is None or not runs:
            continue
        need = sum(
            weight.nbytes
            for weight in profile.weights
            if any(start <= op < stop for op in weight.operators for start, stop in runs)
        )
        if need > device.memory_bytes:
            mistakes.append(
                f"{device.id} needs {format_bytes(need)} for its weights, has {format_bytes(device.memory_bytes)}"
            )
    return mistakes


def _short(digest: str) -> str:
    return digest[:15] or "no digest"


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown}, ..." if len(numbers) > 5 else shown
