"""Whether a UE's way lies within reach of some cell, and ways that do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from airloom.core.scenario import Cell, Path
from airloom.radio.cell.friis import snr_db
from airloom.radio.cell.mobility import Route
from airloom.radio.cell.streams import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_STEP_M = 1.0
_MOST_STEPS = 100_000
_TRIES = 200


class Hole(NamedTuple):
    """The first place on a way that no cell reaches.

    Attributes:
        at_s: after the start of the way.
        cell: the best cell there, `snr_db` its SNR.
    """

    at_s: float
    x_m: float
    y_m: float
    cell: Cell
    snr_db: float


def best(cells: Sequence[Cell], where: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Cell of the largest SNR over what it needs at positions [..., 2], and that SNR."""
    snr = np.stack([snr_db(c.antenna, np.hypot(*np.moveaxis(where - np.array(c.at_m), -1, 0))) for c in cells], -1)
    chosen = (snr - np.array([c.antenna.min_snr_db for c in cells])).argmax(axis=-1)
    return chosen, np.take_along_axis(snr, chosen[..., None], -1)[..., 0]


def hole(cells: Sequence[Cell], path: Path) -> Hole | None:
    """Where a UE on this path first is out of reach of all cells, looked at every metre; None for nowhere."""
    route = Route(path)
    way_s = route.way_s()
    steps = min(math.ceil(route.length_m / _STEP_M), _MOST_STEPS) if way_s else 0
    times = np.linspace(0.0, way_s, steps + 1)
    where = route.at(times)
    chosen, snr = best(cells, where)
    least = np.array([cell.antenna.min_snr_db for cell in cells])[chosen]
    short = np.flatnonzero(snr < least)
    if not len(short):
        return None
    first = short[0]
    x, y = where[first]
    return Hole(float(times[first]), float(x), float(y), cells[int(chosen[first])], float(snr[first]))


def wandering(
    cells: Sequence[Cell], area_m: tuple[float, float], waypoints: int, *, seed: int, ue: str
) -> tuple[tuple[float, float], ...]:
    """Random waypoints, evenly spread over the area, that a UE can go along in coverage and back to the first.

    Raises:
        ValueError: none were found in many tries.
    """
    draws = stream(seed, "path", ue)
    found: list[tuple[float, float]] = []
    for number in range(waypoints):
        for _ in range(_TRIES):
            x, y = (float(v) for v in draws.uniform((0.0, 0.0), area_m))
            # The last one must also see the first.
            way = ((x, y),) if not found else (found[-1], (x, y), *(found[:1] if number == waypoints - 1 else ()))
            if hole(cells, Path(waypoints=way, speed_mps=1.0, at_end="stop")) is None:
                found.append((x, y))
                break
        else:
            raise ValueError(f"no {waypoints} waypoints in coverage found: cells reach too little of the area")
    return tuple(found)
