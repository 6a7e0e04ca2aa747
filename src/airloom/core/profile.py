"""What a model costs on a device: times per operator, bytes per cut.

A profile stands alone: planning from it needs neither the model nor torch, and a person or
another tool can write one by hand (docs/formats.md).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from airloom.core.framing import Framing
from airloom.core.value import SCHEMA_VERSION, Basis, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OperatorCost(Value, frozen=True):
    """One operator: median seconds for one pass of the captured batch, and spread (IQR).

    `backward_s` is of its gradients and of updating its weights; 0 in a profile for inference.
    """

    name: str
    compute_s: float
    spread_s: float = 0.0
    macs: int = 0
    backward_s: float = 0.0


class CutSize(Value, frozen=True):
    """A cut's live set: payload bytes of each tensor, and its id in the graph.

    `tensors` may be left out of a profile written by hand: planning needs only the bytes.
    `gradient_nbytes`, in the same order, is what goes back for each in training: 0 for what has no
    gradient (integers, the input); empty in a profile for inference.
    """

    tensor_nbytes: tuple[int, ...]
    tensors: tuple[int, ...] = ()
    gradient_nbytes: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(self.tensor_nbytes)


class Weights(Value, frozen=True):
    """A weight or buffer, and the operators (indices) that read it: a stage counts it once.

    `trained`: whether an optimiser changes it; `state_nbytes`: what the optimiser keeps for it. A
    buffer that training changes (running statistics) is not `trained`, but moves with its operators.
    """

    nbytes: int
    operators: tuple[int, ...]
    trained: bool = False
    state_nbytes: int = 0


def weights_nbytes(weights: tuple[Weights, ...], start: int, stop: int) -> int:
    """Bytes that the stage of operators `start..stop-1` needs; what several of them read counts once."""
    return sum(w.nbytes for w in weights if any(start <= op < stop for op in w.operators))


class Modules(Value, frozen=True):
    """The modules of an unrolled recurrent network: R times the same operators over the same weights.

    HiveMind (section VI-A) calls them recurrent modules, of several layers each.

    Attributes:
        starts: R+1 cuts, ascending and evenly spaced: module r is the operators `starts[r]..starts[r+1]-1`. What
            lies before the first and behind the last (taking a sequence apart, putting the results together)
            belongs to none.
        state_nbytes: what a module makes for the next one alone: the hidden state.
        input_nbytes: what a module reads of what there was before the first: its step of the sequence.
        output_nbytes: what a module makes for later than the next one: its step of the result.
    """

    starts: tuple[int, ...]
    state_nbytes: int = 0
    input_nbytes: int = 0
    output_nbytes: int = 0

    @property
    def count(self) -> int:
        """R: how many modules there are."""
        return len(self.starts) - 1

    @property
    def length(self) -> int:
        """Operators of one module."""
        return self.starts[1] - self.starts[0]


class Machine(Value, frozen=True):
    """Where a profile was measured."""

    cpu: str = ""
    cores: int = 0
    threads: int = 0
    python: str = ""
    torch: str = ""
    torch_device: str = "cpu"


class Profile(Value, frozen=True, dict=True):
    """Cost of each of L operators on one device, and the size of each of L+1 cuts.

    A stage of operators `start..stop-1` takes `stage_constant_s + stage_scale * sum(compute_s)`:
    operators timed one by one miss what a whole stage takes, so the two are fitted to whole
    stages run by the executor that will run them.

    Attributes:
        output_nbytes: payload of the result on its way back.
        graph_digest: identity of the graph (`ModelGraph.digest`); "" in a profile that stands for no model.
        rest_s: what a stage takes longer on a host that has waited for its input, as hosts do, than
            right after another stage: caches cool. `stage_s` counts it.
        basis: whether the times were measured or modelled.
        optimizer: of a profile for training: what its `backward_s` and `state_nbytes` are of ("sgd", "adam"); "" for
            inference.
        backward_scale, backward_constant_s: as `stage_scale` and `stage_constant_s`, of a stage's way back.
        modules: where an unrolled recurrent network repeats itself; None where nothing does.
    """

    model: str
    device: str
    operators: tuple[OperatorCost, ...]
    cuts: tuple[CutSize, ...]
    output_nbytes: tuple[int, ...] = ()
    weights: tuple[Weights, ...] = ()
    graph_digest: str = ""
    batch: int = 1
    basis: Basis = "measured"
    stage_scale: float = 1.0
    stage_constant_s: float = 0.0
    rest_s: float = 0.0
    stage_error: float | None = None
    machine: Machine = Machine()
    optimizer: str = ""
    backward_scale: float = 1.0
    backward_constant_s: float = 0.0
    modules: Modules | None = None
    schema: int = SCHEMA_VERSION

    @property
    def num_operators(self) -> int:
        return len(self.operators)

    @functools.cached_property
    def elapsed_s(self) -> tuple[float, ...]:
        """`[L+1]` scaled compute seconds of the operators before each cut."""
        total, sums = 0.0, [0.0]
        for op in self.operators:
            total += op.compute_s * self.stage_scale
            sums.append(total)
        return tuple(sums)

    @functools.cached_property
    def cut_payloads(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`[L+1]` payload bytes and tensors of each cut."""
        import numpy as np  # not for those who only read a profile

        counts = [len(cut.tensor_nbytes) for cut in self.cuts]
        return np.array([cut.nbytes for cut in self.cuts], dtype=np.int64), np.array(counts, dtype=np.int64)

    @functools.cached_property
    def _on_wire(self) -> dict[Framing, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
        return {}

    def on_wire(self, framing: Framing) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """`[L+1]` bytes on the wire and blocks of each cut as it is, worked out once; the bytes as floats too."""
        found = self._on_wire.get(framing)
        if found is None:
            messages = framing.message_of(*self.cut_payloads)
            nbytes = framing.sent_nbytes(messages)
            found = self._on_wire[framing] = nbytes, framing.num_blocks(messages), nbytes.astype(float)
        return found

    def stage_s(self, start: int, stop: int) -> float:
        """Predicted seconds of the stage `start..stop-1`; an empty stage takes none."""
        if start == stop:
            return 0.0
        return self.rest_s + self.stage_constant_s + self.elapsed_s[stop] - self.elapsed_s[start]
