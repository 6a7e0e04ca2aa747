"""A source's requests: each has exactly one outcome by its deadline, whatever dies.

Only the source retries. A request goes through the network in attempts; when one fails, times out,
or may be crossing a host that went down, the next one starts. After the last one, or when the
deadline comes as near as the source's own run would take, the source runs the model itself, racing
what is still under way. The first result wins, whichever attempt it is of.

Under an accuracy floor a result that is predicted to be below it is a failed attempt. It is kept,
and is the outcome if nothing better comes by the deadline; its predicted accuracy says what it is.
"""

from __future__ import annotations

from airloom.engine.attempts import Attempts, Route
from airloom.engine.coded import Codings
from airloom.engine.config import HostConfig
from airloom.engine.events import Finish, Submit
from airloom.engine.messages import Frame, FrameKind, Parcel
from airloom.engine.outbox import Outbox
from airloom.engine.patience import Patience
from airloom.engine.tries import Request, Result, Try, Whole
from airloom.errors import Cancelled, DeadlineExceeded, Overloaded, RequestError, StageFailed

#: Drops of accuracy are rounded up hop by hop.
_ROUNDING = 1e-3
ATTEMPT_TIMER, DEADLINE_TIMER, LOCAL_TIMER, HOLD_TIMER = "attempt", "deadline", "local", "hold"


class Requests:
    """Life of the requests that begin at this host."""

    def __init__(self, config: HostConfig, attempts: Attempts, codings: Codings, outbox: Outbox) -> None:
        self._config, self._attempts, self._codings, self._out = config, attempts, codings, outbox
        self._live: dict[int, Request] = {}
        self._input = tuple(zip(config.cut_tensors(0), config.profile.cuts[0].tensor_nbytes, strict=True))
        self._outputs = config.cut_tensors(config.num_operators) if config.result_returns else ()
        self._patience = Patience(config.attempts, attempts.own_s)

    def __len__(self) -> int:
        return len(self._live)

    # --- events -------------------------------------------------------------------------------

    def submit(self, event: Submit) -> None:
        now = self._out.now_s
        if event.request in self._live:
            return self._out.drop("request number in use", event.request)
        self._out.emit("submit", {"nbytes": event.parcel.nbytes, "deadline_s": event.deadline_s - now}, event.request)
        asked_s = event.deadline_s - now if event.asked_s is None else event.asked_s
        request = Request(event.request, event.parcel, now, event.deadline_s, asked_s)
        if len(self._live) >= self._config.max_in_flight:
            line = f"{len(self._live)} requests are in flight, the most allowed: wait for one or raise max_in_flight"
            return self._finish(request, Overloaded(line))
        given = tuple((id, data.nbytes) for id, data in zip(event.parcel.tensors, event.parcel.data, strict=True))
        if given != self._input:
            line = f"request {event.request}: the input is {given} as (id, bytes), the model takes {self._input}"
            return self._finish(request, StageFailed(line))
        if now >= event.deadline_s:
            return self._finish(
                request,
                DeadlineExceeded(
                    f"request {event.request}: its deadline of {asked_s:.6g} s had passed before it began"
                ),
            )
        self._live[event.request] = request
        self._out.start_timer(event.deadline_s, DEADLINE_TIMER, event.request)
        request.held_for = self._attempts.ask()
        if request.held_for is not None:
            self._out.start_timer(now + self._config.wave.hold_s, HOLD_TIMER, event.request)
        else:
            self._begin(request, "first")
        if event.request in self._live:
            self._plan_local(request)
        return None

    def cancel(self, number: int) -> None:
        request = self._live.get(number)
        if request is not None:
            self._finish(request, Cancelled(f"request {number}: cancelled by the caller"))

    def on_result(self, frame: Frame, parcel: Parcel) -> None:
        """A result, or a part of one, of any attempt is as good as any."""
        request = self._live.get(frame.request)
        if request is None:
            return self._out.drop("late result", frame.request, frame.attempt)
        if frame.attempt >= len(request.tries):
            return self._out.drop("unknown attempt", frame.request, frame.attempt)
        came = request.tries[frame.attempt].take(frame, parcel, self._outputs)
        if isinstance(came, str):
            return self._out.drop(came, frame.request, frame.attempt)
        return None if came is None else self._came(request, frame.attempt, came)

    def on_failure(self, frame: Frame, line: str) -> None:
        request = self._live.get(frame.request)
        if request is None:
            return self._out.drop("late failure", frame.request, frame.attempt)
        if frame.attempt >= len(request.tries):
            return self._out.drop("unknown attempt", frame.request, frame.attempt)
        request.last_error = line
        if request.tries[frame.attempt].alive:
            request.tries[frame.attempt].alive = False
            self._next(request, "failure")
        return None

    def on_peer_down(self, peer: str) -> None:
        """Requests that may be crossing the host that went down start again at once."""
        for request in list(self._live.values()):
            hit = False
            for number, tried in enumerate(request.tries):
                if tried.alive and peer in tried.route.hosts and not self._attempts.is_here(request.id, number, tried):
                    tried.alive, hit = False, True
            if hit:
                request.last_error = f"{peer} went down"
                self._next(request, "peer down")

    def on_way_back(self) -> None:
        """Somebody came up or spoke: requests that had nowhere to go may have a way now."""
        for request in [request for request in self._live.values() if request.stranded]:
            if self._attempts.route().hosts:
                request.stranded = False
                self._begin(request, "way back up")

    def on_wave(self, number: int) -> None:
        """The wave `number` has come: requests that were held for it begin."""
        for request in [r for r in self._live.values() if r.held_for is not None and r.held_for <= number]:
            self._release(request)

    def _release(self, request: Request) -> None:
        if request.held_for is None:
            return
        request.held_for = None
        self._out.stop_timer(HOLD_TIMER, request.id)
        if not request.local:
            self._begin(request, "first")

    def on_timer(self, kind: object, number: object) -> None:
        request = self._live.get(number) if isinstance(number, int) else None
        if request is None:
            return
        if kind == DEADLINE_TIMER and request.spare is not None:
            self._succeed(request, request.spare)
        elif kind == DEADLINE_TIMER:
            why = f", last trouble: {request.last_error}" if request.last_error else ""
            tries = "1 attempt" if len(request.tries) == 1 else f"{len(request.tries)} attempts"
            line = f"request {request.id}: no result within {request.asked_s:.6g} s after {tries}{why}"
            self._finish(request, DeadlineExceeded(line))
        elif kind == LOCAL_TIMER:
            self._run_here(request, "deadline near")
        elif kind == ATTEMPT_TIMER:
            self._timed_out(request)
        elif kind == HOLD_TIMER:
            self._release(request)

    # --- attempts -----------------------------------------------------------------------------

    def _begin(self, request: Request, reason: str) -> None:
        """Start the next attempt on the way that holds now."""
        route = self._attempts.route()
        if not route.hosts:
            return self._run_here(request, reason, route)
        request.remote += 1
        number = self._open(request, route, reason)
        self._out.start_timer(
            self._out.now_s + self._patience.seconds(request.tries[number]), ATTEMPT_TIMER, request.id
        )
        return self._attempts.start(self._frame(request, number, route), request.parcel, route)

    def _run_here(self, request: Request, reason: str, route: Route | None = None) -> None:
        """The source's own run, once a request."""
        if request.local:
            return
        local = self._attempts.own(route)
        if local is None:
            request.last_error = request.last_error or f"the model does not fit {self._config.device}"
            if request.remote < self._config.attempts.max_attempts:
                request.stranded = True  # until somebody comes up, or the deadline
            else:
                self._give_up_if_idle(request)
            return
        request.local = True
        number = self._open(request, local, reason)
        self._attempts.start(self._frame(request, number, local), request.parcel, local)

    def _open(self, request: Request, route: Route, reason: str) -> int:
        request.tries.append(Try(route, self._out.now_s, len(self._live) - 1))
        number = len(request.tries) - 1
        self._out.emit(
            "attempt",
            {"reason": reason, "mode": route.mode, "hosts": list(route.hosts), "predicted_s": route.known_s,
             "stop": route.stop, **({"note": route.note} if route.note else {})},
            request.id, number,
        )  # fmt: skip
        return number

    def _frame(self, request: Request, number: int, route: Route) -> Frame:
        epoch = route.layout.plan.epoch if route.layout is not None else 0
        left = () if route.layout is not None else self._attempts.allowance(self._out.now_s - request.submitted_s)
        return Frame(
            kind=FrameKind.TASK, source=self._config.index, request=request.id, attempt=number, epoch=epoch,
            model=self._codings.key(0), left=left, tensors=self._input,
        )  # fmt: skip

    def _next(self, request: Request, reason: str) -> None:
        """An attempt is lost: another one, unless one that is under way may still do it."""
        if request.is_on_time:
            return
        if request.remote < self._config.attempts.max_attempts and not request.local:
            self._begin(request, reason)
        elif not request.local:
            self._run_here(request, reason)
        else:
            self._give_up_if_idle(request)

    def _give_up_if_idle(self, request: Request) -> None:
        """Nothing is under way and nothing is left to try. Lost frames may still come, failures not."""
        if request.is_under_way:
            return
        if request.spare is not None:
            self._succeed(request, request.spare)
        else:
            self._finish(request, StageFailed(f"request {request.id}: {request.last_error}"))

    def _timed_out(self, request: Request) -> None:
        last = len(request.tries) - 1
        request.tries[last].overdue = True
        if self._attempts.is_here(request.id, last, request.tries[last]):
            # It has not left yet: this host is what it waits for, and would be again.
            request.tries[last].overdue = False
            return self._out.start_timer(
                self._out.now_s + self._patience.seconds(request.tries[last]), ATTEMPT_TIMER, request.id
            )
        request.last_error = request.last_error or f"attempt {last} brought nothing in time"
        if request.remote < self._config.attempts.max_attempts and not request.local:
            return self._begin(request, "timeout")
        return self._run_here(request, "timeout")

    def _plan_local(self, request: Request) -> None:
        """Set the time at which the source begins its own run, if that could still meet the deadline."""
        own_s = self._attempts.own_s()
        if own_s is None or request.local:
            return
        start_s = request.deadline_s - self._config.attempts.local_margin * own_s
        if self._out.now_s + own_s < request.deadline_s:
            self._out.start_timer(max(start_s, self._out.now_s), LOCAL_TIMER, request.id)

    # --- outcomes -----------------------------------------------------------------------------

    def _came(self, request: Request, attempt: int, whole: Whole) -> None:
        """A whole result: the outcome, unless the floor asks for a better one."""
        result = Result(attempt, whole.parcel, whole.missing_ppm, self._codings.accuracy(whole.drop_bp))
        floor = None if self._codings.contract is None else self._codings.contract.min_accuracy
        value = -1.0 if result.accuracy is None else result.accuracy
        if floor is None or value >= floor - _ROUNDING:
            return self._succeed(request, result)
        self._out.drop("below the floor", request.id, attempt, predicted_accuracy=result.accuracy)
        request.keep(result)
        request.last_error = "too much was missing for the accuracy that was demanded"
        if request.tries[attempt].alive:
            request.tries[attempt].alive = False
            self._next(request, "below the floor")
        return None

    def _succeed(self, request: Request, result: Result) -> None:
        _, parcel, missing_ppm, accuracy = result
        tried = request.tries[result.attempt]
        tried.alive = False
        if result is not request.spare:
            self._patience.learn(tried, self._out.now_s)
        self._out.emit(
            "result",
            {"nbytes": parcel.nbytes, "missing_share": missing_ppm / 1e6, "predicted_s": tried.route.known_s,
             "attempts": len(request.tries), "mode": tried.route.mode,
             **({} if self._codings.contract is None else {"predicted_accuracy": accuracy})},
            request.id, result.attempt, self._out.now_s - request.submitted_s,
        )  # fmt: skip
        self._close(request)
        self._out.add(Finish(request.id, parcel, missing_ppm / 1e6, accuracy))

    def _finish(self, request: Request, error: RequestError) -> None:
        self._out.emit(
            "error", {"error": type(error).__name__, "message": str(error), "attempts": len(request.tries)},
            request.id, None, self._out.now_s - request.submitted_s,
        )  # fmt: skip
        self._close(request)
        self._out.add(Finish(request.id, error))

    def _close(self, request: Request) -> None:
        """The request is over: nothing of it is left here, and nobody works for it any more."""
        if self._live.pop(request.id, None) is None:
            return
        for timer in (
            DEADLINE_TIMER,
            ATTEMPT_TIMER,
            LOCAL_TIMER,
            *((HOLD_TIMER,) if request.held_for is not None else ()),
        ):
            self._out.stop_timer(timer, request.id)
        self._attempts.end(request.id, still_wanted=request.is_under_way)
