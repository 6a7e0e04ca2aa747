"""Which modules of a network may be left out, found from its captured graph.

The rule: blocks are the outermost modules that come again (two or more of a class) and that go around their own
layers with a shortcut, such as residual blocks and transformer layers; a module that only runs its children one after
the other is taken apart. Where a network has none, blocks are its layers with weights whose input and output have one
form, with the batch norm and activation behind them, and neither the first nor the last of the network's layers, nor
in a branch: what else reads the layer's input would meet it again.

A block runs once, takes one tensor and gives one, and shares no weight with others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from airloom.core.depth import Block, GraphBlock, GraphBlocks, SkipPath, block_modules
from airloom.core.graph import ModelGraph, Parameter, TensorSpec
from airloom.errors import ConfigError, UserError
from airloom.nn.capture import capture
from airloom.nn.captured import Captured
from airloom.nn.elastic.fit import Fit, Mixing
from airloom.nn.elastic.observed import Seen, observe
from airloom.nn.elastic.own_path import own_path
from airloom.nn.elastic.skip import Skip, any_batch


@dataclass(frozen=True)
class Blocks:
    """The blocks of a network.

    Attributes:
        blocks: in order of execution.
        graph: the same in the captured graph, as data.
        keywords: of each block's input where it is not passed by position, else "".
        reasons: why other modules that come again are none, by path.
    """

    blocks: tuple[Block, ...]
    graph: GraphBlocks
    keywords: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __deepcopy__(self, memo: object) -> Blocks:
        return self  # nothing in it changes

    @property
    def groups(self) -> tuple[int, ...]:
        """Of each block, for `core.depth.depth_order`."""
        return tuple(block.group for block in self.blocks)


def find_blocks(
    model: nn.Module, example_inputs: tuple[Tensor, ...], *, adapters: bool = False, captured: Captured | None = None
) -> Blocks:
    """The blocks of `model`.

    Args:
        example_inputs: what `model(*example_inputs)` takes; the first axis of the first one is the batch.
        adapters: a small trained layer where dimensions differ, in place of average pooling and zeros.
        captured: what `capture` made of the model in eval mode for these inputs, where it is at hand.

    Raises:
        UserError: there is nothing to leave out, or something is left out at present.
        CaptureError: torch cannot export the model.
    """
    if any(isinstance(module.__dict__.get("forward"), Skip) for module in model.modules()):
        raise ConfigError(f"{type(model).__name__} runs at a smaller depth: let all its blocks run first (set_depth)")
    captured = captured or capture(model, example_inputs, name=type(model).__name__)
    return _Finder(model, captured, observe(model, example_inputs, captured), adapters).found()


class _Finder:
    def __init__(self, model: nn.Module, captured: Captured, seen: dict[str, Seen], adapters: bool) -> None:
        self.model, self.captured, self.graph, self.seen = model, captured, captured.graph, seen
        self.adapters = adapters
        self.reasons: dict[str, str] = {}
        self.made_by = {t: k for k, op in enumerate(self.graph.operators) for t in op.outputs}
        self.readers: dict[int, list[int]] = {}
        for k, op in enumerate(self.graph.operators):
            for t in op.inputs:
                self.readers.setdefault(t, []).append(k)
        first = self.graph.tensors[self.graph.inputs[0]].shape
        self.batch = first[0] if first else 1

    def found(self) -> Blocks:
        places = self._repeated() or self._layers()
        if not places:
            why = next(iter(self.reasons.items()), None)
            more = f" ({why[0]}: {why[1]})" if why else ""
            raise UserError(
                f"{self.graph.model} has no block that could be left out: a block comes at least twice, runs once,"
                f" takes one tensor and gives one, and shares no weights{more}"
            )
        blocks: list[Block] = []
        group, form = 0, None
        for place in places:
            output = self.graph.tensors[place.output]
            group += form is not None and output != form
            form = output
            operators = self.graph.operators[place.start : place.stop]
            weights = [p for m in block_modules(place.name) for p in self.model.get_submodule(m).parameters()]
            blocks.append(
                Block(
                    name=place.name,
                    group=group,
                    parameters=sum(p.numel() for p in weights),
                    macs=sum(op.macs for op in operators) // self.batch,
                )
            )
        return Blocks(
            blocks=tuple(blocks),
            graph=GraphBlocks(graph=self.graph.digest, blocks=tuple(places)),
            keywords=tuple(self.seen[block_modules(place.name)[0]].keyword for place in places),
            reasons=self.reasons,
        )

    # --- modules that come again --------------------------------------------------------------

    def _repeated(self) -> list[GraphBlock]:
        kinds: dict[object, list[str]] = {}
        for path, one in self.seen.items():
            if path and one.calls and not isinstance(one.module, nn.Sequential):
                kinds.setdefault(type(one.module), []).append(path)
        candidates = {
            kind: paths
            for kind, paths in kinds.items()
            if len(paths) > 1 and any(self._goes_around(path) for path in paths)
        }
        return self._chosen("", {path for paths in candidates.values() for path in paths})

    def _chosen(self, parent: str, candidates: set[str]) -> list[GraphBlock]:
        found: list[GraphBlock] = []
        for path in self.seen[parent].children:
            if path in candidates:
                place = self._place(path, path, self.seen[path].start, self.seen[path].stop, same_form=False)
                if place is not None:
                    found.append(place)
                    continue
            found += self._chosen(path, candidates)
        return found

    def _goes_around(self, path: str) -> bool:
        """Whether something in the module lives on beside its children: it does not only run one after the other."""
        one = self.seen[path]
        if one.stop - one.start < 2 or not one.whole:
            return False
        if not one.children:
            made = self.graph.operators[one.stop - 1].outputs
            read = self.graph.operators[one.start].inputs
            return len(made) == 1 and any(own_path(self.graph, one.start, one.stop, t, made[0]) for t in read)
        bounds = {b for child in one.children for b in (self.seen[child].start, self.seen[child].stop)}
        return any(len(self._live(one, bound)) > 1 for bound in bounds if one.start < bound < one.stop)

    def _live(self, one: Seen, cut: int) -> set[int]:
        """Tensors that the module's operators behind `cut` read of what was made before it."""
        read = {t for op in self.graph.operators[cut : one.stop] for t in op.inputs}
        return {t for t in read if self.made_by.get(t, -1) < cut}

    # --- layers -------------------------------------------------------------------------------

    def _layers(self) -> list[GraphBlock]:
        weighty = [path for path, one in self.seen.items() if path and self._is_layer(one)]
        weighty.sort(key=lambda path: self.seen[path].start)
        found = []
        for path in weighty[1:-1]:
            name, stop = self._run(path)
            place = self._place(path, name, self.seen[path].start, stop, same_form=True)
            if place is not None:
                found.append(place)
        return found

    def _is_layer(self, one: Seen) -> bool:
        operators = self.graph.operators[one.start : one.stop]
        return bool(one.calls) and not one.children and sum(op.macs for op in operators if op.parameters) > 0

    def _run(self, path: str) -> tuple[str, int]:
        """The layer with what stands behind it in its sequence and keeps its form: its name and its end."""
        parent, _, last = path.rpartition(".")
        stop, end = self.seen[path].stop, last
        if isinstance(self.seen[parent].module, nn.Sequential) and last.isdigit():
            siblings = [p for p in self.seen[parent].children if self.seen[p].start >= stop]
            for sibling in siblings:
                one = self.seen[sibling]
                follows = one.calls == 1 and one.start == stop and not one.children and not self._is_layer(one)
                if not follows or one.shape_in is None or one.shape_in != one.shape_out:
                    break
                stop, end = one.stop, sibling.rpartition(".")[2]
        return (path if end == last else f"{path}-{end}"), stop

    # --- one block ----------------------------------------------------------------------------

    def _place(self, path: str, name: str, start: int, stop: int, *, same_form: bool) -> GraphBlock | None:
        """The block in the graph; None, with a reason, where it is none."""
        one = self.seen[path]
        last = self.seen[block_modules(name)[-1]]
        reason = ""
        if one.calls != 1:
            reason = f"runs {one.calls} times"
        elif one.shape_in is None or last.shape_out is None:
            reason = "does not take one tensor first and give one"
        elif start == stop or not one.whole:
            reason = "is not in one piece in the graph"
        elif self._shares(name, start, stop):
            reason = "shares weights with others"
        if reason:
            self.reasons[path] = reason
            return None
        assert one.shape_in is not None
        assert last.shape_out is not None
        outputs = {t for k in range(start, stop) for t in self.graph.operators[k].outputs if self._leaves(t, stop)}
        inputs = {t for k in range(start, stop) for t in self.graph.operators[k].inputs if not self._made_in(t, start)}
        outputs = {t for t in outputs if self.graph.tensors[t].shape == last.shape_out} if len(outputs) == 1 else set()
        streams = {t for t in inputs if self.graph.tensors[t].shape == one.shape_in}
        if len(outputs) != 1:
            self.reasons[path] = "gives a view of a tensor, or several"
            return None
        if len(streams) != 1:
            several = "takes several tensors of one form: examples of different lengths tell them apart"
            self.reasons[path] = several if streams else "takes a view of a tensor"
            return None
        [entry], [result] = streams, outputs
        if same_form and any(not start <= k < stop for k in self.readers.get(entry, ())):
            # `x + layer(x)` without its layer is no shortcut but twice x.
            self.reasons[path] = "is a branch, others read its input too: make a module of it and what goes around it"
            return None
        skip = self._skip(name, start, stop, entry, result, same_form)
        if skip is None:
            self.reasons[path] = f"makes {list(last.shape_out)} of {list(one.shape_in)}"
            return None
        return GraphBlock(name=name, start=start, stop=stop, input=entry, output=result, skip=skip)

    def _made_in(self, tensor: int, start: int) -> bool:
        return self.made_by.get(tensor, -1) >= start

    def _leaves(self, tensor: int, stop: int) -> bool:
        return tensor in self.graph.outputs or any(k >= stop for k in self.readers.get(tensor, ()))

    def _shares(self, name: str, start: int, stop: int) -> bool:
        inside = {p for op in self.graph.operators[start:stop] for p in op.parameters}
        outside = {p for k, op in enumerate(self.graph.operators) if not start <= k < stop for p in op.parameters}
        modules = block_modules(name)
        own = {id(p) for m in modules for p in self.model.get_submodule(m).parameters()}
        others = {
            id(p)
            for key, p in self.model.named_parameters(remove_duplicate=False)
            if not any(key.startswith(f"{m}.") for m in modules)
        }
        return bool(inside & outside) or bool(own & others) or not own

    def _skip(self, name: str, start: int, stop: int, entry: int, result: int, same_form: bool) -> SkipPath | None:
        before, after = self.graph.tensors[entry], self.graph.tensors[result]
        if before == after:
            return SkipPath(kind="identity", tensors=(before,))
        if same_form or before.dtype != after.dtype:
            return None
        own = own_path(self.graph, start, stop, entry, result)
        if own is not None and any_batch(own):
            return own
        try:
            kind = Mixing if self.adapters else Fit
            fit = kind(before.shape[1:], after.shape[1:], maps_last=self._maps_last(start, stop))
        except UserError:
            return None
        return path_of(fit, before, name)

    def _maps_last(self, start: int, stop: int) -> bool:
        """Whether the features of the block's tensors lie along the last axis: it has no convolution."""
        return not any("conv" in op.target for op in self.graph.operators[start:stop])


def path_of(way: nn.Module, spec: TensorSpec, block: str) -> SkipPath:
    """What `way` makes of a tensor of the form `spec`, as data; its weights are named as `adapter_key` says."""
    example = torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype))
    graph: ModelGraph = capture(way.to(example.dtype), (example,), name="skip").graph
    return SkipPath(
        kind="adapter" if graph.parameters else "pool",
        tensors=graph.tensors,
        operators=graph.operators,
        result=graph.outputs[0],
        parameters=tuple(
            Parameter(name=f"adapters.{adapter_key(block)}.{p.name}", spec=p.spec, trained=p.trained)
            for p in graph.parameters
        ),
    )


def adapter_key(block: str) -> str:
    """The name of the adapter of `block` among the adapters: a name in a state dict has no dots of its own."""
    return block.replace(".", "-")
