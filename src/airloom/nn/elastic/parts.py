"""What each part of an elastic model holds, as arrays by name: what goes into its chunks.

Both who measures configurations and who packs them ask here, so a table's bytes are those of the artifact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airloom.nn.elastic.statistics import BUFFERS

if TYPE_CHECKING:
    from airloom.nn.captured import Captured
    from airloom.nn.elastic.model import ElasticModel

Array = NDArray[Any]


def part_names(elastic: ElasticModel) -> tuple[str, ...]:
    """`base`, then the path of each block in order of execution."""
    return ("base", *(block.name for block in elastic.blocks))


def part_arrays(elastic: ElasticModel) -> tuple[dict[str, Array], ...]:
    """Weights and buffers of the base and of each block, by their names in its state dict.

    Running means and variances that differ from depth to depth are in no part: `statistics_arrays` has them.
    """
    state, own = elastic.state_dict(), _own_names(elastic)
    return tuple({name: array_of(state[name]) for name in keys if name not in own} for keys in elastic.part_keys())


def statistics_arrays(elastic: ElasticModel) -> dict[int, dict[str, Array]]:
    """By depth, the means and variances of norms that run at it and have others at another depth.

    Nothing where there are none; else something for each depth, be it empty.
    """
    own = _own_names(elastic)
    return {
        depth: {name: array_of(tensor) for name, tensor in elastic.statistics(depth).items() if name in own}
        for depth in (elastic.order.depths if own else ())
    }


def _own_names(elastic: ElasticModel) -> frozenset[str]:
    """Names of the running statistics that are not the same at all depths at which their norm runs."""
    whole = elastic.statistics(elastic.order.num_blocks)
    return frozenset(
        name
        for depth in elastic.order.depths
        for name, tensor in elastic.statistics(depth).items()
        # How many batches were seen is read by training alone.
        if not name.endswith(BUFFERS[-1]) and not torch.equal(tensor, whole[name])
    )


def graph_constants(elastic: ElasticModel, whole: Captured) -> dict[str, Array]:
    """Tensors that only the model's graph has, such as the numbers that its `forward` makes: read at any depth."""
    known = {*elastic.state_dict(), *(name for part in part_arrays(elastic) for name in part)}
    return {name: array_of(tensor) for name, tensor in whole.state.items() if name not in known}


def array_of(tensor: Tensor) -> Array:
    """A tensor as numpy has it, bfloat16 as float32; of the same shape."""
    whole = tensor.detach().cpu()
    array: Array = (whole.float() if whole.dtype.is_floating_point else whole).contiguous().numpy()
    return np.ascontiguousarray(array).reshape(tuple(tensor.shape))
