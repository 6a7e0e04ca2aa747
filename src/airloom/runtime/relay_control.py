"""What a launcher and its relay say to each other: a JSON value a line, over the relay's stdin and stdout.

The first line to the relay is its `RelaySpec` (or `TunSpec`); it answers `Ready`. Every command
after that is answered, in order, by `Done`, `Refused` or `Stats`. `Happened` lines come in between.
When stdin closes the relay ends: it never outlives its launcher.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from airloom.core.topology import Link
from airloom.core.trace import Event
from airloom.core.value import Value
from airloom.files import decode_value, encode_json


class Stream(Value, frozen=True):
    """A TCP service that a host reaches over the emulated links, beside the data plane: a model that it fetches.

    Attributes:
        path: devices from the one that calls to the one that serves, neighbours one after another.
        address: `ip:port` where it is served.
    """

    name: str
    path: tuple[str, ...]
    address: str


class RelaySpec(Value, frozen=True):
    """The directed links of a topology, to be emulated on this machine.

    Attributes:
        links: what to emulate; a link's trace is a path as the relay sees it.
        hosts: `ip:port` where each host's data plane listens; hosts may be added later.
        transport: what the data plane speaks.
        seed: every link draws from its own generator, seeded by this and its place in `links`.
        listen: address on which the relay's ports are opened.
        buffer_bytes: drop-tail buffer of every link; None is 0.2 s at its rate, at least 256 KiB.
        slow: seconds of this machine that one of the links' takes (see `runtime.motion`).
        streams: services that are reached over these links. Each piece waits until hardly anything else does, so the
            data plane goes first, as a base station's schedulers have it for traffic with a deadline.
    """

    links: tuple[Link, ...]
    hosts: dict[str, str] = msgspec.field(default_factory=dict)
    transport: Literal["udp", "tcp"] = "udp"
    seed: int = 0
    listen: str = "127.0.0.1"
    buffer_bytes: int | None = None
    slow: float = 1.0
    streams: tuple[Stream, ...] = ()


class TunSpec(Value, frozen=True):
    """Two addresses of this machine with an emulated link between them (see `runtime.tun`).

    Attributes:
        forward, backward: the link's two directions; `forward.src` and `forward.dst` name its ends.
        network: 0..126, which addresses to take; two relays at once need two.
    """

    forward: Link
    backward: Link
    seed: int = 0
    buffer_bytes: int | None = None
    network: int = 0


class SetLink(Value, frozen=True, tag="link", tag_field="do"):
    """Change a link from now on; None leaves a figure as it is. A rate replaces the link's trace; SNR is a radio's."""

    src: str
    dst: str
    rate_bps: float | None = None
    delay_s: float | None = None
    loss: float | None = None
    burst_s: float | None = None
    up: bool | None = None
    snr_db: float | None = None


class SetHost(Value, frozen=True, tag="host", tag_field="do"):
    """The data plane of `host` listens at `address` (`ip:port`) from now on."""

    host: str
    address: str


class Rewind(Value, frozen=True, tag="rewind", tag_field="do"):
    """The traces of all links begin again now."""


class GetStats(Value, frozen=True, tag="stats", tag_field="do"):
    pass


class Stop(Value, frozen=True, tag="stop", tag_field="do"):
    pass


Command = SetLink | SetHost | Rewind | GetStats | Stop


class LinkAddress(Value, frozen=True):
    """`src` reaches `dst` by sending to `address`, and what `dst` sends to `src` comes from there."""

    src: str
    dst: str
    address: str


class Ready(Value, frozen=True, tag="ready", tag_field="said"):
    """`streams`: by name, the address to call."""

    addresses: tuple[LinkAddress, ...]
    streams: dict[str, str] = msgspec.field(default_factory=dict)


class Done(Value, frozen=True, tag="done", tag_field="said"):
    pass


class Refused(Value, frozen=True, tag="refused", tag_field="said"):
    error: str


class LinkStats(Value, frozen=True):
    """What one directed link did since the relay began.

    Attributes:
        offered: packets (datagrams, or chunks of a byte stream) that came to the link.
        offered_bytes: the IP bytes they took.
        delivered: handed on.
        lost: lost by the link's loss process; `overflowed`: by its full buffer; `cut_off`: while it
            was down; `homeless`: nobody had told where the receiver listens.
        kernel_dropped: never seen by the relay, since the kernel's receive buffer was full: where
            this is not 0 the relay was too slow and the emulation is not to be trusted.
    """

    src: str
    dst: str
    offered: int = 0
    offered_bytes: int = 0
    delivered: int = 0
    lost: int = 0
    overflowed: int = 0
    cut_off: int = 0
    homeless: int = 0
    kernel_dropped: int = 0


class Stats(Value, frozen=True, tag="stats", tag_field="said"):
    """`late_mean_s` and `late_max_s`: how long after their time packets left the relay."""

    links: tuple[LinkStats, ...]
    late_mean_s: float = 0.0
    late_max_s: float = 0.0


class Happened(Value, frozen=True, tag="event", tag_field="said"):
    event: Event


Said = Ready | Done | Refused | Stats | Happened


class _CommandLine(Value, frozen=True):
    value: Command


class _SaidLine(Value, frozen=True):
    value: Said


def encode_line(value: Value) -> bytes:
    """One line of JSON."""
    return msgspec.json.format(encode_json(value), indent=-1) + b"\n"


def decode_command(line: bytes) -> Command:
    """ConfigError where the line is no command."""
    return decode_value(b'{"value":' + line.strip() + b"}", _CommandLine, where="relay command").value


def decode_said(line: bytes) -> Said:
    return decode_value(b'{"value":' + line.strip() + b"}", _SaidLine, where="relay").value
