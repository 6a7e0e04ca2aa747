"""A depth of a captured graph: the graph without the operators of some blocks.

captured = capture(model, example_inputs, name="resnet20")
blocks = find_blocks(model, example_inputs, captured=captured)
smaller = skip_blocks(captured, blocks.graph, kept=order.kept(depth))

Nothing but data is read and made, so a host that has a graph and no module can do it; and the result is a captured
model like any other: it is profiled, planned, split, coded and run as such. It is the graph of the module at that
depth: running it gives, bit for bit, what capturing `ElasticModel` at the depth gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from airloom.core.depth import GraphBlock, GraphBlocks
from airloom.core.graph import ModelGraph, Operator, Parameter, TensorSpec
from airloom.errors import ConfigError, ProfileMismatch
from airloom.nn.captured import Captured
from airloom.nn.check import check_graph
from airloom.nn.elastic.renumbering import renumbered
from airloom.nn.signature import renumber


def skip_blocks(
    captured: Captured, blocks: GraphBlocks, kept: Iterable[int], adapters: Mapping[str, Tensor] | None = None
) -> Captured:
    """`captured` with the blocks of index `kept` alone; weights that are not needed any more are left out.

    Args:
        adapters: weights of skip paths of kind `adapter`, by the names that their parameters have.

    Raises:
        ProfileMismatch: the blocks are of another graph.
        ConfigError: there is no block of such an index, or an adapter's weights are missing.
    """
    if blocks.graph != captured.graph.digest:
        raise ProfileMismatch(f"these blocks are of the graph {blocks.graph[:80]}, not of {captured.graph.digest}")
    keep = set(kept)
    if not keep <= set(range(len(blocks.blocks))):
        raise ConfigError(f"no block {max(keep, key=abs)}: there are {len(blocks.blocks)}")
    left_out = [block for k, block in enumerate(blocks.blocks) if k not in keep]
    if not left_out:
        return captured
    graph = captured.graph
    draft = _Draft(captured, [*graph.tensors], [*graph.parameters])
    draft.leave_out(left_out)
    state = {**captured.state, **(adapters or {})}
    return draft.finished(state)


@dataclass
class _Step:
    """One operator that stays: with ids of its own for tensors and parameters, and those that stand for them here."""

    operator: Operator
    tensors: dict[int, int]
    parameters: dict[int, int]
    name: str
    source: str = ""
    module: str = ""


@dataclass
class _Draft:
    """Operators put together; ids are those of the whole graph, with more behind them for what is new."""

    captured: Captured
    tensors: list[TensorSpec]
    parameters: list[Parameter]
    steps: list[_Step] = field(default_factory=list)
    stands_for: dict[int, int] = field(default_factory=dict)

    def leave_out(self, blocks: list[GraphBlock]) -> None:
        graph = self.captured.graph
        at = {block.start: block for block in blocks}
        known = {k: k for k in range(len(graph.parameters))}
        index = 0
        while index < graph.num_operators:
            if index in at:
                self._skip(at[index])
                index = at[index].stop
                continue
            op = graph.operators[index]
            numbers = {t: self._now(t) for t in op.inputs} | {t: t for t in op.outputs}
            source = self.captured.source[index] if self.captured.source else ""
            module = self.captured.modules[index] if self.captured.modules else ""
            self.steps.append(_Step(op, numbers, known, op.name, source, module))
            index += 1

    def _now(self, tensor: int) -> int:
        return self.stands_for.get(tensor, tensor)

    def _skip(self, block: GraphBlock) -> None:
        skip = block.skip
        numbers = {0: self._now(block.input)}
        for made in range(1, len(skip.tensors)):
            numbers[made] = len(self.tensors)
            self.tensors.append(skip.tensors[made])
        parameters = {}
        for k, parameter in enumerate(skip.parameters):
            parameters[k] = len(self.parameters)
            self.parameters.append(parameter)
        for op in skip.operators:
            self.steps.append(_Step(op, numbers, parameters, f"{block.name}.skip.{op.name}", module=block.name))
        self.stands_for[block.output] = numbers[skip.result]

    def finished(self, state: Mapping[str, Tensor]) -> Captured:
        graph = self.captured.graph
        returned = [self._now(t) for t in graph.outputs]
        outputs = list(dict.fromkeys(returned))
        steps = self._needed(outputs)
        tensors, parameters = {t: k for k, t in enumerate(graph.inputs)}, self._read(steps)
        operators: list[Operator] = []
        for step in steps:
            for t in step.operator.outputs:
                tensors[step.tensors[t]] = len(tensors)
            numbers = {own: tensors[here] for own, here in step.tensors.items() if here in tensors}
            weights = {own: parameters[here] for own, here in step.parameters.items() if here in parameters}
            operators.append(renumbered(step.operator, numbers, weights, step.name))
        specs = [self.parameters[p] for p in parameters]
        missing = next((p.name for p in specs if p.name not in state), None)
        if missing is not None:
            raise ConfigError(f"the weight {missing!r} of what stands in for a block is missing")
        smaller = ModelGraph(
            model=graph.model,
            tensors=tuple(self.tensors[t] for t in tensors),
            inputs=graph.inputs,
            outputs=tuple(tensors[t] for t in outputs),
            operators=tuple(operators),
            parameters=tuple(specs),
            mode=graph.mode,
        )
        return Captured(
            graph=smaller,
            state={p.name: state[p.name] for p in specs},
            structure=renumber(self.captured.structure, [outputs.index(t) for t in returned]),
            example=self.captured.example,
            source=tuple(step.source for step in steps) if self.captured.source else (),
            modules=tuple(step.module for step in steps) if self.captured.modules else (),
        )

    def _needed(self, outputs: list[int]) -> list[_Step]:
        """The steps that the outputs, and the buffers written, depend on."""
        needed, found = set(outputs), []
        for step in reversed(self.steps):
            op = step.operator
            if op.writes or any(step.tensors[t] in needed for t in op.outputs):
                needed.update(step.tensors[t] for t in op.inputs)
                found.append(step)
        return found[::-1]

    def _read(self, steps: list[_Step]) -> dict[int, int]:
        """New ids of the parameters that the steps read or write, in the order in which they first do."""
        used = [
            step.parameters[p] for step in steps for p in sorted({*step.operator.parameters, *step.operator.writes})
        ]
        return {p: k for k, p in enumerate(dict.fromkeys(used))}


def check_blocks(blocks: GraphBlocks, graph: ModelGraph, *, where: str) -> None:
    """Refuse blocks, from a file, that are none of `graph`, itself one that `nn.check.check_graph` has passed.

    Raises:
        ConfigError: names the place, `WHERE: $.blocks[3]`.
    """
    if blocks.graph != graph.digest:
        raise ConfigError(f"are of another graph, {blocks.graph[:80]}", where=f"{where}: $.graph")
    stop = 0
    for k, block in enumerate(blocks.blocks):
        place = f"{where}: $.blocks[{k}]"
        if not stop <= block.start < block.stop <= graph.num_operators:
            raise ConfigError("its operators are not behind those of the block before it", where=place)
        stop = block.stop
        inside = {t for op in graph.operators[block.start : block.stop] for t in op.outputs}
        read = {t for op in graph.operators[block.start : block.stop] for t in op.inputs}
        after = {t for op in graph.operators[block.stop :] for t in op.inputs} | set(graph.outputs)
        if block.input not in read - inside or inside & after != {block.output}:
            raise ConfigError("its input and output are not what goes in and comes out", where=place)
        _check_skip(block, graph, place)


def _check_skip(block: GraphBlock, graph: ModelGraph, where: str) -> None:
    skip = block.skip
    made = sum(len(op.outputs) for op in skip.operators)
    if len(skip.tensors) != 1 + made or not 0 <= skip.result <= made:
        raise ConfigError("its skip path has other tensors than its operators make", where=where)
    if skip.tensors[0] != graph.tensors[block.input] or skip.tensors[skip.result] != graph.tensors[block.output]:
        raise ConfigError("its skip path does not fit the block", where=where)
    own = ModelGraph(
        model="skip", tensors=skip.tensors, inputs=(0,), outputs=(skip.result,),
        operators=skip.operators, parameters=skip.parameters, mode="eval",
    )  # fmt: skip
    check_graph(own, where=f"{where}.skip")
