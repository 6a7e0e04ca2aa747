"""What a message costs beside its link: the fixed overhead of a transfer (HiveMind Eq. 10, psi), measured.

A message wakes its receiver, is opened, put together and handed over; on one machine the relay wakes
in between. On links of a few milliseconds that shows, and a planner that leaves it out is wrong.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Literal

from airloom.core.messages import Frame, FrameKind, Parcel
from airloom.core.topology import Link
from airloom.errors import DeploymentError
from airloom.runtime.places import parse_address
from airloom.runtime.relay_control import RelaySpec
from airloom.runtime.relay_process import start_relay
from airloom.runtime.tcp import TcpTransport
from airloom.runtime.transport import Transport
from airloom.runtime.udp import UdpTransport
from airloom.wire.seal import LinkKey

_DELAY_S = 0.001
_PAUSE_S = 0.004  # as between the messages of one request after another: nobody is awake already
_TRANSPORTS: dict[str, type[UdpTransport] | type[TcpTransport]] = {"udp": UdpTransport, "tcp": TcpTransport}


async def measure_handling(kind: Literal["udp", "tcp"] = "udp", *, messages: int = 100) -> float:
    """Seconds that a small message takes over an emulated link of this machine, beyond that link's delay.

    Half the median round trip through a relay of its own; takes about a second and a half.

    Raises:
        DeploymentError: no message came back.
    """
    there = Link(src="a", dst="b", rate_bps=float("inf"), delay_s=_DELAY_S)
    back = Link(src="b", dst="a", rate_bps=float("inf"), delay_s=_DELAY_S)
    answered = asyncio.Event()

    def answer(peer: str, frame: Frame, parcel: Parcel) -> None:
        ends["b"].send(peer, frame, parcel)

    def heard(peer: str, frame: Frame, parcel: Parcel) -> None:
        answered.set()

    ends: dict[str, Transport] = {
        "a": _TRANSPORTS[kind]("a", ("127.0.0.1", 0), on_message=heard),
        "b": _TRANSPORTS[kind]("b", ("127.0.0.1", 0), on_message=answer),
    }
    relay = None
    try:
        for end in ends.values():
            await end.start()
        hosts = {name: "{}:{}".format(*end.local_address) for name, end in ends.items()}
        relay = await start_relay(RelaySpec(links=(there, back), hosts=hosts, transport=kind))
        keys = {"a": LinkKey.generate(), "b": LinkKey.generate()}
        for name, peer in (("a", "b"), ("b", "a")):
            address = parse_address(relay.address(name, peer))
            ends[name].add_peer(peer, address, keys[name], keys[peer], rate_bps=float("inf"))
        return max(0.0, await _half_round_trip(ends["a"], answered, messages) - _DELAY_S)
    finally:
        for end in ends.values():
            await end.close()
        if relay is not None:
            await relay.stop()


async def _half_round_trip(end: Transport, answered: asyncio.Event, messages: int) -> float:
    parcel, took = Parcel((0,), (memoryview(bytes(64)),)), list[float]()
    for number in range(messages):
        await asyncio.sleep(_PAUSE_S)
        answered.clear()
        began = time.monotonic()
        end.send("b", Frame(kind=FrameKind.TASK, source=0, request=number), parcel)
        try:
            await asyncio.wait_for(answered.wait(), 2.0)
        except TimeoutError:
            continue
        took.append(time.monotonic() - began)
    if not took:
        raise DeploymentError("no message came back over this machine's loopback: a firewall may be in the way")
    return statistics.median(took) / 2


__all__ = ["measure_handling"]
