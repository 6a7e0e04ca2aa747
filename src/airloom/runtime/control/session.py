"""A host's zenoh session, seen from the event loop.

zenoh calls back on its own threads; everything crosses to the loop through `_Inbox`, which is bounded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import zenoh

from airloom.runtime import commands
from airloom.runtime.control.settings import ends, key

_MAX_PENDING = 4096


class Session:
    """Says, hears, asks and answers in the name of host `me`; made, used and called back on one event loop."""

    def __init__(self, me: str, counters: Counter[str]) -> None:
        self._me, self._counters = me, counters
        self._inbox = _Inbox(asyncio.get_running_loop(), counters)
        self._zenoh: zenoh.Session | None = None
        self._held: list[Any] = []  # subscribers, queryables, token: they live as long as they are referred to

    async def open(self, config: zenoh.Config) -> None:
        """Listen and dial; zenoh.ZError where that cannot be."""
        self._zenoh = await asyncio.to_thread(zenoh.open, config)

    async def close(self) -> None:
        """Leave: neighbours see it at once, and nothing more is heard. Safe to call twice."""
        self._inbox.open = False
        session, self._zenoh = self._zenoh, None
        self._held.clear()
        if session is not None:
            await asyncio.to_thread(session.close)

    @property
    def is_open(self) -> bool:
        return self._zenoh is not None

    def put(self, kind: str, dst: str, data: bytes) -> None:
        """Say something to a neighbour; lost without a word where it is not there."""
        if self._zenoh is None:
            return
        try:
            self._zenoh.put(
                key(kind, self._me, dst),
                data,
                express=True,
                priority=zenoh.Priority.REAL_TIME,
                congestion_control=zenoh.CongestionControl.DROP,
            )
            self._counters[f"control_sent_{kind}"] += 1
            self._counters["control_sent_bytes"] += len(data)
        except zenoh.ZError:
            self._counters["control_send_failed"] += 1

    async def ask(self, kind: str, dst: str, data: bytes, *, timeout_s: float) -> bytes | None:
        """The answer of `dst`, None where there is none in time."""
        assert self._zenoh is not None
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def settle(value: bytes | None) -> None:
            if not future.done():
                future.set_result(value)

        def on_reply(reply: zenoh.Reply) -> None:
            sample = reply.ok
            fits = sample is not None and len(sample.payload) <= commands.MAX_BYTES
            self._inbox.put(settle, sample.payload.to_bytes() if sample is not None and fits else None)

        self._zenoh.get(key(kind, self._me, dst), on_reply, payload=data, timeout=timeout_s)
        try:
            return await asyncio.wait_for(future, timeout_s + 0.1)
        except TimeoutError:
            return None

    def on_put(self, kind: str, handler: Callable[[str, bytes], None]) -> None:
        """From now on call `handler(src, data)` for what is said to this host."""
        assert self._zenoh is not None

        def callback(sample: zenoh.Sample) -> None:
            if len(sample.payload) > commands.MAX_BYTES:
                self._counters["control_oversized"] += 1
                return
            self._inbox.put(handler, ends(sample.key_expr)[0], sample.payload.to_bytes())

        self._held.append(self._zenoh.declare_subscriber(key(kind, "*", self._me), callback))

    def on_question(self, kind: str, handler: Callable[[str, bytes], bytes | None]) -> None:
        """From now on answer questions with `handler(asker, data)`; None refuses."""
        assert self._zenoh is not None

        def answer(query: zenoh.Query) -> None:
            with query:
                payload = query.payload
                said = handler(ends(query.key_expr)[0], b"" if payload is None else payload.to_bytes())
                if said is None:
                    query.reply_err(b"refused")
                else:
                    query.reply(query.key_expr, said)

        self._held.append(
            self._zenoh.declare_queryable(key(kind, "*", self._me), lambda query: self._inbox.put(answer, query))
        )

    def on_alive(self, handler: Callable[[str, str, bool], None]) -> None:
        """From now on call `handler(host, incarnation, present)` for hosts that come and go, and those there now."""
        assert self._zenoh is not None

        def callback(sample: zenoh.Sample) -> None:
            self._inbox.put(handler, *ends(sample.key_expr), sample.kind == zenoh.SampleKind.PUT)

        liveliness = self._zenoh.liveliness()
        self._held.append(liveliness.declare_subscriber(key("alive", "*", "*"), callback, history=True))

    def declare_alive(self, incarnation: int) -> None:
        """From now on others hear that this host is there."""
        assert self._zenoh is not None
        self._held.append(self._zenoh.liveliness().declare_token(key("alive", self._me, incarnation)))


class _Inbox:
    """Carries zenoh's calls to the event loop; drops and counts what a slow loop cannot take."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counters: Counter[str]) -> None:
        self._loop, self._counters, self._pending = loop, counters, 0
        self.open = True

    def put(self, handler: Callable[..., None], *args: Any) -> None:
        # Both sides of the count run under the interpreter's lock; being off by a few does no harm.
        if not self.open or self._pending >= _MAX_PENDING:
            self._counters["control_overflow"] += 1
            return
        self._pending += 1
        try:
            self._loop.call_soon_threadsafe(self._take, handler, args)
        except RuntimeError:  # the loop has closed: nobody is left to tell
            self.open = False

    def _take(self, handler: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._pending -= 1
        if self.open:
            handler(*args)
