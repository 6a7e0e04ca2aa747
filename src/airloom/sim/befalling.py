"""What befalls a simulation: users who ask, a network that changes, hosts that come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from airloom.core.topology import Conditions, DeviceState, LinkState
from airloom.engine.events import Cancel, Finish, LinkChanged, Submit
from airloom.engine.messages import Parcel
from airloom.errors import RequestError
from airloom.sim.dispatch import Dispatch


@dataclass(frozen=True)
class Arrival:
    """A user asks `source` ("" is the topology's) for an inference at `at_s`, due `deadline_s` later.

    `cancel_s` after it the user withdraws the request, where that is not None.
    """

    at_s: float
    deadline_s: float = 2.0
    source: str = ""
    cancel_s: float | None = None


class Befalling(Dispatch):
    """A simulation as its users and its network drive it."""

    _coming: Iterator[Arrival]
    _moves: Iterator[Conditions]
    _next_after: Callable[[str, float], Arrival | None] | None
    _more: bool
    _keeps: bool
    _following: int
    _number: int
    _last_s: float
    outcomes: dict[tuple[str, int], list[Parcel | RequestError]]

    def _next_arrival(self) -> None:
        """Wait for one arrival at a time: there may be no end of them."""
        arrival = next(self._coming, None)
        if arrival is None:
            self._more = False
            return

        def come() -> None:
            self.submit(arrival)
            self._next_arrival()

        self._clock.at(arrival.at_s, come)

    def submit(self, arrival: Arrival) -> None:
        """The request of `arrival` begins now, numbered in the order of submission."""
        number, self._number = self._number, self._number + 1
        source = arrival.source or self._topology.source
        if source not in self._nodes:
            return
        now_s = self._clock.now_s
        self._live.add((source, number))
        self._last_s = max(self._last_s, now_s + arrival.deadline_s)
        parcel = self._blank[source].parcel(self._configs[source].cut_tensors(0), 0)
        if arrival.cancel_s is not None:
            self._clock.at(now_s + arrival.cancel_s, lambda: self._tell(source, Cancel(number)))
        self._tell(source, Submit(number, parcel, now_s + arrival.deadline_s))

    def _finish(self, device: str, effect: Finish) -> None:
        key = (device, effect.request)
        self._live.discard(key)
        if self._keeps:
            self.outcomes.setdefault(key, []).append(effect.outcome)
        if self._next_after is not None:
            arrival = self._next_after(device, self._clock.now_s)
            if arrival is not None:
                self._following += 1
                self._clock.at(arrival.at_s, lambda: self._follow(arrival))

    def _follow(self, arrival: Arrival) -> None:
        self._following -= 1
        self.submit(arrival)

    def _next_move(self) -> None:
        move = next(self._moves, None)
        if move is None:
            return

        def come() -> None:
            self._move(move)
            self._next_move()

        self._clock.at(move.at_s, come)

    def _move(self, move: Conditions) -> None:
        """What `move` names becomes as it says; the rest stays."""
        if not (move.links or move.devices):
            return
        self._emit("condition", msgspec.to_builtins(move), self._topology.source)
        for state in move.links:
            carrier = self._carriers[state.src, state.dst]
            was_up = carrier.up
            carrier.change(state)
            if state.up != was_up:
                self._tell_of_link(LinkChanged(state.src, state.dst, state.up))
        for device in move.devices:
            self._change_device(device)

    def _change(self, change: Conditions) -> None:
        """The network becomes the topology with `change`."""
        self._emit("condition", msgspec.to_builtins(change), self._topology.source)
        links = {(state.src, state.dst): state for state in change.links}
        for key in self._carriers:
            self._carriers[key].change(links.get(key, LinkState(src=key[0], dst=key[1])))
        devices = {state.id: state for state in change.devices}
        for device in self._topology.devices:
            self._change_device(devices.get(device.id, DeviceState(id=device.id)))

    def _tell_of_link(self, event: LinkChanged) -> None:
        """All who route over it hear of it: not the UEs at other links."""
        for device in list(self._nodes):
            if device not in self._book.edges or device in (event.src, event.dst):
                self._tell(device, event)

    def _change_device(self, state: DeviceState) -> None:
        self._states[state.id] = state
        if state.up and state.id not in self._nodes:
            self._start(state.id, announce_s=self._detect_s)
        elif not state.up and state.id in self._nodes:
            self._kill(state.id)
        if state.up:
            self._nodes[state.id].executor.load = state.load
