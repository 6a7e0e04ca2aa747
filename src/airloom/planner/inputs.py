"""The files that planning starts from: a profile for all devices, and those of devices that have their own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

from airloom.core.coding import parse_coding
from airloom.core.graph import ModelGraph
from airloom.core.profile import Modules, Profile
from airloom.core.tolerance import Contract, Tolerance
from airloom.core.topology import Topology
from airloom.errors import ConfigError, ProfileMismatch
from airloom.files import read_value
from airloom.planner.accuracy import curve_fault
from airloom.planner.contract import check_contract


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
        for name in ("compute_s", "backward_s"):
            value = getattr(op, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(
                    f"a time is finite and not negative, got {value}", where=f"{where}: $.operators[{i}].{name}"
                )
    for name in ("stage_scale", "stage_constant_s", "rest_s", "backward_scale", "backward_constant_s"):
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
        if any(nbytes < 0 for nbytes in cut.gradient_nbytes):
            raise ConfigError("a size cannot be negative", where=f"{where}: $.cuts[{i}].gradient_nbytes")
        if cut.gradient_nbytes and len(cut.gradient_nbytes) != len(cut.tensor_nbytes):
            raise ConfigError(
                f"{len(cut.tensor_nbytes)} tensors and {len(cut.gradient_nbytes)} gradients: give each its size (0 for "
                "none), or leave them out",
                where=f"{where}: $.cuts[{i}].gradient_nbytes",
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
        if weight.state_nbytes < 0:
            raise ConfigError("a size cannot be negative", where=f"{where}: $.weights[{i}].state_nbytes")
    if profile.modules is not None:
        check_modules(profile, where=f"{where}: $.modules")


def check_modules(profile: Profile, *, where: str) -> Modules:
    """The modules of a recurrent network's profile.

    Raises:
        ConfigError: there are none, or they are not evenly spaced over its operators; names the place.
    """
    found = profile.modules
    if found is None:
        raise ConfigError(f"{profile.model} has no recurrent modules: its profile names none", where=where)
    starts = found.starts
    even = len(starts) > 1 and all(b - a == starts[1] - starts[0] > 0 for a, b in itertools.pairwise(starts))
    if not even or starts[0] < 0 or starts[-1] > profile.num_operators:
        raise ConfigError(
            f"modules start at ascending, evenly spaced cuts up to {profile.num_operators}, got {list(starts)}",
            where=f"{where}.starts",
        )
    for name in ("state_nbytes", "input_nbytes", "output_nbytes"):
        if getattr(found, name) < 0:
            raise ConfigError("a size cannot be negative", where=f"{where}.{name}")
    return found


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


def load_tolerance(path: Path) -> Tolerance:
    """Read a tolerance profile and check what its schema cannot.

    Raises:
        ConfigError: an accuracy or an error rate is no share, or a size cannot be.
    """
    tolerance = read_value(path, Tolerance)
    check_tolerance(tolerance, where=str(path))
    return tolerance


def check_tolerance(tolerance: Tolerance, *, where: str) -> None:
    """What a tolerance profile written by hand or by another tool may have wrong; the error names the place."""

    def share(value: float, place: str, what: str) -> None:
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"{what} is a share from 0 to 1, got {value}", where=f"{where}: $.{place}")

    share(tolerance.clean, "clean", "an accuracy")
    for i, entry in enumerate(tolerance.cuts):
        place = f"cuts[{i}]"
        share(entry.clean, f"{place}.clean", "an accuracy")
        for k, point in enumerate(entry.points):
            share(point.error_rate, f"{place}.points[{k}].error_rate", "an error rate")
            share(point.accuracy, f"{place}.points[{k}].accuracy", "an accuracy")
        try:
            plain = parse_coding(entry.coding.name) == entry.coding
        except ConfigError:
            plain = False
        if not plain:
            raise ConfigError(
                f"no coding: a share is above 0 and at most 1 with `protect` and 0 without, a seed not negative; got "
                f"{entry.coding.name!r}",
                where=f"{where}: $.{place}.coding",
            )
        for k, curve in enumerate(entry.curves):
            fault = curve_fault(curve)
            if fault:
                raise ConfigError(f"no curve of accuracy: {fault}", where=f"{where}: $.{place}.curves[{k}]")
        if entry.cut < 0 or entry.block_bytes < 1:
            raise ConfigError(
                f"a cut counts from 0 and a block has bytes, got cut {entry.cut} and {entry.block_bytes} bytes",
                where=f"{where}: $.{place}",
            )
        for name in ("nbytes", "side_nbytes", "code_s", "decode_s"):
            value = getattr(entry, name)
            if not 0.0 <= value < float("inf"):
                raise ConfigError(f"must be finite and not negative, got {value}", where=f"{where}: $.{place}.{name}")
    for i, maps in enumerate(tolerance.maps):
        if sorted(maps.order) != list(range(len(maps.means))) or not all(map(math.isfinite, maps.means)):
            raise ConfigError(
                f"an order names each of its {len(maps.means)} feature maps once, each with a finite mean",
                where=f"{where}: $.maps[{i}]",
            )


def contract_of(
    tolerance: Tolerance | None, min_accuracy: float | None, *, where: str = "min_accuracy"
) -> Contract | None:
    """The contract that a tolerance profile and a floor make; None without a profile.

    Raises:
        ConfigError: a floor without a profile, or one that is no share above 0; `where` names it.
        Infeasible: a floor above the accuracy of the model with nothing lost.
    """
    if min_accuracy is not None and not 0.0 < min_accuracy <= 1.0:
        raise ConfigError(f"an accuracy is above 0 and at most 1 (0.85 is 85 %), got {min_accuracy:g}", where=where)
    if tolerance is None:
        if min_accuracy is not None:
            raise ConfigError(
                "a floor needs to know what loss costs: give a tolerance profile (`airloom tolerance` measures one)",
                where=where,
            )
        return None
    contract = Contract(tolerance=tolerance, min_accuracy=min_accuracy)
    check_contract(contract, "")
    return contract
