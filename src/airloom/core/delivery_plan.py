"""How a model goes to the UE while requests are answered: what is sent in which order, and where each request runs.

A *configuration* (`core.progressive`) is a depth and a precision. A *phase* is a stretch of time in which requests
run in one way: on the UE at the configuration that is there, split (the UE runs the operators whose weights have
arrived, other hosts the rest) or on other hosts alone. A phase ends when something has arrived that makes another
way better.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from airloom.core.value import SCHEMA_VERSION, Basis, Value

#: A model leaves links to requests and results: a piece of it, what a link sends in `PIECE_S` or one TCP segment, goes
#: only where no more than `PATIENT_S` waits already.
PATIENT_S = 0.002
PIECE_S = 0.001

#: `ue`: whole on the UE. `split`: the UE runs the first operators. `network`: it runs none that has weights.
#: `none`: no answer that keeps accuracy and deadline can be had.
Where = Literal["ue", "split", "network", "none"]
#: What is to be small: the mean latency, the energy of the UE, or the mean error (accuracy is to be large).
Aim = Literal["latency", "energy", "accuracy"]


class DeliveryAsked(Value, frozen=True):
    """What a plan of a delivery is for.

    Attributes:
        requests_per_s: evenly spaced, from time 0 on.
        horizon_s: how long requests come; what is sent pays within it or not at all.
        minimize: `accuracy` makes the mean error small.
        min_accuracy: of every answer, 0 to 1.
        deadline_s: of every answer, from its request on.
        battery_j: what the UE may spend on all of it, receiving the model included.
        served_from: the device that has the model; "" is the topology's sink.
        steps: configurations that the UE may pass through at most.
        ready_s_per_byte: from a chunk's last byte to its use (unpacking and verifying).
    """

    requests_per_s: float
    horizon_s: float
    minimize: Aim = "latency"
    min_accuracy: float | None = None
    deadline_s: float | None = None
    battery_j: float | None = None
    served_from: str = ""
    steps: int = 3
    ready_s_per_byte: float = 5e-9


class DeliveryStep(Value, frozen=True):
    """A configuration on its way to the UE.

    Attributes:
        begin_s, ready_s: its first byte leaves the server; the UE can run it, None where that is past the horizon.
        nbytes: sent for it, besides what was there before.
        total_nbytes: of everything sent when it is complete.
        share: of the model's weights those that a network of this depth has.
    """

    depth: int
    precision: str
    begin_s: float
    ready_s: float | None
    nbytes: int
    total_nbytes: int
    accuracy: float | None = None
    share: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.depth}/{self.precision}"


class Phase(Value, frozen=True):
    """A stretch of time in which every request runs in one way.

    Attributes:
        start_s, end_s: from time 0, the first request.
        where: see `Where`.
        depth: of the network that answers: of the UE's configuration, or of the one that is split.
        precision: of the weights on the UE that take part; "" where none do.
        on_ue: the best configuration that is complete on the UE when it begins, "9/int8"; "" while none is.
        chain, stops: devices, source first, and for each the cut of the network of `depth` at which it stops.
        latency_s: of a request; None where there is no answer.
        accuracy: expected of an answer; None where nobody measured it.
        energy_j: of the UE for one request, beyond idle; None without power figures.
        nbytes: bytes of the model that are on the UE when the phase begins.
        download_bps: what the download gets of its way beside the results.
    """

    start_s: float
    end_s: float
    where: Where
    depth: int = 0
    precision: str = ""
    on_ue: str = ""
    chain: tuple[str, ...] = ()
    stops: tuple[int, ...] = ()
    latency_s: float | None = None
    accuracy: float | None = None
    energy_j: float | None = None
    nbytes: int = 0
    download_bps: float = 0.0

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s

    @property
    def name(self) -> str:
        """Of the configuration that answers: "9/int8"; "27" where all weights are the network's own."""
        return f"{self.depth}/{self.precision}" if self.precision else str(self.depth)


class DeliveryTotals(Value, frozen=True):
    """What a delivery comes to over its horizon.

    Attributes:
        latency_s: mean over the answered requests, None without any. A request that nothing answers yet waits for
            what comes, as far as its deadline lets it; that counts.
        accuracy: mean over the answered requests; None where nobody measured it.
        answered: share of the requests that get an answer in time.
        nbytes: of the model, sent within the horizon.
        energy_j: of the UE: requests and receiving the model; None without power figures.
        first_s: when a request is answered first, from time 0; None where none is.
        own_s: from when on the UE runs requests alone; None where it never does.
    """

    latency_s: float | None = None
    accuracy: float | None = None
    answered: float = 1.0
    nbytes: int = 0
    energy_j: float | None = None
    first_s: float | None = None
    own_s: float | None = None


class DeliveryAlternative(Value, frozen=True):
    """A way to do it that lost.

    Attributes:
        scheme: `split only`, `download, then UE`, `download, split meanwhile`, `progressive, no split`.
        kept: whether it keeps the battery and answers every request within accuracy and deadline.
    """

    scheme: str
    totals: DeliveryTotals
    steps: tuple[DeliveryStep, ...] = ()
    kept: bool = True


class DeliveryPlan(Value, frozen=True):
    """A decision: what to send, in which order, and where requests run meanwhile.

    Attributes:
        served_from: the device that has the model.
        way: the devices that it crosses to the UE.
        notes: remarks for people, a line each.
        files: where the plan was made from: `model`, `topology`, `profile`; empty where that was no files.
    """

    model: str
    asked: DeliveryAsked
    served_from: str
    way: tuple[str, ...]
    steps: tuple[DeliveryStep, ...]
    phases: tuple[Phase, ...]
    totals: DeliveryTotals
    alternatives: tuple[DeliveryAlternative, ...] = ()
    metric: str = "top-1"
    basis: Basis = "modelled"
    notes: tuple[str, ...] = ()
    files: dict[str, str] = msgspec.field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    def phase_at(self, at_s: float) -> Phase:
        """The phase of a moment; the last one goes on beyond the horizon."""
        for phase in self.phases:
            if at_s < phase.end_s:
                return phase
        return self.phases[-1]
