"""Where a request can run with what is on the UE: every way that may be best, with what it costs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from airloom.core.delivery_plan import DeliveryAsked, Where
from airloom.core.profile import Profile
from airloom.core.progressive import Configuration
from airloom.core.topology import Conditions, Power, Topology
from airloom.planner.pricing import Choices
from airloom.planner.progressive.depth_prices import depth_prices
from airloom.planner.progressive.download import Download, Pair
from airloom.planner.progressive.pieces import Pieces

#: What an unanswered request costs, in the unit of the objective: more than any answer does.
UNANSWERED = 1e6
#: Of ways that are equally good under another aim the faster one is taken: what a second counts beside the aim.
_TIE = 1e-6


@dataclass(frozen=True)
class Place:
    """One way to run a request.

    Attributes:
        cost: in the unit of the objective, a request; what the plan adds up.
        download_bps: what the download gets meanwhile.
        energy_j: of the UE; 0 without power figures.
    """

    where: Where
    cost: float
    latency_s: float
    download_bps: float
    depth: int = 0
    precision: str = ""
    stops: tuple[int, ...] = ()
    accuracy: float | None = None
    energy_j: float = 0.0


class Places:
    """All ways of running a request, by what is on the UE.

    Args:
        profiles: by depth, then device.
        parts: by depth, of each operator the part it belongs to.
    """

    def __init__(
        self,
        pieces: Pieces,
        profiles: Mapping[int, Mapping[str, Profile]],
        parts: Mapping[int, tuple[int, ...]],
        topology: Topology,
        chain: tuple[str, ...],
        download: Download,
        asked: DeliveryAsked,
        *,
        conditions: Conditions | None = None,
        choices: Choices | None = None,
        private: Mapping[int, int] | None = None,
    ) -> None:
        self.pieces, self.chain, self.download, self.asked = pieces, chain, download, asked
        self.has_power = topology.device(topology.source).power != Power()
        self.prices = {
            depth: depth_prices(
                depth_profiles,
                parts[depth],
                topology,
                chain,
                asked,
                conditions=conditions,
                choices=choices,
                private=(private or {}).get(depth, 0),
            )
            for depth, depth_profiles in profiles.items()
        }
        self._forget()

    def _forget(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Place, ...]] = {}
        self._signatures: dict[frozenset[int], tuple[object, ...]] = {}
        self._own: dict[str, Place | None] = {}
        self._split: dict[tuple[int, str, int, bool], tuple[Place, ...]] = {}

    def of(self, configuration: Configuration) -> Places:
        """The same where the model has this configuration alone."""
        other = copy.copy(self)
        manifest = msgspec.structs.replace(self.pieces.manifest, configurations=(configuration,))
        other.pieces = Pieces(manifest)
        other.prices = {configuration.depth: self.prices[configuration.depth]}
        other._forget()
        return other

    # --- what there is ------------------------------------------------------------------------------

    def at(self, held: frozenset[int], *, split: bool = True, sending: bool = False) -> tuple[Place, ...]:
        """The ways that may be best with these chunks on the UE; the first costs least.

        There is always one: that of no answer where nothing keeps what is asked for.

        Args:
            split: whether other hosts may compute.
            sending: more of the model is coming; results wait for what of it is before them (`Download.wait_s`).
        """
        key = (split, sending, *self.signature(held))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._at(held, split, sending)
        return found

    def signature(self, held: frozenset[int]) -> tuple[object, ...]:
        """What the ways depend on: configurations that are complete, and how far the UE gets at each depth."""
        found = self._signatures.get(held)
        if found is None:
            complete = tuple(c.name for c in self.pieces.complete(held))
            found = self._signatures[held] = (complete, *self._reaches(held))
        return found

    def _reaches(self, held: frozenset[int]) -> list[tuple[int, str, int]]:
        return [
            (depth, precision, prices.reach(self.pieces.parts_there(held, depth, precision)))
            for depth, prices in self.prices.items()
            for precision in self.pieces.precisions
            if self.pieces.row(depth, precision) is not None
        ]

    def _at(self, held: frozenset[int], split: bool, sending: bool) -> tuple[Place, ...]:
        found: list[Place] = []
        for configuration in self.pieces.complete(held):
            own = self.own(configuration)
            if own is not None:
                found.append(own)
        if split:
            for depth, prices in self.prices.items():
                found += self._cut(depth, "", prices.reach(frozenset()), sending)
            for depth, precision, reach in self._reaches(held):
                found += self._cut(depth, precision, reach, sending)
        if not found:
            everything = self.download.rate_bps({})
            return (Place("none", UNANSWERED, float("inf"), everything),)
        return _not_dominated(found, energy=self.asked.battery_j is not None)

    def own(self, configuration: Configuration) -> Place | None:
        """The UE runs a configuration alone; None where that breaks what is asked for."""
        if configuration.name not in self._own:
            self._own[configuration.name] = self._make_own(configuration)
        return self._own[configuration.name]

    def _make_own(self, configuration: Configuration) -> Place | None:
        prices = self.prices.get(configuration.depth)
        if prices is None:
            return None
        host, last = prices.problem.hosts[0], prices.num_operators
        if not host.fits(0, last):
            return None
        return self._place(
            "ue",
            configuration.depth,
            configuration.precision,
            host.stage_s(0, last),
            configuration.accuracy,
            float(prices.energy_j[last]),
            (last,) * len(self.chain),
            {},
        )

    # --- splits -------------------------------------------------------------------------------------

    def _cut(self, depth: int, precision: str, reach: int, sending: bool) -> tuple[Place, ...]:
        """The ways in which the UE hands over at a cut up to `reach`, past those that need no weights."""
        key = (depth, precision, reach, sending)
        found = self._split.get(key)
        if found is None:
            found = self._split[key] = tuple(self._cuts(depth, precision, reach, sending))
        return found

    def _cuts(self, depth: int, precision: str, reach: int, sending: bool) -> list[Place]:
        prices = self.prices[depth]
        first = 0 if not precision else prices.reach(frozenset()) + 1
        last = min(reach, prices.num_operators - 1)  # what is finished on the UE is no split
        row = self.pieces.row(depth, precision) if precision else self.whole(depth)
        accuracy = None if row is None else row.accuracy
        found: list[Place] = []
        host = prices.problem.hosts[0]
        for rest, load in zip(prices.rests, prices.loads, strict=True):
            wait = self.download.wait_s(load) if sending else (0.0, 0.0)
            cuts = np.arange(first, last + 1)
            usable = [c for c in cuts if c >= host.min_stop and host.fits(0, int(c)) and np.isfinite(rest.latency_s[c])]
            candidates = []
            for cut in usable:
                place = self._place(
                    "split" if precision else "network",
                    depth,
                    precision,
                    float(rest.latency_s[cut]),
                    accuracy,
                    float(prices.energy_j[cut]),
                    (int(cut),),
                    load,
                    wait,
                )
                if place is not None:
                    candidates.append(place)
            for place in _not_dominated(candidates, energy=self.asked.battery_j is not None):
                stops = prices.stops(rest, place.stops[0])
                # The hosts behind may be done before the last one: its link is then free of the result.
                crossed = _crossed(stops, prices.num_operators)
                rate = self.download.rate_bps(prices.loads[crossed - 1])
                found.append(dataclasses.replace(place, stops=stops, download_bps=rate))
        return found

    def whole(self, depth: int) -> Configuration | None:
        """What other hosts run at a depth: the weights as they were trained, or the most precise that is known."""
        rows = [c for c in self.pieces.configurations if c.depth == depth]
        exact = [c for c in rows if c.precision == "fp32"]
        return exact[0] if exact else max(rows, key=lambda c: c.accuracy or 0.0, default=None)

    def _place(
        self,
        where: Where,
        depth: int,
        precision: str,
        latency_s: float,
        accuracy: float | None,
        energy_j: float,
        stops: tuple[int, ...],
        load: dict[Pair, float],
        wait_s: tuple[float, float] = (0.0, 0.0),
    ) -> Place | None:
        """`wait_s`: of the result behind the model's bytes, in the mean and at most."""
        asked = self.asked
        longest_s, latency_s = latency_s + wait_s[1], latency_s + wait_s[0]
        if asked.deadline_s is not None and longest_s > asked.deadline_s * (1.0 + 1e-12):
            return None
        if asked.min_accuracy is not None and (accuracy is None or accuracy < asked.min_accuracy - 1e-12):
            return None
        rate = self.download.rate_bps(load)
        if rate <= 0.0 and self.download.links:
            return None  # results alone would fill a link
        cost = {
            "latency": latency_s,
            "energy": energy_j + _TIE * latency_s,
            "accuracy": 1.0 - (accuracy or 0.0) + _TIE * latency_s,
        }[asked.minimize]
        return Place(where, cost, latency_s, rate, depth, precision, stops, accuracy, energy_j)


def _crossed(stops: tuple[int, ...], last: int) -> int:
    """How many hops of the chain a request and its result cross."""
    return next(p for p, stop in enumerate(stops) if stop == last)


def _not_dominated(places: list[Place], *, energy: bool) -> tuple[Place, ...]:
    """Those that no other beats in cost, the download's rate and (where it is bounded) the UE's energy; cheapest first.

    Of equals the first stays.
    """
    kept: list[Place] = []
    for place in sorted(places, key=lambda p: (p.cost, -p.download_bps, p.energy_j)):
        if not any(
            other.download_bps >= place.download_bps and (not energy or other.energy_j <= place.energy_j)
            for other in kept
        ):
            kept.append(place)
    return tuple(kept)
