"""An artifact: a folder with a captured model as data, nothing in it that could run.

    graph.json           schema, digests, the graph, the form of the result
    <sha256>.safetensors the weights, named by the digest of the file's own bytes

`graph_digest` is the identity of the computation, without names and weights; `weights` is that
of the weights. Both are verified on loading, and the graph is checked as `nn.check` describes: an
artifact from the network is safe to load, whoever made it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
from torch import Tensor

from airloom.core.graph import ModelGraph
from airloom.core.value import SCHEMA_VERSION, Value
from airloom.errors import ConfigError, ProfileMismatch
from airloom.files import decode_value, read_bytes, write_aside, write_value
from airloom.nn.captured import Captured, Structure
from airloom.nn.check import check_graph
from airloom.nn.program import DTYPE_NAMES

GRAPH_FILE = "graph.json"
MAX_GRAPH_BYTES = 256 * 2**20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ArtifactFile(Value, frozen=True):
    """The content of `graph.json`."""

    graph_digest: str
    weights: str
    graph: ModelGraph
    structure: Structure
    kind: Literal["airloom-artifact"] = "airloom-artifact"
    schema: int = SCHEMA_VERSION


def save_artifact(folder: Path, captured: Captured) -> None:
    """Write `captured` into `folder`; the weights first, so that a graph never lacks its weights."""
    data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in captured.state.items()})
    name = hashlib.sha256(data).hexdigest()
    write_aside(folder / f"{name}.safetensors", data)
    file = ArtifactFile(
        graph_digest=captured.graph.digest,
        weights=f"sha256:{name}",
        graph=captured.graph,
        structure=captured.structure,
    )
    write_value(folder / GRAPH_FILE, file)


def load_artifact(folder: Path) -> Captured:
    """The captured model in `folder`, verified.

    Raises:
        ConfigError: a file is missing or malformed, or the graph is not one that could be captured.
        ProfileMismatch: a digest differs: the file was changed, or belongs to another model.
    """
    path = folder / GRAPH_FILE
    where = str(path)
    if path.is_file() and path.stat().st_size > MAX_GRAPH_BYTES:
        raise ConfigError(f"larger than {MAX_GRAPH_BYTES} bytes: no graph is", where=where)
    try:
        file = decode_value(read_bytes(path), ArtifactFile, where=where)
    except RecursionError:
        raise ConfigError("nested too deep", where=where) from None
    check_graph(file.graph, where=where)
    check_structure(file.structure, len(file.graph.outputs), where)
    if file.graph.digest != file.graph_digest:
        raise ProfileMismatch(f"{where}: the graph's digest is {file.graph.digest}, not {file.graph_digest[:80]}")
    state = _load_weights(folder, file, where)
    return Captured(graph=file.graph, state=state, structure=file.structure)


def _load_weights(folder: Path, file: ArtifactFile, where: str) -> dict[str, Tensor]:
    if not _DIGEST.fullmatch(file.weights):
        raise ConfigError("expected sha256: and 64 hex digits", where=f"{where}: $.weights")
    path = folder / f"{file.weights.removeprefix('sha256:')}.safetensors"
    data = read_bytes(path)
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != file.weights:
        raise ProfileMismatch(f"{path}: its bytes are not those that the name is the digest of")
    try:
        found = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(f"not safetensors: {error}", where=str(path)) from None
    state: dict[str, Tensor] = {}
    for parameter in file.graph.parameters:
        tensor = found.get(parameter.name)
        if tensor is None:
            raise ConfigError(f"lacks weight {parameter.name[:80]!r}", where=str(path))
        if tuple(tensor.shape) != parameter.spec.shape or DTYPE_NAMES.get(tensor.dtype) != parameter.spec.dtype:
            raise ConfigError(f"weight {parameter.name[:80]!r} is not {parameter.spec}", where=str(path))
        state[parameter.name] = tensor
    return state


def check_structure(structure: Structure, num_outputs: int, where: str) -> None:
    """Refuse the form of a result that a graph of `num_outputs` results cannot have.

    Raises:
        ConfigError: names the place.
    """
    if structure.kind == "tensor" and not 0 <= structure.tensor < num_outputs:
        raise ConfigError(f"result {structure.tensor} of {num_outputs}", where=f"{where}: $.structure")
    if structure.kind == "dict" and len(structure.keys) != len(structure.items):
        raise ConfigError("a dict has as many keys as items", where=f"{where}: $.structure")
    for item in structure.items:
        check_structure(item, num_outputs, where)
