"""Machine classes: what follows from published figures, and from a profile."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airloom.config import dump_topology, parse_topology
from airloom.core.power_curves import RADIO_POWER
from airloom.core.speed import (
    RESNET50_MACS,
    SPEED_CLASSES,
    UNKNOWN,
    profile_gflops,
    speed_class,
    with_class_factors,
)
from airloom.errors import ConfigError
from airloom.planner.inputs import load_profile
from airloom.planner.pricing import host_cost

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXT = """
source: ue
sink: cloud
devices:
  - {id: ue, role: ue, class: raspberry-pi-3b+, power: {radio: 5g-mmwave}}
  - {id: cloud, role: cloud, class: rtx2080-pc, price: 2 per hour, power: {busy: 100 W, source: mine}}
links:
  - {from: ue, to: cloud, rate: 50 Mbit/s, both: true}
"""


def test_a_pi_takes_its_published_time_for_resnet18() -> None:
    profile = load_profile(EXAMPLES / "resnet18.json")
    topology = with_class_factors(parse_topology(TEXT), {"": profile})
    # The zoo's ResNet-18 has the MACs of torchvision's to 2 %; constants of stages come on top.
    assert profile.elapsed_s[-1] * topology.device("ue").factor == pytest.approx(0.27193, rel=0.03)
    assert profile.elapsed_s[-1] * topology.device("cloud").factor == pytest.approx(0.00224, rel=0.03)


def test_a_class_gives_power_and_price_unless_said_otherwise() -> None:
    ue, cloud = parse_topology(TEXT).devices
    pi = SPEED_CLASSES["raspberry-pi-3b+"]
    assert (ue.power.idle_w, ue.power.busy_w, ue.price_per_s) == (pi.power.idle_w, pi.power.busy_w, 0.0)
    assert ue.power.send_w == RADIO_POWER["5g-mmwave"].send_w
    assert (cloud.power.idle_w, cloud.power.busy_w, cloud.power.source) == (17.0, 100.0, "mine")
    assert cloud.price_per_s == pytest.approx(2 / 3600)
    assert (ue.factor, cloud.factor) == (UNKNOWN, UNKNOWN)


def test_topologies_with_classes_are_written_and_read_back() -> None:
    open_ = parse_topology(TEXT)
    known = with_class_factors(open_, {"": load_profile(EXAMPLES / "resnet18.json")})
    for topology in (open_, known):
        assert parse_topology(dump_topology(topology)) == topology


def test_a_factor_beside_a_class_holds() -> None:
    text = TEXT.replace("class: raspberry-pi-3b+", "class: raspberry-pi-3b+, factor: 9")
    assert parse_topology(text).device("ue").factor == 9.0


def test_a_device_with_its_own_profile_is_as_measured() -> None:
    profile = load_profile(EXAMPLES / "resnet18.json")
    assert with_class_factors(parse_topology(TEXT), {"": profile, "ue": profile}).device("ue").factor == 1.0


def test_nothing_is_planned_with_a_speed_that_is_not_known() -> None:
    device = parse_topology(TEXT).device("ue")
    with pytest.raises(ConfigError, match="follows from its class and a profile"):
        host_cost(device, load_profile(EXAMPLES / "resnet18.json"))


def test_unknown_classes_and_radios() -> None:
    with pytest.raises(ConfigError, match=r"devices\[0\].class: no machine class 'pi'.*raspberry-pi-3b\+"):
        parse_topology(TEXT.replace("raspberry-pi-3b+", "pi"))
    with pytest.raises(ConfigError, match=r"power.radio: no radio '6g'"):
        parse_topology(TEXT.replace("5g-mmwave", "6g"))
    with pytest.raises(ConfigError, match="leave the rest out"):
        parse_topology(TEXT.replace("radio: 5g-mmwave", "radio: lte, radio_per_bit: 3 nJ"))
    with pytest.raises(ConfigError):
        speed_class("abacus")


def test_a_profile_without_macs_has_no_speed() -> None:
    profile = load_profile(EXAMPLES / "resnet18.json")
    bare = msgspec.structs.replace(
        profile, operators=tuple(msgspec.structs.replace(op, macs=0) for op in profile.operators)
    )
    with pytest.raises(ConfigError, match="no MACs"):
        profile_gflops(bare)


def test_every_class_names_its_sources_and_two_networks_agree() -> None:
    for each in SPEED_CLASSES.values():
        assert each.source
        assert each.power.source or not each.power.busy_w
        if each.resnet50_s is not None:
            assert 2e-9 * RESNET50_MACS / each.resnet50_s == pytest.approx(each.gflops, rel=0.35), each.name


def test_radio_power_rises_with_the_rate_and_mmwave_takes_most() -> None:
    for curves in RADIO_POWER.values():
        for curve in curves:
            assert list(curve) == sorted(curve)
            assert [watts for _, watts in curve] == sorted(watts for _, watts in curve)
    assert (
        RADIO_POWER["5g-mmwave"].send_w[0][1]
        > RADIO_POWER["5g-low-band"].send_w[0][1]
        > RADIO_POWER["lte"].send_w[0][1]
    )
