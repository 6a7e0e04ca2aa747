"""What the links of a scenario leave to the target UEs: mean and deviation, beside what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from airloom.core.simulated import LinkBandwidth

if TYPE_CHECKING:
    from airloom.radio.cell.network import ScenarioNetwork


def bandwidth_table(network: ScenarioNetwork, seconds: float) -> tuple[LinkBandwidth, ...]:
    """A row for each link that varies, over the ticks of the first `seconds` in which it is up.

    Links that never are up have no row. The network is played to that time.
    """
    ticks = max(1, round(seconds / network.period_s))
    count, mean, squares = (np.zeros(len(network.links)) for _ in range(3))
    for tick in range(ticks):
        rates = network.rates(tick)
        up = rates > 0.0
        count += up
        # Welford's way: no sum of squares that outgrows what it is to tell.
        off = np.where(up, rates - mean, 0.0)
        mean += off / np.maximum(count, 1.0)
        squares += off * np.where(up, rates - mean, 0.0)
    shared = {(link.src, link.dst): link for link in network.scenario.links}
    rows = []
    for k, pair in enumerate(network.links):
        if not count[k]:
            continue
        link = shared.get(pair)
        published = None if link is None else link.published
        rows.append(
            LinkBandwidth(
                src=pair[0],
                dst=pair[1],
                label="" if link is None else link.label,
                mean_bps=float(mean[k]),
                std_bps=float(np.sqrt(squares[k] / count[k])),
                published_mean_bps=None if published is None else published[0],
                published_std_bps=None if published is None else published[1],
            )
        )
    return tuple(rows)
