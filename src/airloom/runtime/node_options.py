"""How a host runs, and the data plane that this asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from airloom.core.topology import Device
from airloom.runtime.motion import REAL, Motion
from airloom.runtime.places import Address, data_address
from airloom.runtime.transport import OnLink, OnMessage, Transport

if TYPE_CHECKING:
    from airloom.runtime.udp import AllowFrom

_RESENDS_FOR_A_FLOOR = 64
TransportName = Literal["udp", "tcp"]


@dataclass(frozen=True)
class NodeOptions:
    """How a host runs, beside what it is.

    Attributes:
        routes: where to send for a neighbour, in place of its own address: an emulated link's relay.
        factor: emulate a device this many times slower than this machine.
        metrics_port: serve Prometheus metrics here; 0 lets the system choose, None serves none.
        trace: file to which the trace is appended.
        repair_rounds: how often a message over UDP may be asked for again.
        congestion: TCP's congestion control.
        slow: seconds of this machine that one of what is emulated takes (see `runtime.motion`).
    """

    transport: TransportName = "udp"
    routes: Mapping[str, Address] = field(default_factory=dict)
    factor: float = 1.0
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    trace: Path | None = None
    repair_rounds: int = 2
    congestion: str = "cubic"
    slow: float = 1.0


def make_transport(
    options: NodeOptions,
    own: Device,
    on_message: OnMessage,
    on_link: OnLink,
    allow: AllowFrom | None = None,
    motion: Motion = REAL,
) -> Transport:
    """The data plane of the device `own`; `allow` says what may be missing of messages over UDP."""
    address = data_address(own)
    if options.transport == "tcp":
        from airloom.runtime.tcp import TcpTransport

        return TcpTransport(
            own.id, address, on_message=on_message, on_link=on_link, congestion=options.congestion, motion=motion
        )
    from airloom.runtime.udp import UdpTransport
    from airloom.wire.receiver import ReceiverLimits
    from airloom.wire.sender import SenderLimits

    limits = ReceiverLimits(rounds=options.repair_rounds)
    if allow is None:
        return UdpTransport(
            own.id, address, on_message=on_message, on_link=on_link, receiver_limits=limits, motion=motion
        )
    # A floor is worth more repairs than a deadline alone: blocks may leave until enough of them is there.
    return UdpTransport(
        own.id, address, on_message=on_message, on_link=on_link, receiver_limits=limits,
        sender_limits=SenderLimits(resends=_RESENDS_FOR_A_FLOOR, head_copies=True), allow=allow, motion=motion,
    )  # fmt: skip
