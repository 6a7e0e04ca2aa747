"""The plan of a delivery, and what other ways of doing it come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from airloom.core.delivery_plan import DeliveryAlternative, DeliveryAsked, DeliveryPlan
from airloom.core.profile import Profile
from airloom.core.progressive import Configuration, Manifest
from airloom.core.topology import Conditions, Topology
from airloom.errors import ConfigError, Infeasible
from airloom.planner.pareto import pareto_front
from airloom.planner.pricing import Choices
from airloom.planner.progressive.account import phases_of, steps_of, totals_of
from airloom.planner.progressive.course import Course, Courses
from airloom.planner.progressive.depth_profiles import parts_of
from airloom.planner.progressive.download import find_download
from airloom.planner.progressive.pieces import Pieces
from airloom.planner.progressive.places import Places
from airloom.planner.route import chain as nominal_chain
from airloom.units import format_joules, format_percent

#: Schemes of the alternatives.
SPLIT_ONLY = "split only"
DOWNLOAD = "download, then UE"
DOWNLOAD_SPLIT = "download, split meanwhile"
NO_SPLIT = "progressive, no split"

#: Beyond so many, only configurations on the Pareto front are sent.
_MANY = 16
#: Accuracy that may be given up without a word.
_LESS = 0.02


def plan_delivery(
    manifest: Manifest,
    profiles: Mapping[int, Mapping[str, Profile]],
    topology: Topology,
    asked: DeliveryAsked,
    *,
    conditions: Conditions | None = None,
    choices: Choices | None = None,
    private: Mapping[int, int] | None = None,
    notes: Sequence[str] = (),
) -> DeliveryPlan:
    """What to send to the UE in which order, and where requests run meanwhile; see `course` for what is proven.

    Requests come evenly, so one waits for another only where a host or link cannot keep up with them; such ways are
    not taken. Results go before the model on links that both use. A network that the UE runs a part of is as accurate
    as if all its weights had the UE's precision; what is in no precision on the UE is as it was trained.

    Args:
        manifest: of an artifact, or `manifest_of_table`.
        profiles: by depth, then by device as `planner.pricing.build_problem` takes them (`depth_profiles`).
        choices: of radio links, each MCS that they may use.
        private: by depth, how many of the first operators stay on the UE.
        notes: remarks to put into the plan.

    Raises:
        ConfigError: what is asked for cannot be, or a depth has no profile.
        Infeasible: the battery leaves no way.
        NoRoute: no path from source to sink, or from where the model is served.
    """
    check_asked(asked, manifest, topology)
    route = nominal_chain(topology, conditions=conditions, result_returns=True)
    served_from = asked.served_from or topology.sink
    download = find_download(topology, served_from, route, conditions=conditions, choices=choices)
    pieces = Pieces(manifest)
    lacking = sorted(set(pieces.depths) - set(profiles))
    if lacking:
        raise ConfigError(f"no profile of {manifest.model} at depth {lacking[0]}")
    blocks = manifest.architecture.blocks
    used = {depth: profiles[depth] for depth in pieces.depths}
    parts = {depth: parts_of(next(iter(found.values())), blocks) for depth, found in used.items()}
    places = Places(
        pieces, used, parts, topology, route, download, asked, conditions=conditions, choices=choices, private=private
    )
    targets = _targets(pieces)
    courses = Courses(pieces, places, download, asked)
    best = courses.best(targets, asked.steps)
    if best is None:
        raise Infeasible(
            f"no way keeps the battery at {format_joules(asked.battery_j or 0.0)} for {asked.horizon_s:g} s at "
            f"{asked.requests_per_s:g} requests/s: allow more, ask less often or for less long"
        )
    remarks = list(notes)
    if not best.proven:
        remarks.append("not proven: more partial plans than are kept were equally promising")
    if best.proven and len(targets) < len(pieces.configurations):
        remarks.append(
            f"{len(targets)} of {len(pieces.configurations)} configurations are on the Pareto front and were sent"
        )
    phases = phases_of(best, pieces, route)
    totals = totals_of(best, places, asked, phases)
    most = max((c.accuracy for c in pieces.configurations if c.accuracy is not None), default=None)
    is_open = asked.minimize != "accuracy" and asked.min_accuracy is None
    if is_open and most is not None and totals.accuracy is not None and totals.accuracy < most - _LESS:
        # The smallest network is the fastest and the cheapest: that is what was asked for, and seldom what was meant.
        remarks.append(
            f"no accuracy was demanded: {format_percent(totals.accuracy)} is reached of the best configuration's "
            f"{format_percent(most)} (--min-accuracy, or --minimize error)"
        )
    plan = DeliveryPlan(
        model=manifest.model,
        asked=asked,
        served_from=served_from,
        way=download.devices,
        steps=steps_of(best, pieces),
        phases=phases,
        totals=totals,
        metric=manifest.metric,
        notes=tuple(remarks),
    )
    return msgspec.structs.replace(plan, alternatives=_alternatives(pieces, places, courses, asked, route, targets))


def check_asked(asked: DeliveryAsked, manifest: Manifest, topology: Topology) -> None:
    """Refuse what cannot be.

    Raises:
        ConfigError: names the option.
    """
    for name, value in (("--requests-per-s", asked.requests_per_s), ("--horizon", asked.horizon_s)):
        if not (math.isfinite(value) and value > 0.0):
            raise ConfigError(f"must be above 0 and finite, got {value:g}", where=name)
    for name, limit in (("--deadline", asked.deadline_s), ("--battery", asked.battery_j)):
        if limit is not None and not (math.isfinite(limit) and limit > 0.0):
            raise ConfigError(f"must be above 0 and finite, got {limit:g}", where=name)
    if asked.min_accuracy is not None and not 0.0 <= asked.min_accuracy <= 1.0:
        raise ConfigError(f"an accuracy lies in [0, 1], got {asked.min_accuracy:g}", where="--min-accuracy")
    if asked.steps < 1:
        raise ConfigError(f"at least one configuration, got {asked.steps}", where="--steps")
    known = [c for c in manifest.configurations if c.accuracy is not None]
    if (asked.min_accuracy is not None or asked.minimize == "accuracy") and not known:
        raise ConfigError(f"nobody measured how accurate {manifest.model} is: measure it with `airloom elastic table`")
    if asked.min_accuracy is not None:
        most = max(known, key=lambda c: c.accuracy or 0.0)
        if (most.accuracy or 0.0) < asked.min_accuracy - 1e-12:
            raise Infeasible(
                f"no configuration of {manifest.model} is that accurate: the best, {most.name}, has "
                f"{100 * (most.accuracy or 0.0):.1f} % where {100 * asked.min_accuracy:.1f} % is demanded"
            )
    ids = [device.id for device in topology.devices]
    if asked.served_from and asked.served_from not in ids:
        raise ConfigError(f"no device {asked.served_from!r}: there are {', '.join(ids)}", where="--served-from")
    power = topology.device(topology.source).power
    if (asked.battery_j is not None or asked.minimize == "energy") and not (
        power.busy_w or power.radio_j_per_bit or power.receive_w
    ):
        raise ConfigError(
            f"{topology.source} has no power figures: add `power:` to the topology", where=topology.source
        )


def _targets(pieces: Pieces) -> tuple[Configuration, ...]:
    """What may be sent: everything, or of many configurations those that none other beats."""
    everything = pieces.configurations
    if len(everything) <= _MANY:
        return everything
    front = pareto_front(everything)
    return tuple(everything[k] for k in front) if front else everything


def _alternatives(
    pieces: Pieces,
    places: Places,
    courses: Courses,
    asked: DeliveryAsked,
    route: tuple[str, ...],
    targets: Sequence[Configuration],
) -> tuple[DeliveryAlternative, ...]:
    """The same requests served in other ways; what the battery forbids is left out of it."""
    free = msgspec.structs.replace(asked, battery_j=None)
    ordinary = places.whole(pieces.depths[-1])
    alone = Courses(pieces, places, courses.download, free, split=False)
    both = Courses(pieces, places, courses.download, free)
    found: list[tuple[str, Course | None]] = [(SPLIT_ONLY, both.along(()))]
    if ordinary is not None and places.download.links:
        # A model that is not progressive has one depth, and nothing of it runs before all is there.
        only = places.of(ordinary)
        waits = Courses(only.pieces, only, courses.download, free, split=False, ordinary=True)
        meanwhile = Courses(only.pieces, only, courses.download, free, ordinary=True)
        found += [(DOWNLOAD, waits.along((ordinary,))), (DOWNLOAD_SPLIT, meanwhile.along((ordinary,)))]
    if places.download.links:
        found.append((NO_SPLIT, alone.best(targets, asked.steps)))
    alternatives = []
    for scheme, course in found:
        if course is None:
            continue
        totals = totals_of(course, places, asked, phases_of(course, pieces, route))
        within = asked.battery_j is None or course.energy_j <= asked.battery_j * (1 + 1e-9)
        alternatives.append(
            DeliveryAlternative(
                scheme=scheme,
                totals=totals,
                steps=steps_of(course, pieces),
                kept=within and totals.answered >= 1.0 - 1e-9,
            )
        )
    return tuple(alternatives)
