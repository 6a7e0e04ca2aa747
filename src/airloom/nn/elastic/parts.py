"""What each part of an elastic model holds, as arrays by name: what goes into its chunks.

Both who measures configurations and who packs them ask here, so a table's bytes are those of the artifact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from airloom.nn.captured import Captured
    from airloom.nn.elastic.model import ElasticModel

Array = NDArray[Any]


def part_names(elastic: ElasticModel) -> tuple[str, ...]:
    """`base`, then the path of each block in order of execution."""
    return ("base", *(block.name for block in elastic.blocks))


def part_arrays(elastic: ElasticModel) -> tuple[dict[str, Array], ...]:
    """Weights and buffers of the base and of each block, by their names in its state dict.

    Running means and variances are in no part: they differ from depth to depth, and `statistics_arrays` has them.
    """
    state = elastic.state_dict()
    own = {name for depth in elastic.order.depths for name in elastic.statistics(depth)}
    return tuple({name: array_of(state[name]) for name in keys if name not in own} for keys in elastic.part_keys())


def statistics_arrays(elastic: ElasticModel, depth: int) -> dict[str, Array]:
    """Means and variances of the norms that run at `depth`; nothing where the model has no such norms."""
    return {name: array_of(tensor) for name, tensor in elastic.statistics(depth).items()}


def graph_constants(elastic: ElasticModel, whole: Captured) -> dict[str, Array]:
    """Tensors that only the model's graph has, such as the numbers that its `forward` makes: read at any depth."""
    known = {*elastic.state_dict(), *(name for part in part_arrays(elastic) for name in part)}
    return {name: array_of(tensor) for name, tensor in whole.state.items() if name not in known}


def array_of(tensor: Tensor) -> Array:
    """A tensor as numpy has it, bfloat16 as float32; of the same shape."""
    whole = tensor.detach().cpu()
    array: Array = (whole.float() if whole.dtype.is_floating_point else whole).contiguous().numpy()
    return np.ascontiguousarray(array).reshape(tuple(tensor.shape))
