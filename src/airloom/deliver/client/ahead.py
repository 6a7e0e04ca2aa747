"""A body that is received on a thread of its own, while what has come of it is used on another.

So the link is not left waiting for what is decoded, and how fast it brings bytes is measured apart from that. Once the
memory for bytes ahead was full, the rest of the body says nothing of the link: it waits for the client.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from airloom.deliver.client.connection import Answer
from airloom.deliver.client.meter import Meter

#: Bytes that may lie here unused.
MOST_AHEAD = 8 << 20
_READ = 1 << 20


class ReadAhead:
    """Receives the next `nbytes` bytes of `answer`, or as many as come.

    Args:
        meter: gets bytes, and the seconds in which they came.
    """

    def __init__(self, answer: Answer, nbytes: int, meter: Meter) -> None:
        self._answer, self._nbytes, self._meter = answer, nbytes, meter
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()
        self._held, self._ended, self._over = 0, False, False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._receive, name="receive", daemon=True)
        self._thread.start()

    def readinto(self, into: memoryview) -> int:
        """Put some bytes into `into` as soon as there are any; 0 at the end.

        Raises:
            Interrupted: the transfer broke; what came before was handed out.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended)
            if not self._pieces:
                if self._error is not None:
                    raise self._error
                return 0
            piece = self._pieces[0]
            count = min(len(piece), len(into))
            if count < len(piece):
                self._pieces[0] = piece[count:]
            else:
                self._pieces.popleft()
            self._held -= count
            self._changed.notify_all()
        into[:count] = piece[:count]
        return count

    @property
    def ended(self) -> bool:
        """Whether nothing is being received any more."""
        return self._ended

    def stop(self) -> None:
        """Receive no more than what comes at once."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until nothing is being received."""
        self._thread.join()

    def _receive(self) -> None:
        try:
            self._receive_all()
        except BaseException as error:  # whatever it is, whoever reads is told
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _receive_all(self) -> None:
        left, counting, since = self._nbytes, True, time.monotonic()
        while left:
            with self._changed:
                if self._held >= MOST_AHEAD:
                    counting = False
                    self._changed.wait_for(lambda: self._held < MOST_AHEAD or self._over)
                if self._over:
                    return
            data = self._answer.read(min(_READ, left))
            now = time.monotonic()
            if counting:
                self._meter.add(len(data), now - since)
            since = now
            if not data:
                return
            left -= len(data)
            with self._changed:
                self._pieces.append(memoryview(data))
                self._held += len(data)
                self._changed.notify_all()
