"""A plan for training made ready: a chain of stages, who owns which weights, what moves from one plan to the next."""

from __future__ import annotations

from dataclasses import dataclass

from airloom.core.graph import TensorSpec
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.training import Sharing, Span, TrainingSpec, sharing_of, state_id
from airloom.engine.config import HostConfig
from airloom.errors import ConfigError, ProfileMismatch


@dataclass(frozen=True)
class TrainingLayout:
    """A checked plan, indexed.

    Attributes:
        devices, names, stages: of each stage in order its device, its id, and its operators `(start, stop)`.
        sharing: who reads and owns each weight.
    """

    plan: Plan
    devices: tuple[str, ...]
    names: tuple[str, ...]
    stages: tuple[Span, ...]
    sharing: Sharing

    def stage_of(self, device: str) -> int:
        """The stage of a device, -1 for one that has none."""
        return self.devices.index(device) if device in self.devices else -1

    def next_hop(self, here: str, dst: str) -> str | None:
        """The host after `here` on the plan's way to the next stage at `dst`; None where the plan leaves it open."""
        for transfer in self.plan.transfers:
            route = transfer.route
            if route and route[-1].dst == dst:
                for hop in route:
                    if hop.src == here:
                        return hop.dst
        return None


def lay_out_training(plan: Plan, config: HostConfig) -> TrainingLayout:
    """Check a plan for training against this host's topology and profile, and index it.

    Raises:
        ProfileMismatch: the plan, or the profile, was made for another model, or the profile not for training.
        ConfigError: the stages are no chain of all operators, one a device; the line names the place in the plan.
    """
    profile = config.profile
    if plan.graph_digest and profile.graph_digest and plan.graph_digest != profile.graph_digest:
        raise ProfileMismatch(
            f"the plan is for {plan.model} ({plan.graph_digest[:15]}), this host trains {profile.model} "
            f"({profile.graph_digest[:15]}): plan with a profile of this model in train mode"
        )
    if not any(weight.trained for weight in profile.weights):
        raise ProfileMismatch(f"the profile of {profile.model} knows of no training: run `airloom profile --train`")
    known = {device.id: device for device in config.topology.devices}
    at = 0
    stages = [(k, stage) for k, stage in enumerate(plan.stages) if stage.stop > stage.start]
    for k, stage in stages:
        where = f"$.stages[{k}]"
        if stage.device not in known:
            raise ConfigError(f"no device {stage.device!r} in the topology", where=f"{where}.device")
        if not known[stage.device].computes:
            raise ConfigError(f"{stage.device} only forwards: it has no stage", where=f"{where}.device")
        if stage.start != at:
            raise ConfigError(f"training takes stages in order: one should begin at operator {at}", where=where)
        at = stage.stop
    if at != profile.num_operators:
        raise ConfigError(f"the stages end at operator {at} of {profile.num_operators}", where="$.stages")
    devices = tuple(stage.device for _, stage in stages)
    if len(set(devices)) != len(devices):
        raise ConfigError("in training a device has one stage: join those that it has", where="$.stages")
    links = {(link.src, link.dst) for link in config.topology.links}
    for k, transfer in enumerate(plan.transfers):
        for hop in transfer.route:
            if (hop.src, hop.dst) not in links:
                raise ConfigError(f"no link {hop.src}->{hop.dst} in the topology", where=f"$.transfers[{k}].route")
    spans = tuple((stage.start, stage.stop) for _, stage in stages)
    return TrainingLayout(plan, devices, tuple(s.id for _, s in stages), spans, sharing_of(profile, spans))


@dataclass(frozen=True, slots=True)
class Move:
    """State that goes from one device to another: ids (`state_id`) and bytes of each, as they are at most."""

    src: str
    dst: str
    tensors: tuple[tuple[int, int], ...]

    @property
    def nbytes(self) -> int:
        return sum(nbytes for _, nbytes in self.tensors)


def state_tensors(profile: Profile, spec: TrainingSpec, weight: int, *, owned: bool) -> list[tuple[int, int]]:
    """Ids and bytes of a weight and, for its owner, of what the optimiser keeps for it."""
    one = profile.weights[weight]
    slots = spec.slot_nbytes(one.nbytes) if owned and one.trained else ()
    return [(state_id(weight, slot), nbytes) for slot, nbytes in enumerate((one.nbytes, *slots))]


def moves(before: TrainingLayout, after: TrainingLayout, profile: Profile, spec: TrainingSpec) -> tuple[Move, ...]:
    """What has to travel between two plans: each weight from its owner to hosts that lack it, its optimiser's
    state to its new owner."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for weight, owner in enumerate(after.sharing.owner):
        old = before.sharing.owner[weight]
        if owner < 0 or old < 0:
            continue
        holder, held = before.devices[old], {before.devices[stage] for stage in before.sharing.readers[weight]}
        for stage in after.sharing.readers[weight]:
            device = after.devices[stage]
            if device == holder or (device in held and stage != owner):
                continue
            tensors = state_tensors(profile, spec, weight, owned=stage == owner)
            found.setdefault((holder, device), []).extend(tensors)
    return tuple(Move(src, dst, tuple(tensors)) for (src, dst), tensors in found.items())


def owned_state(
    layout: TrainingLayout, stage: int, profile: Profile, spec: TrainingSpec
) -> tuple[tuple[int, int], ...]:
    """Ids and bytes of all state that a stage owns; none of stage -1."""
    owned = layout.sharing.owned(stage) if stage >= 0 else ()
    return tuple(pair for w in owned for pair in state_tensors(profile, spec, w, owned=True))


def label_nbytes(spec: TrainingSpec) -> int:
    """Bytes of a step's labels."""
    return TensorSpec(shape=spec.label_shape, dtype=spec.label_dtype).nbytes
