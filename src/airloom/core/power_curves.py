"""What a phone's radio draws at a throughput, fitted to measurements in operational networks.

Made by `experiments/radio/power.py` from the artifact of Narayanan et al., "A variegated look at 5G in the
wild: performance, power, and QoE implications", SIGCOMM 2021: a phone on Verizon that moves data at
set rates, its power averaged each second. The figures hold while the radio transfers, as published.
"""

from __future__ import annotations

from typing import NamedTuple


class RadioPower(NamedTuple):
    """Points (bit/s, W) of `Power.send_w` and `Power.receive_w`."""

    send_w: tuple[tuple[float, float], ...]
    receive_w: tuple[tuple[float, float], ...]


SOURCE = 'fitted to power and throughput of SIGCOMM 2021\'s "A variegated look at 5G in the wild" (artifact)'

#: By kind of network. Spread around the lines: 0.2 to 0.4 W; variance explained: 0.87 for mmWave, 0.4 to 0.6
#: for the others, whose throughput says less about the state of the radio.
RADIO_POWER: dict[str, RadioPower] = {
    "5g-mmwave": RadioPower(
        send_w=((1e6, 5.42), (60e6, 6.39), (120e6, 6.75), (200e6, 7.34)),
        receive_w=((1e6, 5.20), (200e6, 5.64), (800e6, 6.30), (1600e6, 8.38), (2000e6, 8.60)),
    ),
    "5g-low-band": RadioPower(
        send_w=((1e6, 3.23), (40e6, 4.50)),
        receive_w=((1e6, 2.87), (30e6, 3.60), (100e6, 4.14)),
    ),
    "lte": RadioPower(
        send_w=((1e6, 2.97), (10e6, 3.72), (25e6, 4.81)),
        receive_w=((1e6, 2.83), (60e6, 3.58)),
    ),
}  # fmt: skip
