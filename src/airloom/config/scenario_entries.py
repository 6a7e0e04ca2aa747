"""What a scenario file may say, part by part; `scenario_values` makes values of the parts."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from airloom.config.run import RunKeys
from airloom.config.strict_yaml import Entry, Quantity
from airloom.config.topology import PowerEntry, TopologyEntry
from airloom.core.scenario import (
    AtEnd,
    LinkKind,
    Load,
)

E = TypeVar("E", bound=Entry)


class RadioEntry(Entry, frozen=True):
    """As people write it; what they leave out is the shared `cell:` entry's, then `Antenna`'s default."""

    carrier: Quantity | None = None
    bandwidth: Quantity | None = None
    eirp: Quantity | None = None
    noise_figure: Quantity | None = None
    gain: Quantity | None = None
    loss: Quantity | None = None
    scs: Quantity | None = None
    layers: int | None = None
    mcs_table: int | None = None
    min_snr: Quantity | None = None
    shadowing: Quantity | None = None
    shadowing_distance: Quantity | None = None


class BackgroundEntry(Entry, frozen=True):
    """Other users, as people write them; what they leave out is a wider entry's, then `Background`'s default."""

    users: Quantity | None = None
    presence: Quantity | None = None
    stay: Quantity | None = None
    rate: Quantity | None = None
    spread: Quantity | None = None
    swing: Quantity | None = None
    swing_time: Quantity | None = None
    peak: Quantity | None = None
    trough: Quantity | None = None
    source: str | None = None


class CellDefaults(Entry, frozen=True):
    """`cell:`, what all cells have in common."""

    radio: RadioEntry = RadioEntry()
    capacity: Quantity | None = None
    radius: Quantity | None = None
    background: BackgroundEntry = BackgroundEntry()
    uplink: BackgroundEntry = BackgroundEntry()
    downlink: BackgroundEntry = BackgroundEntry()
    delay: Quantity | None = None
    overhead: Quantity | None = None
    loss: Quantity | None = None


class CellEntry(CellDefaults, frozen=True, kw_only=True):
    device: str
    at: tuple[Quantity, Quantity]


class LinkEntry(Entry, frozen=True):
    link: str
    kind: LinkKind = "wired"
    background: BackgroundEntry = BackgroundEntry()
    radio: RadioEntry | None = None
    flows: int = 1
    label: str = ""
    published: tuple[Quantity, Quantity] | None = None
    both: bool = False


class UeDevice(Entry, frozen=True):
    """What a UE's device has, where it is not the source's."""

    speed: Quantity | None = None
    factor: Quantity | None = None
    speed_class: str = msgspec.field(name="class", default="")
    profile: str = ""
    memory: Quantity | None = None
    power: PowerEntry = PowerEntry()
    price: Quantity | None = None


class UeEntry(Entry, frozen=True):
    id: str
    count: int = 1
    at: tuple[Quantity, Quantity] | None = None
    path: tuple[tuple[Quantity, Quantity], ...] | None = None
    wander: int | None = None
    speed: Quantity | None = None
    end: AtEnd = "loop"
    activity: Quantity = 1
    device: UeDevice | None = None


class HandoverEntry(Entry, frozen=True):
    hysteresis: Quantity = "3 dB"
    time_to_trigger: Quantity = "160 ms"
    interruption: Quantity = 0


class CoherenceEntry(Entry, frozen=True):
    access: Quantity = "50 ms"
    backhaul: Quantity = "50 ms"
    wired: Quantity = "50 ms"


class TasksEntry(Entry, frozen=True):
    every: Quantity | None = None
    poisson: Quantity | None = None
    back_to_back: bool = False


class ForecastEntry(Entry, frozen=True):
    """As `--forecast` has it; its `gaps` are `past` here."""

    method: str
    past: int = 10
    error: Quantity = 0
    when: str | None = None
    coherence: Quantity | None = None
    tau: Quantity | None = None
    tick: Quantity | None = None
    order: int | None = None
    forget: Quantity | None = None
    trend: bool = False


class ScenarioEntry(RunKeys, frozen=True, kw_only=True):
    """A whole scenario file: the keys of a run file, and what moves."""

    topology: str | TopologyEntry
    requests: int | None = None
    name: str = ""
    load: Load = "mid"
    duration: Quantity | None = None
    warm_up: Quantity = 0
    time_of_day: Quantity = "12 h"
    area: tuple[Quantity, Quantity] | None = None
    fairness: Quantity = "1 s"
    tasks: TasksEntry = TasksEntry()
    ues: tuple[UeEntry, ...] = ()
    cell: CellDefaults = CellDefaults()
    cells: tuple[CellEntry, ...] = ()
    links: tuple[LinkEntry, ...] = ()
    background: BackgroundEntry = BackgroundEntry()
    coherence: Quantity | CoherenceEntry = "50 ms"
    handover: HandoverEntry = HandoverEntry()
    forecast: str | ForecastEntry = ""


def over(base: E, *rest: E) -> E:
    """The first entry with what later ones say in place of what it says; they say what is not None."""
    for entry in rest:
        said = {f: v for f in entry.__struct_fields__ if (v := getattr(entry, f)) is not None}
        base = msgspec.structs.replace(base, **said)
    return base
