"""How much loss each cut may bear: accuracy against error rate, as measured, and the curve G through it.

A tolerance profile belongs to one graph and one set of weights. Accuracy is a share, 0 to 1; for
speech it is the word accuracy, 1 - word error rate.
"""

from __future__ import annotations

import functools
from typing import Literal

from airloom.core.coding import RAW, Coding
from airloom.core.value import SCHEMA_VERSION, Value

Pattern = Literal["burst", "random"]


class ErrorPoint(Value, frozen=True):
    """Accuracy at one error rate: the mean over `draws` draws of errors, and their standard deviation."""

    error_rate: float
    accuracy: float
    spread: float = 0.0
    draws: int = 1


class Curve(Value, frozen=True):
    """G: accuracy as a function of the error rate.

    Attributes:
        kind: `exponential` a + b exp(c r) with least L1 distance (Eq. 2 of NeuroMessenger);
            `logistic`; `pchip`, monotone cubic pieces through `parameters` = rates, then accuracies.
        mae: mean absolute distance from the points it was not fitted to (leave one out).
        margin: what to take off a prediction so that it holds for fresh draws.
    """

    kind: Literal["exponential", "logistic", "pchip"]
    parameters: tuple[float, ...]
    mae: float = 0.0
    margin: float = 0.0


class CutTolerance(Value, frozen=True):
    """What a cut bears under one coding.

    Attributes:
        pattern: `burst` loses whole blocks of `block_bytes` bytes, `random` single elements.
        block_bytes: payload of a block, at which the points were measured.
        nbytes: mean payload of a coded live set (batch of the profile), side information included.
        side_nbytes: of these, what says where elements belong and how they are scaled.
        code_s, decode_s: seconds on the measuring host.
        clean: accuracy under this coding with nothing lost.
        curves: the better first.
    """

    cut: int
    coding: Coding
    pattern: Pattern
    block_bytes: int
    nbytes: float
    side_nbytes: float = 0.0
    code_s: float = 0.0
    decode_s: float = 0.0
    clean: float = 0.0
    points: tuple[ErrorPoint, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def num_blocks(self) -> int:
        return max(1, -int(-self.nbytes // self.block_bytes))


class LayerTolerance(Value, frozen=True):
    """What one layer's weights bear on their way (federated mode); `layer` is its name in the state dict."""

    layer: str
    kind: Literal["convolution", "linear", "norm", "recurrent", "other"]
    pattern: Pattern
    nbytes: int
    points: tuple[ErrorPoint, ...] = ()


class MapOrder(Value, frozen=True):
    """Feature maps of a tensor from the most to the least important, and their calibrated means."""

    tensor: int
    order: tuple[int, ...]
    means: tuple[float, ...]


class TunedWeights(Value, frozen=True):
    """Weights of the receiving half fine-tuned for a cut: `file` lies beside the profile."""

    cut: int
    file: str
    sha256: str


class Tolerance(Value, frozen=True, dict=True):
    """What `airloom tolerance` writes.

    Attributes:
        graph_digest: of the graph at the batch that hosts run.
        weights_digest: of the weights it was measured with.
        metric: `top-1` or `word accuracy`, or the name of the user's own.
        clean: accuracy of the model whole.
        samples: how many test samples each figure is the mean of.
        layers: federated mode, one entry a layer and pattern.
        maps: importance and means of feature maps, from calibration samples.
    """

    model: str
    graph_digest: str
    weights_digest: str
    metric: str
    clean: float
    samples: int
    cuts: tuple[CutTolerance, ...] = ()
    layers: tuple[LayerTolerance, ...] = ()
    maps: tuple[MapOrder, ...] = ()
    tuned: tuple[TunedWeights, ...] = ()
    data: str = ""
    seed: int = 0
    schema: int = SCHEMA_VERSION

    @functools.cached_property
    def codings(self) -> tuple[Coding, ...]:
        """Every coding in it, raw first: hosts that share the profile name a coding by its place here."""
        return tuple(dict.fromkeys((RAW, *(cut.coding for cut in self.cuts))))

    @functools.cached_property
    def by_cut(self) -> dict[int, tuple[CutTolerance, ...]]:
        """What is known of each cut: every coding, pattern and block size."""
        found: dict[int, list[CutTolerance]] = {}
        for entry in self.cuts:
            found.setdefault(entry.cut, []).append(entry)
        return {cut: tuple(entries) for cut, entries in found.items()}


class Contract(Value, frozen=True):
    """The accuracy that a user demands, and the profile that says what it takes.

    Attributes:
        min_accuracy: the floor, 0 to 1; None asks for no more than what no loss can spoil.
    """

    tolerance: Tolerance
    min_accuracy: float | None = None
