"""Reference networks by the names the field uses, with small weights trained by this project.

model = zoo.build("resnet20")                       # bundled weights, where there are any
model = zoo.build("vgg11", width=16, num_classes=100)
large = zoo.build("resnet18", size=224, num_classes=1000)
inputs = zoo.example_inputs("resnet20", batch=8)
"""

from __future__ import annotations

from airloom.zoo.build import (
    IMAGE_MODELS,
    MODELS,
    build,
    bundled_weights,
    example_inputs,
    load_weights,
    test_images,
    weights_record,
)
from airloom.zoo.qmix import QMIXAgent, QMIXEpisode, QMIXMixer, qmix_agent
from airloom.zoo.rcnn import RCNN, rcnn
from airloom.zoo.recurrent import GRUTagger, gru_tagger
from airloom.zoo.resnet import resnet18, resnet20, resnet32, resnet44, resnet56, resnet110, wrn28_10
from airloom.zoo.vgg import VGG, vgg11

__all__ = [
    "IMAGE_MODELS",
    "MODELS",
    "RCNN",
    "VGG",
    "GRUTagger",
    "QMIXAgent",
    "QMIXEpisode",
    "QMIXMixer",
    "build",
    "bundled_weights",
    "example_inputs",
    "gru_tagger",
    "load_weights",
    "qmix_agent",
    "rcnn",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "test_images",
    "vgg11",
    "weights_record",
    "wrn28_10",
]
