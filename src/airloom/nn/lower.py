"""From torch's exported program to a graph of ours.

What torch exports is close to what we need, with these differences:

- Views of a whole tensor, and parts of a tensor that lives on anyway, are repeated by whoever reads
  them: a cut never carries the same storage twice.
- What depends on parameters alone is repeated likewise: no cut carries it.
- Copies of a tensor that nobody changes (all tensors here) and dropout in eval mode vanish.
- An operator that makes a tuple is one with the getitems behind it.
- What nobody reads is left out, so assertions inside the model are not kept.
"""

from __future__ import annotations

import collections
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from airloom.core.graph import ModelGraph, Operator, Parameter, TensorSpec
from airloom.errors import CaptureError
from airloom.nn.captured import Captured, Structure
from airloom.nn.macs import count_macs
from airloom.nn.operators import (
    ALLOWED,
    COPIES,
    PART_VIEWS,
    SPLITTERS,
    WHOLE_VIEWS,
    argument_names,
    draws_random,
)
from airloom.nn.program import DTYPE_NAMES, Call, LocalRef, ParameterRef, Program, TensorRef, encode
from airloom.nn.source import node_line

_NOTHING_DONE = frozenset({"aten.alias.default", "aten.detach.default", "aten.lift_fresh.default"})
_DROPOUTS = frozenset({"aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default"})
_PLACEMENT = frozenset({"device", "layout", "pin_memory", "non_blocking"})
_NEVER = math.inf

Kind = Literal["input", "parameter", "constant", "view", "operator"]


def lower(program: ExportedProgram, *, name: str, mode: Literal["eval", "train"]) -> Captured:
    """The graph, weights and result form of `program`.

    Raises:
        CaptureError: it holds something that a graph cannot say.
    """
    return _Lowering(program, name, mode).run()


def spec_of(value: Any, what: str) -> TensorSpec:
    """The spec of a tensor, real or fake.

    Raises:
        CaptureError: its shape is not fixed, or its type is not one that can travel.
    """
    if not isinstance(value, Tensor):
        raise CaptureError(f"{what} is a {type(value).__name__}, not a tensor")
    if value.layout is not torch.strided:
        raise CaptureError(f"{what} is sparse ({value.layout}): only dense tensors can cross a cut")
    if value.dtype not in DTYPE_NAMES:
        raise CaptureError(f"{what} has type {value.dtype}, which cannot cross a cut")
    if not all(isinstance(n, int) for n in value.shape):
        raise CaptureError(f"{what} has shape {list(value.shape)}: shapes that depend on the data cannot be planned")
    return TensorSpec(shape=tuple(value.shape), dtype=DTYPE_NAMES[value.dtype])


class _Lowering:
    def __init__(self, program: ExportedProgram, name: str, mode: Literal["eval", "train"]) -> None:
        self.program, self.name, self.mode = program, name, mode
        self.nodes: list[fx.Node] = list(program.graph.nodes)
        self.position = {node: k for k, node in enumerate(self.nodes)}
        self.kind: dict[fx.Node, Kind] = {}
        self.same: dict[fx.Node, fx.Node] = {}  # node -> the node whose values it repeats
        self.buffer_of: dict[fx.Node, str] = {}  # parameter node -> name in the state
        self.results: list[fx.Node] = []
        self.written: dict[fx.Node, list[str]] = {}  # node -> buffers that take its value
        self.parameter_ids: dict[str, int] = {}
        self.tensor_ids: dict[fx.Node, int] = {}
        self.tensors: list[TensorSpec] = []

    def run(self) -> Captured:
        inputs = self._placeholders()
        structure = self._outputs()
        self._classify()
        self._fold_parts()
        for node in inputs:
            self._number(node)
        operators, lines = self._operators()
        # One id for each tensor that the model returns, in the order in which it first returns it.
        outputs = list(dict.fromkeys(self.tensor_ids[node] for node in self.results))
        place = [outputs.index(self.tensor_ids[node]) for node in self.results]
        state = self._state()
        graph = ModelGraph(
            model=self.name,
            tensors=tuple(self.tensors),
            inputs=tuple(range(len(inputs))),
            outputs=tuple(outputs),
            operators=tuple(operators),
            parameters=tuple(Parameter(name=k, spec=spec_of(v, f"weight {k!r}")) for k, v in state.items()),
            mode=self.mode,
        )
        return Captured(graph=graph, state=state, structure=_renumber(structure, place), source=tuple(lines))

    # --- the edges of the graph ---------------------------------------------------------------

    def _placeholders(self) -> list[fx.Node]:
        nodes = {node.name: node for node in self.nodes if node.op == "placeholder"}
        inputs: list[fx.Node] = []
        tied: dict[tuple[Any, ...], str] = {}
        for spec in self.program.graph_signature.input_specs:
            node = nodes.get(getattr(spec.arg, "name", ""))
            match spec.kind:
                case InputKind.USER_INPUT:
                    if node is None:
                        raise CaptureError(f"{self.name}: an input is not a tensor")
                    self.kind[node] = "input"
                    inputs.append(node)
                case InputKind.PARAMETER | InputKind.BUFFER | InputKind.CONSTANT_TENSOR if node and spec.target:
                    tensor = self._tensor(spec.target)
                    key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
                    # One weight under two names (tied embeddings) is one parameter.
                    alias = tied.setdefault(key, spec.target) if tensor.numel() else spec.target
                    self.kind[node] = "parameter"
                    self.buffer_of[node] = alias
                case _:
                    raise CaptureError(f"{self.name}: {spec.target or spec.kind.name} is not a tensor")
        return inputs

    def _tensor(self, target: str) -> Tensor:
        state, constants = self.program.state_dict, self.program.constants
        tensor = state[target] if target in state else constants[target]
        assert isinstance(tensor, Tensor)
        return tensor

    def _state(self) -> dict[str, Tensor]:
        # Copies: training on must not change what was captured.
        return {
            name: self._tensor(name).detach().cpu().clone(memory_format=torch.contiguous_format)
            for name in self.parameter_ids
        }

    def _outputs(self) -> Structure:
        by_name = {node.name: node for node in self.nodes}
        leaves: list[Structure] = []
        for spec in self.program.graph_signature.output_specs:
            node = by_name.get(getattr(spec.arg, "name", ""))
            match spec.kind:
                case OutputKind.USER_OUTPUT if node is not None:
                    leaves.append(Structure(kind="tensor", tensor=len(self.results)))
                    self.results.append(node)
                case OutputKind.USER_OUTPUT:
                    value = getattr(spec.arg, "value", spec.arg)
                    if value is not None:
                        raise CaptureError(
                            f"{self.name} returns {value!r} ({type(value).__name__}): return tensors only"
                        )
                    leaves.append(Structure(kind="none"))
                case OutputKind.BUFFER_MUTATION if node is not None and spec.target:
                    if self.mode == "eval":
                        raise CaptureError(
                            f"{self.name} changes its buffer {spec.target!r} in eval mode: "
                            "a stage must give the same answer twice; return the new value instead"
                        )
                    self.written.setdefault(node, []).append(spec.target)
                case OutputKind.USER_INPUT_MUTATION:
                    raise CaptureError(f"{self.name} changes its input {spec.target!r} in place: work on a clone of it")
                case _:
                    raise CaptureError(f"{self.name}: output {spec.kind.name} cannot be captured")
        if not self.results:
            raise CaptureError(f"{self.name} returns no tensor")
        return _structure(self.program.call_spec.out_spec, iter(leaves), self.name)

    # --- what each node is --------------------------------------------------------------------

    def _resolve(self, node: fx.Node) -> fx.Node:
        while node in self.same:
            node = self.same[node]
        return node

    def _classify(self) -> None:
        needed = set(self.results) | set(self.written)
        for node in reversed(self.nodes):
            if node in needed:
                needed.update(node.all_input_nodes)
        self.nodes = [node for node in self.nodes if node in needed and node.op == "call_function"]
        pieces: dict[Any, fx.Node] = {}
        for node in self.nodes:
            self._check(node)
            base = self._resolve(node.all_input_nodes[0]) if node.all_input_nodes else None
            target = _target(node)
            if target == "getitem":
                base = pieces.setdefault((node.args[0], node.args[1]), node)
            if base is not None and base is not node and self._repeats(node, target, base):
                self.same[node] = base
                continue
            reads = {self.kind[self._resolve(n)] for n in node.all_input_nodes}
            if reads <= {"parameter", "constant"}:
                self.kind[node] = "constant"
            elif target in WHOLE_VIEWS:
                self.kind[node] = "view"
            else:
                self.kind[node] = "operator"
        self.results = [self._resolve(node) for node in self.results]
        written: dict[fx.Node, list[str]] = {}
        for node, names in self.written.items():
            written.setdefault(self._resolve(node), []).extend(names)
        self.written = written
        for node in [*self.results, *self.written]:
            if self.kind[node] != "input":
                self._materialise(node)

    def _materialise(self, node: fx.Node) -> None:
        """The node's value must exist as a tensor: it is an operator of the order."""
        if self.kind[node] == "parameter":
            raise CaptureError(
                f"{self.name} returns its weight {self.buffer_of[node]!r} as it is: read it from the file"
            )
        self.kind[node] = "operator"
        if node.target is operator.getitem:
            self.kind[self._resolve(node.all_input_nodes[0])] = "operator"

    def _repeats(self, node: fx.Node, target: str, base: fx.Node) -> bool:
        """Whether `node` has the very values of `base`, in the same form."""
        if target in _NOTHING_DONE or target == "getitem":
            return True
        if target in _DROPOUTS:
            return True  # `_check` has seen that it is off
        if self.kind[base] not in ("input", "parameter", "operator"):
            return False  # a copy of a view puts its values in order: that is work
        if target in COPIES:
            return True
        if target in ("aten._to_copy.default", "aten.to.dtype"):
            return bool(node.meta["val"].dtype == base.meta["val"].dtype)
        return False

    def _check(self, node: fx.Node) -> None:
        target = _target(node)
        if target == "getitem" or (target in ALLOWED and not draws_random(target, node.args, node.kwargs)):
            return
        if target in _DROPOUTS and node.args[2] is False:
            return
        what = f"operator {target}"
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            why = "control flow that depends on the data cannot be cut"
        elif target in ("aten.item.default", "aten._local_scalar_dense.default"):
            why = "a number taken out of a tensor is not known before the model runs"
        elif target in _DROPOUTS or target in ALLOWED or _random(node):
            why = "it draws random numbers, and a stage must give the same answer twice"
        else:
            why = "it is not on the list of operators that a graph may name (airloom/nn/operators.py)"
        raise CaptureError(f"{self.name}: {what} cannot be captured: {why}{node_line(node)}")

    # --- which part views to repeat -----------------------------------------------------------

    def _fold_parts(self) -> None:
        """Repeat a part of a tensor where its base lives at least as long: it costs a cut nothing."""
        kept = set(self.results) | set(self.written)
        for node in reversed(self.nodes):
            if self.kind.get(node) != "operator" or node in kept:
                continue
            producer = node.all_input_nodes[0] if node.target is operator.getitem else node
            if _target(producer) not in PART_VIEWS | SPLITTERS or (producer is node and _target(node) in SPLITTERS):
                continue
            root = self._root(producer)
            last = max(self._readers(node, frozenset()), default=-1)
            if any(at >= last for at in self._readers(root, frozenset({node, producer}))):
                self.kind[node] = "view"
        for node in self.nodes:
            # A splitter all of whose pieces are repeated is no operator any more.
            if self.kind.get(node) == "operator" and _target(node) in SPLITTERS and not self._pieces(node):
                self.kind[node] = "view"

    def _root(self, node: fx.Node) -> fx.Node:
        """The tensor that the storage of the view `node` belongs to."""
        base = self._resolve(node.all_input_nodes[0])
        while self.kind[base] == "view":
            base = self._resolve(base.all_input_nodes[0])
        return base

    def _readers(self, node: fx.Node, but: frozenset[fx.Node]) -> Iterator[float]:
        """Positions of the operators that read `node`, views of it included; the late ones first."""
        if node in self.results:
            yield _NEVER
        for user in sorted(node.users, key=self.position.__getitem__, reverse=True):
            if user in but:
                continue
            if user in self.same or self.kind.get(user) == "view":
                yield from self._readers(user, but)
            elif user.target is operator.getitem and user in self.kind:
                # A piece that is carried on its own: the splitter itself is the reader.
                yield self.position[node]
            elif self.kind.get(user) == "operator":
                if _target(user) in SPLITTERS:
                    pieces = [p for p in user.users if self.kind.get(p) == "view" and p not in but]
                    for piece in pieces:
                        yield from self._readers(piece, but)
                yield self.position[user]

    def _pieces(self, node: fx.Node) -> list[fx.Node]:
        """The getitems of a tuple that are tensors of the graph, in the order of the tuple."""
        pieces = [u for u in node.users if u.target is operator.getitem and self.kind.get(u) == "operator"]
        return sorted(pieces, key=lambda u: (u.args[1], self.position[u]))

    # --- operators ----------------------------------------------------------------------------

    def _number(self, node: fx.Node) -> int:
        if node not in self.tensor_ids:
            self.tensor_ids[node] = len(self.tensors)
            self.tensors.append(spec_of(node.meta["val"], f"{self.name}: {node.name}{node_line(node)}"))
        return self.tensor_ids[node]

    def _parameter(self, name: str) -> int:
        return self.parameter_ids.setdefault(name, len(self.parameter_ids))

    def _operators(self) -> tuple[list[Operator], list[str]]:
        operators: list[Operator] = []
        lines: list[str] = []
        names: dict[str, int] = {}
        for node in self.nodes:
            if self.kind.get(node) != "operator" or node.target is operator.getitem:
                continue
            name = _name(node)
            names[name] = names.get(name, 0) + 1
            operators.append(self._operator(node, name if names[name] == 1 else f"{name}.{names[name]}"))
            lines.append(node_line(node))
        return operators, lines

    def _operator(self, node: fx.Node, name: str) -> Operator:
        let: list[Call] = []
        call = self._call(node, let, {})
        take: tuple[int, ...] | None = None
        if isinstance(node.meta["val"], Tensor):
            made, writes = [node], [(0, b) for b in self.written.get(node, ())]
            if writes and not self._is_read(node):
                made, take = [], ()
        else:
            pieces = [(int(u.args[1]), u) for u in self._pieces(node)]  # type: ignore[arg-type]
            writes = [(k, b) for k, u in pieces for b in self.written.get(u, ())]
            pieces = [(k, u) for k, u in pieces if self._is_read(u)]
            made, take = [u for _, u in pieces], tuple(k for k, _ in pieces)
        outputs = tuple(self._number(n) for n in made)
        pairs = tuple((k, self._parameter(b)) for k, b in writes)
        self._check_writes(node, [b for _, b in writes])
        program = Program(call=call, let=tuple(let), take=take, writes=pairs)
        references = list(program.references())
        shapes = [_shapes(a, self._resolve) for a in node.args]
        names = argument_names(call.target)
        out = node.meta["val"] if isinstance(node.meta["val"], Tensor) else node.meta["val"][0]
        return Operator(
            name=name,
            target=call.target,
            inputs=tuple(sorted({r.id for r in references if isinstance(r, TensorRef)})),
            outputs=outputs,
            arguments=encode(program),
            parameters=tuple(sorted({r.id for r in references if isinstance(r, ParameterRef)})),
            writes=tuple(b for _, b in pairs),
            macs=count_macs(
                call.target, names, shapes, {k: _shapes(v, self._resolve) for k, v in node.kwargs.items()},
                tuple(out.shape),
            ),
        )  # fmt: skip

    def _is_read(self, node: fx.Node) -> bool:
        return node in self.results or any(u in self.kind or u in self.same for u in node.users)

    def _check_writes(self, node: fx.Node, buffers: list[str]) -> None:
        for parameter, name in self.buffer_of.items():
            if name in buffers and any(at > self.position[node] for at in self._readers(parameter, frozenset())):
                raise CaptureError(f"{self.name} reads its buffer {name!r} again after changing it{node_line(node)}")

    def _call(self, node: fx.Node, let: list[Call], known: dict[fx.Node, int], item: int | None = None) -> Call:
        def value(arg: Any) -> Any:
            if isinstance(arg, fx.Node):
                return self._reference(arg, let, known)
            if isinstance(arg, list | tuple):
                return [value(a) for a in arg]
            if isinstance(arg, torch.SymInt | torch.SymFloat | torch.SymBool | torch.device | torch.layout):
                raise CaptureError(
                    f"{self.name}: {_target(node)} with argument {arg}{node_line(node)} has no fixed form"
                )
            return arg

        return Call(
            target=_target(node),
            args=tuple(value(a) for a in node.args),
            # Where a tensor lives is the executor's business.
            kwargs={k: value(a) for k, a in node.kwargs.items() if a is not None and k not in _PLACEMENT},
            item=item,
        )

    def _reference(self, node: fx.Node, let: list[Call], known: dict[fx.Node, int]) -> Any:
        node = self._resolve(node)
        match self.kind[node]:
            case "parameter":
                return ParameterRef(self._parameter(self.buffer_of[node]))
            case "input" | "operator":
                return TensorRef(self.tensor_ids[node])
        if node not in known:
            item: int | None = None
            producer = node
            if node.target is operator.getitem:
                producer, item = self._resolve(node.args[0]), node.args[1]  # type: ignore[arg-type, assignment]
            call = self._call(producer, let, known, item)
            known[node] = len(let)
            let.append(call)
        return LocalRef(known[node])


def _target(node: fx.Node) -> str:
    return "getitem" if node.target is operator.getitem else str(node.target)


def _random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _name(node: fx.Node) -> str:
    """`groups.0.0.conv1.conv2d`: the module that calls, as the user named it, and the operator."""
    short = _target(node).split(".")[1].strip("_")
    short = {
        "native_batch_norm_legit_no_training": "batch_norm",
        "native_batch_norm_legit_functional": "batch_norm",
    }.get(short, short)
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    return f"{path}.{short}" if path else short


def _shapes(arg: Any, resolve: Any) -> Any:
    """Shapes in place of tensors."""
    if isinstance(arg, fx.Node):
        value = arg.meta.get("val")
        return tuple(value.shape) if isinstance(value, Tensor) else ()
    if isinstance(arg, list | tuple):
        return [_shapes(a, resolve) for a in arg]
    return arg


def _structure(spec: Any, leaves: Iterator[Structure], name: str) -> Structure:
    if spec.is_leaf():
        return next(leaves)
    items = tuple(_structure(child, leaves, name) for child in spec.children())
    if spec.type is list:
        return Structure(kind="list", items=items)
    if spec.type is collections.namedtuple or (isinstance(spec.type, type) and issubclass(spec.type, tuple)):
        return Structure(kind="tuple", items=items)
    if isinstance(spec.type, type) and issubclass(spec.type, dict):
        keys = tuple(spec.context)
        if all(type(key) in (str, int) for key in keys):
            return Structure(kind="dict", items=items, keys=keys)
    if spec.type is type(None):
        return Structure(kind="none")
    raise CaptureError(
        f"{name} returns a {getattr(spec.type, '__name__', spec.type)}: return tensors, tuples, lists or dicts"
    )


def _renumber(structure: Structure, place: Iterable[int]) -> Structure:
    """Positions among the returned leaves -> positions in `ModelGraph.outputs`."""
    place = list(place)
    if structure.kind == "tensor":
        return Structure(kind="tensor", tensor=place[structure.tensor])
    return Structure(
        kind=structure.kind, items=tuple(_renumber(item, place) for item in structure.items), keys=structure.keys
    )
