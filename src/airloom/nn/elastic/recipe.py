"""How an elastic network is trained, as a value: what a checkpoint carries and a resumed training must agree with."""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from airloom.core.depth import DepthOrder, Order
from airloom.core.training import LossName, OptimizerName, TrainingSpec
from airloom.core.value import Value
from airloom.errors import ConfigError
from airloom.planner.depth_draws import between_shares, in_common
from airloom.planner.depths import Policy, Uniform


class Sandwich(Value, frozen=True):
    """Every step trains the full model, the smallest, and some between; their gradients are added.

    After Yu & Huang, "Universally Slimmable Networks" (ICCV 2019), who do so with widths.

    Attributes:
        between: depths drawn a step besides the full and the smallest one.
        weight: of each of these losses beside the full model's, which counts as 1.
    """

    between: int = 1
    weight: float = 1.0

    @classmethod
    def usual(cls, order: Order) -> Self:
        """What did best here: from the back many depths cost little more than one, each with a small weight.

        The record of the elastic ResNet-20 (`experiments/zoo`) has figures of both; large weights cost the full model.
        """
        return cls(between=7, weight=0.15) if order == "back" else cls()


class Soft(Value, frozen=True):
    """Learning from what another model answers (distillation) besides learning from labels.

    A teacher's answers, where there is one, teach every depth. Without it the full model's answers in the same step
    teach the other depths of a sandwich; they are taken as they are, no gradient goes back through them.

    Attributes:
        share: of the loss: 0 learns from labels alone, 1 from the answers alone.
        temperature: by which both models' logits are divided; the loss is multiplied by its square, so that its
            gradient keeps its size (Hinton et al., 2015, section 2).
    """

    share: float = 1.0
    temperature: float = 1.0


class Recipe(Value, frozen=True):
    """All that a training follows from, besides the model, its samples and a teacher.

    The defaults are those of the paper ("Performance Evaluation") and of the ResNets' authors.

    Attributes:
        policy: how often each depth is trained.
        sandwich: None trains one depth a step, as the paper does.
        soft: what is learned from answers; nothing where there is neither a teacher nor a sandwich.
        epochs, batch: passes over the samples, and samples a step; what is left over of a pass is not used in it.
        lr, shape, milestones, gamma, warmup: the learning rate. `steps` multiplies it by `gamma` at each of these
            shares of all epochs; `cosine` lets it fall to 0 along half a cosine. Before that it rises for `warmup`
            epochs from a tenth.
        optimizer, momentum, nesterov, weight_decay: as `torch.optim` has them.
        decay_all: False leaves weights of one axis (norms, biases) out of weight decay.
        ema: decay a step of the mean of weights that is kept in the end; 0 keeps the weights themselves.
        clip: greatest norm of all gradients together; 0 for none.
        augment: `crop-flip` shifts uint8 pictures `[N, C, H, W]` by up to 4 pixels either way and mirrors half.
        precision: `bf16` runs the network under autocast; weights, gradients and the loss stay fp32.
        channels_last: memory format of pictures and convolutions.
        recalibrate: batches from which each depth's own batch-norm statistics are taken in the end; 0 keeps the
            running ones that all depths share.
        threads: torch's.
        seed: of the samples' order, augmentation, depths and dropout.
    """

    policy: Policy = Uniform()
    sandwich: Sandwich | None = None
    soft: Soft = Soft()
    loss: LossName = "cross_entropy"
    epochs: int = 164
    batch: int = 128
    lr: float = 0.1
    shape: Literal["steps", "cosine"] = "steps"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    warmup: float = 0.0
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_all: bool = True
    ema: float = 0.0
    clip: float = 0.0
    augment: Literal["none", "crop-flip"] = "none"
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    recalibrate: int = 50
    threads: int = 1
    seed: int = 0

    def check(self) -> None:
        """ConfigError, whose `where` is the field, where a figure is not one that can be trained with."""
        self.spec().check()
        for where, wrong, wanted in (
            ("epochs", self.epochs < 1, "at least 1"),
            ("batch", self.batch < 1, "at least 1"),
            ("threads", self.threads < 1, "at least 1"),
            ("seed", self.seed < 0, "0 or more"),
            ("recalibrate", self.recalibrate < 0, "0 batches or more"),
            ("ema", not 0 <= self.ema < 1, "0 or more and below 1"),
            ("clip", not 0 <= self.clip < math.inf, "0 or more"),
            ("gamma", not 0 < self.gamma <= 1, "above 0 and at most 1"),
            ("warmup", not 0 <= self.warmup < self.epochs, "0 or more epochs and fewer than all"),
            ("milestones", not all(0 < m < 1 for m in self.milestones), "shares of all epochs, between 0 and 1"),
            ("soft.share", not 0 <= self.soft.share <= 1, "from 0 to 1"),
            ("soft.temperature", not 0 < self.soft.temperature < math.inf, "above 0"),
        ):
            if wrong:
                raise ConfigError(f"expected {wanted}", where=where)
        if self.sandwich is not None and (self.sandwich.between < 0 or not 0 < self.sandwich.weight < math.inf):
            raise ConfigError("expected 0 depths or more between, and a weight above 0", where="sandwich")

    def spec(self) -> TrainingSpec:
        """The optimiser and the loss."""
        return TrainingSpec(
            optimizer=self.optimizer, lr=self.lr, momentum=self.momentum if self.optimizer == "sgd" else 0.0,
            weight_decay=self.weight_decay, nesterov=self.nesterov, loss=self.loss, seed=self.seed,
        )  # fmt: skip

    def frequencies(self, order: DepthOrder) -> NDArray[np.float64]:
        """How often a step trains each of `order.depths`, `[num_depths]`; a sandwich trains several a step."""
        probabilities = self.policy.probabilities(order)
        if self.sandwich is None:
            return probabilities
        result = np.zeros(len(probabilities))
        result[1:-1] = self.sandwich.between * between_shares(probabilities)
        result[0] = result[-1] = 1.0
        return result

    def share_at(self, order: DepthOrder, depth: int, *, shared: bool = True) -> float:
        """Share of the blocks that a step computes for `depth`.

        Args:
            shared: in a sandwich, what the full model computes as well counts as its own (`sharing`).
        """
        kept = len(order.kept(depth))
        if shared and self.sandwich is not None and depth != order.num_blocks:
            kept -= in_common(order, depth)
        return kept / order.num_blocks

    def mean_share(self, order: DepthOrder) -> float:
        """Expected share of the blocks that a step computes: the time of a step beside one of ordinary training."""
        shares = np.array([self.share_at(order, depth) for depth in order.depths])
        return float(self.frequencies(order) @ shares)

    def lr_at(self, epoch: float) -> float:
        """The learning rate after so many epochs."""
        if epoch < self.warmup:
            return self.lr * (0.1 + 0.9 * epoch / self.warmup)
        if self.shape == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * (epoch - self.warmup) / (self.epochs - self.warmup)))
        passed = sum(epoch >= share * self.epochs for share in self.milestones)
        return self.lr * self.gamma**passed
