"""In which order to send what, and where requests run meanwhile: exact over all orders up to a number of steps.

The chunks on the UE and the time are the state. Sending a configuration leads through its chunks one by one; between
two of them requests run in one of the ways that `Places.at` has, and how long that stretch takes depends on the way,
since results use the link first. What the plan adds up is R times the integral of a request's cost over time, from 0 to
the horizon, and what receiving the model costs.

Two partial plans that hold the same chunks are compared by what time and cost they got there with. One at time t may be
taken out for another at time u that came at cost c' where

    u <= t:  c' + R best (t - u) <= c    with best the cheapest way of the chunks held: it could wait and do the same,
    u >  t:  c' <= c + R least (u - t)   with least the cheapest way of all: that much remains to be paid at t at least.

Both keep the optimum, so the result is exact for the order of chunks within a configuration, however many labels there
are; `most_labels` bounds them, and a plan that met the bound says so. Complexity: O(n^s) orders of s of n
configurations, sharing what holds the same chunks; each passes its chunks once for every label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airloom.core.delivery_plan import DeliveryAsked
from airloom.core.progressive import Configuration
from airloom.planner.progressive.download import CONNECT_ROUND_TRIPS, Download
from airloom.planner.progressive.pieces import Pieces
from airloom.planner.progressive.places import Place, Places

_EPSILON = 1e-12


@dataclass(frozen=True)
class Stretch:
    """From one arrival that matters to the next.

    Attributes:
        held: chunks on the UE when it begins.
        nbytes: of the model that have arrived by then, and within it.
    """

    start_s: float
    end_s: float
    place: Place
    held: frozenset[int]
    nbytes: int
    arriving: float


@dataclass(frozen=True)
class Sent:
    """A configuration that is sent: when its first byte leaves and when the UE can use it."""

    configuration: Configuration
    begin_s: float
    ready_s: float
    nbytes: int


@dataclass(frozen=True)
class Label:
    """A partial plan.

    Attributes:
        cost: so far, in the unit of the objective; requests times their cost.
        energy_j: of the UE so far.
        stretches, sent: how it came here, the last first: linked back by `before`.
    """

    at_s: float
    cost: float
    energy_j: float
    nbytes: float
    before: Label | None = None
    stretch: Stretch | None = None
    sent: Sent | None = None


@dataclass(frozen=True)
class Course:
    """A whole plan from 0 to the horizon."""

    cost: float
    energy_j: float
    nbytes: float
    stretches: tuple[Stretch, ...]
    sent: tuple[Sent, ...]
    proven: bool = True


class Courses:
    """Finds the best course.

    Args:
        split: whether other hosts may compute.
        ordinary: nothing of a configuration is used before all of it is there.
    """

    def __init__(
        self,
        pieces: Pieces,
        places: Places,
        download: Download,
        asked: DeliveryAsked,
        *,
        split: bool = True,
        ordinary: bool = False,
    ) -> None:
        self.pieces, self.places, self.download, self.asked = pieces, places, download, asked
        self.split, self.ordinary = split, ordinary
        self.most_labels = 64
        self.proven = True
        everything = frozenset(range(len(pieces.nbytes)))
        self._least = min(place.cost for place in places.at(everything, split=split))

    # --- all orders ---------------------------------------------------------------------------------

    def best(self, targets: Sequence[Configuration], steps: int) -> Course | None:
        """The cheapest course that keeps the battery; None where none does.

        Args:
            targets: configurations that may be sent.
            steps: how many of them at most.
        """
        self.proven = True
        start = (frozenset[int](), 0)
        open_labels: dict[tuple[frozenset[int], int], list[Label]] = {start: [Label(0.0, 0.0, 0.0, 0.0)]}
        ended: list[Label] = []
        needs = [(target, self.pieces.needs(target)) for target in targets]
        while open_labels:
            # Every step adds chunks, so whoever holds least is complete.
            state = min(open_labels, key=lambda key: (key[1], len(key[0])))
            held, used = state
            labels = open_labels.pop(state)
            for label in labels:
                end = self._stay(label, held)
                if end is not None:
                    ended.append(end)
            if used == steps:
                continue
            for target, chunks in needs:
                if held.issuperset(chunks):
                    continue
                arrived, over = self._send(labels, held, target, chunks, used)
                ended += over
                after = (held | frozenset(chunks), used + 1)
                if arrived:
                    known = open_labels.setdefault(after, [])
                    open_labels[after] = self._pruned([*known, *arrived], after[0])
        return self._course(ended)

    def along(self, targets: Sequence[Configuration]) -> Course | None:
        """The best course that sends exactly these, in this order, as far as the horizon lets it."""
        self.proven = True
        labels, held = [Label(0.0, 0.0, 0.0, 0.0)], frozenset[int]()
        ended: list[Label] = []
        for used, target in enumerate(targets):
            chunks = self.pieces.needs(target)
            labels, over = self._send(labels, held, target, chunks, used)
            ended += over
            held |= frozenset(chunks)
        ended += [end for label in labels if (end := self._stay(label, held)) is not None]
        return self._course(ended)

    def _course(self, ended: list[Label]) -> Course | None:
        if not ended:
            return None
        least = min(label.cost for label in ended)
        # Of equals the one that sends least.
        label = min((e for e in ended if e.cost <= least * (1 + _EPSILON) + _EPSILON), key=lambda e: (e.nbytes, e.cost))
        stretches: list[Stretch] = []
        sent: list[Sent] = []
        here: Label | None = label
        while here is not None:
            if here.stretch is not None:
                stretches.append(here.stretch)
            if here.sent is not None:
                sent.append(here.sent)
            here = here.before
        return Course(
            label.cost, label.energy_j, label.nbytes, tuple(reversed(stretches)), tuple(reversed(sent)), self.proven
        )

    # --- one label on -------------------------------------------------------------------------------

    def _stay(self, label: Label, held: frozenset[int]) -> Label | None:
        """To the horizon with what is there."""
        best: Label | None = None
        for place in self.places.at(held, split=self.split):
            end = self._on(label, place, held, self.asked.horizon_s - label.at_s, 0.0)
            if end is not None and (best is None or end.cost < best.cost):
                best = end
        return best

    def _send(
        self, labels: list[Label], held: frozenset[int], target: Configuration, chunks: Sequence[int], used: int
    ) -> tuple[list[Label], list[Label]]:
        """All labels behind `target`, and those that the horizon ends on the way."""
        trips = CONNECT_ROUND_TRIPS if used == 0 else 1
        wait_s = trips * self.download.round_trip_s if self.download.links else 0.0
        ended: list[Label] = []
        begun: list[tuple[Label, float]] = []
        for label in labels:
            for place in self.places.at(held, split=self.split):
                self._advance(label, place, held, wait_s, 0.0, begun, ended, label.at_s + wait_s)
        there = held
        missing = [k for k in chunks if k not in held]
        head = 0 if held else self.pieces.head_nbytes
        pending = head
        for index, chunk in enumerate(missing):
            pending += self.pieces.nbytes[chunk]
            after = there | {chunk}
            last = index + 1 == len(missing)
            signature = self.places.signature
            if not last and (self.ordinary or signature(after) == signature(there)):
                there = there if self.ordinary else after
                continue
            # Until all of `pending` is there the ways are those of before.
            moved: list[tuple[Label, float]] = []
            for label, began in begun:
                for place in self.places.at(there, split=self.split, sending=True):
                    seconds = 8.0 * pending / place.download_bps + pending * self.asked.ready_s_per_byte
                    self._advance(label, place, there, seconds, pending, moved, ended, began)
            there, pending = (held | frozenset(missing) if last else after), 0
            begun = self._pruned_begun(moved, there)
        nbytes = self.pieces.size(missing) + head
        arrived = [
            Label(
                label.at_s, label.cost, label.energy_j, label.nbytes, label,
                sent=Sent(target, began, label.at_s, nbytes),
            )
            for label, began in begun
        ]  # fmt: skip
        over = [
            Label(
                label.at_s, label.cost, label.energy_j, label.nbytes, label,
                sent=Sent(target, self.asked.horizon_s, float("inf"), nbytes),
            )
            for label in ended
        ]  # fmt: skip
        return arrived, over

    def _advance(
        self,
        label: Label,
        place: Place,
        held: frozenset[int],
        seconds: float,
        nbytes: float,
        moved: list[tuple[Label, float]],
        ended: list[Label],
        began: float,
    ) -> None:
        """Put what `seconds` in `place` lead to into `moved`, or into `ended` where the horizon comes first."""
        left = self.asked.horizon_s - label.at_s
        if seconds < left:
            found = self._on(label, place, held, seconds, nbytes)
            if found is not None:
                moved.append((found, began))
            return
        found = self._on(label, place, held, left, nbytes * left / seconds if seconds else 0.0)
        if found is not None:
            ended.append(found)

    def _on(self, label: Label, place: Place, held: frozenset[int], seconds: float, nbytes: float) -> Label | None:
        asked = self.asked
        receiving = nbytes * self.download.receive_j_per_byte
        energy = label.energy_j + asked.requests_per_s * seconds * place.energy_j + receiving
        if asked.battery_j is not None and energy > asked.battery_j * (1.0 + _EPSILON):
            return None
        cost = label.cost + asked.requests_per_s * seconds * place.cost
        if asked.minimize == "energy":
            cost += receiving
        stretch = Stretch(label.at_s, label.at_s + seconds, place, held, round(label.nbytes), nbytes)
        return Label(label.at_s + seconds, cost, energy, label.nbytes + nbytes, label, stretch)

    # --- taking out ---------------------------------------------------------------------------------

    def _pruned(self, labels: list[Label], held: frozenset[int]) -> list[Label]:
        return [label for label, _ in self._pruned_begun([(label, 0.0) for label in labels], held)]

    def _pruned_begun(self, labels: list[tuple[Label, float]], held: frozenset[int]) -> list[tuple[Label, float]]:
        rate = self.asked.requests_per_s
        # The horizon may come while more is sent, so what is allowed is what that costs.
        best = rate * self.places.at(held, split=self.split, sending=True)[0].cost
        if self.asked.minimize == "energy":
            # Whoever arrives earlier may be receiving for longer.
            best += self.download.rate_bps({}) / 8.0 * self.download.receive_j_per_byte if self.download.links else 0.0
        bounded = self.asked.battery_j is not None
        kept: list[tuple[Label, float]] = []
        for pair in sorted(labels, key=lambda pair: (pair[0].cost, pair[0].at_s)):
            label = pair[0]
            for other, _ in kept:
                lead = label.at_s - other.at_s
                if bounded and (abs(lead) > _EPSILON or other.energy_j > label.energy_j + _EPSILON):
                    continue
                allowance = best * lead if lead >= 0.0 else rate * self._least * lead
                if other.cost + allowance <= label.cost + _EPSILON and other.nbytes <= label.nbytes:
                    break
            else:
                kept.append(pair)
        if len(kept) > self.most_labels:
            self.proven = False
            kept = kept[: self.most_labels]
        return kept
