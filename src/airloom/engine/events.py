"""Events a host handles and effects it asks for; both are plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airloom.core.coding import RAW, Coding
from airloom.core.plan import Plan
from airloom.core.trace import Event as TraceEvent
from airloom.engine.messages import Ask, Frame, Parcel, SplitCost
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
class LinkChanged:
    """The link `src -> dst` came up or went down, as in a handover; whoever routes over it hears of it."""

    src: str
    dst: str
    up: bool


@dataclass(frozen=True, slots=True)
class SplitCostArrived:
    src: str
    message: SplitCost


@dataclass(frozen=True, slots=True)
class WaveAsked:
    """A source wants a wave; the end of the chain starts it, any other host passes the question on."""

    ask: Ask


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


@dataclass(frozen=True, slots=True)
class TrainingPinned:
    """Train by this plan from step `step` on; the source hears it last, and then has weights brought where they belong.

    Answered at the source by `TrainingOutcome("plan", plan.epoch, ...)`.

    Attributes:
        plan: `plan.epoch` is higher than that of any plan before it.
        before: the plan by which weights lie where they are; None: every host has those of the model's file.
        state: at the source, which has a stage in `before`: what that stage is to begin with, in place of
            what is there (a checkpoint, `core.training.state_id`).
    """

    plan: Plan
    step: int = 0
    before: Plan | None = None
    state: Parcel | None = None


@dataclass(frozen=True, slots=True)
class TrainStep:
    """The source's user asks for step `step`: the live set of cut 0 and `LABELS`.

    Answered by `TrainingOutcome("step", step, ...)`; the parcel holds `LOSS`.
    """

    step: int
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class GatherState:
    """The source's user wants all weights and their state as they are before step `step`.

    Answered by `TrainingOutcome("state", step, ...)`.
    """

    step: int


Event = (
    Submit | Cancel | FrameArrived | StageDone | StageRaised | TimerFired | PeerUp | PeerDown | LinkChanged
    | SplitCostArrived | WaveAsked | LinkMeasured | PlanPinned | TrainingPinned | TrainStep | GatherState
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
class SendAsk:
    """Give the question to the adjacent host `dst`, which handles `WaveAsked`."""

    dst: str
    ask: Ask


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


TrainAction = Literal["place", "forward", "backward", "update", "install", "export"]


@dataclass(frozen=True, slots=True)
class Train:
    """Have the trainer of this host do a part of step `step`; answered by `StageDone` or `StageRaised`.

    Every action names its step; a trainer that is one step further goes back first.

    Attributes:
        action: `place` the stage `stages[stage]` here with the state in the parcel; `forward` from the live set;
            `backward` from gradients of the outputs; `update` the weights; `install` values from another stage;
            `export` the state of the weights `makes` names.
        stages: `(start, stop)` of all stages of the plan; `stage` is the one of this host, -1 for none.
        makes: ids and bytes of what is to come back; tensors may be empty where there is nothing
            (gradients that are zero, optimiser state before the first step).
    """

    job: int
    action: TrainAction
    step: int
    stages: tuple[tuple[int, int], ...]
    stage: int
    parcel: Parcel
    makes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """The one outcome of a `TrainingPinned`, `TrainStep` or `GatherState` at its source."""

    what: Literal["plan", "step", "state"]
    number: int
    outcome: Parcel | RequestError


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


Effect = (
    SendFrame | SendSplitCost | SendAsk | Execute | Train | Abandon | StartTimer | StopTimer | Finish
    | TrainingOutcome | Emit
)  # fmt: skip
