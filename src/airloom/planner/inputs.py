"""The files that planning starts from: a profile for all devices, and those of devices that have their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from airloom.core.graph import ModelGraph
from airloom.core.profile import Profile
from airloom.core.topology import Topology
from airloom.errors import ConfigError, ProfileMismatch
from airloom.files import read_value


def load_profile(path: Path) -> Profile:
    """Read a profile and check what its schema cannot.

    Raises:
        ConfigError: the number of cuts, a time, or the operators of a weight cannot be.
    """
    profile = read_value(path, Profile)
    check_profile(profile, where=str(path))
    return profile


def check_profile(profile: Profile, *, where: str) -> None:
    """What a profile written by hand may have wrong; the error names the place."""
    last = profile.num_operators
    if last == 0:
        raise ConfigError("no operators: list at least one", where=f"{where}: $.operators")
    if len(profile.cuts) != last + 1:
        raise ConfigError(
            f"{last} operators have {last + 1} cuts, got {len(profile.cuts)}: one before each and one at the end",
            where=f"{where}: $.cuts",
        )
    for i, op in enumerate(profile.operators):
        if not 0 <= op.compute_s < float("inf"):
            raise ConfigError(
                f"a time is finite and not negative, got {op.compute_s}", where=f"{where}: $.operators[{i}].compute_s"
            )
    for name in ("stage_scale", "stage_constant_s", "rest_s"):
        value = getattr(profile, name)
        if not 0 <= value < float("inf"):
            raise ConfigError(f"must be finite and not negative, got {value}", where=f"{where}: $.{name}")
    if profile.stage_scale == 0:
        raise ConfigError("a scale of 0 makes every stage take nothing: write 1", where=f"{where}: $.stage_scale")
    if profile.batch < 1:
        raise ConfigError(f"a batch is at least 1, got {profile.batch}", where=f"{where}: $.batch")
    for i, cut in enumerate(profile.cuts):
        if any(nbytes < 0 for nbytes in cut.tensor_nbytes):
            raise ConfigError("a size cannot be negative", where=f"{where}: $.cuts[{i}].tensor_nbytes")
        if cut.tensors and len(cut.tensors) != len(cut.tensor_nbytes):
            raise ConfigError(
                f"{len(cut.tensors)} tensors and {len(cut.tensor_nbytes)} sizes: give each its size, or no tensors",
                where=f"{where}: $.cuts[{i}].tensors",
            )
    if any(nbytes < 0 for nbytes in profile.output_nbytes):
        raise ConfigError("a size cannot be negative", where=f"{where}: $.output_nbytes")
    for i, weight in enumerate(profile.weights):
        if weight.nbytes < 0 or not all(0 <= op < last for op in weight.operators):
            raise ConfigError(
                f"a weight has a size and is read by operators 0..{last - 1}, got {weight.nbytes} bytes, "
                f"operators {list(weight.operators)}",
                where=f"{where}: $.weights[{i}]",
            )


def load_profiles(topology: Topology, default: Profile) -> dict[str, Profile]:
    """`default` under "" and, by device id, the profiles that devices of the topology name."""
    return {"": default, **own_profiles(topology)}


def own_profiles(topology: Topology) -> dict[str, Profile]:
    """By device id, the profiles that devices of the topology name."""
    return {device.id: load_profile(Path(device.profile)) for device in topology.devices if device.profile}


def check_model(profiles: Mapping[str, Profile], graph: ModelGraph) -> None:
    """Refuse profiles of another model than `graph`; by device id, "" for all others.

    Raises:
        ProfileMismatch: naming the device.
    """
    for device, profile in profiles.items():
        if profile.graph_digest != graph.digest:
            raise ProfileMismatch(
                f"the profile{f' of {device}' if device else ''} is of another model than {graph.model}: "
                "measure it again with `airloom profile`"
            )
