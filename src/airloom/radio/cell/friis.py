"""Path loss and SNR of a radio link in free space.

H. T. Friis, "A note on a simple transmission formula", Proc. IRE 34 (1946): received over sent power is
Gt Gr (c / 4 pi d f)^2. HiveMind (section VII-A2) takes an EIRP limit of 40 dBm with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from airloom.core.scenario import Antenna

SPEED_OF_LIGHT = 299_792_458.0
BOLTZMANN = 1.380649e-23
#: Noise temperature for which noise figures are defined (IEEE), K.
REFERENCE_K = 290.0
# Nearer than this the far field has not begun; a UE does not stand in the antenna.
_NEAREST_M = 1.0


def path_loss_db(distance_m: ArrayLike, carrier_hz: float) -> NDArray[np.float64]:
    """20 log10(4 pi d f / c); what is nearer than a metre counts as a metre. [...] like `distance_m`."""
    metres = np.maximum(np.asarray(distance_m, dtype=np.float64), _NEAREST_M)
    return np.asarray(20.0 * np.log10(4.0 * math.pi * carrier_hz / SPEED_OF_LIGHT * metres), dtype=np.float64)


def noise_dbm(bandwidth_hz: float, noise_figure_db: float = 0.0) -> float:
    """Thermal noise k T B of a receiver: -174 dBm/Hz over its bandwidth, and its noise figure."""
    return 10.0 * math.log10(BOLTZMANN * REFERENCE_K * bandwidth_hz * 1e3) + noise_figure_db


def snr_db(antenna: Antenna, distance_m: ArrayLike) -> NDArray[np.float64]:
    """SNR at the receiver: EIRP - path loss + its gain - losses - noise. [...] like `distance_m`."""
    fixed = antenna.eirp_dbm + antenna.gain_dbi - antenna.loss_db
    fixed -= noise_dbm(antenna.bandwidth_hz, antenna.noise_figure_db)
    return np.asarray(fixed - path_loss_db(distance_m, antenna.carrier_hz), dtype=np.float64)


def reach_m(antenna: Antenna) -> float:
    """The distance at which the SNR falls to the antenna's least."""
    spare_db = float(snr_db(antenna, 1.0)) - antenna.min_snr_db
    return float(10.0 ** (spare_db / 20.0))
