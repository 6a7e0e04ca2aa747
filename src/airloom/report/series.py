"""What the trace of one scheme says, request by request, before anything is summed up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from airloom.core.trace import Event

RESULT = "result"
# Who writes of changes of emulated links.
RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Served:
    """One request and its one outcome.

    Attributes:
        index: its place in the order of submission, from 0.
        submitted_s: when, in seconds since the scheme's first submission.
        took_s: from submission to outcome.
        outcome: `result`, the name of an error, or `lost` where the trace ends before it.
        stops: for each device of the chain, the cut at which it stopped; () where no stage was seen.
        missing_share: share of the bytes on its way that never came and were zero-filled.
        predicted_s: what its source expected of the attempt that had the result, where it knew.
        predicted_accuracy: what the hosts expected of it from what was missing; None where they did not know.
    """

    index: int
    submitted_s: float
    took_s: float
    outcome: str
    stops: tuple[int, ...] = ()
    attempts: int = 1
    missing_share: float = 0.0
    predicted_s: float | None = None
    predicted_accuracy: float | None = None


@dataclass(frozen=True)
class StageRun:
    """One execution of operators `start..stop-1`; `index` is its request's, -1 where that is unknown.

    `part` is what of a step of training it was: forward, backward, update; "" of an inference.
    """

    device: str
    start: int
    stop: int
    took_s: float
    index: int
    part: str = ""


class Sending(NamedTuple):
    """A message left a host.

    Attributes:
        request: its place in the order of submission, -1 where it belongs to none.
        at_s: seconds since the first submission.
        what: task, result, repair, control, ...
        nbytes: on the wire.
    """

    request: int
    at_s: float
    src: str
    dst: str
    what: str
    nbytes: int


@dataclass
class Series:
    """A scheme's requests, stages, bytes and link rates over time."""

    chain: tuple[str, ...]
    served: list[Served] = field(default_factory=list)
    stages: list[StageRun] = field(default_factory=list)
    # (src, dst) -> [(seconds since the first submission, bit/s)]
    rates: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)
    # (src, dst) -> [(seconds since the first submission, bit/s)] as the network was set; None as the topology has it
    set_rates: dict[tuple[str, str], list[tuple[float, float | None]]] = field(default_factory=dict)
    sendings: list[Sending] = field(default_factory=list)
    # requests for which a host found no way within the bounds, and took the one that goes over them least
    over: set[int] = field(default_factory=set)
    # (src, dst, what) -> bytes on the wire
    sent: dict[tuple[str, str, str], int] = field(default_factory=dict)
    # (src, dst, coding, MCS or None) -> messages with cuts; (src, dst, coding) -> share of each missing on arrival
    carried: dict[tuple[str, str, str, int | None], int] = field(default_factory=dict)
    arrived: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    peers: list[tuple[float, str, str, bool]] = field(default_factory=list)
    # (source, request) -> its place in the order of submission
    index: dict[tuple[str, int | None], int] = field(default_factory=dict)
    missing_nbytes: int = 0
    repairs: int = 0
    seconds: float = 0.0

    def index_of(self, event: Event) -> int | None:
        """The place in the order of submission of the request that `event` belongs to."""
        return self.index.get(_key(event, self.chain))

    @property
    def num_operators(self) -> int:
        return max((stage.stop for stage in self.stages), default=0)


def _int(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _key(event: Event, chain: Sequence[str]) -> tuple[str, int | None]:
    """Whose request, and which: sources number their requests each for itself."""
    own = event.kind in ("submit", "attempt", "result", "error")
    source = event.host if own else event.data.get("source", chain[0] if chain else "")
    return str(source), event.request


def _note_sending(series: Series, event: Event) -> None:
    """A cut left a host: in which coding, with which MCS."""
    mcs = event.data.get("mcs")
    coding = str(event.data.get("coding", "raw"))
    key = event.host, str(event.data.get("dst", "?")), coding, mcs if isinstance(mcs, int) else None
    series.carried[key] = series.carried.get(key, 0) + 1


def _note_arrival(series: Series, event: Event) -> None:
    """A cut came to a host that says how much of it is missing."""
    share = event.data.get("missing_share")
    if isinstance(share, int | float):
        key = str(event.data.get("src", "?")), event.host, str(event.data.get("coding", "raw"))
        series.arrived.setdefault(key, []).append(float(share))


def _note_condition(series: Series, event: Event, began: float) -> None:
    """The network was changed: a relay names the link that moved, a simulation all that differ from the topology."""
    at_s, now = event.at_s - began, dict[tuple[str, str], float | None]()
    for state in event.data.get("links", ()):
        if isinstance(state, dict):
            rate = state.get("rate_bps")
            now[str(state.get("src")), str(state.get("dst"))] = float(rate) if isinstance(rate, int | float) else None
    if event.host != RELAY:
        now |= dict.fromkeys(series.set_rates.keys() - now.keys())
    for link, rate in now.items():
        steps = series.set_rates.setdefault(link, [])
        if not steps or steps[-1][1] != rate:
            steps.append((at_s, rate))


def chain_of(events: Iterable[Event]) -> tuple[str, ...]:
    """The devices of a trace without a record: the source first, the rest by the operators they ran."""
    first: dict[str, int] = {}
    sources: dict[str, None] = {}
    others: dict[str, None] = {}
    for event in events:
        if event.kind in ("send", "arrive", "stage"):
            # A relay leaves a trace too, but is no host.
            others.setdefault(event.host)
        if event.kind == "submit":
            sources.setdefault(event.host)
        elif event.kind == "stage":
            first[event.host] = min(first.get(event.host, 1 << 30), _int(event.data.get("start")))
    order = [*sources, *sorted(first, key=lambda host: first[host]), *others]
    return tuple(dict.fromkeys(order))


def _stops(chain: Sequence[str], stages: Iterable[Event], source: str) -> tuple[int, ...]:
    """For each device of the chain, where it stopped: a device that ran nothing passes its cut on.

    The chain begins with one source of perhaps several, and stands for the way from `source` all the same.
    """
    reached: dict[str, int] = {}
    for event in stages:
        host = chain[0] if event.host == source and chain else event.host
        reached[host] = max(reached.get(host, 0), _int(event.data.get("stop")))
    if not reached:
        return ()
    stops, cut = [], 0
    for device in chain:
        cut = max(cut, reached.get(device, 0))
        stops.append(cut)
    return tuple(stops)


def read_series(events: Sequence[Event], chain: tuple[str, ...] = ()) -> Series:
    """Order a trace by request; `chain` names the devices from source to sink where it is known."""
    chain = chain or chain_of(events)
    series = Series(chain=chain)
    submits = sorted((e for e in events if e.kind == "submit"), key=lambda e: (e.at_s, e.request or 0))
    began = submits[0].at_s if submits else min((e.at_s for e in events), default=0.0)
    series.index = {_key(event, chain): k for k, event in enumerate(submits)}
    # The first end counts: a request has one outcome.
    ends = {_key(e, chain): e for e in reversed(events) if e.kind in ("result", "error")}
    stages: dict[tuple[str, int | None], list[Event]] = defaultdict(list)
    attempts: dict[tuple[str, int | None], int] = defaultdict(int)
    rates: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    sent: dict[tuple[str, str, str], int] = defaultdict(int)
    for event in events:
        data = event.data
        if event.kind == "stage":
            stages[_key(event, chain)].append(event)
            start, stop = _int(data.get("start")), _int(data.get("stop"))
            index = series.index.get(_key(event, chain), -1)
            series.stages.append(StageRun(event.host, start, stop, event.took_s, index, str(data.get("what", ""))))
        elif event.kind == "attempt":
            attempts[_key(event, chain)] += 1
        elif event.kind == "arrive":
            series.missing_nbytes += _int(data.get("missing"))
            _note_arrival(series, event)
        elif event.kind in ("send", "repair"):
            what = "repair" if event.kind == "repair" else str(data.get("what", "task"))
            dst, nbytes = str(data.get("dst", "?")), _int(data.get("wire_nbytes", data.get("nbytes")))
            sent[event.host, dst, what] += nbytes
            index = series.index.get(_key(event, chain), -1)
            series.sendings.append(Sending(index, event.at_s - began, event.host, dst, what, nbytes))
            series.repairs += event.kind == "repair"
            if what == "task" and event.kind == "send":
                _note_sending(series, event)
        elif event.kind == "wave":
            src, nbytes = str(data.get("src", "?")), _int(data.get("wire_nbytes"))
            sent[src, event.host, "control"] += nbytes
            series.sendings.append(Sending(-1, event.at_s - began, src, event.host, "control", nbytes))
        elif event.kind == "link" and isinstance(rate := data.get("rate_bps"), int | float):
            link = str(data.get("src", event.host)), str(data.get("dst", "?"))
            rates[link].append((event.at_s - began, float(rate)))
        elif event.kind == "condition":
            _note_condition(series, event, began)
        elif event.kind == "bound":
            series.over.add(series.index.get(_key(event, chain), -1))
        elif event.kind == "drop":
            reason = str(data.get("reason", "?"))
            series.drops[reason] = series.drops.get(reason, 0) + (_int(data.get("count")) or 1)
        elif event.kind == "peer":
            series.peers.append((event.at_s - began, event.host, str(data.get("peer", "?")), bool(data.get("up"))))
    series.rates, series.sent = dict(rates), dict(sent)
    for k, submit in enumerate(submits):
        key = _key(submit, chain)
        end, runs = ends.get(key), stages[key]
        if end is not None and end.attempt is not None:
            runs = [r for r in runs if r.attempt == end.attempt] or runs
        predicted = None if end is None else end.data.get("predicted_s")
        accuracy = None if end is None else end.data.get("predicted_accuracy")
        series.served.append(
            Served(
                index=k,
                submitted_s=submit.at_s - began,
                took_s=0.0 if end is None else end.at_s - submit.at_s,
                outcome="lost"
                if end is None
                else RESULT
                if end.kind == "result"
                else str(end.data.get("error", "error")),
                stops=_stops(chain, runs, key[0]),
                attempts=max(1, attempts[key]),
                missing_share=0.0 if end is None else float(end.data.get("missing_share") or 0.0),
                predicted_s=float(predicted) if isinstance(predicted, int | float) else None,
                predicted_accuracy=float(accuracy) if isinstance(accuracy, int | float) else None,
            )
        )
    done = [s.submitted_s + s.took_s for s in series.served if s.outcome == RESULT]
    series.seconds = max(done, default=0.0)
    return series
