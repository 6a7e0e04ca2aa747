"""What carries messages between adjacent hosts: one Protocol over sealed UDP, TCP, or memory.

A transport belongs to one asyncio loop: it is made, used and called back on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from airloom.core.messages import Frame, Parcel
from airloom.wire.seal import LinkKey

Address = tuple[str, int]

# (peer, frame, parcel): a whole message, or what could be had of it, came from `peer`.
OnMessage = Callable[[str, Frame, Parcel], None]
# (src, dst, rate_bps, delay_s, loss): a link as its own traffic shows it; None is "not known".
OnLink = Callable[[str, str, float | None, float | None, float | None], None]


class Transport(Protocol):
    """Messages to and from the adjacent hosts of one host.

    `counters()` has, at least, the IP bytes and packets sent by purpose (law 4 compares the first
    of them with the plan): `sent_first_bytes`, `sent_repair_bytes`, `sent_control_bytes`; messages
    `sent_messages`, `received_messages`; and what was refused, by reason, as `drop_REASON`.
    """

    @property
    def local_address(self) -> Address:
        """Where this transport listens, once started."""
        ...

    async def start(self) -> None:
        """Open the sockets; from here on callbacks may come."""
        ...

    async def close(self) -> None:
        """Close the sockets; no callback comes after it returns. May be called twice."""
        ...

    def add_peer(
        self, peer: str, address: Address, send_key: LinkKey, recv_key: LinkKey, *, rate_bps: float | None = None,
        recv_loss: float = 0.0, send_loss: float = 0.0,
    ) -> None:  # fmt: skip
        """Talk to `peer` at `address`; keys are fresh, and for this link alone.

        `rate_bps` is what the link to it should carry: infinity is an unlimited link, None means
        not known. `recv_loss` and `send_loss` are what the links from it and to
        it are known to lose. A peer added again gets a
        new start: what was under way is dropped.
        """
        ...

    def remove_peer(self, peer: str) -> None:
        """Forget `peer` and what was under way; unknown peers are ignored."""
        ...

    def send(self, peer: str, frame: Frame, parcel: Parcel) -> None:
        """Queue one message and return at once. Nothing that happens on the wire raises.

        The parcel's bytes are read before the call returns or shortly after: don't change them.
        `frame.tensors` is filled in from the parcel. A message to an unknown peer is dropped and
        counted. ValueError where the message cannot be encoded or is too large.
        """
        ...

    def set_rate(self, peer: str, rate_bps: float | None) -> None:
        """What the link to `peer` should carry from now on; measurement corrects it."""
        ...

    def counters(self) -> dict[str, int]:
        """Totals since the start, all peers together."""
        ...
