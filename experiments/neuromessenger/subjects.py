"""The three models with their weights, data and cuts.

The pictures are 32x32 and the networks narrow, so a live set is smaller than the paper's: the uplink gets fewer
resource blocks in proportion, and a cut is as many transport blocks as in the paper. The paper's times imply
64x112x112 elements at VGG11's first cut (867 blocks of 3777 bytes) and 64x28x28 after ResNet-18's first group (53).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from speech import NUM_FRAMES, NUM_MELS, DeepSpeech2, decode_greedy, word_errors
from torch import Tensor, nn

from airloom import zoo
from airloom.core.graph import ModelGraph
from airloom.nn.capture import capture
from airloom.nn.tolerance import Halves, Samples, Score, top1
from airloom.radio.nr.tables import mcs
from airloom.radio.nr.tbs import Allocation, transport_block_bits

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "zoo"))
from cifar100 import load_cifar100  # noqa: E402

CALIBRATION_IMAGES = 2500


@dataclass(frozen=True)
class Cut:
    """A cut behind the operator named `after`; `title` is the paper's name of the place.

    Attributes:
        in_table: one of the four of Table I; others are for a figure.
        tuning: how many times as long the receiving half is fine-tuned.
        effort: share of the samples that are measured with, where a live set is large.
        profile: how many times as many samples the tolerance profile is of.
    """

    after: str
    title: str
    in_table: bool = True
    tuning: float = 1.0
    effort: float = 1.0
    profile: float = 1.0


@dataclass(frozen=True)
class Subject:
    """A model of the experiment.

    Attributes:
        prbs: resource blocks of the uplink; 51 are the paper's 20 MHz and give 3777 bytes a transport block.
        speech: scored by words; there are no classes.
        messages: evaluated in one pass.
        every_layer: Fig. 16 is of this model.
        patterns: title and operator of the layers of Fig. 4.
        maps_of: operators whose feature maps Fig. 5 shows, the second is the pooling.
    """

    name: str
    title: str
    cuts: tuple[Cut, ...]
    prbs: int
    build: Callable[[], nn.Module]
    example: Callable[[int], Tensor]
    score: Score
    speech: bool = False
    messages: int = 125
    every_layer: bool = False
    patterns: tuple[tuple[str, str], ...] = ()
    maps_of: tuple[str, str] | None = None

    @property
    def block_bytes(self) -> int:
        """Of a transport block: MCS 13 of 38.214 Table 5.1.3.1-1, 2 layers, one DMRS symbol, as in the paper."""
        return transport_block_bits(mcs(1, 13), Allocation(prb=self.prbs)) // 8


@dataclass(frozen=True)
class Data:
    """Samples by what they are for; no sample is in two parts."""

    train: Samples
    calibration: Samples
    test: Samples


def cut_index(graph: ModelGraph, after: str) -> int:
    """The cut behind the operator `after`."""
    names = [op.name for op in graph.operators]
    if after not in names:
        raise ValueError(f"{graph.model} has no operator {after!r}: it has {', '.join(names)}")
    return names.index(after) + 1


def halves(subject: Subject, model: nn.Module, *, threads: int = 1) -> Halves:
    """The model as a host runs it, one sample a message, and at a batch to measure with."""
    host = capture(model, (subject.example(1),), name=subject.name)
    large = capture(model, (subject.example(subject.messages),), name=subject.name)
    return Halves(host, large, threads=threads)


def load_weights(subject: Subject, folder: Path = HERE / "weights") -> tuple[nn.Module, dict[str, Any]]:
    """The trained network and the record of its training."""
    stem = {"vgg11": "vgg11_cifar100", "resnet18": "resnet18_cifar100", "deepspeech2": "an4"}[subject.name]
    model = subject.build()
    state = load_file(folder / f"{stem}.safetensors")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model.eval(), json.loads((folder / f"{stem}.json").read_text())


def image_data(folder: Path, *, calibration: int = CALIBRATION_IMAGES) -> Data:
    """CIFAR-100: training images to tune with; of the 10,000 test images the first part of a fixed random order is
    for calibration (tolerance profile, choice of coding), the others for results."""
    x_train, y_train, x_test, y_test = load_cifar100(folder)
    order = np.random.default_rng(0).permutation(len(x_test))
    known, fresh = order[:calibration], order[calibration:]
    return Data(
        Samples((x_train,), y_train), Samples((x_test[known],), y_test[known]), Samples((x_test[fresh],), y_test[fresh])
    )


def speech_data(folder: Path) -> Data:
    """AN4: labels are the spoken words as bytes."""
    from an4 import load_an4

    parts = {
        name: Samples((part.pictures.numpy(),), encode_words(part.texts)) for name, part in load_an4(folder).items()
    }
    return Data(parts["train"], parts["calibration"], parts["test"])


def encode_words(texts: list[str]) -> NDArray[np.uint8]:
    """Texts as rows of bytes, filled up with zeros."""
    width = 128
    return np.stack([np.frombuffer(text.encode().ljust(width, b"\0"), np.uint8) for text in texts])


def decode_words(row: NDArray[np.uint8]) -> str:
    return row.tobytes().rstrip(b"\0").decode()


def word_accuracy(outputs: Any, labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """1 - word error rate of each utterance, at least 0."""
    texts = [decode_words(row) for row in labels]
    return np.array([
        max(0.0, 1.0 - word_errors(said, heard) / len(said.split()))
        for said, heard in zip(texts, decode_greedy(outputs), strict=True)
    ])  # fmt: skip


def _pixels(count: int) -> Tensor:
    return torch.zeros(count, 3, 32, 32, dtype=torch.uint8)


SUBJECTS = {
    "vgg11": Subject(
        name="vgg11", title="VGG11, CIFAR-100",
        cuts=(
            Cut("features.0.conv2d", "layer 1", effort=0.6, profile=2.0),
            *(Cut(f"features.{k - 1}.conv2d", f"layer {k}") for k in (5, 19, 26)),
            Cut("features.14.max_pool2d", "layer 15", in_table=False),
        ),
        prbs=2, build=lambda: zoo.IMAGE_MODELS["vgg11"](num_classes=100, width=32), example=_pixels, score=top1,
        every_layer=True, maps_of=("features.2.relu", "features.3.max_pool2d"),
    ),
    "resnet18": Subject(
        name="resnet18", title="ResNet-18, CIFAR-100",
        cuts=(
            Cut("groups.0.1.relu.2", "residual group 1", effort=0.6),
            *(Cut(f"groups.{k}.1.relu.2", f"residual group {k + 1}") for k in (1, 2, 3)),
            # Inside a residual block: the shortcut's tensor crosses as well.
            Cut("groups.1.0.conv1.conv2d", "layer 15", in_table=False, tuning=4.0, profile=2.5),
        ),
        prbs=17, build=lambda: zoo.IMAGE_MODELS["resnet18"](num_classes=100, width=16), example=_pixels, score=top1,
        patterns=(("4", "relu"), ("26", "groups.1.1.relu.2")),
    ),
    "deepspeech2": Subject(
        name="deepspeech2", title="DeepSpeech2, AN4",
        cuts=(
            Cut("conv1.conv2d", "convolution 1", tuning=0.5, effort=0.4), Cut("conv2.conv2d", "convolution 2"),
            Cut("gru1.gru", "GRU 1"), Cut("fc1.linear", "linear 1"),
        ),
        prbs=51, build=DeepSpeech2, example=lambda n: torch.zeros(n, 1, NUM_MELS, NUM_FRAMES), score=word_accuracy,
        speech=True, messages=26,
    ),
}  # fmt: skip
