"""What the paper prints (Ayed, De Domenico, Garcia-Rodriguez, Lopez-Perez: Accordion, Huawei, Paris).

Fig. 4 is curves in a picture: only numbers that its text states are here. Sections are named in the comments.
"""

from __future__ import annotations

from typing import NamedTuple

POLICIES = ("resnet", "coml-05", "coml-03", "blockcoml-05", "blockcoml-03")


class Network(NamedTuple):
    """A network of "Performance evaluation of Accordion", its first paragraph."""

    parameters: float
    mbit: float
    macs: float
    brls_per_group: int


NETWORKS = {
    "resnet56": Network(862e3, 55.0, 127e6, 9),
    "resnet110": Network(1.7e6, 111.0, 255e6, 18),
}
#: 111 Mbit over 1.7 million parameters and 55 Mbit over 862 thousand are 65 and 64 bits a parameter, twice float32.
PAPER_BITS = 64
#: "Practical Implementation of Accordion": size, deadline and rate of the first request, and the share sent.
EXAMPLE_BYTES, EXAMPLE_DEADLINE_S, EXAMPLE_BPS, EXAMPLE_SHARE = 10e6, 0.2, 240e6, 0.6

# "Performance Results".
#: With half of the model: error of the ordinary network, and how much more that is than the whole one's, percent.
HALF_ERROR = {"cifar100-resnet110": (88.0, 208.0), "cifar10-resnet56": (63.0, 89.0)}
#: Bits and MACs saved at an error of 50 % on CIFAR-100, percent of the whole model.
AT_ERROR = 50.0
BITS_SAVED = {"resnet": 25.0, "blockcoml-05": 66.0, "blockcoml-03": 75.0, "coml-05": 89.0, "coml-03": 90.0}
MACS_SAVED = {"resnet": 11.5, "blockcoml-05": 69.2, "blockcoml-03": 73.1, "coml-05": 57.7, "coml-03": 61.5}
#: CIFAR-100 within 0.3 s at 100 Mbit/s: error, percent.
LINK_BPS, LINK_DEADLINE_S = 100e6, 0.3
LINK_ERROR = {"resnet": 96.0, "blockcoml-05": 69.0, "blockcoml-03": 46.0, "coml-05": 43.0, "coml-03": 38.0}
#: The whole model's error above the ordinary network's, points: "from 3% to 9% when using BlockCoML-05 and CoML-03".
FULL_LOSS = {"blockcoml-05": 3.0, "coml-03": 9.0}
#: CIFAR-10 at 75 % less: 8 bits a weight; three weights in four pruned and the rest trained further; CoML "about".
INT8_ERROR, PRUNED_ERROR, COML_QUARTER_ERROR = 8.0, 10.0, 12.0

#: "Performance evaluation": epochs, batch, rate, and where the rate is divided by 10.
EPOCHS, BATCH, RATE, DROPS, RUNS = 164, 124, 0.1, (82, 123), 5


def read_off(setting: str) -> dict[str, list[tuple[float, float]]]:
    """Points of Fig. 4 that the text gives: policy -> [(share of bits, error in percent)]."""
    points: dict[str, list[tuple[float, float]]] = {policy: [] for policy in POLICIES}
    if setting.startswith("cifar100"):
        share = LINK_BPS * LINK_DEADLINE_S / (NETWORKS["resnet110"].mbit * 1e6)
        for policy in POLICIES:
            points[policy] += [(1 - BITS_SAVED[policy] / 100, AT_ERROR), (share, LINK_ERROR[policy])]
        points["resnet"].append((0.5, HALF_ERROR["cifar100-resnet110"][0]))
    else:
        points["resnet"].append((0.5, HALF_ERROR["cifar10-resnet56"][0]))
        points["coml-05"].append((0.25, COML_QUARTER_ERROR))
        points["coml-03"].append((0.25, COML_QUARTER_ERROR))
    return points


def read_off_macs(setting: str) -> dict[str, list[tuple[float, float]]]:
    """The same against the share of multiply-accumulates."""
    if not setting.startswith("cifar100"):
        return {policy: [] for policy in POLICIES}
    return {policy: [(1 - MACS_SAVED[policy] / 100, AT_ERROR)] for policy in POLICIES}
