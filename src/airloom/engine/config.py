"""What a host is told before it starts; all of it fixed for the host's life."""

from __future__ import annotations

import functools
from typing import Literal

from airloom.core.forecast import ForecastPolicy
from airloom.core.framing import Framing
from airloom.core.objective import LATENCY, Objective
from airloom.core.profile import Profile
from airloom.core.tolerance import Contract
from airloom.core.topology import Device, Topology
from airloom.core.training import TrainingSpec
from airloom.core.value import Value


class WavePolicy(Value, frozen=True):
    """When a host speaks upstream.

    Attributes:
        change: relative change of a link's rate or delay, or of `1 + load`, that is priced anew;
            a change of loss counts when it is this large as a probability divided by ten.
        cost_change: relative change of any entry of the message that is worth sending.
        min_interval_s: two messages of the host's own accord are at least this far apart; waves
            that come from downstream are passed on at once.
        refresh_s: the end of the chain starts a wave this often, whatever happens.
        per_request: a source asks the end of its chain for a wave for each request, and holds the
            request until that wave has come. Such a wave goes up the way to that source only.
        hold_s: the longest that a request is held for its wave.
        spontaneous: whether hosts also speak of their own accord, when a link or a load has moved.
    """

    change: float = 0.1
    cost_change: float = 0.01
    min_interval_s: float = 0.02
    refresh_s: float = 2.0
    per_request: bool = False
    hold_s: float = 0.1
    spontaneous: bool = True

    @classmethod
    def asked(cls, hold_s: float | None) -> WavePolicy:
        """With a wave for each request that is held no longer than `hold_s`; the usual policy where that is None."""
        return cls() if hold_s is None else cls(per_request=True, hold_s=hold_s)


class AttemptPolicy(Value, frozen=True):
    """When the source tries again.

    An attempt times out after `margin_s + factor * predicted_s * (1 + requests ahead of it)`,
    longer where results have lately taken longer than predicted.

    Attributes:
        max_attempts: attempts through the network; after them the source runs the model itself.
        local_margin: the source begins its own run this many times its predicted duration before
            the deadline, racing whatever is still under way.
    """

    max_attempts: int = 4
    factor: float = 3.0
    margin_s: float = 0.25
    local_margin: float = 1.5


class HostConfig(Value, frozen=True, dict=True):
    """One host.

    Attributes:
        profile: of the model, for this device; `cuts[L].tensors` are the ids of the outputs.
        private_operators: the first k operators stay on the source.
        result_returns: False where the result stays where it is made; the source then gets a
            result without tensors.
        max_in_flight: requests this host has under way as a source before it refuses more.
        max_jobs: stages waiting for this host's executor before it refuses more.
        max_partial: stages of a pinned plan that wait for the rest of their inputs.
        memory_s: for how long a host remembers which requests passed it, and how long a stage of
            a pinned plan waits for its inputs.
        pinned_fallback: what a source does while a device of its pinned plan is down: run the
            whole model itself, or follow the tables.
        contract: the accuracy to keep and what each cut bears; None carries every cut raw and whole.
        training: what is optimised and how, on hosts that train; None on those that answer requests.
        objective: what every host's table is to be good at.
        forecast: how links are priced for the moment at which a task will use them; None takes them as
            they were last measured.
    """

    device: str
    topology: Topology
    profile: Profile
    framing: Framing = Framing()
    private_operators: int = 0
    result_returns: bool = True
    max_in_flight: int = 8
    max_jobs: int = 256
    max_partial: int = 256
    memory_s: float = 10.0
    pinned_fallback: Literal["self", "table"] = "self"
    attempts: AttemptPolicy = AttemptPolicy()
    wave: WavePolicy = WavePolicy()
    contract: Contract | None = None
    training: TrainingSpec | None = None
    objective: Objective = LATENCY
    forecast: ForecastPolicy | None = None

    @property
    def num_operators(self) -> int:
        return self.profile.num_operators

    @property
    def own(self) -> Device:
        return self.topology.device(self.device)

    @functools.cached_property
    def index(self) -> int:
        """Place in `Topology.devices`: the host's number in frames."""
        return [d.id for d in self.topology.devices].index(self.device)

    @property
    def is_source(self) -> bool:
        """Whether requests may begin here: the topology's source, and every UE."""
        return self.device == self.topology.source or self.own.role == "ue"

    def cut_tensors(self, cut: int) -> tuple[int, ...]:
        """Ids of the live set of `cut`; positions stand for ids in a profile that names none."""
        size = self.profile.cuts[cut]
        return size.tensors or tuple(range(len(size.tensor_nbytes)))
