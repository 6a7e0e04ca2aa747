"""What a profile that a person wrote may have wrong beyond its schema."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airloom.core.profile import CutSize, OperatorCost, Profile
from airloom.errors import ConfigError
from airloom.planner.inputs import check_profile

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
    ],
)
def test_a_figure_that_means_nothing_is_refused(change: dict[str, Any], says: str) -> None:
    check_profile(GOOD, where="p.json")
    with pytest.raises(ConfigError, match=says):
        check_profile(msgspec.structs.replace(GOOD, **change), where="p.json")
