"""Measures what training a model costs on this host, through the trainer that will do it.

Operators are timed where they run: forward inside whole passes that autograd records, backward by the moments at
which the gradients of their outputs are whole. The update is timed for all weights at once, and shared among the
operators that own them by bytes. What a stage takes beside (bytes to tensors and back, the calls) is fitted on stages
run from bytes to bytes, forward and backward each with a scale and a constant of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom.core.profile import Profile
from airloom.core.training import LABELS, TrainingSpec, gradient_id, is_gradient_of_weight
from airloom.errors import UserError
from airloom.nn.captured import Captured
from airloom.nn.executor import Buffer, tensor_to_bytes
from airloom.nn.fold import find_modules, folded
from airloom.nn.machine import this_machine
from airloom.nn.measure import (
    batch_of,
    check_asked,
    fit_stages,
    profile_of,
    random_input,
    sample_stages,
)
from airloom.nn.program import DTYPES
from airloom.nn.stage import StageCode, canonical
from airloom.nn.training.dropout import Draws
from airloom.nn.training.gradients import readers
from airloom.nn.training.loss import LOSSES
from airloom.nn.training.sizes import with_training
from airloom.nn.training.trainer import StageTrainer

Floats = NDArray[np.float64]
_MIN_PASSES = 5
# Where the first pass says that these would take far longer than the time given: so many, and so few stages to fit
# and to judge.
_FEWEST_PASSES = 3
_FEWEST_STAGES = 2
_FAR = 3.0
_REST_S = 0.004
# Stages that the scales and constants are fitted to, and as many again that judge them.
_NUM_STAGES = 6
# Weights so small that only the call counts take as long as this many bytes.
_CALL_BYTES = 4096


def measure_training(
    captured: Captured,
    spec: TrainingSpec,
    *,
    device_name: str = "this",
    torch_device: str = "cpu",
    threads: int = 1,
    passes: int = 40,
    warm_up: int = 2,
    seconds_budget: float = 10.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """Time every operator forward and backward, and a sample of stages; predict any stage from them.

    Args:
        captured: in train mode.
        passes: how often each is timed, as far as `seconds_budget` allows.
        progress: called with passes done and passes to do.

    Raises:
        UserError: the graph is not in train mode, or has nothing to train.
        ConfigError: labels that the loss does not take, no name for a device, or no time.
    """
    check_asked(device_name, seconds_budget)
    graph = captured.graph
    trainer = StageTrainer(captured, spec, torch_device=torch_device, threads=threads)
    if trainer.torch_device.type != "cpu":
        raise UserError("training is measured on the CPU: leave --torch-device out")
    rng = np.random.default_rng(seed)
    num = graph.num_operators
    whole = _WholePass(captured, spec, threads, rng)
    began = time.perf_counter()
    whole.run()
    # Stages take some thirds of a whole pass each, and are run forward twice.
    a_pass_s = (time.perf_counter() - began) * _NUM_STAGES
    hurried = _MIN_PASSES * a_pass_s > _FAR * seconds_budget
    if hurried:
        passes, warm_up = min(passes, _FEWEST_PASSES), 0
    fitted, judged = (some[: _FEWEST_STAGES if hurried else _NUM_STAGES] for some in sample_stages(num, rng))
    stages = [(0, num), *fitted, *judged]
    chains = [tuple(span for span in ((0, a), (a, b), (b, num)) if span[0] < span[1]) for a, b in stages]
    runs = [_StageRun(trainer, chain, chain.index(span), whole) for span, chain in zip(stages, chains, strict=True)]
    forward, backward, updates = [], [], []
    stage_rows: list[list[tuple[float, float, float]]] = []
    for turn in range(warm_up + passes):
        there, back, update_s = whole.run()
        # Each before its turn rests, as hosts do while they wait for a message.
        times = [run.run() for run in runs]
        if turn < warm_up:
            continue
        forward.append(there)
        backward.append(back)
        updates.append(update_s)
        stage_rows.append(times)
        if progress is not None:
            progress(len(forward), passes)
        if time.perf_counter() - began > seconds_budget and len(forward) >= _MIN_PASSES:
            break
    modules = find_modules(graph)
    compute_s = folded(np.median(np.array(forward), axis=0), modules)
    spread_s = folded(np.subtract(*np.percentile(np.array(forward), [75, 25], axis=0)), modules)
    backward_s = folded(np.median(np.array(backward), axis=0), modules)
    backward_s = backward_s + _shared(trainer, float(np.median(updates)))  # weights are updated where they are owned
    found = np.median(np.array(stage_rows), axis=0)  # [stages, 3]: forward, backward and update, forward after a rest
    seen = 1 + len(fitted)
    scale, constant_s = fit_stages(_spans(compute_s, stages[:seen]), found[:seen, 0])
    # Below a hundredth of the operators' time nothing can be fitted: stages without gradients.
    sums = np.maximum(_spans(backward_s, stages[:seen]), 1e-7)
    back_scale, back_constant_s = fit_stages(sums, found[:seen, 1])
    predicted = constant_s + scale * _spans(compute_s, stages[seen:])
    predicted += back_constant_s + back_scale * _spans(backward_s, stages[seen:])
    measured = found[seen:, 0] + found[seen:, 1]
    error = float(np.median(np.abs(predicted - measured) / measured)) if judged else None
    profile = profile_of(
        graph,
        compute_s=compute_s,
        spread_s=spread_s,
        device=device_name,
        batch=batch_of(graph),
        stage_scale=scale,
        stage_constant_s=constant_s,
        stage_error=error,
        rest_s=max(0.0, float(np.median(found[:, 2] - found[:, 0]))),
        machine=this_machine(threads, trainer.torch_device),
    )
    profile = msgspec.structs.replace(
        profile,
        operators=tuple(
            msgspec.structs.replace(op, backward_s=float(s))
            for op, s in zip(profile.operators, backward_s, strict=True)
        ),
        backward_scale=back_scale,
        backward_constant_s=back_constant_s,
    )
    return with_training(profile, graph, spec, model_times=False)


def _spans(seconds: Floats, stages: list[tuple[int, int]]) -> Floats:
    elapsed = np.concatenate([[0.0], np.cumsum(seconds)])
    return np.array([elapsed[stop] - elapsed[start] for start, stop in stages], dtype=np.float64)


def _shared(trainer: StageTrainer, update_s: float) -> Floats:
    """Seconds of the update for the first operator that reads each weight, by bytes."""
    graph, shares = trainer.graph, np.zeros(trainer.graph.num_operators)
    for weight, operators in enumerate(readers(graph)):
        if weight in trainer.trained and operators:
            shares[operators[0]] += graph.parameters[weight].spec.nbytes + _CALL_BYTES
    return shares * (update_s / max(1.0, float(shares.sum())))


class _WholePass:
    """One whole pass there and back that notes the time after every operator."""

    def __init__(self, captured: Captured, spec: TrainingSpec, threads: int, rng: np.random.Generator) -> None:
        self.graph, self.spec = captured.graph, spec
        self._trainer = StageTrainer(captured, spec, threads=threads)
        last = self.graph.num_operators
        self._trainer.place(0, ((0, last),), 0, {})
        example = captured.example or tuple(random_input(self.graph, t, rng) for t in self.graph.inputs)
        self.inputs = dict(zip(self.graph.inputs, example, strict=True))
        self.labels = _made_up_labels(spec, self.graph.tensors[self.graph.outputs[0]].shape[-1], rng)
        trained = self._trainer.trained
        self._weights = [p.detach().clone().requires_grad_(k in trained) for k, p in enumerate(captured.parameters)]
        written = {p for op in self.graph.operators for p in op.writes}
        self._made = {t: k for k, op in enumerate(self.graph.operators) for t in op.outputs}
        self._order = iter(range(0))
        self._stamps: list[tuple[int, float]] = []
        code = StageCode(
            self.graph, tuple(self._weights), torch.device("cpu"), trained, seal=self._watch,
            random=Draws(spec.seed).dropout, sinks={k: self._weights[k].detach().clone() for k in written},
        )  # fmt: skip
        outputs = tuple(t for op in self.graph.operators for t in op.outputs)
        reads = tuple(sorted({t for op in self.graph.operators for t in op.inputs} - set(outputs)))
        self._reads = reads
        self._all = code.compile(0, last, reads, outputs)
        self._clocked = code.compile(0, last, reads, self.graph.live_set(last), time.perf_counter)
        self.tensors: dict[int, Tensor] = {}
        self._outputs = outputs
        self._fill()

    def _fill(self) -> None:
        """What every operator makes in one pass, for stages to begin with."""
        self._order = iter(range(len(self._outputs)))
        with torch.no_grad():
            made = self._all(*[canonical(self.inputs[t]) for t in self._reads])
        self.tensors = {**self.inputs, **dict(zip(self._outputs, made, strict=True))}

    def _watch(self, tensor: Tensor) -> Tensor:
        """Note when the gradient of the next output of an operator is whole."""
        place = next(self._order)
        if tensor.requires_grad:
            operator = self._made[self._outputs[place]]

            def arrived(gradient: Tensor) -> Tensor:
                self._stamps.append((operator, time.perf_counter()))
                return canonical(gradient)

            tensor.register_hook(arrived)  # type: ignore[no-untyped-call]
        return tensor

    def run(self) -> tuple[Floats, Floats, float]:
        """Seconds of each operator forward `[L]` and backward `[L]`, and of one update of all weights."""
        self._order, self._stamps = iter(range(len(self._outputs))), []
        with torch.enable_grad():
            *live, stamps = self._clocked(*[canonical(self.inputs[t]) for t in self._reads])
            by_id = dict(zip(self.graph.live_set(self.graph.num_operators), live, strict=True))
            loss = LOSSES[self.spec.loss](by_id[self.graph.outputs[0]], self.labels)
        wanted = [w for w in self._weights if w.requires_grad]
        torch.autograd.grad([loss], wanted, allow_unused=True)
        ended = time.perf_counter()
        back = np.zeros(self.graph.num_operators)
        ends = [at for _, at in self._stamps[1:]] + [ended]
        for (operator, at), end in zip(self._stamps, ends, strict=True):
            back[operator] += end - at
        # The trainer's own update, on gradients of its own.
        trainer = self._trainer
        data: dict[int, Buffer] = {t: tensor_to_bytes(x) for t, x in self.inputs.items()}
        trainer.forward(trainer.step, {**data, LABELS: tensor_to_bytes(self.labels)})
        trainer.backward(trainer.step, {})
        began = time.perf_counter()
        trainer.update(trainer.step)
        return np.diff(np.array(stamps, dtype=np.float64)), back, time.perf_counter() - began


def _made_up_labels(spec: TrainingSpec, classes: int, rng: np.random.Generator) -> Tensor:
    if spec.loss == "cross_entropy":
        return torch.from_numpy(rng.integers(0, classes, spec.label_shape))
    return torch.from_numpy(rng.standard_normal(spec.label_shape).astype(spec.label_dtype))


class _StageRun:
    """One stage of a chain, from bytes to bytes, there and back."""

    def __init__(
        self, trainer: StageTrainer, stages: tuple[tuple[int, int], ...], stage: int, whole: _WholePass
    ) -> None:
        self.trainer, self.stages, self.stage = trainer, stages, stage
        graph = trainer.graph
        start, stop = stages[stage]
        self.data: dict[int, Buffer] = {t: tensor_to_bytes(whole.tensors[t]) for t in graph.live_set(start)}
        self.data[LABELS] = tensor_to_bytes(whole.labels)
        trainer.place(trainer.step, stages, stage, {})
        self.gradients: dict[int, Buffer] = {}
        if not trainer.is_last:
            live = [t for t in graph.live_set(stop) if t in trainer.needs]
            weights = [gradient_id(w) for w in trainer.sharing.crossing(stage + 1) if w in trainer.trained]
            for id in (*live, *weights):
                form = graph.parameters[id - gradient_id(0)].spec if is_gradient_of_weight(id) else graph.tensors[id]
                # Of the size that gradients have; weights that move by them stay what they are for times' sake.
                values = torch.full(form.shape, 1e-6, dtype=DTYPES[form.dtype])
                self.gradients[id] = tensor_to_bytes(values)

    def run(self) -> tuple[float, float, float]:
        """Seconds forward, seconds backward and update, seconds forward after a rest."""
        trainer = self.trainer
        trainer.place(trainer.step, self.stages, self.stage, {})
        step = trainer.step
        time.sleep(_REST_S)
        rested = time.perf_counter()
        trainer.forward(step, self.data)
        began = time.perf_counter()
        trainer.forward(step, self.data)
        middle = time.perf_counter()
        trainer.backward(step, self.gradients)
        trainer.update(step)
        return middle - began, time.perf_counter() - middle, began - rested
