"""A host as a process: it runs until somebody tells the process to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from airloom.runtime.node import Node


async def serve(node: Node, *, until_eof_of: int | None = None, ready: Callable[[], None] | None = None) -> None:
    """Start `node`, say that it is ready, run it until SIGTERM, SIGINT, a shut-down command, or the end
    of the pipe `until_eof_of`.
    """
    await node.start()
    if ready is not None:
        ready()
    loop = asyncio.get_running_loop()

    def read_pipe(fd: int) -> None:
        if not os.read(fd, 4096):
            loop.remove_reader(fd)
            node.stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stopped.set)
    if until_eof_of is not None:
        loop.add_reader(until_eof_of, read_pipe, until_eof_of)
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await node.stopped.wait()
        finally:
            if until_eof_of is not None:
                loop.remove_reader(until_eof_of)
            await node.close()
