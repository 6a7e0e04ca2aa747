"""Energy from training to the last answer, modelled: nothing here was measured with a meter.

Accordion, "Derivation of Accordion policies with performance guarantee": "considering the cost of training,
communication, and inference phases". Work is in multiply-accumulates, machines are classes with published speed and
power, the radio is the curve of power over throughput that was fitted to a phone on 5G.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from settings import METHODS
from summary import Curve, saved, whole

from airloom.core.power_curves import RADIO_POWER
from airloom.core.speed import speed_class

#: Backward is twice the work of forward.
STEP_OVER_FORWARD = 3


@dataclass(frozen=True)
class Use:
    """What a model is trained for.

    Attributes:
        ues: that download it.
        answers: each of them computes.
        trainer, ue: machine classes.
        radio: kind of network.
    """

    ues: int = 1000
    answers: int = 1000
    trainer: str = "rtx2080-pc"
    ue: str = "raspberry-pi-4b"
    radio: str = "5g-low-band"
    rate_bps: float = 100e6


def joules_per_mac(name: str) -> float:
    """What a machine draws on top of being idle, for one multiply-accumulate."""
    machine = speed_class(name)
    return machine.power.busy_w * 2e-9 / machine.gflops


def receive_w(radio: str, rate_bps: float) -> float:
    rates, watts = zip(*RADIO_POWER[radio].receive_w, strict=True)
    return float(np.interp(rate_bps, rates, watts))


def phases(point: dict[str, Any], train_macs: float, use: Use) -> dict[str, float]:
    """Joules of one UE: its share of the training, its download in float32, its answers."""
    bits = 32 * point["parameters"]
    return {
        "training": train_macs * joules_per_mac(use.trainer) / use.ues,
        "download": bits / use.rate_bps * receive_w(use.radio, use.rate_bps),
        "answers": use.answers * point["macs"] * joules_per_mac(use.ue),
    }


def energy(setting: dict[str, Any], level: float, epochs: int, use: Use | None = None) -> dict[str, Any]:
    """Of each method: the configuration with the least energy among those with at most `level` percent of errors.

    Args:
        epochs: that a training is counted with; the paper's 164 say what it would cost in full.
    """
    use = use or Use()
    rows = {}
    for name, method in setting["methods"].items():
        curve: Curve = method["points"]
        share = method.get("share_of_blocks")
        if share is None or saved(curve, level) is None or "macs" not in whole(curve):
            continue
        # A teacher answers once a step, whole.
        step = (STEP_OVER_FORWARD * share + METHODS[name].taught) * whole(curve)["macs"]
        train_macs = step * setting["train_pictures"] * epochs
        choices = [(p, phases(p, train_macs, use)) for p in curve if p["error"] <= level]
        point, found = min(choices, key=lambda each: sum(each[1].values()))
        rows[name] = {**found, "total": sum(found.values()), "depth": point["depth"], "error": point["error"]}
    return {"level": level, "epochs": epochs, "use": asdict(use), "methods": rows}
