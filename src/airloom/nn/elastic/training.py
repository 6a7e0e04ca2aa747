"""Training an elastic network: each step runs, and updates, the blocks of the depths that it draws and no others.

    model = elastic(zoo.build("resnet20", "random"), zoo.example_inputs("resnet20", batch=2))
    trained = train_elastic(model, [pictures], labels, Recipe(policy=FullOrLess(full=0.5), epochs=30))

Everything random follows from the seed, the epoch and the step, so a training that goes on from a checkpoint ends
with the weights of one that was never interrupted, bit for bit (same threads, same machine).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from airloom.errors import ConfigError
from airloom.nn.elastic.augment import crop_flip, is_pictures
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.preparing import Samples, fitting_samples, weight_groups
from airloom.nn.elastic.progress import Epoch, TrainingProgress, load_progress, save_progress
from airloom.nn.elastic.recipe import Recipe
from airloom.nn.elastic.sandwich import Gradients
from airloom.nn.elastic.scoring import score
from airloom.nn.elastic.statistics import recalibrate
from airloom.nn.training.batches import Deal
from airloom.nn.training.optimiser import make_optimiser
from airloom.planner.depth_draws import draw_between, draw_depths

Array = NDArray[Any]
#: What random numbers are for: third number of their seed, after those of the training and of the epoch.
_DEPTHS, _PICTURES, _DROPOUT = 1, 2, 3


@dataclass(frozen=True)
class TrainingStep:
    """A step that was taken: what a progress line shows.

    Attributes:
        step: its number in all epochs together, from 0.
        steps: of all epochs.
        depths: it trained.
        losses: of each of them.
        rest_s: expected until the end, without what is measured there.
    """

    step: int
    steps: int
    epoch: int
    depths: tuple[int, ...]
    losses: tuple[float, ...]
    lr: float
    rest_s: float


@dataclass(frozen=True)
class TrainedElastic:
    """What came of a training; the model itself was trained in place.

    Attributes:
        is_finished: False where it was asked to stop: a checkpoint has the rest.
        scores: of every depth tested in the end.
        step_s: mean seconds a step.
    """

    history: tuple[Epoch, ...]
    is_finished: bool
    scores: dict[int, float]
    seconds: float
    step_s: float


def train_elastic(
    model: ElasticModel,
    arrays: Sequence[Array],
    labels: Array,
    recipe: Recipe,
    *,
    teacher: nn.Module | None = None,
    test: tuple[Sequence[Array], Array] | None = None,
    test_every: int = 0,
    test_depths: Sequence[int] = (),
    checkpoint: Path | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[TrainingStep], None] | None = None,
    after_epoch: Callable[[int, Epoch], None] | None = None,
    torch_device: str | torch.device = "cpu",
    where: str = "data",
) -> TrainedElastic:
    """Train `model` in place.

    Args:
        arrays: one for each input of the model, row k of each is sample k.
        labels: row k is that of sample k: a class, or for `mse` a target.
        teacher: a frozen model of the same inputs and outputs, from whose answers every depth learns.
        test: samples and labels to score with; after every `test_every` epochs (0: after the last alone).
        test_depths: those to score; all by default.
        checkpoint: a file that is written after each epoch, and when training is stopped.
        resume: go on from `checkpoint` if there is one.
        stop: asked after each step.
        after_epoch: called with the number of epochs that are done, and what came of the last.

    Raises:
        ConfigError: the recipe or the samples are nothing to train this model with, or the checkpoint is another's.
        ProfileMismatch: the checkpoint is of another model.
    """
    recipe.check()
    run = _Run(model, arrays, labels, recipe, teacher, torch.device(torch_device), where)
    tested = None if test is None else fitting_samples(model, *test, recipe, run.device, f"{where} (test)")
    for depth in test_depths:
        model.order.check(depth)
    if resume and checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
    with _torch_as(recipe.threads):
        while run.epoch < recipe.epochs:
            ended = run.train_epoch(stop, progress)
            last = run.epoch == recipe.epochs
            if tested is not None and ended and test_every and run.epoch % test_every == 0 and not last:
                run.score(tested, test_depths)
            if checkpoint is not None:
                run.save(checkpoint)
            if ended and after_epoch is not None:
                after_epoch(run.epoch, run.history[-1])
            if not last and (not ended or (stop is not None and stop())):
                return run.result(is_finished=False)
        run.finish(tested, test_depths)
    return run.result(is_finished=True)


class _Run:
    """A training under way."""

    def __init__(
        self,
        model: ElasticModel,
        arrays: Sequence[Array],
        labels: Array,
        recipe: Recipe,
        teacher: nn.Module | None,
        device: torch.device,
        where: str,
    ) -> None:
        self.model, self.recipe, self.device = model.to(device), recipe, device
        # While depths take turns there is one set of running statistics; each depth gets its own in the end.
        model.share_statistics()
        if recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if teacher is not None:
            teacher = teacher.to(device).eval().requires_grad_(False)
        self.teacher, self.gradients = teacher, Gradients(model, recipe, teacher)
        arrays, labels = fitting_samples(model, arrays, labels, recipe, device, where)
        if len(labels) < recipe.batch:
            few = f"{len(labels)} sample{'s' * (len(labels) != 1)}"
            raise ConfigError(f"{few}, and a batch has {recipe.batch}: give more, or a smaller --batch", where=where)
        if recipe.augment != "none" and not any(is_pictures(array) for array in arrays):
            raise ConfigError(f"{recipe.augment} is for uint8 pictures [N, C, H, W]: there are none", where=where)
        self.samples = len(labels)
        self.deal = Deal(arrays, labels, recipe.batch, seed=recipe.seed)
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        if not self.weights:
            raise ConfigError("every weight is frozen: there is nothing to train")
        self.optimiser = make_optimiser(recipe.spec(), weight_groups(list(self.weights.values()), recipe))
        self.probabilities = recipe.policy.probabilities(model.order)
        self.ema = {name: weight.detach().clone() for name, weight in self.weights.items()} if recipe.ema else {}
        self.epoch, self.step = 0, 0
        self.history: tuple[Epoch, ...] = ()
        self.sums, self.seconds = np.zeros(5), 0.0
        self.taken, self.took, self.lr = 0, 0.0, recipe.lr

    # --- a pass over the samples ----------------------------------------------------------------

    def train_epoch(self, stop: Callable[[], bool] | None, progress: Callable[[TrainingStep], None] | None) -> bool:
        """Steps from where the training is to the end of the epoch; False where `stop` said so before."""
        depths = self._depths()
        self.model.train()
        while self.step < self.deal.per_pass:
            began = time.perf_counter()
            self._train_step(depths[self.step], progress, began)
            if stop is not None and stop() and self.step < self.deal.per_pass:
                return False
        loss, losses, full, fulls, share = self.sums
        done = Epoch(
            loss=float(loss / losses), full_loss=float(full / fulls) if fulls else None, lr=self.lr,
            share=float(share / self.deal.per_pass), seconds=self.seconds,
        )  # fmt: skip
        self.history += (done,)
        self.epoch, self.step, self.sums, self.seconds = self.epoch + 1, 0, np.zeros(5), 0.0
        return True

    def _depths(self) -> list[tuple[int, ...]]:
        """The depths of each step of this epoch."""
        order, steps, sandwich = self.model.order, self.deal.per_pass, self.recipe.sandwich
        rng = np.random.default_rng([self.recipe.seed, self.epoch, _DEPTHS])
        if sandwich is None:
            return [(int(depth),) for depth in draw_depths(order, self.probabilities, steps, rng)]
        between = draw_between(order, self.probabilities, steps, sandwich.between, rng)
        ends = (order.depths[-1], order.depths[0])[: len(order.depths)]
        return [(*ends, *map(int, row)) for row in between]

    def _train_step(
        self, depths: tuple[int, ...], progress: Callable[[TrainingStep], None] | None, began: float
    ) -> None:
        recipe, number = self.recipe, self.epoch * self.deal.per_pass + self.step
        inputs, labels = self._batch(number)
        self.lr = lr = self._lr()
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        torch.manual_seed(int(np.random.default_rng([recipe.seed, number, _DROPOUT]).integers(1 << 62)))
        self.optimiser.zero_grad(set_to_none=True)
        losses = self.gradients.add(inputs, labels, depths)
        if not np.isfinite(losses).all():
            raise ConfigError(
                f"the loss is no number in step {number + 1}: lower the learning rate, or let it rise first (warmup)"
            )
        if recipe.clip:
            nn.utils.clip_grad_norm_(list(self.weights.values()), recipe.clip)
        self.optimiser.step()
        for name, mean in self.ema.items():
            mean.lerp_(self.weights[name].detach(), 1 - recipe.ema)
        full = [loss for depth, loss in zip(depths, losses, strict=True) if depth == self.model.order.depths[-1]]
        shared = self.gradients.is_sharing
        share = sum(recipe.share_at(self.model.order, depth, shared=shared) for depth in depths)
        self.sums += (sum(losses), len(losses), sum(full), len(full), share)
        self.step += 1
        seconds = time.perf_counter() - began
        self.seconds, self.taken, self.took = self.seconds + seconds, self.taken + 1, self.took + seconds
        if progress is not None:
            steps = recipe.epochs * self.deal.per_pass
            rest = (steps - number - 1) * self.took / self.taken
            progress(TrainingStep(number, steps, self.epoch, depths, losses, lr, rest))

    def _batch(self, number: int) -> tuple[list[Tensor], Tensor]:
        arrays, labels = self.deal(number)
        if self.recipe.augment == "crop-flip":
            rng = np.random.default_rng([self.recipe.seed, number, _PICTURES])
            arrays = tuple(crop_flip(array, rng) if is_pictures(array) else array for array in arrays)
        return [self._placed(array) for array in arrays], torch.from_numpy(labels).to(self.device)

    def _placed(self, array: Array) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        if self.recipe.channels_last and tensor.ndim == 4:
            return tensor.to(memory_format=torch.channels_last)
        return tensor

    def _lr(self) -> float:
        return self.recipe.lr_at(self.epoch + self.step / self.deal.per_pass)

    # --- between epochs -------------------------------------------------------------------------

    def score(self, tested: Samples, depths: Sequence[int]) -> None:
        """Add scores to the epoch that has just ended; training goes on as if nobody had looked."""
        self.model.set_depth(self.model.order.num_blocks)
        model = copy.deepcopy(self.model)
        self._made_ready(model, tuple(depths) or model.order.depths)
        self._scored(model, tested, depths)

    def finish(self, tested: Samples | None, depths: Sequence[int]) -> None:
        """The mean of weights, statistics of each depth, and the last scores."""
        self._made_ready(self.model, self.model.order.depths)
        if tested is not None:
            self._scored(self.model, tested, depths)
        self.model.eval().set_depth(self.model.order.num_blocks)

    def _scored(self, model: ElasticModel, tested: Samples, depths: Sequence[int]) -> None:
        wanted = tuple(depths) or model.order.depths
        found = {d: score(model, *tested, depth=d, loss=self.recipe.loss, device=self.device) for d in wanted}
        last = msgspec.structs.replace(self.history[-1], scores=found)
        self.history = (*self.history[:-1], last)

    def _made_ready(self, model: ElasticModel, depths: Sequence[int]) -> None:
        """The weights and statistics that are kept in the end, in `model`."""
        if self.ema:
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if name in self.ema:
                        weight.copy_(self.ema[name])
        if self.recipe.recalibrate:
            # Pictures as they are: that is what will be asked about.
            batches = [
                tuple(self._placed(array) for array in self.deal(k)[0])
                for k in range(min(self.recipe.recalibrate, self.deal.per_pass))
            ]
            recalibrate(model, batches, depths)

    # --- checkpoints ----------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        save_progress(path, self._progress(), self.model, self.optimiser, self.ema)

    def load(self, path: Path) -> None:
        state, ema = load_progress(path, self._progress(), self.model, self.optimiser)
        self.epoch, self.step, self.history, self.seconds = state.epoch, state.step, state.history, state.seconds
        self.sums = np.array(state.sums)
        self.ema = {name: ema[name].to(self.device) for name in self.ema}

    def _progress(self) -> TrainingProgress:
        return TrainingProgress(
            recipe=self.recipe, order=self.model.order, samples=self.samples, teacher=self.teacher is not None,
            epoch=self.epoch, step=self.step, history=self.history, sums=tuple(map(float, self.sums)),
            seconds=self.seconds,
        )  # fmt: skip

    def result(self, *, is_finished: bool) -> TrainedElastic:
        scores = self.history[-1].scores if is_finished and self.history else {}
        seconds = sum(epoch.seconds for epoch in self.history) + self.seconds
        steps = self.epoch * self.deal.per_pass + self.step
        return TrainedElastic(self.history, is_finished, dict(scores), seconds, seconds / max(steps, 1))


@contextmanager
def _torch_as(threads: int) -> Iterator[None]:
    """So many threads, and random numbers of its own, for as long as training goes on."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        torch.set_num_threads(before)
