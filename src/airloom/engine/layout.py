"""A pinned plan made ready to be followed: what each stage waits for, what each transfer carries."""

from __future__ import annotations

from dataclasses import dataclass

from airloom.core.coding import Coding, parse_coding
from airloom.core.plan import Plan, Stage, Transfer
from airloom.engine.config import HostConfig
from airloom.errors import ConfigError, ProfileMismatch
from airloom.planner.contract import measured_at


@dataclass(frozen=True, slots=True)
class Layout:
    """A checked plan, indexed.

    Attributes:
        stages: by id.
        tensors: for each transfer the ids it carries.
        codings: for each transfer how it is coded on its way.
        cuts: for each transfer the cut whose live set it carries, or some of it.
        inputs, outputs: for each stage the ids it reads and leaves.
        into, out_of: transfers by the stage they lead to or come from; "" is the user.
        devices: every device that a request may touch, the source included.
    """

    plan: Plan
    stages: dict[str, Stage]
    tensors: tuple[tuple[int, ...], ...]
    codings: tuple[Coding, ...]
    cuts: tuple[int, ...]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    into: dict[str, tuple[int, ...]]
    out_of: dict[str, tuple[int, ...]]
    devices: frozenset[str]

    def device(self, stage: str, source: str) -> str:
        """Where a stage runs; "" is the source."""
        return self.stages[stage].device if stage else source

    def mcs(self, transfer: int, here: str, there: str) -> int | None:
        """The MCS planned for a radio link of the transfer's route."""
        for hop in self.plan.transfers[transfer].route:
            if (hop.src, hop.dst) == (here, there):
                return hop.mcs
        return None

    def next_hop(self, transfer: int, here: str) -> str | None:
        """The host after `here` on the transfer's route, None where the plan leaves it open."""
        for hop in self.plan.transfers[transfer].route:
            if hop.src == here:
                return hop.dst
        return None


def lay_out(plan: Plan, config: HostConfig) -> Layout:
    """Check a plan against this host's topology and profile, and index it.

    Raises:
        ProfileMismatch: the plan was made for another model.
        ConfigError: a stage or transfer names what does not exist, carries part of a tensor only,
            or a stage would wait for ever; the line names the place in the plan.
    """
    profile = config.profile
    if plan.graph_digest and profile.graph_digest and plan.graph_digest != profile.graph_digest:
        raise ProfileMismatch(
            f"the plan is for {plan.model} ({plan.graph_digest[:15]}), this host profiled {profile.model} "
            f"({profile.graph_digest[:15]}): plan again from this model's profile"
        )
    known = {device.id for device in config.topology.devices}
    stages: dict[str, Stage] = {}
    for i, stage in enumerate(plan.stages):
        where = f"$.stages[{i}]"
        if not stage.id or stage.id in stages:
            raise ConfigError(f"stage ids must be there and differ, got {stage.id!r}", where=where)
        if stage.device not in known:
            raise ConfigError(f"no device {stage.device!r} in the topology", where=f"{where}.device")
        if not 0 <= stage.start <= stage.stop <= profile.num_operators:
            raise ConfigError(
                f"operators {stage.start}..{stage.stop - 1} do not exist: the model has {profile.num_operators}",
                where=where,
            )
        stages[stage.id] = stage
    inputs = {id: stage.inputs or config.cut_tensors(stage.start) for id, stage in stages.items()}
    outputs = {id: stage.outputs or config.cut_tensors(stage.stop) for id, stage in stages.items()}
    links = {(link.src, link.dst) for link in config.topology.links}
    tensors = tuple(
        _carried(transfer, f"$.transfers[{i}]", stages, inputs, outputs, links)
        for i, transfer in enumerate(plan.transfers)
    )
    into: dict[str, list[int]] = {id: [] for id in ("", *stages)}
    out_of: dict[str, list[int]] = {id: [] for id in ("", *stages)}
    for i, transfer in enumerate(plan.transfers):
        into[transfer.dst].append(i)
        out_of[transfer.src].append(i)
    for i, id in enumerate(stages):
        missing = set(inputs[id]).difference(*(tensors[t] for t in into[id])) if into[id] else set(inputs[id])
        if missing:
            raise ConfigError(f"nothing brings tensors {sorted(missing)}", where=f"$.stages[{i}].inputs")
    codings = tuple(
        _coding(transfer, f"$.transfers[{i}].coding", config, stages, tensors[i], into, out_of)
        for i, transfer in enumerate(plan.transfers)
    )
    result = {t for i in into[""] for t in tensors[i]}
    if not result >= set(config.cut_tensors(profile.num_operators)):
        raise ConfigError("no transfer to '' brings the whole result back", where="$.transfers")
    devices = {stage.device for stage in plan.stages} | {
        id for transfer in plan.transfers for hop in transfer.route for id in (hop.src, hop.dst)
    }
    return Layout(
        plan, stages, tensors, codings, tuple(_cut(transfer, config, stages) for transfer in plan.transfers),
        inputs, outputs, {k: tuple(v) for k, v in into.items()},
        {k: tuple(v) for k, v in out_of.items()}, frozenset(devices),
    )  # fmt: skip


def _cut(transfer: Transfer, config: HostConfig, stages: dict[str, Stage]) -> int:
    """The cut that a transfer crosses: where its stage stops, the last for the result."""
    if not transfer.dst:
        return config.num_operators
    return stages[transfer.src].stop if transfer.src else 0


def _coding(
    transfer: Transfer, where: str, config: HostConfig, stages: dict[str, Stage], tensors: tuple[int, ...],
    into: dict[str, list[int]], out_of: dict[str, list[int]],
) -> Coding:  # fmt: skip
    """The coding of a transfer, checked: only a whole live set between two stages of a chain can have one."""
    coding = parse_coding(transfer.coding)
    if coding.is_raw:
        return coding
    cut = _cut(transfer, config, stages)
    if config.contract is None:
        raise ConfigError(
            f"coding {coding.name!r} needs the tolerance profile that the plan was made with", where=where
        )
    if coding not in measured_at(config.contract.tolerance, cut, config.framing):
        raise ConfigError(f"the tolerance profile has no coding {coding.name!r} for cut {cut}", where=where)
    alone = len(out_of[transfer.src]) == 1 and len(into[transfer.dst]) == 1
    if not alone or not transfer.dst or tensors != config.cut_tensors(cut) or stages[transfer.dst].start != cut:
        raise ConfigError("only the whole live set from one stage to the next can be coded: leave it raw", where=where)
    if coding.tuned and stages[transfer.dst].stop != config.num_operators:
        raise ConfigError(
            f"weights tuned for cut {cut} are those of all that follows: a stage that decodes {coding.name!r} runs to "
            "the end",
            where=where,
        )
    return coding


def _carried(
    transfer: Transfer,
    where: str,
    stages: dict[str, Stage],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    links: set[tuple[str, str]],
) -> tuple[int, ...]:
    """Ids of the tensors that a transfer carries, checked."""
    for end in (transfer.src, transfer.dst):
        if end and end not in stages:
            raise ConfigError(f"no stage {end!r}", where=where)
    for hop in transfer.route:
        if (hop.src, hop.dst) not in links:
            raise ConfigError(f"no link {hop.src}->{hop.dst} in the topology", where=f"{where}.route")
    if any(piece.maps for piece in transfer.slices):
        raise ConfigError("a pinned plan carries whole tensors: leave maps empty", where=f"{where}.slices")
    ids = tuple(piece.tensor for piece in transfer.slices)
    if not ids:
        ids = outputs[transfer.src] if transfer.src else inputs[transfer.dst] if transfer.dst else ()
    foreign = set(ids) - set(outputs[transfer.src]) if transfer.src else set()
    if foreign:
        raise ConfigError(f"stage {transfer.src!r} does not make tensors {sorted(foreign)}", where=f"{where}.slices")
    return ids


def codings_at(plan: Plan, device: str, source: str) -> tuple[tuple[int, Coding], ...]:
    """Cuts that `device` codes or decodes under a plan, and how."""
    stages = {stage.id: stage for stage in plan.stages}
    found: dict[tuple[int, Coding], None] = {}
    for transfer in plan.transfers:
        coding = parse_coding(transfer.coding)
        here = {stages[id].device if id else source for id in (transfer.src, transfer.dst)}
        if not coding.is_raw and device in here:
            found[stages[transfer.src].stop if transfer.src else 0, coding] = None
    return tuple(found)


def check_plan(plan: Plan, config: HostConfig) -> None:
    """Refuse a plan that this host could not follow; see `lay_out` for what is raised."""
    lay_out(plan, config)
