"""Events a host handles and effects it asks for; both are plain values."""

from __future__ import annotations

from dataclasses import dataclass

from airloom.core.coding import RAW, Coding
from airloom.core.plan import Plan
from airloom.core.trace import Event as TraceEvent
from airloom.engine.messages import Frame, Parcel, SplitCost
from airloom.errors import RequestError

# --- events: what happened --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    """A user asks this host, the source, for an inference; `deadline_s` is on the host's clock.

    `asked_s` is the time that the user gave it, for what is said where that passes; None counts from now.
    """

    request: int
    parcel: Parcel
    deadline_s: float
    asked_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    request: int


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A whole message (or what could be had of it) came from the neighbour `src`."""

    src: str
    frame: Frame
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class StageDone:
    """The executor finished `job`; `compute_s` is its time without waiting."""

    job: int
    parcel: Parcel
    compute_s: float


@dataclass(frozen=True, slots=True)
class StageRaised:
    job: int
    message: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    key: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class PeerUp:
    peer: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    peer: str


@dataclass(frozen=True, slots=True)
class SplitCostArrived:
    src: str
    message: SplitCost


@dataclass(frozen=True, slots=True)
class LinkMeasured:
    """The link `src -> dst` as its traffic or a probe shows it now; None leaves a figure as it was."""

    src: str
    dst: str
    rate_bps: float | None = None
    delay_s: float | None = None
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class PlanPinned:
    """Follow this plan instead of the host's own table; None returns to the table."""

    plan: Plan | None


Event = (
    Submit | Cancel | FrameArrived | StageDone | StageRaised | TimerFired | PeerUp | PeerDown
    | SplitCostArrived | LinkMeasured | PlanPinned
)  # fmt: skip

# --- effects: what to do ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Give the message to the adjacent host `dst`; over a radio link with the MCS `mcs`, None leaves it to the link."""

    dst: str
    frame: Frame
    parcel: Parcel
    mcs: int | None = None


@dataclass(frozen=True, slots=True)
class SendSplitCost:
    dst: str
    message: SplitCost


@dataclass(frozen=True, slots=True)
class Execute:
    """Run operators `start..stop-1` on the parcel; answered by `StageDone` or `StageRaised`.

    With `decode` the parcel is a blob of that coding, its missing bytes listed; with `encode` the
    outputs come back as a blob. `outputs` are the ids of the live set of `stop` in any case.
    """

    job: int
    start: int
    stop: int
    parcel: Parcel
    outputs: tuple[int, ...]
    decode: Coding = RAW
    encode: Coding = RAW


@dataclass(frozen=True, slots=True)
class Abandon:
    """Nobody waits for `job` any more; skip it if it has not begun."""

    job: int


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Deliver `TimerFired(key)` at `at_s`; a later timer of the same key replaces it."""

    key: tuple[object, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    key: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The one outcome of a request at its source: a result or a named error.

    `missing` is the share of payload bytes, 0 to 1, that had to be zero-filled somewhere on the
    way: above 0 the result was computed from incomplete tensors. `predicted_accuracy` is that of
    the model whole less what codings and gaps on the way should have cost; None where no tolerance
    profile says.
    """

    request: int
    outcome: Parcel | RequestError
    missing: float = 0.0
    predicted_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    event: TraceEvent


Effect = SendFrame | SendSplitCost | Execute | Abandon | StartTimer | StopTimer | Finish | Emit
