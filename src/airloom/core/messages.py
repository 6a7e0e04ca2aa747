"""What hosts say to each other.

`Frame` heads every message of the data plane; the tensors follow it. `SplitCost` is HiveMind's
"SCI": the costs a host reports upstream. `wire/` turns both into bytes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from airloom.core.value import Value


class FrameKind(IntEnum):
    TASK = 1  # tensors of a cut (or of a plan's transfer), on their way downstream
    RESULT = 2  # the model's outputs, on their way back to the source
    FAILURE = 3  # a stage raised; the tensor data is one line of UTF-8
    CANCEL = 4  # the source wants no more of this request; no tensors


class Mode(IntEnum):
    INFERENCE = 0  # live sets of a split model
    WEIGHTS = 1  # a state dict on its way through federated learning
    # Split training (`engine.training`): `Frame.request` is the step, `transfer` the index of the device it is for,
    # `coding` that of the device it is from.
    FORWARD = 2  # a live set and the labels, on their way to the next stage
    BACKWARD = 3  # gradients of a live set, on their way to the stage before
    PARAMETERS = 4  # weights and their optimiser's state: TASK to their new host, RESULT to the source
    VALUES = 5  # a step's new values of weights that several stages read
    TRAINING = 6  # words between the source and the hosts (`core.training.Word`)


#: Tensor ids that no graph has: a live set coded as one blob, and which of its bytes earlier hops lost.
BLOB, GAPS = 1 << 62, (1 << 62) + 1
#: `Frame.drop_bp` where the loss of accuracy is not known: something is missing that was never measured.
UNKNOWN_DROP = 0xFFFF
NO_MODEL = bytes(8)


class Frame(Value, frozen=True):
    """Head of one message of the data plane.

    Attributes:
        source: index in `Topology.devices` of the host that owns the request.
        request, attempt: which request, and which try at it.
        epoch: of the plan or model artifact in force at the source.
        cut: the cut whose live set this carries (a host then consults its own table).
        transfer: index into the pinned plan's transfers, or -1 where there is none.
        missing_ppm: parts per million of the payload that earlier hops had to zero-fill, compounded
            hop by hop and rounded up; 0 means that every byte so far is the sender's own.
        model: first 8 bytes that name the graph, and where the frame is coded the profile of codings
            too: hosts take nothing else.
        mode: what the message is part of.
        coding: place in `Tolerance.codings`; 0 is raw. A coded frame carries two tensors, `BLOB`
            and `GAPS`, the second mostly empty.
        drop_bp: accuracy that this request has lost so far in 1/10000, predicted and rounded up,
            the blob at hand not counted; `UNKNOWN_DROP` where nobody can say.
        gone_bp: share of the blob's blocks that earlier hops lost, in 1/10000, rounded up.
        left: of each bound of the objective, in the order of its metrics, what the hosts from here on may
            spend (s, J, bytes, money; float32 on the wire); empty where there is none. At most two, and
            none in frames of a pinned plan, whose fields they use.
        tensors: ids and payload bytes, in the order in which the data follows.
    """

    kind: FrameKind
    source: int
    request: int
    attempt: int = 0
    epoch: int = 0
    cut: int = 0
    transfer: int = -1
    missing_ppm: int = 0
    model: bytes = NO_MODEL
    mode: Mode = Mode.INFERENCE
    coding: int = 0
    drop_bp: int = 0
    gone_bp: int = 0
    left: tuple[float, ...] = ()
    tensors: tuple[tuple[int, int], ...] = ()


class Allowance(NamedTuple):
    """What a receiver asks for of a message.

    Attributes:
        missing: share of its blocks, 0 to 1, that may stay missing.
        rounds: how often a block is asked for again before it is given up.
    """

    missing: float = 0.0
    rounds: int = 0


class Gap(NamedTuple):
    """Bytes `start..stop-1` of a tensor's payload that never arrived."""

    tensor: int
    start: int
    stop: int


class Parcel(NamedTuple):
    """Tensor data as raw little-endian bytes, C order. The engine never looks inside.

    `data[i]` belongs to tensor id `tensors[i]`; missing ranges are zero-filled and listed.
    """

    tensors: tuple[int, ...] = ()
    data: tuple[memoryview, ...] = ()
    missing: tuple[Gap, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(d.nbytes for d in self.data)


class SplitCost(NamedTuple):
    """A host's answer to "what would it cost from here on?", for every cut.

    Attributes:
        host: index of the sender in `Topology.devices`.
        sink: index of the sink the wave started from.
        wave: increases with every wave the sink starts; below 2**63.
        graph: first 8 bytes of the graph digest: costs of another model are dropped.
        cost_s: float32 `[L+1]` seconds from the moment the cut's live set is at the sender;
            entry L is 0: nothing is left to do. Infinity where the sender cannot go on.
        update: counts the sender's messages within the wave: a host whose own link or load moved
            speaks again without waiting for the sink. Below 2**32.
        source: index of the host whose request asked for the wave: it goes up the way to that host
            only; -1 goes to everybody.
        labels: where an objective has bounds, for every cut float32 `[n, M]`: the ways from there on that no
            other is at least as good as in every metric; else empty.
        loss: of labels that were left out, each has one here that costs at most `loss` times as much.
    """

    host: int
    sink: int
    wave: int
    graph: bytes
    cost_s: NDArray[np.float32]
    update: int = 0
    source: int = -1
    labels: tuple[NDArray[np.float32], ...] = ()
    loss: float = 1.0


class Ask(NamedTuple):
    """A source asks the end of its chain for a wave; hosts on the way pass it on.

    Attributes:
        source: index in `Topology.devices` of the host that asks.
        number: of the wave that is wanted: one of this number that is on its way already will do.
            0 asks for one in any case.
        graph: first 8 bytes of the graph digest.
    """

    source: int
    number: int
    graph: bytes
