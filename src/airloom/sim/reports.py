"""What a radio's scheduler tells hosts of their links, tick by tick: no more of it than they may make use of."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from airloom.core.topology import Topology
from airloom.engine.events import LinkMeasured
from airloom.sim.rates import Window


class Told(NamedTuple):
    """A link that a host is told of, and its column in the window."""

    src: str
    dst: str
    column: int


class Reports:
    """By device, the links whose rates it hears: those that it is an end of.

    A cell does not hear of its UEs' links: it never plans to send a cut to them.
    """

    def __init__(self, topology: Topology, window: Window) -> None:
        self.window = window
        ues = {device.id for device in topology.devices if device.role == "ue"}
        self._links: dict[str, list[Told]] = {device.id: [] for device in topology.devices}
        for (src, dst), column in window.columns.items():
            told = Told(src, dst, column)
            if src in ues or dst not in ues:
                self._links[src].append(told)
            if dst in ues or src not in ues:
                self._links[dst].append(told)

    def news(self, device: str, tick: int, told: dict[int, float], nexts: Collection[str]) -> Iterator[LinkMeasured]:
        """What has changed since `told`, which is brought up to date: bit/s by column.

        Args:
            nexts: the hosts that `device` may hand over to; it has no use for other links.
        """
        row = self.window.row(tick)
        for src, dst, column in self._links[device]:
            rate_bps = row[column]
            if told.get(column) != rate_bps and (src in nexts or dst in nexts):
                told[column] = rate_bps
                yield LinkMeasured(src, dst, rate_bps)

    def all(self, device: str, tick: int) -> Iterator[LinkMeasured]:
        """All of them, changed or not, as forecasters need them; nothing of links that carry nothing."""
        row = self.window.row(tick)
        for src, dst, column in self._links[device]:
            if row[column] > 0.0:
                yield LinkMeasured(src, dst, row[column])
