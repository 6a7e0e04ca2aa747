"""The topology with the stages on it, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from airloom.core.run import RunRecord
from airloom.core.topology import Conditions, Device, Link, LinkState, Topology
from airloom.report.markup import Svg, colour
from airloom.report.scheme_summary import StageSummary
from airloom.units import format_bytes, format_rate, format_seconds

WIDTH = 1000.0
BOX_H = 112.0  # of a device of the chain
SIDE_H = 58.0  # of any other, in the rows below
SIDE_GAP = 24.0
ROLES = {"ue": "UE", "gnb": "gNB", "mec": "MEC", "cloud": "cloud"}


def stage_spans(chain: Sequence[str], stops: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Operators `start, stop` of each device of the chain that runs any."""
    spans, start = {}, 0
    for device, stop in zip(chain, stops, strict=False):
        if stop > start:
            spans[device] = (start, stop)
            start = stop
    return spans


def _places(topology: Topology, chain: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Column and row of each device: the chain in the first row, others below by hops to the sink."""
    places = {device: (k, 0) for k, device in enumerate(chain)}
    hops, ring = {topology.sink: 0}, [topology.sink]
    while ring:
        near = {link.src: hops[link.dst] + 1 for link in topology.links if link.dst in ring and link.src not in hops}
        hops |= near
        ring = list(near)
    depth: dict[int, int] = {}
    for device in topology.devices:
        if device.id not in places:
            column = max(0, len(chain) - 1 - hops.get(device.id, len(chain)))
            depth[column] = depth.get(column, 0) + 1
            places[device.id] = (column, depth[column])
    return places


def _speed(device: Device) -> str:
    if device.profile:
        return "own profile"
    return "as profiled" if device.factor == 1 else f"profiled time × {device.factor:.3g}"


def draw_topology(
    record: RunRecord,
    stops: Sequence[int],
    conditions: Conditions,
    num_operators: int,
    stages: Sequence[StageSummary],
    crossing: dict[tuple[str, str], float],
) -> str:
    """One drawing of the chain and its neighbours.

    Args:
        stops: where each device of the chain stopped.
        conditions: what differed from the topology; such links are marked.
        num_operators: L.
        stages: measured stages, for captions.
        crossing: bytes of one request over each link, where it is known.
    """
    topology, chain = record.topology, record.chain
    places = _places(topology, chain)
    columns = max(column for column, _ in places.values()) + 1
    rows = max(row for _, row in places.values()) + 1
    gap = 128.0 if columns <= 5 else 640.0 / columns
    box_w = (WIDTH - 4 - gap * (columns - 1)) / columns
    strip_y = BOX_H + (rows - 1) * (SIDE_H + SIDE_GAP) + 32
    spans = stage_spans(chain, stops)
    took = {(s.device, s.start, s.stop): s.p50_s.value for s in stages}
    ran = ", ".join(f"{d} runs operators {a} to {b - 1}" for d, (a, b) in spans.items()) or "no stage was seen"
    svg = Svg(WIDTH, strip_y + 46, f"Hosts {', '.join(chain)}; {ran}.")

    def corner(device: str) -> tuple[float, float]:
        column, row = places[device]
        return 2 + column * (box_w + gap), 2 + (BOX_H + SIDE_GAP + (row - 1) * (SIDE_H + SIDE_GAP) if row else 0)

    def box_h(device: str) -> float:
        return BOX_H if places[device][1] == 0 else SIDE_H

    rates = {(s.src, s.dst): s for s in conditions.links}
    down = {s.id for s in conditions.devices if not s.up}
    last = max((k for k, d in enumerate(chain) if d in spans), default=0)
    used = {(chain[k], chain[k + 1]) for k in range(last)}
    drawn: set[frozenset[str]] = set()
    for link in topology.links:
        pair = frozenset((link.src, link.dst))
        if pair in drawn or link.src not in places or link.dst not in places:
            continue
        drawn.add(pair)
        a, b = sorted((link.src, link.dst), key=lambda d: places[d])
        forward = next((x for x in topology.links if (x.src, x.dst) == (a, b)), link)
        (ax, ay), (bx, by) = corner(a), corner(b)
        state = rates.get((forward.src, forward.dst))
        moved = () if state is None else (state.rate_bps, state.delay_s, state.loss, state.snr_db)
        changed = state is not None and (any(value is not None for value in moved) or not state.up)
        y1, y2 = ay + box_h(a) / 2, by + box_h(b) / 2
        if places[a][0] == places[b][0]:
            x1 = x2 = ax + box_w / 2
            y1, y2 = ay + box_h(a), by
        else:
            x1, x2 = ax + box_w, bx
        svg.line(x1, y1, x2, y2, "link" + (" changed" if changed else "") + ("" if (a, b) in used else " idle"))
        if y1 != y2:
            continue
        middle = (x1 + x2) / 2
        rate = forward.rate_bps
        if state is not None and state.rate_bps is not None:
            rate = state.rate_bps
        said = "down" if state is not None and not state.up else format_rate(rate)
        svg.text(middle, y1 - 24, said, "mid small changed" if changed else "mid small strong")
        svg.text(middle, y1 - 9, _quality(forward, state), "mid small soft")
        if (a, b) in used and (a, b) in crossing:
            svg.text(middle, y1 + 18, f"{format_bytes(crossing[a, b])} sent", "mid small soft")
        elif (a, b) not in used and a in chain and b in chain:
            svg.text(middle, y1 + 18, "not used", "mid small soft")
    for device in topology.devices:
        x, y = corner(device.id)
        svg.rect(x, y, box_w, box_h(device.id), cls="box" + (" idle" if device.id in down else ""), r=9)
        svg.text(x + 14, y + 26, device.id, "strong")
        svg.text(x + box_w - 14, y + 26, "down" if device.id in down else ROLES[device.role], "small soft end")
        svg.text(x + 14, y + 45, _speed(device), "small soft")
        if device.id in spans:
            start, stop = spans[device.id]
            seconds = took.get((device.id, start, stop))
            said = f"operators {start}–{stop - 1}"
            fill = colour(chain.index(device.id))
            svg.rect(x + 10, y + 56, box_w - 20, 46, fill=fill, r=6, title=f"{device.id}: {said}")
            svg.text(x + box_w / 2, y + 75, said, "mid small on")
            svg.text(x + box_w / 2, y + 92, "" if seconds is None else format_seconds(seconds), "mid small on")
        elif device.id in chain:
            k = chain.index(device.id)
            svg.text(x + 14, y + 84, "forwards" if k < last else "not used", "small soft")
    _strip(svg, strip_y, spans, chain, num_operators)
    return svg.render()


def _strip(svg: Svg, y: float, spans: dict[str, tuple[int, int]], chain: Sequence[str], num_operators: int) -> None:
    """The model from its first operator to its last, in the colours of the hosts that run it."""
    svg.rect(2, y, WIDTH - 4, 16, cls="track", r=4)
    scale = (WIDTH - 4) / max(1, num_operators)
    for device, (start, stop) in spans.items():
        title = f"{device}: operators {start} to {stop - 1}"
        svg.rect(2 + start * scale, y, (stop - start) * scale, 16, fill=colour(chain.index(device)), r=4, title=title)
    svg.text(2, y + 34, "input", "small soft")
    svg.text(WIDTH - 2, y + 34, f"result after {num_operators} operators", "small soft end")
    for start, _ in spans.values():
        if 0.08 < start / max(1, num_operators) < 0.75:
            svg.text(2 + start * scale, y + 34, f"cut {start}", "small soft mid")


def _quality(link: Link, state: LinkState | None) -> str:
    """Delay and loss as `state` left them; of a 5G radio SNR and MCS, all that there is room for."""
    if link.nr is not None:
        snr_db = link.nr.snr_db if state is None or state.snr_db is None else state.snr_db
        mcs = "" if link.nr.mcs is None else f", MCS {link.nr.mcs}"
        return f"{snr_db:.3g} dB{mcs}"
    delay_s = link.delay_s if state is None or state.delay_s is None else state.delay_s
    loss = link.loss if state is None or state.loss is None else state.loss
    return format_seconds(delay_s) + (f", {100 * loss:.3g} % loss" if loss else "")
