"""The plot and the text of a progressive model's table."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import msgspec
import numpy as np
import pytest

from airloom.cli.depth_table import describe, in_words
from airloom.core.depth import Block, depth_order
from airloom.core.progressive import Configuration, DepthTable
from airloom.planner.pareto import pareto_front
from airloom.report.plot_progressive import write_table_plot

BITS = {"fp32": 32, "int8": 8, "bits-4": 4}


def table(kind: str = "back") -> DepthTable:
    """Four blocks in two groups; accuracy falls with depth and bits."""
    blocks = tuple(
        Block(name=f"b.{k}", group=k // 2, parameters=1000 * (1 + 3 * (k // 2)), macs=10**6) for k in range(4)
    )
    order = depth_order(kind, [block.group for block in blocks])  # type: ignore[arg-type]
    rows = []
    for precision, bits in BITS.items():
        for depth in order.depths:
            parameters = 200 + sum(blocks[k].parameters for k in order.kept(depth))
            rows.append(Configuration(
                depth=depth, precision=precision, nbytes=parameters * bits // 8, parameters=parameters,
                macs=10**5 + depth * 10**6, accuracy=0.9 - 0.6 * 0.5**depth - {32: 0.0, 8: 0.01, 4: 0.2}[bits],
                latency_s=0.001 * depth,
            ))  # fmt: skip
    return DepthTable(
        model="net", blocks=blocks, order=order, configurations=tuple(rows), front=pareto_front(rows), samples=100
    )


def test_the_text() -> None:
    assert describe(table()) == (
        """\
net: 4 blocks, left out from the back; 100 samples

top-1 in per cent (* on the Pareto front: none is better in accuracy, bytes and MACs at once)
blocks   MACs  latency  fp32   int8   bits-4
     1  1.1 M  1.00 ms  60.0*  59.0*    40.0*
     2  2.1 M  2.00 ms  75.0*  74.0*    55.0*
     3  3.1 M  3.00 ms  82.5*  81.5*    62.5
     4  4.1 M  4.00 ms  86.2*  85.2*    66.3

over the link, from nothing
blocks      fp32      int8    bits-4
     1  4.69 KiB  1.17 KiB     600 B
     2  8.59 KiB  2.15 KiB  1.07 KiB
     3  24.2 KiB  6.05 KiB  3.03 KiB
     4  39.8 KiB  9.96 KiB  4.98 KiB

"""
        "the first 1.5 % of the bytes give 40.0 % (1 block in bits-4, 600 B), a quarter gives 85.2 % "
        "(4 blocks in int8, 9.96 KiB), all give 86.2 % (4 blocks in fp32, 39.8 KiB)"
    )


def test_words_where_there_is_little_to_say() -> None:
    whole = table()
    one = msgspec.structs.replace(whole, configurations=whole.configurations[:1], front=(0,))
    assert in_words(one) == "the first 100.0 % of the bytes give 60.0 % (1 block in fp32, 4.69 KiB)"
    none = msgspec.structs.replace(whole, configurations=(), front=())
    assert in_words(none) == "nothing was measured"


def test_groups_and_what_nobody_timed() -> None:
    timed = table("groups")
    rows = tuple(msgspec.structs.replace(c, latency_s=None) for c in timed.configurations)
    lines = describe(msgspec.structs.replace(timed, configurations=rows)).splitlines()
    assert lines[0] == "net: 4 blocks, left out evenly from every group; 100 samples"
    assert lines[3].split() == ["blocks", "MACs", "fp32", "int8", "bits-4"]


@pytest.mark.parametrize("kind", ["back", "groups"])
def test_a_picture_with_every_line(tmp_path: Path, kind: str) -> None:
    path = write_table_plot(table(kind), tmp_path / "plots" / "table.png")
    picture = matplotlib.image.imread(path)
    assert picture.shape == (720, 1500, 4)
    # Every precision's colour is in it.
    pixels = (picture[..., :3] * 255).round().astype(int).reshape(-1, 3)
    for colour in ("b5640f", "2f69c4", "8a4bb8"):
        wanted = np.array([int(colour[k : k + 2], 16) for k in (0, 2, 4)])
        assert (np.abs(pixels - wanted).max(axis=1) <= 2).sum() > 20, colour


def test_a_single_configuration_can_be_drawn(tmp_path: Path) -> None:
    whole = table()
    one = msgspec.structs.replace(whole, configurations=whole.configurations[:1], front=(0,))
    assert write_table_plot(one, tmp_path / "one.png").stat().st_size > 1000
