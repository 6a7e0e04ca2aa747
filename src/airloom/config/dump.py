"""A topology as the YAML that people write."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import msgspec

from airloom import units
from airloom.config.nr import dump_nr
from airloom.core.speed import SPEED_CLASSES, UNKNOWN
from airloom.core.topology import Power, Topology


def dump_topology(topology: Topology) -> str:
    """A topology as YAML that `parse_topology` reads back to an equal value."""
    lines = [f"name: {_quoted(topology.name)}"] if topology.name else []
    lines += [f"source: {_quoted(topology.source)}", f"sink: {_quoted(topology.sink)}", "devices:"]
    for device in topology.devices:
        items = [f"id: {_quoted(device.id)}", f"role: {device.role}"]
        items += [f"class: {_quoted(device.speed_class)}"] if device.speed_class else []
        usual = SPEED_CLASSES.get(device.speed_class)
        items += [f"factor: {device.factor!r}"] if device.factor != (1.0 if usual is None else UNKNOWN) else []
        items += [f"profile: {_quoted(device.profile)}"] if device.profile else []
        items += [f"memory: {_bytes(device.memory_bytes)}"] if device.memory_bytes is not None else []
        items += ["computes: false"] if not device.computes else []
        power = device.power
        if power != (Power() if usual is None else usual.power):
            figures = [f"idle: {_watts(power.idle_w)}", f"busy: {_watts(power.busy_w)}"]
            figures += [f"radio_per_bit: {_joules(power.radio_j_per_bit)}"] if not power.send_w else []
            figures += [f"send: {_points(power.send_w)}"] if power.send_w else []
            figures += [f"receive: {_points(power.receive_w)}"] if power.receive_w else []
            figures += [f"source: {_quoted(power.source)}"] if power.source else []
            items.append(f"power: {{{', '.join(figures)}}}")
        price = 0.0 if usual is None else usual.price_per_s
        items += [f"price: {_price(device.price_per_s)}"] if device.price_per_s != price else []
        items += [f"address: {_quoted(device.address)}"] if device.address else []
        lines.append(f"  - {{{', '.join(items)}}}")
    lines.append("links:" if topology.links else "links: []")
    skipped = -1
    for i, link in enumerate(topology.links):
        if i == skipped:
            continue
        items = [f"from: {_quoted(link.src)}", f"to: {_quoted(link.dst)}"]
        items += [f"rate: {_rate(link.rate_bps)}"] if link.nr is None else []
        items += [f"delay: {_seconds(link.delay_s)}"] if link.delay_s else []
        items += [f"overhead: {_seconds(link.overhead_s)}"] if link.overhead_s else []
        items += [f"loss: {link.loss!r}"] if link.loss and link.nr is None else []
        items += [f"burst: {_seconds(link.burst_s)}"] if link.burst_s else []
        items += [f"trace: {_quoted(link.trace)}"] if link.trace else []
        items += [f"nr: {dump_nr(link.nr)}"] if link.nr is not None else []
        if topology.links[i + 1 : i + 2] == (msgspec.structs.replace(link, src=link.dst, dst=link.src),):
            items.append("both: true")
            skipped = i + 1
        lines.append(f"  - {{{', '.join(items)}}}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Text as YAML: as it is where that means itself, else in double quotes, what is not plain ASCII escaped."""
    odd = text.lower() in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", text) and not odd:
        return text
    shown = (
        c if " " <= c <= "~" and c not in '"\\' else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
        for c in text
    )  # fmt: skip
    return f'"{"".join(shown)}"'


def _rate(bps: float) -> str:
    if math.isinf(bps):
        return "unlimited"
    return _exact(bps, ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s")), units.parse_rate)


def _seconds(seconds: float) -> str:
    return _exact(seconds, ((1e-3, "ms"), (1e-6, "us"), (1.0, "s")), units.parse_seconds)


def _bytes(nbytes: int) -> str:
    return _exact(nbytes, ((2**20, "MiB"), (2**30, "GiB"), (2**10, "KiB"), (1, "B")), units.parse_bytes)


def _watts(watts: float) -> str:
    return _exact(watts, ((1e-3, "mW"), (1.0, "W")), units.parse_watts)


def _joules(joules: float) -> str:
    return _exact(joules, ((1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1.0, "J")), units.parse_joules)


def _price(per_s: float) -> str:
    return _exact(per_s, ((1 / 3600, "per hour"), (1 / 60, "per min"), (1.0, "per s")), units.parse_price)


def _points(curve: tuple[tuple[float, float], ...]) -> str:
    return f"[{', '.join(f'[{_rate(rate)}, {_watts(watts)}]' for rate, watts in curve)}]"


def _exact(value: float, steps: tuple[tuple[float, str], ...], read: Callable[[str], float]) -> str:
    """The shortest text in one of the units that reads back to the same number, or all its digits in the last."""
    texts = [f"{value / factor:.12g} {unit}" for factor, unit in steps]
    return min(
        (text for text in texts if "e" not in text.split()[0] and (value == 0 or read(text) == value)),
        key=len,
        default=f"{value!r} {steps[-1][1]}",
    )
