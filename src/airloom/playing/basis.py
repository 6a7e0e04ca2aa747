"""Law 8 in a simulation: which figures are modelled although a file of them was measured, and which contradict."""

from __future__ import annotations

from collections.abc import Mapping

from airloom.core.profile import Profile
from airloom.core.speed import said_factor, some
from airloom.core.topology import Device, Topology
from airloom.errors import ConfigError
from airloom.planner.pricing import profile_of


def modelled_notes(topology: Topology, profiles: Mapping[str, Profile]) -> tuple[str, ...]:
    """A line for each thing that stands for something else; devices alike share one.

    Raises:
        ConfigError: a device has both a profile that was measured on it and a factor from another machine, or
            profiles disagree on what they are of.
    """
    notes: dict[str, list[str]] = {}
    for device in topology.devices:
        profile = profile_of(device.id, profiles)
        own = device.id in profiles
        if own and profile.basis == "measured" and device.factor != 1.0:
            raise ConfigError(
                f"{device.id} has a profile that was measured on it and is {device.factor:g} times as slow as that: "
                "leave out its speed, or call the profile's basis modelled",
                where=f"devices: {device.id}",
            )
        line = _times(device, profile, own=own)
        if line:
            notes.setdefault(line, []).append(device.id)
        power = device.power
        if power.busy_w or power.radio_j_per_bit or power.send_w or power.receive_w:
            line = f"energy from power figures ({power.source or 'no source given'})"
            notes.setdefault(line, []).append(device.id)
    return tuple(f"{some(ids)}: {line}" for line, ids in notes.items())


def _times(device: Device, profile: Profile, *, own: bool) -> str:
    if not device.computes:
        return ""
    machine = f"a measured profile ({profile.device})" if profile.basis == "measured" else "a modelled profile"
    if device.speed_class:
        return f"{machine}, {said_factor(device.factor)}: that is class {device.speed_class}"
    if device.factor != 1.0:
        return f"{machine}, {said_factor(device.factor)}"
    return "" if own and profile.basis == "measured" else machine


def short_notes(topology: Topology) -> tuple[str, ...]:
    """As `modelled_notes`, a short line for devices of a kind: for a terminal, sources left to reports."""
    kinds: dict[tuple[str, float, bool], list[str]] = {}
    for device in topology.devices:
        power = device.power
        energy = bool(power.busy_w or power.radio_j_per_bit or power.send_w or power.receive_w)
        if device.computes or energy:
            kinds.setdefault((device.speed_class, device.factor if device.computes else 0.0, energy), []).append(
                device.id
            )
    lines = []
    for (name, factor, energy), ids in kinds.items():
        parts = [f"class {name}"] if name else []
        parts += [f"{said_factor(factor)} as the profile's machine"] if factor else []
        parts += ["energy"] if energy else []
        lines.append(f"{some(ids)}: {', '.join(parts)}")
    return tuple(lines)
