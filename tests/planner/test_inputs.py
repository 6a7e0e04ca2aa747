"""What a profile that a person wrote may have wrong beyond its schema."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airloom.core.coding import Coding
from airloom.core.profile import CutSize, Modules, OperatorCost, Profile, Weights
from airloom.core.tolerance import Curve, CutTolerance, ErrorPoint, MapOrder, Tolerance
from airloom.errors import ConfigError
from airloom.planner.inputs import check_profile, check_tolerance

GOOD = Profile(
    model="m",
    device="d",
    operators=(OperatorCost(name="a", compute_s=1.0),),
    cuts=(CutSize(tensor_nbytes=(1,)), CutSize(tensor_nbytes=(1,))),
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch": 0}, r"p.json: \$.batch: a batch is at least 1, got 0"),
        ({"batch": -2}, "at least 1, got -2"),
        ({"stage_scale": 0.0}, r"p.json: \$.stage_scale: a scale of 0 makes every stage take nothing: write 1"),
        ({"stage_scale": -1.0}, "finite and not negative"),
        ({"operators": ()}, "no operators"),
        ({"backward_scale": -1.0}, r"\$.backward_scale: must be finite and not negative"),
        ({"backward_constant_s": float("nan")}, r"\$.backward_constant_s"),
        ({"operators": (OperatorCost("a", 1.0, backward_s=-2.0),)}, r"\$.operators\[0\].backward_s: a time is finite"),
        ({"cuts": (CutSize((1,)), CutSize((1,), (), (1, 2)))}, r"cuts\[1\].gradient_nbytes: 1 tensors and 2 gradients"),
        ({"cuts": (CutSize((1,)), CutSize((1,), (), (-1,)))}, r"cuts\[1\].gradient_nbytes: a size cannot be negative"),
        ({"weights": (Weights(1, (0,), state_nbytes=-1),)}, r"weights\[0\].state_nbytes: a size cannot"),
        ({"modules": Modules((0, 2))}, r"\$.modules.starts: modules start at ascending, evenly spaced cuts up to 1"),
        ({"modules": Modules((0, 1), state_nbytes=-1)}, r"\$.modules.state_nbytes: a size cannot be negative"),
    ],
)
def test_a_figure_that_means_nothing_is_refused(change: dict[str, Any], says: str) -> None:
    check_profile(GOOD, where="p.json")
    with pytest.raises(ConfigError, match=says):
        check_profile(msgspec.structs.replace(GOOD, **change), where="p.json")


FLAT = Curve(kind="pchip", parameters=(0.0, 1.0, 0.8, 0.8))
KNOWN = CutTolerance(cut=1, coding=Coding(), pattern="burst", block_bytes=1152, nbytes=9.0, clean=0.8, curves=(FLAT,))
MEASURED = Tolerance(
    model="m", graph_digest="", weights_digest="", metric="top-1", clean=0.8, samples=10, cuts=(KNOWN,),
    maps=(MapOrder(tensor=1, order=(1, 0), means=(0.5, 0.5)),),
)  # fmt: skip


def curve(kind: str, *parameters: float, margin: float = 0.0) -> dict[str, Any]:
    return {"curves": (Curve(kind=kind, parameters=parameters, margin=margin),)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clean": 1.2}, r"t.json: \$.cuts\[0\].clean: an accuracy is a share"),
        ({"points": (ErrorPoint(1.5, 0.5),)}, r"points\[0\].error_rate"),
        ({"points": (ErrorPoint(0.5, float("nan")),)}, r"points\[0\].accuracy"),
        ({"nbytes": float("inf")}, "finite and not negative"),
        ({"coding": Coding(protect="value", protect_share=5.0)}, r"\$.cuts\[0\].coding: no coding"),
        ({"coding": Coding(protect_share=0.5)}, "no coding"),
        ({"coding": Coding(seed=-1)}, "no coding"),
        (curve("pchip"), r"\$.cuts\[0\].curves\[0\]: no curve of accuracy: pchip has as many"),
        (curve("pchip", 0.0, 0.5, 0.9), "as many error rates as accuracies, got 3"),
        (curve("pchip", 0.5, 0.2, 0.9, 0.8), "ascend"),
        (curve("pchip", 0.0, 1.0, 0.5, 0.9), "accuracy rises"),
        (curve("pchip", 0.0, 1.0, 0.8, 0.5, margin=-0.1), "not negative"),
        (curve("logistic", 0.1), "logistic has 4 parameters and the last error rate, got 1"),
        (curve("logistic", 0.1, 0.9, 10.0, 0.5, 3.0), "an error rate is a share"),
        (curve("exponential", 0.1, 0.5, 2.0), "accuracy rises"),
        (curve("exponential", 0.1, float("nan"), 2.0), "finite"),
        (curve("exponential", 0.1, -1e308, 900.0), "accuracy rises"),
    ],
)
def test_a_tolerance_profile_that_means_nothing_is_refused(change: dict[str, Any], says: str) -> None:
    check_tolerance(MEASURED, where="t.json")
    bad = msgspec.structs.replace(MEASURED, cuts=(msgspec.structs.replace(KNOWN, **change),))
    with pytest.raises(ConfigError, match=says):
        check_tolerance(bad, where="t.json")


def test_an_order_of_feature_maps_names_each_once() -> None:
    for order, means in (((0, 0), (0.5, 0.5)), ((0,), (0.5, 0.5)), ((0, 1), (0.5, float("nan")))):
        bad = msgspec.structs.replace(MEASURED, maps=(MapOrder(tensor=1, order=order, means=means),))
        with pytest.raises(ConfigError, match=r"\$.maps\[0\]: an order names each"):
            check_tolerance(bad, where="t.json")
