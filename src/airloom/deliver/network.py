"""Runs a network of which some blocks have arrived: one of the zoo, or a graph as data.

A network of the zoo is there twice, as two module trees over the same tensors. One runs; the other gets new tensors
and a new depth, and then calls go to that. So no call sees half a change, and a change costs no copy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from airloom import zoo
from airloom.core.progressive import Manifest
from airloom.deliver.runner import Arrays, Moved, Runner
from airloom.errors import ChunkError, ConfigError, ManifestError
from airloom.nn.capture import capture
from airloom.nn.captured import Captured, Structure
from airloom.nn.elastic.blocks import Blocks, find_blocks
from airloom.nn.elastic.graphs import skip_blocks
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.stored import StoredArchitecture, read_architecture
from airloom.nn.executor import StageExecutor
from airloom.nn.program import DTYPES

#: Only training reads it, and no chunk has it.
_COUNTER = "num_batches_tracked"
#: How long a call on what ran before may take before its module tree is left to it and another one is made.
_DRAIN_S = 5.0


def make_network(manifest: Manifest, architecture: bytes | None) -> Runner:
    """The runner of a network.

    Raises:
        ManifestError, ConfigError: the architecture is not one, or not this manifest's.
    """
    stored = None if architecture is None else read_architecture(architecture, where=manifest.architecture.file)
    if stored is not None and tuple(b.name for b in stored.blocks.blocks) != manifest.architecture.blocks:
        raise ManifestError(f"{manifest.architecture.file}: its blocks are not those of the manifest")
    if manifest.architecture.kind == "graph":
        if stored is None or stored.graph is None or stored.structure is None:
            raise ManifestError(f"{manifest.model}: there is no graph in its architecture")
        return GraphNetwork(manifest, stored)
    return ZooNetwork(manifest, None if stored is None else stored.blocks)


class _NoWeights(TorchFunctionMode):
    """Leaves new weights as memory comes: they are replaced before anything runs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


class _Tree:
    """One of the two module trees, and how many calls are in it."""

    def __init__(self, elastic: ElasticModel) -> None:
        self.elastic = elastic
        self._closed = False
        self._calls, self._idle = 0, threading.Condition()
        self._places: dict[str, tuple[dict[str, Any], str]] = {}
        for path, module in elastic.module.named_modules():
            self._add(module, f"{path}." if path else "")
        for path, module in elastic.adapters.named_modules():
            self._add(module, f"adapters.{path}." if path else "adapters.")

    def _add(self, module: nn.Module, prefix: str) -> None:
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    self._places[prefix + name] = (table, name)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(table[name].shape) for key, (table, name) in self._places.items()}

    def put(self, depth: int, tensors: Mapping[str, Tensor]) -> None:
        """Have it run `depth` with `tensors`; nobody is in it until then."""
        for key, tensor in tensors.items():
            table, name = self._places[key]
            if table[name] is not tensor:
                table[name] = tensor
        self.elastic.set_depth(depth)
        self._closed = False

    def __call__(self, *inputs: Any) -> Any:
        with self._idle:
            if self._closed:
                raise Moved
            self._calls += 1
        try:
            return self.elastic.module(*inputs)
        finally:
            with self._idle:
                self._calls -= 1
                if not self._calls:
                    self._idle.notify_all()

    def emptied(self) -> bool:
        """Let nobody in any more and wait for those who are; False where a call takes too long."""
        with self._idle:
            self._closed = True
            return self._idle.wait_for(lambda: not self._calls, _DRAIN_S)


class ZooNetwork:
    """A network of the zoo by name and options; `blocks` None looks for them in its graph, which takes seconds."""

    def __init__(self, manifest: Manifest, blocks: Blocks | None) -> None:
        self._architecture = architecture = manifest.architecture
        name, options = architecture.name, dict(architecture.options)
        if blocks is None:
            module = zoo.build(name, "random", **options)
            blocks = find_blocks(module, zoo.example_inputs(name, 2, **options))
            if tuple(b.name for b in blocks.blocks) != architecture.blocks:
                raise ManifestError(f"{manifest.model}: its blocks are not those of {name}")
        with _NoWeights():
            module = zoo.build(name, "random", **options)
        module.eval().requires_grad_(False)
        self._now = _Tree(ElasticModel(module, blocks, manifest.order))
        self._beside = _Tree(self._now.elastic.twin())
        self._shapes = self._now.shapes
        state = self._now.elastic.state_dict(keep_vars=True)
        self._weights = frozenset(key for key, tensor in state.items() if isinstance(tensor, nn.Parameter))
        self._given: dict[str, Any] = {}
        self._tensors: dict[str, Tensor] = {}
        self._depth = self._now.elastic.depth

    def prepare(self, depth: int, arrays: Arrays) -> Callable[..., Any]:
        for key, array in arrays.items():
            if self._given.get(key) is not array:
                if self._shapes.get(key) != array.shape:
                    raise ChunkError(
                        f"weight {key[:80]!r} is {list(array.shape)}, the network has "
                        f"{list(self._shapes[key]) if key in self._shapes else 'none of that name'}"
                    )
                tensor = _tensor(array)
                is_weight = key in self._weights
                self._tensors[key] = nn.Parameter(tensor, requires_grad=False) if is_weight else tensor
                self._given[key] = array
        self._depth = depth
        self._beside.put(depth, self._tensors)
        return self._beside

    def settle(self) -> None:
        self._now, self._beside = self._beside, self._now
        if not self._beside.emptied():
            self._beside = _Tree(self._now.elastic.twin())
        # The weights that ran before are needed no more, and this lets go of them.
        self._beside.put(self._depth, self._tensors)

    def weights(self, depth: int, arrays: Arrays) -> dict[str, Any]:
        found: dict[str, Any] = dict(arrays)
        kept = set(self._now.elastic.order.kept(depth))
        parts = self._now.elastic.part_keys()
        for key in (key for k, keys in enumerate(parts) if k == 0 or k - 1 in kept for key in keys):
            if key.rpartition(".")[2] == _COUNTER:
                found[key] = np.zeros((), np.int64)
        return found

    def captured(self, depth: int) -> Captured:
        name, options = self._architecture.name, dict(self._architecture.options)
        elastic = self._now.elastic.twin()
        elastic.set_depth(depth)
        return capture(elastic.module, zoo.example_inputs(name, **options), name=name)


class GraphNetwork:
    """A captured graph as data: of every depth, the graph without the operators of the other blocks."""

    def __init__(self, manifest: Manifest, stored: StoredArchitecture) -> None:
        assert stored.graph is not None  # make_network has seen to it
        assert stored.structure is not None
        self._order, self._structure = manifest.order, stored.structure
        self._places, self._graph = stored.blocks.graph, stored.graph
        self._shapes = {p.name: tuple(p.spec.shape) for p in self._graph.parameters}
        for place in self._places.blocks:
            self._shapes |= {p.name: tuple(p.spec.shape) for p in place.skip.parameters}
        self._given: dict[str, Any] = {}
        self._tensors: dict[str, Tensor] = {
            p.name: torch.zeros(p.spec.shape, dtype=DTYPES[p.spec.dtype])
            for p in self._graph.parameters
            if p.name.rpartition(".")[2] == _COUNTER
        }

    def prepare(self, depth: int, arrays: Arrays) -> Callable[..., Any]:
        for key, array in arrays.items():
            if self._given.get(key) is not array:
                if self._shapes.get(key) != array.shape:
                    raise ChunkError(f"weight {key[:80]!r} of shape {list(array.shape)} is none of the graph's")
                self._tensors[key], self._given[key] = _tensor(array), array
        captured = self.captured(depth)
        return _WholeGraph(captured, self._structure)

    def captured(self, depth: int) -> Captured:
        """The graph at `depth`, with the tensors that it needs.

        Raises:
            ChunkError: one of them has not come.
        """
        whole = Captured(graph=self._graph, state=self._tensors, structure=self._structure)
        adapters = {
            p.name: self._tensors[p.name]
            for place in self._places.blocks
            for p in place.skip.parameters
            if p.name in self._tensors
        }
        try:
            return skip_blocks(whole, self._places, self._order.kept(depth), adapters)
        except KeyError as error:
            raise ChunkError(f"weight {str(error)[:80]} is in no chunk") from None

    def weights(self, depth: int, arrays: Arrays) -> dict[str, Any]:
        return dict(arrays)

    def settle(self) -> None:
        """What ran before goes with its last call."""


class _WholeGraph:
    """A graph that is called as the module was that it was captured from."""

    def __init__(self, captured: Captured, structure: Structure) -> None:
        self._executor, self._structure = StageExecutor(captured), structure
        self._specs = [captured.graph.tensors[t] for t in captured.graph.inputs]

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) != len(self._specs):
            raise ConfigError(f"{len(inputs)} inputs, the model takes {len(self._specs)}")
        for k, (x, spec) in enumerate(zip(inputs, self._specs, strict=True)):
            if tuple(x.shape) != spec.shape:
                raise ConfigError(f"input {k} is {list(x.shape)}: this model is a graph for {list(spec.shape)}")
        return self._structure.build(self._executor.whole(inputs))


def _tensor(array: Any) -> Tensor:
    """The array as a tensor, not copied where it may be written."""
    return torch.from_numpy(array if array.flags.writeable else np.array(array))
