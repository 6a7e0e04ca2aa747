"""Where a UE is: a path through waypoints at one speed, as positions at times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from airloom.core.scenario import Path


class Route:
    """A path, prepared to be asked for positions.

    Attributes:
        length_m: of one lap: of the way to the last waypoint, with the closing leg where it loops.
        lap_s: time until it repeats; infinite where it never does.
    """

    def __init__(self, path: Path) -> None:
        points = np.array(path.waypoints, dtype=np.float64).reshape(-1, 2)
        if path.at_end == "loop" and len(points) > 1:
            points = np.concatenate([points, points[:1]])
        legs = np.hypot(*np.diff(points, axis=0).T) if len(points) > 1 else np.zeros(0)
        self._at_m = np.concatenate([[0.0], np.cumsum(legs)])
        self._points = points
        self._path = path
        self.length_m = float(self._at_m[-1])
        self.moves = self.length_m > 0.0 and path.speed_mps > 0.0
        laps = {"loop": 1.0, "back": 2.0, "stop": np.inf}[path.at_end]
        self.lap_s = laps * self.length_m / path.speed_mps if self.moves else np.inf

    def way_s(self) -> float:
        """Seconds until every place on the path has been passed once."""
        return self.length_m / self._path.speed_mps if self.moves else 0.0

    def at(self, time_s: ArrayLike) -> NDArray[np.float64]:
        """Positions [..., 2] in m at times [...]; before 0 it stands at the start."""
        times = np.asarray(time_s, dtype=np.float64)
        if not self.moves:
            return np.broadcast_to(self._points[0], (*times.shape, 2))
        gone_m = np.maximum(times, 0.0) * self._path.speed_mps
        if self._path.at_end == "loop":
            gone_m = gone_m % self.length_m
        elif self._path.at_end == "back":
            phase = gone_m % (2.0 * self.length_m)
            gone_m = np.minimum(phase, 2.0 * self.length_m - phase)
        return np.stack([np.interp(gone_m, self._at_m, self._points[:, axis]) for axis in (0, 1)], axis=-1)
