"""Devices and the directed links between them: what does not move. `Conditions` is what does."""

from __future__ import annotations

import re
from typing import Literal

from airloom.core.value import Value

Role = Literal["ue", "gnb", "mec", "cloud"]
Channel = Literal["awgn", "cdl-c"]
Combining = Literal["ir", "chase", "none"]

#: What a device may be called: ids name files, certificates and topics.
DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Power(Value, frozen=True):
    """Power model of a device: `idle_w` always, `busy_w` on top while it computes.

    `radio_j_per_bit` is charged to the sender for every bit on the wire; `source` names where
    the figures come from. Energy from it is always *modelled*.

    Attributes:
        send_w, receive_w: points (rate in bit/s, W while sending or receiving at it), rates ascending:
            in place of `radio_j_per_bit`, the power of a radio at a link's rate, linear in between
            and constant beyond the ends, for as long as the bytes take at that rate.
    """

    idle_w: float = 0.0
    busy_w: float = 0.0
    radio_j_per_bit: float = 0.0
    send_w: tuple[tuple[float, float], ...] = ()
    receive_w: tuple[tuple[float, float], ...] = ()
    source: str = ""


class Device(Value, frozen=True):
    """A host.

    Attributes:
        factor: its compute time over that of the profile it is planned from; 1.0 is the
            measuring host itself, 8.0 a device eight times slower. Times with a factor other
            than 1 are *modelled*.
        profile: file with its own measured profile, in place of a factor.
        memory_bytes: what the weights of its stage may take; None is no limit.
        speed_class: name of the machine class that `factor` follows from (`core.speed`), "" for none.
        price_per_s: money for a second in which it computes.
        computes: False for a host that only forwards, such as a base station without a server.
        address: `host:port` where its data plane listens, "" to let the runtime choose on this machine.
    """

    id: str
    role: Role
    factor: float = 1.0
    profile: str = ""
    memory_bytes: int | None = None
    power: Power = Power()
    address: str = ""
    computes: bool = True
    speed_class: str = ""
    price_per_s: float = 0.0


class NrRadio(Value, frozen=True):
    """A 5G NR radio under a link: it gives the link its rate, its losses and part of its delay.

    Figures that follow from it (block sizes, rates, block error rates) are in `airloom.radio.nr`.

    Attributes:
        snr_db: symbol energy of one MIMO layer over noise power, Es/N0 (docs/radio.md).
        channel: "awgn", or "cdl-c" for 2x2 MIMO over 38.901's CDL-C with LMMSE detection.
        prb: physical resource blocks of every slot.
        scs_khz: subcarrier spacing; a slot lasts 15 / scs_khz milliseconds.
        mimo_layers: layers that are sent at once; "cdl-c" has 2.
        mcs_table: 1, 2 or 3 for 38.214 Table 5.1.3.1-1, -2 or -3.
        mcs: index in that table; None leaves it to the planner, and to link adaptation at 10 %
            BLER where nothing is planned.
        attempts: times a transport block is sent at most, the first included; 1 is without HARQ.
        combining: "ir" (redundancy versions 0, 2, 3, 1), "chase" (always version 0), or "none":
            each attempt is decoded alone.
        round_trip_s: from the end of one attempt to the start of the next of the same block.
        processes: HARQ processes, so blocks that may wait for their next attempt at once.
        processing_s: from the end of a slot until its blocks are decoded.
    """

    snr_db: float
    channel: Channel = "awgn"
    prb: int = 51
    scs_khz: int = 30
    mimo_layers: int = 2
    mcs_table: int = 1
    mcs: int | None = None
    attempts: int = 1
    combining: Combining = "ir"
    round_trip_s: float = 0.004
    processes: int = 16
    processing_s: float = 0.0005


class Link(Value, frozen=True):
    """A directed link.

    Attributes:
        rate_bps: bit/s of IP payload; infinity is an unlimited link. With `nr` it is what the
            radio carries at its MCS, and at link adaptation's where that is open.
        delay_s: one-way propagation delay.
        overhead_s: fixed cost of one transfer beside its bytes (Eq. 10 of HiveMind, psi).
        loss: long-run probability that an IP packet is lost.
        burst_s: mean time the link stays in its lossy state; 0 means independent losses.
        trace: file of `second Mbit/s` rows that replaces `rate_bps` over time.
        nr: the 5G radio that carries it; then `loss`, `burst_s` and `trace` are not used.
    """

    src: str
    dst: str
    rate_bps: float
    delay_s: float = 0.0
    overhead_s: float = 0.0
    loss: float = 0.0
    burst_s: float = 0.0
    trace: str = ""
    nr: NrRadio | None = None


class Topology(Value, frozen=True, dict=True):
    """Devices and links. `source` has the input, `sink` is the last host that may compute."""

    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    source: str
    sink: str
    name: str = ""

    def device(self, id: str) -> Device:
        for device in self.devices:
            if device.id == id:
                return device
        raise KeyError(id)

    def link(self, src: str, dst: str) -> Link:
        for link in self.links:
            if (link.src, link.dst) == (src, dst):
                return link
        raise KeyError((src, dst))


class LinkState(Value, frozen=True):
    """What a link offers at a moment; None where nothing newer than the topology is known.

    `snr_db` is of links with a 5G radio, whose rate and loss follow from it.
    """

    src: str
    dst: str
    rate_bps: float | None = None
    delay_s: float | None = None
    loss: float | None = None
    up: bool = True
    snr_db: float | None = None


class DeviceState(Value, frozen=True):
    """How busy a host is: a stage takes `1 + load` times its unloaded time. `up=False`: it is gone."""

    id: str
    load: float = 0.0
    up: bool = True


class Conditions(Value, frozen=True):
    """What moves: the links and devices that differ from the topology, at `at_s`."""

    at_s: float = 0.0
    links: tuple[LinkState, ...] = ()
    devices: tuple[DeviceState, ...] = ()
