"""Reference networks by the names the field uses."""

from __future__ import annotations

from airloom.zoo.resnet import resnet18, resnet20, resnet56, resnet110, wrn28_10

IMAGE_MODELS = {
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "wrn28_10": wrn28_10,
}
