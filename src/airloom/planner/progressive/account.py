"""What a course comes to, as a plan tells it: phases, steps and totals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from airloom.core.delivery_plan import DeliveryAsked, DeliveryStep, DeliveryTotals, Phase
from airloom.core.progressive import Configuration
from airloom.planner.progressive.course import Course, Stretch
from airloom.planner.progressive.pieces import Pieces
from airloom.planner.progressive.places import Places


def phases_of(course: Course, pieces: Pieces, route: tuple[str, ...]) -> tuple[Phase, ...]:
    """Stretches in which requests run alike, joined."""
    found: list[Phase] = []
    for stretch in course.stretches:
        if stretch.end_s <= stretch.start_s:
            continue
        complete = on_ue(pieces, stretch.held)
        place = stretch.place
        phase = Phase(
            start_s=stretch.start_s,
            end_s=stretch.end_s,
            where=place.where,
            depth=place.depth,
            precision=place.precision,
            on_ue="" if complete is None else complete.name,
            chain=route if place.where != "none" else (),
            stops=place.stops,
            latency_s=None if place.where == "none" else place.latency_s,
            accuracy=place.accuracy,
            energy_j=place.energy_j,
            nbytes=stretch.nbytes,
            download_bps=place.download_bps if stretch.arriving and math.isfinite(place.download_bps) else 0.0,
        )
        if found and _alike(found[-1], phase):
            before, rate = found[-1], max(found[-1].download_bps, phase.download_bps)
            mean_s = phase.latency_s
            if before.latency_s is not None and phase.latency_s is not None:
                # Results do not wait for the model any more once all of it is there.
                both = before.seconds * before.latency_s + phase.seconds * phase.latency_s
                mean_s = both / (before.seconds + phase.seconds)
            found[-1] = msgspec.structs.replace(before, end_s=phase.end_s, download_bps=rate, latency_s=mean_s)
        else:
            found.append(phase)
    return tuple(found)


def steps_of(course: Course, pieces: Pieces) -> tuple[DeliveryStep, ...]:
    """What is sent, and what of it becomes usable on the way to another."""
    found: list[DeliveryStep] = []
    total = 0
    for sent in course.sent:
        total += sent.nbytes
        target = sent.configuration
        found.append(
            DeliveryStep(
                depth=target.depth,
                precision=target.precision,
                begin_s=sent.begin_s,
                ready_s=sent.ready_s if math.isfinite(sent.ready_s) else None,
                nbytes=sent.nbytes,
                total_nbytes=total,
                accuracy=target.accuracy,
                share=_share(pieces, target.depth),
            )
        )
    names = {step.name for step in found}
    for stretch in course.stretches:
        place = stretch.place
        name = f"{place.depth}/{place.precision}"
        if place.where == "ue" and name not in names:
            names.add(name)
            found.append(
                DeliveryStep(
                    depth=place.depth,
                    precision=place.precision,
                    begin_s=stretch.start_s,
                    ready_s=stretch.start_s,
                    nbytes=0,
                    total_nbytes=stretch.nbytes,
                    accuracy=place.accuracy,
                )
            )
    return tuple(
        sorted(found, key=lambda step: (math.inf if step.ready_s is None else step.ready_s, step.total_nbytes))
    )


def totals_of(course: Course, places: Places, asked: DeliveryAsked, phases: Sequence[Phase]) -> DeliveryTotals:
    """Sums over the horizon. A request that nothing answers yet waits for what comes, as far as its deadline lets it.

    What queues up meanwhile, and is then answered one after the other, is not counted.
    """
    answered = seconds = right = 0.0
    known = True
    first = float("inf")
    waiting: list[Stretch] = []
    for stretch in course.stretches:
        place, length = stretch.place, stretch.end_s - stretch.start_s
        if place.where == "none":
            waiting.append(stretch)
            continue
        if length <= 0.0:
            continue
        first = min(first, stretch.start_s + place.latency_s)
        here = length
        seconds += length * place.latency_s
        for gap in waiting:
            # Those of the last `room` seconds before now are still waiting.
            room = float("inf") if asked.deadline_s is None else asked.deadline_s - place.latency_s
            begin = max(gap.start_s, stretch.start_s - room)
            if begin < gap.end_s:
                span = gap.end_s - begin
                here += span
                seconds += span * (place.latency_s + stretch.start_s - (begin + gap.end_s) / 2.0)
        waiting = []
        answered += here
        if place.accuracy is None:
            known = False
        else:
            right += here * place.accuracy
    own = next((phase.start_s for phase in phases if phase.where == "ue"), None)
    return DeliveryTotals(
        latency_s=seconds / answered if answered else None,
        accuracy=right / answered if known and answered else None,
        answered=min(answered / asked.horizon_s, 1.0),
        nbytes=round(course.nbytes),
        energy_j=course.energy_j if places.has_power else None,
        first_s=first if math.isfinite(first) else None,
        own_s=own,
    )


def on_ue(pieces: Pieces, held: frozenset[int]) -> Configuration | None:
    """The best configuration that is complete: the most accurate, of equals or unmeasured ones the largest."""
    there = pieces.complete(held)
    return max(there, key=lambda c: (c.accuracy is not None, c.accuracy or 0.0, c.nbytes), default=None)


def _alike(one: Phase, other: Phase) -> bool:
    same = ("where", "depth", "precision", "stops")
    return all(getattr(one, name) == getattr(other, name) for name in same)


def _share(pieces: Pieces, depth: int) -> float:
    """Of the model's weights those of a network of this depth."""
    parts = pieces.manifest.parts
    whole = sum(part.parameters for part in parts)
    kept = parts[0].parameters + sum(parts[1 + k].parameters for k in pieces.manifest.order.kept(depth))
    return kept / whole if whole else 1.0
