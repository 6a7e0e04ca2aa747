"""The weights of a graph as a trainer has them: values, what the optimiser keeps, buffers, and one step back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from airloom.core.graph import TensorSpec
from airloom.core.training import TrainingSpec, state_id, weight_of
from airloom.errors import ConfigError, UserError
from airloom.nn.captured import Captured
from airloom.nn.executor import Buffer, tensor_from_bytes, tensor_to_bytes
from airloom.nn.stage import canonical
from airloom.nn.training.optimiser import make_optimiser, put_slots, slot_names

Tensors = dict[int, Buffer]
_EMPTY = memoryview(b"")


@dataclass(frozen=True)
class Before:
    """What it takes to go back to before a step: values and optimiser state, by id."""

    step: int
    values: dict[int, Tensor]
    slots: dict[int, list[Tensor]]


class TrainedWeights:
    """All weights and buffers of a captured graph, by id.

    Attributes:
        values: the tensors that operators read; those in `trained` are leaves of autograd.
        sinks: where operators write in place of buffers: that waits for the update, since a step may still
            fail, and autograd wants the old values until then.

    Raises:
        UserError: there is nothing to train.
    """

    def __init__(self, captured: Captured, spec: TrainingSpec, torch_device: torch.device) -> None:
        self._graph, self._device = captured.graph, torch_device
        self.trained = frozenset(k for k, parameter in enumerate(self._graph.parameters) if parameter.trained)
        if not self.trained:
            raise UserError(f"{self._graph.model} has no weights to train: capture the module, none of them frozen")
        written = sorted({p for op in self._graph.operators for p in op.writes})
        self.values = tuple(self._own(k, tensor) for k, tensor in enumerate(captured.parameters))
        self.sinks = {k: self.values[k].clone() for k in written}
        self._names = slot_names(spec)
        self._optimiser = make_optimiser(spec, [self.values[k] for k in sorted(self.trained)])

    def _own(self, id: int, tensor: Tensor) -> Tensor:
        own = canonical(tensor.detach().to(self._device)).clone()
        return own.requires_grad_() if id in self.trained else own

    # --- a step -------------------------------------------------------------------------------

    def update(self, step: int, gradients: Mapping[int, Tensor | None], changed: Iterable[int]) -> Before:
        """One step of the optimiser; `changed` are all weights that this or another stage gives new values.

        Returns:
            What it takes to go back.
        """
        changed = list(changed)
        written = [w for w in changed if w in self.sinks]
        before = Before(
            step,
            {w: self.values[w].detach().clone() for w in changed},
            {w: [slot.clone() for slot in self._slots(w)] for w in changed if w in self.trained},
        )
        with torch.no_grad():
            for w in written:
                self.values[w].copy_(self.sinks[w])
        for weight, gradient in gradients.items():
            self.values[weight].grad = gradient
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return before

    def restore(self, before: Before) -> None:
        with torch.no_grad():
            for weight, tensor in before.values.items():
                self.values[weight].copy_(tensor)
        for weight, slots in before.slots.items():
            put_slots(self._optimiser, self.values[weight], self._names, slots)

    # --- as tensors that travel ---------------------------------------------------------------

    def load(self, state: Mapping[int, Buffer]) -> None:
        """Take weights, buffers and optimiser state by `state_id`; an empty slot is one not yet there.

        Raises:
            ConfigError: an id or a size that cannot be; nothing is taken then.
        """
        found: dict[int, dict[int, Tensor | None]] = {}
        for id, data in state.items():
            weight, slot = weight_of(id)
            if not 0 <= weight < len(self.values) or not 0 <= slot <= len(self._names):
                raise ConfigError(f"tensor {id} is no state of a weight of {self._graph.model}")
            name = self._graph.parameters[weight].name
            if slot and weight not in self.trained:
                raise ConfigError(f"{name} is not trained: it has no optimiser state")
            empty = slot > 0 and not memoryview(data).nbytes
            try:
                tensor = None if empty else tensor_from_bytes(data, self._spec(weight, slot), self._device)
            except ValueError as error:
                raise ConfigError(f"state of {name}: {error}") from None
            found.setdefault(weight, {})[slot] = tensor
        for weight, slots in found.items():
            there = [slots[k] for k in sorted(slots) if k and slots[k] is not None]
            if there and len(there) != len(self._names):
                raise ConfigError(f"{self._graph.parameters[weight].name}: a part of its optimiser state is missing")
        for weight, slots in found.items():
            value = slots.pop(0, None)
            with torch.no_grad():
                if value is not None:
                    self.values[weight].copy_(value)
            if slots:
                kept = [tensor for _, tensor in sorted(slots.items()) if tensor is not None]
                put_slots(self._optimiser, self.values[weight], self._names, kept)

    def export(self, ids: Iterable[int]) -> Tensors:
        """Copies of the state tensors `ids`; a slot that is not there yet is empty."""
        result: Tensors = {}
        for id in ids:
            weight, slot = weight_of(id)
            slots = self._slots(weight) if slot else []
            tensor = self.values[weight] if not slot else slots[slot - 1] if slots else None
            result[id] = _EMPTY if tensor is None else memoryview(bytearray(tensor_to_bytes(tensor)))
        return result

    def state_ids(self, weights: Iterable[int]) -> tuple[int, ...]:
        """Ids of all state of `weights`, optimiser state included."""
        return tuple(
            state_id(w, slot) for w in weights for slot in range(1 + (len(self._names) if w in self.trained else 0))
        )

    def by_name(self) -> dict[str, Tensor]:
        """Copies of all weights and buffers."""
        named = zip(self._graph.parameters, self.values, strict=True)
        return {parameter.name: tensor.detach().cpu().clone() for parameter, tensor in named}

    def _slots(self, weight: int) -> list[Tensor]:
        state = self._optimiser.state.get(self.values[weight], {})
        return [state[name] for name in self._names if state.get(name) is not None]

    def _spec(self, weight: int, slot: int) -> TensorSpec:
        if slot and self._names[slot - 1] == "step":
            return TensorSpec(shape=(), dtype="float32")
        return self._graph.parameters[weight].spec
