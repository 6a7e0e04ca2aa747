"""A lossy, duplicating, reordering UDP forwarder between two addresses, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

Address = tuple[str, int]


class Forwarder(asyncio.DatagramProtocol):
    """Passes on what comes to `address` to `to`, unless `keep` says otherwise."""

    def __init__(
        self, to: Address, rng: np.random.Generator, *, loss: float = 0.0, duplicate: float = 0.0,
        jitter_s: float = 0.0, change: Callable[[bytes], bytes | None] = lambda data: data,
    ) -> None:  # fmt: skip
        self._to, self._rng = to, rng
        self.loss, self._duplicate, self._jitter_s, self._change = loss, duplicate, jitter_s, change
        self.seen: list[bytes] = []

    async def open(self) -> Address:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.seen.append(data)
        changed = self._change(data)
        if changed is None or self._rng.random() < self.loss:
            return
        for _ in range(2 if self._rng.random() < self._duplicate else 1):
            if self._jitter_s:
                asyncio.get_running_loop().call_later(self._rng.random() * self._jitter_s, self.inject, changed)
            else:
                self.inject(changed)

    def inject(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, self._to)

    def close(self) -> None:
        self._transport.close()
