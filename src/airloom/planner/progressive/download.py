"""The way of a model to the UE: which links it crosses, and what is left of them beside the results of requests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from airloom.core.delivery_plan import PATIENT_S, PIECE_S
from airloom.core.topology import Conditions, LinkState, Topology
from airloom.errors import NoRoute
from airloom.planner.carrying import Way, receive_j_per_bit, ways
from airloom.planner.pricing import Choices

#: Of a TCP segment: payload bytes, and payload with its headers (IP 20, TCP 32 with timestamps).
_SEGMENT, _SEGMENT_WIRE = 1448, 1500
#: Before the first byte of the first configuration: the connection, the manifest, its signature, the architecture's
#: file, and the chunks. A later configuration costs one.
CONNECT_ROUND_TRIPS = 5
Pair = tuple[str, str]


@dataclass(frozen=True)
class Download:
    """How the model comes.

    Attributes:
        devices: from the one that serves it to the UE; that alone where the UE has the model.
        links: by (src, dst), bit/s that a stream gets while nothing else is on that link.
        round_trip_s: from the UE to the server and back.
        receive_j_per_byte: of the UE's radio.
    """

    devices: tuple[str, ...]
    links: Mapping[Pair, float]
    round_trip_s: float
    receive_j_per_byte: float

    def rate_bps(self, load: Mapping[Pair, float]) -> float:
        """What the download gets while `load` bit/s of results are on these links: results go first."""
        return min((rate - load.get(pair, 0.0) for pair, rate in self.links.items()), default=float("inf"))

    def wait_s(self, load: Mapping[Pair, float]) -> tuple[float, float]:
        """How long a result over these links waits for the model's bytes that are before it: in the mean, at most.

        What is being sent is not taken back, and on the slowest link of its way some of the model always waits; on
        the others it does not.
        """
        slowest = min(self.links, key=lambda pair: self.links[pair], default=None)
        if slowest is None or slowest not in load:
            return 0.0, 0.0
        piece_s = max(PIECE_S, 8.0 * _SEGMENT / self.links[slowest])
        return PATIENT_S + piece_s / 2.0, PATIENT_S + piece_s


def goodput_bps(way: Way) -> float:
    """Bit/s of payload of a reliable stream: headers and what is sent again taken off."""
    return way.rate_bps * (1.0 - way.loss) * _SEGMENT / _SEGMENT_WIRE if way.is_open else 0.0


def best_way(topology: Topology, pair: Pair, conditions: Conditions | None, choices: Choices | None) -> Way:
    """The way of using a link that carries most."""
    states: dict[Pair, LinkState] = {(s.src, s.dst): s for s in (conditions.links if conditions else ())}
    found = ways(topology.link(*pair), state=states.get(pair), choices=(choices or {}).get(pair, ()))
    return max(found, key=goodput_bps)


def find_download(
    topology: Topology,
    served_from: str,
    chain: tuple[str, ...],
    *,
    conditions: Conditions | None = None,
    choices: Choices | None = None,
) -> Download:
    """The way from `served_from` to the source: back along `chain` where that is on it, else over fewest links.

    Raises:
        NoRoute: there is none, or a link on it is down.
    """
    if served_from in chain:
        devices = tuple(reversed(chain[: chain.index(served_from) + 1]))
    else:
        devices = _fewest_links(topology, served_from)
    pairs = list(itertools.pairwise(devices))
    found: dict[Pair, float] = {}
    turn = 0.0
    for src, dst in pairs:
        for pair in ((src, dst), (dst, src)):
            try:
                way = best_way(topology, pair, conditions, choices)
            except KeyError:
                raise NoRoute(
                    f"no link {pair[0]}->{pair[1]} on the model's way: add it, or serve it elsewhere"
                ) from None
            turn += way.fixed_s
            if pair == (src, dst):
                found[pair] = goodput_bps(way)
                if found[pair] <= 0.0:
                    raise NoRoute(f"the link {src}->{dst} is down: the model cannot come over it")
    power, joules = topology.device(topology.source).power, 0.0
    if pairs:
        rate = best_way(topology, pairs[-1], conditions, choices).rate_bps
        joules = 8.0 * receive_j_per_bit(power, rate) * _SEGMENT_WIRE / _SEGMENT
    return Download(devices, found, turn, joules)


def _fewest_links(topology: Topology, start: str) -> tuple[str, ...]:
    before: dict[str, str] = {start: ""}
    queue = [start]
    for here in queue:
        for link in topology.links:
            if link.src == here and link.dst not in before:
                before[link.dst] = here
                queue.append(link.dst)
    if topology.source not in before:
        raise NoRoute(f"no way from {start} to {topology.source}: the model is served where the UE cannot reach it")
    path = [topology.source]
    while path[-1] != start:
        path.append(before[path[-1]])
    return tuple(reversed(path))
