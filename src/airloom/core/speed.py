"""Classes of machines: how fast they run networks, what they draw and what one like it costs, from published figures.

A class stands for a machine that is not at hand: its speed is one picture through ResNet-18 (224x224, batch
1) as published, so 2 * 1.814e9 operations over that time. `Device.factor` follows from it and from the speed
of the machine that a profile was measured on, for the profile's own model. That is *modelled*: how well a
model fits a machine differs from model to model (ResNet-50's own figure is beside ResNet-18's to compare).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from airloom.core.power_curves import RADIO_POWER, SOURCE
from airloom.core.profile import Profile
from airloom.core.topology import Device, Power, Topology
from airloom.core.value import Value
from airloom.errors import ConfigError

#: Multiply-accumulates of a 224x224 picture (torchvision's model table: 1.81 and 4.09 GFLOPS, each a MAC).
RESNET18_MACS = 1.814e9
RESNET50_MACS = 4.089e9
#: What `Device.factor` is until a profile says how fast its own machine is.
UNKNOWN = 0.0

_NCNN = "ncnn benchmark/README.md (github.com/Tencent/ncnn, a4d2ea1)"
_NCNN_FP16 = f"{_NCNN}; reduced precision where ncnn uses it"
_C5 = "price: c5.2xlarge, 8 vCPU, $0.34/h (docs.amazonaws.cn, EC2 Auto Scaling examples)"
_G5 = "price: g5.xlarge, one GPU, $1.006/h, us-east-1, June 2026 (factualminds.com)"


class SpeedClass(Value, frozen=True):
    """A kind of machine.

    Attributes:
        resnet18_s, resnet50_s: one picture, as published; `resnet50_s` is None where it was not.
        power: `busy_w` on top of `idle_w`, as of a device.
        price_per_s: US dollars for a rented machine of the kind; 0 where one owns it.
        source: of the times, the power and the price.
    """

    name: str
    machine: str
    resnet18_s: float
    resnet50_s: float | None = None
    power: Power = Power()
    price_per_s: float = 0.0
    source: str = ""

    @property
    def gflops(self) -> float:
        """Effective 10^9 operations a second, two to a MAC."""
        return 2e-9 * RESNET18_MACS / self.resnet18_s


_ALL = (
    SpeedClass(
        name="raspberry-pi-3b+",
        machine="Raspberry Pi 3 Model B+, 4 Cortex-A53 at 1.4 GHz; HiveMind's UE",
        resnet18_s=0.27193,
        resnet50_s=0.58742,
        power=Power(
            idle_w=1.22,
            busy_w=2.73,
            source="Pi 3 Model B: 1.22 W idle, 3.95 W with 4 cores busy (F. Guerraz, medium.com, 2017)",
        ),
        source=f"4 threads, {_NCNN}",
    ),
    SpeedClass(
        name="raspberry-pi-4b",
        machine="Raspberry Pi 4 Model B, 4 Cortex-A72 at 1.8 GHz",
        resnet18_s=0.12312,
        resnet50_s=0.26283,
        power=Power(
            idle_w=1.6,
            busy_w=3.4,
            source="Pi 4 Model B rev 1.4 at 1.8 GHz, at the wall: 1.6 W idle, 5.0 W with stress-ng on all cores "
            "(J. Geerling, github.com/geerlingguy/sbc-reviews, issue 4)",
        ),
        source=f"4 threads, {_NCNN}",
    ),
    SpeedClass(
        name="jetson-nano",
        machine="NVIDIA Jetson Nano, 128-core Maxwell GPU",
        resnet18_s=0.04398,
        resnet50_s=0.09312,
        power=Power(busy_w=10.0, source="10 W, the larger of NVIDIA's two power modes, of which idle is part"),
        source=f"GPU, {_NCNN_FP16}",
    ),
    SpeedClass(
        name="phone-snapdragon-855",
        machine="phone with a Snapdragon 855+, 4 big cores",
        resnet18_s=0.01035,
        resnet50_s=0.02624,
        source=f"4 threads, {_NCNN_FP16}",
    ),
    SpeedClass(
        name="phone-snapdragon-8-gen-2",
        machine="phone with a Snapdragon 8 Gen 2, 4 big cores",
        resnet18_s=0.00663,
        resnet50_s=0.01894,
        source=f"4 threads, {_NCNN_FP16}",
    ),
    SpeedClass(
        name="macbook-air-m1",
        machine="MacBook Air 2020 with an Apple M1, one CPU core; HiveMind's IAB MEC",
        resnet18_s=0.01720,
        resnet50_s=0.04368,
        power=Power(
            idle_w=3.1,
            busy_w=10.0,
            source="idle: 49.9 Wh for 16 h of browsing at 150 nits (notebookcheck), so 3.1 W at most; "
            "busy: the 10 W that the Air's M1 is made to shed (Les Numeriques)",
        ),
        price_per_s=0.34 / 3600,
        source=f"MacBook Pro with the same M1, CPU, 1 thread, {_NCNN}; {_C5}",
    ),
    SpeedClass(
        name="macbook-air-m1-gpu",
        machine="MacBook Air 2020 with an Apple M1, its GPU",
        resnet18_s=0.00424,
        resnet50_s=0.00742,
        power=Power(
            idle_w=3.1,
            busy_w=10.0,
            source="idle: 49.9 Wh for 16 h of browsing at 150 nits (notebookcheck), so 3.1 W at most; "
            "busy: the 10 W that the Air's M1 is made to shed (Les Numeriques)",
        ),
        price_per_s=0.34 / 3600,
        source=f"MacBook Pro with the same M1, GPU, {_NCNN_FP16}; {_C5}",
    ),
    SpeedClass(
        name="rtx2080-pc",
        machine="PC with an RTX 2080; HiveMind's core MEC",
        resnet18_s=0.00224,
        resnet50_s=0.00449,
        power=Power(
            idle_w=17.0,
            busy_w=208.0,
            source="the card alone: 17 W idle, 225 W under full load (tomshardware.com, RTX 2080 review)",
        ),
        price_per_s=1.006 / 3600,
        source=f"GPU, {_NCNN_FP16}; {_G5}",
    ),
    SpeedClass(
        name="4x1080ti-server",
        machine="server with four GTX 1080 Ti, of which a picture takes one; HiveMind's cloud",
        resnet18_s=0.00224 * 213 / 209,
        power=Power(
            idle_w=52.0,
            busy_w=237.0,
            source="the cards alone: 13 W idle each, one at its limit of 250 W (tomshardware.com, GTX 1080 Ti review)",
        ),
        price_per_s=1.006 / 3600,
        source="the RTX 2080's time, times 213/209 pictures a second of ResNet-50 in training "
        f"(lambdalabs.com, 2080 Ti benchmarks: 1080 Ti 209, RTX 2080 213); {_G5}",
    ),
    SpeedClass(
        name="rtx3090-server",
        machine="server with an RTX 3090",
        resnet18_s=0.00090,
        resnet50_s=0.00164,
        price_per_s=1.006 / 3600,
        source=f"GPU, best of 10 threads, {_NCNN_FP16}; {_G5}",
    ),
)

#: By name.
SPEED_CLASSES: dict[str, SpeedClass] = {each.name: each for each in _ALL}


def speed_class(name: str, *, where: str = "") -> SpeedClass:
    """The class of this name.

    Raises:
        ConfigError: there is none; says which there are.
    """
    if name not in SPEED_CLASSES:
        raise ConfigError(f"no machine class {name!r}: there are {', '.join(SPEED_CLASSES)}", where=where)
    return SPEED_CLASSES[name]


def with_radio_power(power: Power, radio: str, *, where: str = "") -> Power:
    """The power figures with the radio curves of a kind of network, "5g-mmwave", "5g-low-band" or "lte".

    Raises:
        ConfigError: there are none of that name.
    """
    if radio not in RADIO_POWER:
        raise ConfigError(f"no radio {radio!r}: there are {', '.join(RADIO_POWER)}", where=where)
    curves = RADIO_POWER[radio]
    source = f"{power.source}; radio: {SOURCE}" if power.source else f"radio: {SOURCE}"
    return msgspec.structs.replace(power, send_w=curves.send_w, receive_w=curves.receive_w, source=source)


def profile_gflops(profile: Profile) -> float:
    """Effective 10^9 operations a second of the machine that a profile was measured on, for its model.

    Raises:
        ConfigError: the profile has no MACs, or no times, to tell from.
    """
    macs = sum(op.macs for op in profile.operators)
    seconds = profile.elapsed_s[-1] + profile.stage_constant_s
    if macs == 0 or seconds <= 0.0:
        lacks = "MACs" if macs == 0 else "times"
        raise ConfigError(
            f"the profile of {profile.model} has no {lacks}, so no speed of its machine to compare a class with: "
            "give devices a `factor` in place of a `class`",
            where=profile.device,
        )
    return 2e-9 * macs / seconds


def with_class_factors(topology: Topology, profiles: Mapping[str, Profile]) -> Topology:
    """The topology with the factor of each device that has a class and no factor yet.

    Args:
        profiles: by device id; the one under "" is for all others.

    Raises:
        ConfigError: a profile cannot tell the speed of its machine, or a device has no profile.
    """
    if all(device.factor != UNKNOWN for device in topology.devices):
        return topology
    return msgspec.structs.replace(topology, devices=tuple(_with_factor(d, profiles) for d in topology.devices))


def _with_factor(device: Device, profiles: Mapping[str, Profile]) -> Device:
    if device.factor != UNKNOWN:
        return device
    if device.id in profiles:
        return msgspec.structs.replace(device, factor=1.0)  # measured on the machine itself
    if "" not in profiles:
        raise ConfigError(f"a class needs a profile to compare {device.speed_class} with", where=device.id)
    own = profile_gflops(profiles[""])
    return msgspec.structs.replace(device, factor=own / speed_class(device.speed_class, where=device.id).gflops)


def said_factor(factor: float) -> str:
    """A device beside the machine of its profile, for people: "4.6 times as slow", "26.4 times as fast"."""
    if factor == 1.0:
        return "as fast"
    return f"{factor:.3g} times as slow" if factor > 1.0 else f"{1.0 / factor:.3g} times as fast"


def some(ids: Sequence[str]) -> str:
    """Names for a line: the first few, and how many more."""
    return ", ".join(ids) if len(ids) <= 6 else f"{', '.join(ids[:5])} and {len(ids) - 5} more"
