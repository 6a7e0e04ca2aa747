"""The book of requests: those under way, and what came of the others."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from airloom.core.messages import Parcel
from airloom.errors import Cancelled, DeploymentError, Overloaded, RequestError
from airloom.runtime.commands import HostStatus


class Request(Future[Any]):
    """A request under way; `result()` gives what the model returns, or raises the request's one error.

    Attributes:
        number: in the order of submission; the traces' `request`.
        took_s: from submission to the outcome, once there is one.
        missing: share of payload bytes that were zero-filled on the way; above 0 the result was
            computed from incomplete tensors.
        predicted_accuracy: what the result's accuracy should be, from what was missing and how it was
            coded; None where no tolerance profile says.
    """

    def __init__(self, number: int, withdraw: Callable[[int], None], began_s: float) -> None:
        super().__init__()
        self.number = number
        self.began = began_s
        self.took_s: float | None = None
        self.missing = 0.0
        self.predicted_accuracy: float | None = None
        self._withdraw = withdraw

    def cancel(self) -> bool:
        """Withdraw the request, wherever it is; it ends as `Cancelled` unless its outcome is nearer."""
        if self.done():
            return False
        self._withdraw(self.number)
        return True


@dataclass(frozen=True)
class Stats:
    """What came of the requests, and every host that answers.

    Attributes:
        outcomes: how many ended as "result", or by the name of their error.
        p50_s, p95_s: latency of results; nan where there are none.
        per_s: results per second between the first submission and the last outcome.
        incomplete: results computed from tensors with missing bytes.
        missing_mean, missing_max: share of payload bytes that were missing, over the results; 0 where there are none.
        predicted_accuracy, predicted_least: mean and least over the results of which a tolerance
            profile says; None where there are none.
        hosts: status by host id, None where a host does not answer.
    """

    outcomes: Mapping[str, int]
    p50_s: float
    p95_s: float
    per_s: float
    incomplete: int
    in_flight: int
    hosts: Mapping[str, HostStatus | None]
    missing_mean: float = 0.0
    missing_max: float = 0.0
    predicted_accuracy: float | None = None
    predicted_least: float | None = None


class Book:
    """Opens requests as long as there is room and gives each its one outcome; used from any thread.

    Args:
        in_flight: requests under way at once.
        value: what a request's `result()` gives, from the tensors that came.
        withdraw: called with the number of a request that its caller cancels.
        now_s: the clock that times are of.
    """

    def __init__(
        self,
        in_flight: int,
        value: Callable[[Parcel], Any],
        withdraw: Callable[[int], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_flight, self._value, self._withdraw, self._now_s = in_flight, value, withdraw, now_s
        self._room = threading.BoundedSemaphore(in_flight)
        self._lock = threading.Lock()
        self._open: dict[int, Request] = {}
        self.closed = False
        self._next = 0
        self._outcomes: Counter[str] = Counter()
        self._took_s: list[float] = []
        self._missing: list[float] = []
        self._accuracies: list[float] = []
        self._first_s: float | None = None
        self._last_s = 0.0

    def __contains__(self, number: int) -> bool:
        return number in self._open

    def open(self, *, block: bool) -> Request:
        """A new request, when there is room for it.

        Raises:
            Overloaded: there is no room, and `block` is False.
            DeploymentError: the book was closed.
        """
        if self.closed:
            raise DeploymentError("the deployment was closed")
        if not self._room.acquire(blocking=block):
            raise Overloaded(f"{self._in_flight} requests are in flight: wait for one, or raise in_flight")
        with self._lock:
            # It may have been closed while we waited for room.
            if self.closed:
                self._room.release()
                raise DeploymentError("the deployment was closed")
            number, self._next = self._next, self._next + 1
            request = self._open[number] = Request(number, self._withdraw, self._now_s())
            if self._first_s is None:
                self._first_s = request.began
        return request

    def end(
        self,
        number: int,
        outcome: Parcel | RequestError,
        missing: float = 0.0,
        predicted_accuracy: float | None = None,
    ) -> None:
        """Give a request its outcome, unless it has one."""
        with self._lock:
            request = self._open.pop(number, None)
        if request is None:
            return
        now = self._now_s()
        request.took_s, request.missing = now - request.began, missing
        request.predicted_accuracy = predicted_accuracy
        value = self._value(outcome) if isinstance(outcome, Parcel) else None
        with self._lock:
            self._last_s = now
            self._outcomes["result" if isinstance(outcome, Parcel) else type(outcome).__name__] += 1
            if isinstance(outcome, Parcel):
                self._took_s.append(request.took_s)
                self._missing.append(missing)
                if predicted_accuracy is not None:
                    self._accuracies.append(predicted_accuracy)
        self._room.release()
        if isinstance(outcome, Parcel):
            request.set_result(value)
        else:
            request.set_exception(outcome)

    def close(self) -> bool:
        """Open no more requests; False where it was closed before."""
        with self._lock:
            before, self.closed = self.closed, True
        return not before

    def cancel_all(self) -> None:
        """End what is under way, after `close`."""
        for number in tuple(self._open):
            self.end(number, Cancelled("the deployment was closed"))

    def stats(self, hosts: Mapping[str, HostStatus | None]) -> Stats:
        """What came of the requests so far."""
        with self._lock:
            took, flying = np.array(self._took_s), len(self._open)
            span = self._last_s - self._first_s if self._first_s is not None else 0.0
            outcomes, missing, accuracies = dict(self._outcomes), tuple(self._missing), tuple(self._accuracies)
        p50, p95 = (float(np.percentile(took, q)) if len(took) else float("nan") for q in (50, 95))
        per_s = len(took) / span if span > 0 else 0.0
        return Stats(
            outcomes,
            p50,
            p95,
            per_s,
            sum(share > 0 for share in missing),
            flying,
            hosts,
            missing_mean=float(np.mean(missing)) if missing else 0.0,
            missing_max=max(missing, default=0.0),
            predicted_accuracy=float(np.mean(accuracies)) if accuracies else None,
            predicted_least=min(accuracies, default=None),
        )
