"""Traces as Chrome trace JSON, which https://ui.perfetto.dev opens: a process a scheme, a track a host.

Format: "Trace Event Format" of the Chromium project. Times are microseconds from the first event of
each scheme, so schemes that ran one after the other lie under one another.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from airloom.core.trace import Event
from airloom.report.folder import Run

Json = dict[str, Any]

# What a track shows beside stages, as instants.
_INSTANTS = ("table", "peer", "drop", "condition", "repair", "attempt")


def to_perfetto(run: Run) -> Json:
    """The run as one Chrome trace.

    Stages are slices, requests asynchronous slices of their source, transfers slices on both ends
    joined by a flow, measured rates and loads counters.
    """
    events: list[Json] = []
    flow = 0
    for pid, scheme in enumerate(run.schemes, 1):
        events.append(_name("process_name", pid, 0, scheme.record.title))
        events.append({"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}})
        hosts = dict.fromkeys([*scheme.series.chain, *(e.host for e in scheme.events)])
        tids = {host: tid for tid, host in enumerate(hosts, 1)}
        for host, tid in tids.items():
            events.append(_name("thread_name", pid, tid, host))
            events.append({"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}})
        began = min((e.at_s - e.took_s for e in scheme.events if e.kind != "trace"), default=0.0)
        sends: dict[tuple[Any, ...], list[tuple[int, float]]] = defaultdict(list)
        for event in scheme.events:
            track = {"pid": pid, "tid": tids[event.host]}
            at = max(0.0, round(1e6 * (event.at_s - began), 3))
            args = {k: v for k, v in (("request", event.request), ("attempt", event.attempt)) if v is not None}
            args |= event.data
            if event.kind == "stage":
                name = f"{event.data.get('start', '?')}..{event.data.get('stop', '?')}"
                events.append(_slice(name, "stage", at, 1e6 * event.took_s, track, args))
            elif event.kind == "submit":
                events.append(_async("b", event, pid, at, track, args))
            elif event.kind in ("result", "error"):
                events.append(_async("e", event, pid, at, track, args))
            elif event.kind == "send":
                flow += 1
                dst = event.data.get("dst")
                what = event.data.get("what", "task")
                sends[event.host, dst, event.data.get("source"), event.request, event.attempt, what].append((flow, at))
                events.append(_slice(f"send {what} to {dst}", "transfer", at, 1.0, track, args))
                events.append({"ph": "s", "id": flow, "name": "transfer", "cat": "transfer", "ts": at, **track})
            elif event.kind == "arrive":
                src, what = event.data.get("src"), event.data.get("what", "task")
                events.append(_slice(f"{what} from {src}", "transfer", at, 1.0, track, args))
                waiting = sends.get((src, event.host, event.data.get("source"), event.request, event.attempt, what))
                if waiting:
                    number, _ = waiting.pop(0)
                    end = {"ph": "f", "bp": "e", "id": number, "name": "transfer", "cat": "transfer", "ts": at}
                    events.append(end | track)
            elif event.kind == "link" and "rate_bps" in event.data:
                name = f"{event.host} to {event.data.get('dst', '?')} Mbit/s"
                rate = {"Mbit/s": (event.data["rate_bps"] or 0.0) / 1e6}
                events.append({"ph": "C", "name": name, "ts": at, "args": rate, **track})
            elif event.kind == "load":
                args = {"load": event.data.get("load", 0)}
                events.append({"ph": "C", "name": f"{event.host} load", "ts": at, "args": args, **track})
            elif event.kind in _INSTANTS:
                events.append(
                    {"ph": "i", "s": "t", "name": event.kind, "cat": event.kind, "ts": at, "args": args, **track}
                )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _name(what: str, pid: int, tid: int, name: str) -> Json:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _slice(name: str, category: str, end_us: float, took_us: float, track: Json, args: Json) -> Json:
    """A slice that ends at `end_us`; what took no time lasts a microsecond so that flows can hold on to it."""
    took = max(took_us, 1.0)
    start = end_us if took_us <= 1.0 else max(0.0, end_us - took)
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "ts": round(start, 3),
        "dur": round(took, 3),
        "args": args,
        **track,
    }


def _async(phase: str, event: Event, pid: int, at: float, track: Json, args: Json) -> Json:
    name = f"request {event.request}"
    identity = f"{pid}.{event.host}.{event.request}"
    return {"ph": phase, "id": identity, "name": name, "cat": "request", "ts": at, "args": args, **track}
