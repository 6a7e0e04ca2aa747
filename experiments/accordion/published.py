"""The trained CIFAR-10 ResNets of akamaster/pytorch_resnet_cifar10 (BSD-2) as weights of the zoo's networks.

Same architecture with other names, and normalised with ImageNet's mean and deviation in place of CIFAR-10's. That is
folded into the first convolution and its batch norm. It is exact but at the picture's border, where padding is zero
behind the normalisation: 93.46 % of the test set in place of the published 93.39 % for ResNet-56.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from airloom.zoo.pixels import CIFAR10_MEAN, CIFAR10_STD, IMAGENET_MEAN, IMAGENET_STD

FILES = {
    "resnet20": "resnet20-12fca82f.th",
    "resnet32": "resnet32-d509ac18.th",
    "resnet56": "resnet56-4bfd9763.th",
}
#: Of the files as they are, in percent (akamaster's README).
PUBLISHED_ERROR = {"resnet20": 8.27, "resnet32": 7.37, "resnet56": 6.61}


def zoo_key(key: str) -> str:
    """`module.layer1.0.conv1.weight` -> `groups.0.0.conv1.weight`."""
    key = key.removeprefix("module.").replace("linear.", "fc.")
    for group in (1, 2, 3):
        key = key.replace(f"layer{group}.", f"groups.{group - 1}.")
    return key


def load_published(name: str, folder: Path, *, fold: bool = True) -> dict[str, Tensor]:
    """State dict of the zoo's network `name`.

    Args:
        folder: holds the files of `FILES`.
        fold: False keeps the weights for pixels normalised as ImageNet's.
    """
    saved = torch.load(folder / FILES[name], weights_only=True, map_location="cpu")
    state = {zoo_key(key): tensor for key, tensor in saved["state_dict"].items()}
    if fold:
        theirs, ours = (IMAGENET_MEAN, IMAGENET_STD), (CIFAR10_MEAN, CIFAR10_STD)
        (their_mean, their_std), (our_mean, our_std) = (map(torch.tensor, pair) for pair in (theirs, ours))
        weight = state["conv1.weight"]
        # (pixel - theirs) / their_std = (pixel - ours) / our_std * our_std / their_std + (ours - theirs) / their_std
        shift = (weight.sum((2, 3)) * ((our_mean - their_mean) / their_std)).sum(1)
        state["conv1.weight"] = weight * (our_std / their_std).view(1, 3, 1, 1)
        state["bn1.running_mean"] = state["bn1.running_mean"] - shift
    return state
