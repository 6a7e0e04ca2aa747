"""A simulated hour takes no more memory than its first ten minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenes import PROFILE, moving

from airloom.playing.play import Play
from airloom.playing.simulated import play_simulated


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_memory_is_flat_over_a_simulated_hour(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []

    def told(scheme: str, now_s: float, of_s: float | None, results: int) -> None:
        if not seen or now_s >= seen[-1][0] + 60.0:
            seen.append((now_s, resident_mib()))

    what = Play(moving(2), {"": PROFILE}, seconds=3600.0, keep="requests")
    _, record = play_simulated(what, folder=tmp_path, progress=told)
    assert record.schemes[0].results == 2 * 18_000
    at_ten = max(mib for at_s, mib in seen if at_s <= 660.0)
    at_end = max(mib for at_s, mib in seen if at_s > 3000.0)
    assert at_end - at_ten < 4.0, seen
