"""A stage that trains: forward from a live set, backward from gradients of the next one, an update of its weights.

Split training gives the bits of unsplit training (same batch, threads and torch): `passes` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from airloom.core.graph import TensorSpec
from airloom.core.training import (
    LABELS,
    LOSS,
    Sharing,
    Span,
    TrainingSpec,
    gradient_id,
    is_gradient_of_weight,
    state_id,
    weight_of,
)
from airloom.errors import ConfigError, StageFailed, UserError
from airloom.nn.captured import Captured
from airloom.nn.executor import Buffer, tensor_from_bytes, tensor_to_bytes
from airloom.nn.source import first_line
from airloom.nn.stage import StageCode, canonical
from airloom.nn.training.dropout import Draws
from airloom.nn.training.gradients import needs_gradient, readers
from airloom.nn.training.loss import LOSSES, check_labels
from airloom.nn.training.passes import Pass, sealed
from airloom.nn.training.weights import Before, Tensors, TrainedWeights

_EMPTY = memoryview(b"")


class StageTrainer:
    """Holds all weights of one captured graph, and trains those of one stage.

    Args:
        captured: captured in train mode.
        threads: torch's own within one operator; the same on all hosts and unsplit.

    Attributes:
        step: number of updates so far.

    Raises:
        UserError: the graph is in eval mode, or nothing in it is trained.
        ConfigError: labels that the loss does not take.
    """

    def __init__(self, captured: Captured, spec: TrainingSpec, *, torch_device: str = "cpu", threads: int = 1) -> None:
        graph = captured.graph
        if graph.mode != "train":
            raise UserError(f"{graph.model} was captured in eval mode, where batch norm stands still: use mode='train'")
        spec.check()
        check_labels(graph, spec)
        self.graph, self.spec, self.threads = graph, spec, threads
        self.torch_device = torch.device(torch_device)
        self._weights = TrainedWeights(captured, spec, self.torch_device)
        self.trained = self._weights.trained
        self.needs = needs_gradient(graph)
        self._readers = readers(graph)
        self._draws = Draws(spec.seed)
        self._code = StageCode(
            graph, self._weights.values, self.torch_device, self.trained, seal=sealed, random=self._draws.dropout,
            sinks=self._weights.sinks,
        )  # fmt: skip
        self.step = 0
        self._before: Before | None = None
        self._under_way = False
        self._pass: Pass | None = None
        self._gradients: dict[int, Tensor | None] = {}
        self.stage = -1
        self.place(0, ((0, graph.num_operators),), -1, {})

    # --- stages -------------------------------------------------------------------------------

    def place(self, step: int, stages: tuple[Span, ...], stage: int, state: Mapping[int, Buffer]) -> None:
        """Be stage `stage` of `stages` (-1: of none) from step `step` on, with the weights of `state`.

        A trainer that was of no stage so far has the captured weights, which are those of step 0.

        Raises:
            ConfigError: the stages are not all operators in order, or a tensor has the wrong size.
            StageFailed: weights as of that step are neither here nor in `state`.
        """
        ends = [0, *(stop for _, stop in stages)]
        if [start for start, _ in stages] != ends[:-1] or ends[-1] != self.graph.num_operators:
            raise ConfigError(f"stages {stages} are not the {self.graph.num_operators} operators in order")
        if not -1 <= stage < len(stages):
            raise ConfigError(f"no stage {stage} of {len(stages)}")
        sharing = Sharing(self._readers, stages)
        for w in self._weights.sinks:
            if len(sharing.readers[w]) > 1:
                raise ConfigError(
                    f"buffer {self.graph.parameters[w].name!r} is read on one host and written on another: "
                    f"cut {self.graph.model} elsewhere"
                )
        if self.stage >= 0:
            self._go_to(step)
        elif stage >= 0 and step > 0:
            given = {weight_of(id)[0] for id in state}
            lacking = [
                w for w in sharing.of_stage[stage] if w in self.trained | set(self._weights.sinks) and w not in given
            ]
            if lacking:
                names = ", ".join(self.graph.parameters[w].name for w in lacking[:3])
                raise StageFailed(f"{len(lacking)} weights as of step {step} are not here: {names}, ...")
        self.load(state)
        self.step, self._before, self._under_way, self._pass = step, None, False, None
        self.sharing, self.stage = sharing, stage
        self.span = stages[stage] if stage >= 0 else (0, 0)
        operators = self.graph.operators[slice(*self.span)]
        made = {t for op in operators for t in op.outputs}
        read = {t for op in operators for t in op.inputs} - made
        self._reads = tuple(sorted(read))
        self._makes = tuple(t for t in self.graph.live_set(self.span[1]) if t in made)
        self._function: Callable[..., tuple[Any, ...]] = (
            self._code.compile(*self.span, self._reads, self._makes) if stage >= 0 else lambda: ()
        )

    @property
    def is_last(self) -> bool:
        return self.stage == len(self.sharing.stages) - 1

    # --- a step -------------------------------------------------------------------------------

    def forward(self, step: int, data: Mapping[int, Buffer]) -> Tensors:
        """Run the stage on the live set of its first cut, and `LABELS` at the last stage.

        Returns:
            The live set of its last cut; at the last stage `LOSS` alone.

        Raises:
            StageFailed: a tensor is missing or has the wrong size, or an operator raised.
        """
        self._go_to(step)
        stop = self.span[1]
        try:
            self._under_way, self._draws.step = True, step
            inputs = {t: self._input(t, data[t]) for t in self._reads}
            self._set_threads()
            with torch.enable_grad():
                made = dict(zip(self._makes, self._function(*inputs.values()), strict=True))
                live = {t: made[t] if t in made else inputs.get(t) for t in self.graph.live_set(stop)}
                held = {t: tensor for t, tensor in live.items() if tensor is not None}
                if self.is_last:
                    first = self.graph.outputs[0]
                    if first not in held:  # an earlier stage made it, and nothing here reads it
                        held[first] = inputs[first] = self._input(first, data[first])
                    loss = LOSSES[self.spec.loss](held[first], self._labels(data[LABELS]))
                    self._pass = Pass(inputs, held, loss)
                    return {LOSS: memoryview(loss.detach().double().cpu().numpy().tobytes())}
            self._pass = Pass(inputs, held, None)
            return {t: tensor_to_bytes(held[t]) if t in held else memoryview(data[t]) for t in live}
        except KeyError as error:
            raise self._failed("forward", f"tensor {error.args[0]} of its live set is missing") from None
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._failed("forward", str(error)) from error

    def backward(self, step: int, gradients: Mapping[int, Buffer]) -> Tensors:
        """Gradients of what `forward` read, from those of what it gave; none at the last stage, which has the loss.

        Gradients that are zero everywhere may be empty. A weight that stages on both sides of a cut read has its
        gradient under `gradient_id`, summed over the stages so far.

        Returns:
            Gradients of the live set of its first cut that somebody before it needs, and of such weights.

        Raises:
            StageFailed: there was no forward pass, or a tensor has the wrong size.
        """
        kept, self._pass = self._pass, None
        if kept is None or step != self.step or not self._under_way:
            raise self._failed("backward", f"there was no forward pass of step {step}")
        own = {w: self._weights.values[w] for w in self.sharing.of_stage[self.stage] if w in self.trained}
        self._set_threads()
        try:
            found, results = kept.backward(gradients, own, lambda id, data: self._tensor(data, self._spec(id)))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._failed("backward", str(error)) from error
        # In the one form, as those that come from other stages are: then the optimiser's kernels are the same too.
        mine = {w: found[gradient_id(w)] for w in own if self.sharing.owner[w] == self.stage}
        self._gradients = {w: None if g is None else canonical(g) for w, g in mine.items()}
        for id in self.backward_ids():
            gradient = found.get(id)
            if gradient is not None:
                results[id] = tensor_to_bytes(canonical(gradient))
            results.setdefault(id, _EMPTY)
        return {id: results[id] for id in self.backward_ids()}

    def backward_ids(self) -> tuple[int, ...]:
        """What `backward` returns, in order: tensors of the first cut, then weights of several stages."""
        start = self.span[0]
        if start == 0:
            return ()
        live = tuple(t for t in self.graph.live_set(start) if t in self.needs)
        weights = tuple(gradient_id(w) for w in self.sharing.crossing(self.stage) if w in self.trained)
        return live + weights

    def update(self, step: int) -> Tensors:
        """One step of the optimiser on the weights that this stage owns.

        Returns:
            New values of those that other stages read too, by `state_id`.

        Raises:
            StageFailed: there are no gradients of this step.
        """
        if step != self.step or not self._under_way or self._pass is not None:
            raise self._failed("update", f"there are no gradients of step {step}")
        kept = self.trained | set(self._weights.sinks)
        self._set_threads()
        changed = [w for w in self.sharing.of_stage[self.stage] if w in kept]
        self._before = self._weights.update(step, self._gradients, changed)
        self._gradients = {}
        self.step, self._under_way = step + 1, False
        return self.export(step + 1, [state_id(w) for w in self.sharing.lent(self.stage) if w in self.trained])

    def install(self, step: int, values: Mapping[int, Buffer]) -> None:
        """Values of weights that another stage owns, as they are after step `step` (this stage has updated its own).

        Raises:
            StageFailed: this stage is elsewhere.
        """
        if self.step != step + 1 or self._under_way:
            raise self._failed("install", f"values of step {step} at step {self.step}")
        self.load(values)

    # --- state --------------------------------------------------------------------------------

    def load(self, state: Mapping[int, Buffer]) -> None:
        """Take weights, buffers and optimiser state by `state_id`; an empty slot is one not yet there.

        Raises:
            ConfigError: an id or a size that cannot be; nothing is taken then.
        """
        self._weights.load(state)

    def export(self, step: int, ids: Iterable[int]) -> Tensors:
        """Copies of the state tensors `ids` as they are before step `step`.

        Raises:
            StageFailed: this trainer is at another step, and cannot go back to it.
        """
        self._go_to(step)
        return self._weights.export(ids)

    def state_ids(self, weights: Iterable[int]) -> tuple[int, ...]:
        """Ids of all state of `weights`, optimiser state included."""
        return self._weights.state_ids(weights)

    def weights(self) -> dict[str, Tensor]:
        """Copies of all weights and buffers by name; meaningful for those that this stage owns."""
        return self._weights.by_name()

    def _go_to(self, step: int) -> None:
        """Forget an unfinished step; go back one finished step where that is asked for."""
        self._under_way, self._pass, self._gradients = False, None, {}
        if self.step == step:
            return
        before = self._before
        if before is None or self.step != step + 1 or before.step != step:
            raise StageFailed(
                f"this host is at step {self.step}, not at {step}: it was started again, or missed a step; go on from "
                "a checkpoint"
            )
        self._weights.restore(before)
        self.step, self._before = step, None

    # --- tensors ------------------------------------------------------------------------------

    def _input(self, id: int, data: Buffer) -> Tensor:
        tensor = self._tensor(data, self.graph.tensors[id])
        return tensor.requires_grad_() if id in self.needs else tensor

    def _labels(self, data: Buffer) -> Tensor:
        return self._tensor(data, TensorSpec(shape=self.spec.label_shape, dtype=self.spec.label_dtype))

    def _tensor(self, data: Buffer, spec: TensorSpec) -> Tensor:
        return tensor_from_bytes(data, spec, self.torch_device)

    def _spec(self, id: int) -> TensorSpec:
        return self.graph.parameters[id - gradient_id(0)].spec if is_gradient_of_weight(id) else self.graph.tensors[id]

    def _set_threads(self) -> None:
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)

    def _failed(self, what: str, reason: str) -> StageFailed:
        start, stop = self.span
        return StageFailed(
            f"{what} of operators {start}..{stop - 1} of {self.graph.model}: "
            f"{first_line(reason)[:300] or 'no reason given'}"
        )
