"""Names of codings: every coding has one, and it reads back to the coding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.core.coding import RAW, Coding, parse_coding
from airloom.errors import ConfigError


@st.composite
def codings(draw: st.DrawFn) -> Coding:
    protect = draw(st.sampled_from(["none", "value", "maps"]))
    return Coding(
        precision=draw(st.sampled_from(["native", "float16", "int8"])),
        prune=draw(st.sampled_from(["none", "exact", "int8"])),
        interleave=draw(st.sampled_from(["none", "random", "structured"])),
        protect=protect,  # type: ignore[arg-type]
        protect_share=0.0 if protect == "none" else draw(st.floats(0.0, 1.0, exclude_min=True)),
        conceal=draw(st.sampled_from(["zeros", "mean", "neighbours"])),
        tuned=draw(st.booleans()),
        seed=draw(st.integers(0, 2**40)),
    )


@given(codings())
def test_a_name_reads_back(coding: Coding) -> None:
    assert parse_coding(coding.name) == coding
    assert coding.is_raw == (coding.name == "raw")


def test_names() -> None:
    assert parse_coding("raw") == RAW
    assert Coding(precision="int8", protect="maps", protect_share=0.1).name == "int8+twice-maps-0.1"
    assert Coding(protect="value", protect_share=1.0).name == "twice-value-1"
    assert parse_coding("twice-value-0.3333333333333333").protect_share == 1 / 3


@pytest.mark.parametrize(
    "text",
    ["", "int8+int8", "int8+fp16", "raw+int8", "seed-0", "seed--1", "twice-value-0", "twice-value-1.5",
     "twice-value-nan", "twice-none-0.5", "INT8", "int8+", "neighbors"],
)  # fmt: skip
def test_what_is_no_coding_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no coding"):
        parse_coding(text)
