"""What is deployed, where and how; what of it stands for something else."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from airloom.core.forecast import ForecastPolicy
from airloom.core.objective import Objective
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.speed import said_factor, some
from airloom.core.tolerance import Contract
from airloom.core.topology import Topology
from airloom.core.training import TrainingSpec
from airloom.engine.config import HostConfig, WavePolicy
from airloom.engine.following import followed
from airloom.engine.layout import check_plan
from airloom.errors import ConfigError, Infeasible, ProfileMismatch
from airloom.planner.contract import check_contract
from airloom.planner.inputs import check_model
from airloom.planner.pricing import profile_of
from airloom.runtime.handling import measure_handling
from airloom.runtime.motion import Motion, slow_enough
from airloom.runtime.relay_control import Stream
from airloom.units import format_seconds

if TYPE_CHECKING:
    from airloom.nn.captured import Captured


@dataclass(frozen=True)
class DeployOptions:
    """How to deploy.

    Attributes:
        launch: start the other hosts as processes of this machine; False joins hosts that run elsewhere.
        emulate: act out the topology's links by a relay and slower devices by waiting (with `launch` only).
        certs: folder with this host's certificate; None makes a throw-away authority (with `launch` only).
        in_flight: requests under way at once; more wait, or are refused.
        deadline_s: of a request that names none.
        threads: torch's threads on every host; None takes the profile's.
        folder: where traces and logs go; None keeps them until the deployment ends.
        wait_s: how long to wait for hosts that run elsewhere before going on without them.
        seed: of the emulated links' losses.
        handling_s: what a message costs on this machine beside its link, as `measure_handling` finds it.
            Hosts and planners count it as a fixed overhead of every transfer; nothing acts it out.
        contract: the accuracy to keep and the tolerance profile that says what it takes; every host
            gets it. None carries every cut raw and repairs as `repair_rounds` says.
        tuned_folder: where the profile's fine-tuned weights lie.
        objective: what every host's table is to be good at, and the bounds that requests are to keep;
            None is the least latency.
        forecast: how links are priced for the moment at which a task will use them; None takes them as measured.
        ask_wave_s: requests ask for fresh tables first and wait for them no longer than that; None asks for none.
        training: what hosts train and how, in place of answering requests.
        slow_motion: seconds of this machine that one of the emulated network takes (with `emulate` only), so that
            devices that are faster than this machine can be emulated. All times in and out are the network's.
        streams: services that are reached over the emulated links, beside the requests (`Deployment.stream`).
    """

    transport: Literal["udp", "tcp"] = "udp"
    launch: bool = True
    emulate: bool = True
    certs: Path | str | None = None
    in_flight: int = 8
    deadline_s: float = 10.0
    threads: int | None = None
    private_operators: int = 0
    result_returns: bool = True
    repair_rounds: int = 2
    congestion: str = "cubic"
    folder: Path | str | None = None
    wait_s: float = 10.0
    seed: int = 0
    pinned_fallback: Literal["self", "table"] = "self"
    handling_s: float = 0.0
    contract: Contract | None = None
    tuned_folder: Path | str | None = None
    objective: Objective | None = None
    forecast: ForecastPolicy | None = None
    ask_wave_s: float | None = None
    training: TrainingSpec | None = None
    slow_motion: float = 1.0
    streams: tuple[Stream, ...] = ()

    def calibrated(self) -> DeployOptions:
        """These options with `handling_s` measured, where links are emulated; takes two seconds."""
        if not (self.launch and self.emulate):
            return self
        return dataclasses.replace(self, handling_s=asyncio.run(measure_handling(self.transport)) / self.slow_motion)

    def priced(self, topology: Topology) -> Topology:
        """`topology` as planners should see it: every link with the handling of its messages."""
        if not self.handling_s:
            return topology
        links = (msgspec.structs.replace(x, overhead_s=x.overhead_s + self.handling_s) for x in topology.links)
        return msgspec.structs.replace(topology, links=tuple(links))


def check_speeds(topology: Topology, slow: float = 1.0, *, emulate: bool = True) -> None:
    """Refuse devices that this machine is too slow to emulate.

    Raises:
        Infeasible: the fastest one, with the slow motion that it takes.
    """
    computing = [device for device in topology.devices if device.computes]
    fastest = min(computing, key=lambda device: device.factor, default=None)
    if fastest is None or not emulate or fastest.factor * slow >= 1.0 - 1e-9:
        return
    said = f" in slow motion {slow:g}" if slow != 1.0 else ""
    raise Infeasible(
        f"{fastest.id} is {1 / (slow * fastest.factor):.3g} times as fast as the profile's machine{said}, which cannot "
        f"be emulated here: play it in slow motion, --slow-motion {slow_enough(fastest.factor):g}; or profile the "
        "fastest device, and give the others a speed below 1",
        device=fastest.id,
    )


def _emulated(factor: float) -> str:
    return f"stretched to {factor:.3g} times" if factor > 1.0 else f"{said_factor(factor)} as here, for slow motion"


@dataclass(frozen=True)
class Setup:
    """What is deployed, where and how; checked when it is made.

    Attributes:
        topology: its source is this process.
        profiles: by device id; the one under "" is for all others.

    Raises:
        ProfileMismatch: a profile is of another model, or the contract's of other weights.
        ConfigError: hosts that run elsewhere, and no certificates for them.
        Infeasible: a device that this machine is too slow to emulate.
    """

    captured: Captured
    topology: Topology
    profiles: Mapping[str, Profile]
    options: DeployOptions

    def __post_init__(self) -> None:
        check_model(self.profiles, self.captured.graph)
        contract = self.options.contract
        if contract is not None:
            check_contract(contract, self.captured.graph.digest)
            weights = contract.tolerance.weights_digest
            if weights and weights != self.captured.weights_digest:
                raise ProfileMismatch(
                    f"the tolerance profile is of {contract.tolerance.model} with other weights: run "
                    "`airloom tolerance` with those at hand"
                )
            if contract.tolerance.tuned and self.options.tuned_folder is None:
                raise ConfigError(
                    "the tolerance profile has fine-tuned weights in files beside it: plan with its file, not its value"
                )
        if not self.options.launch and self.options.certs is None:
            raise ConfigError("hosts that run elsewhere admit only whom they know: name the folder of certificates")
        slow = Motion(self.options.slow_motion).slow
        if slow != 1.0 and not (self.options.launch and self.options.emulate):
            raise ConfigError("only an emulated network can go slower than this machine: leave slow motion out")
        check_speeds(self.topology, slow, emulate=self.options.launch and self.options.emulate)

    @property
    def source(self) -> str:
        """The host that lives in this process."""
        return self.topology.source

    @property
    def others(self) -> tuple[str, ...]:
        """The other hosts."""
        return tuple(device.id for device in self.topology.devices if device.id != self.source)

    @property
    def threads(self) -> int:
        """torch's, on every host."""
        return self.options.threads or profile_of(self.source, self.profiles).machine.threads or 1

    def factor(self, host: str) -> float:
        """How much slower than this machine a host is to look."""
        return self.topology.device(host).factor if self.options.launch and self.options.emulate else 1.0

    def source_config(self) -> HostConfig:
        """What the engine of the source is told."""
        options = self.options
        return HostConfig(
            device=self.source,
            topology=self.options.priced(self.topology),
            profile=profile_of(self.source, self.profiles),
            private_operators=options.private_operators,
            result_returns=options.result_returns,
            max_in_flight=options.in_flight,
            pinned_fallback=options.pinned_fallback,
            contract=options.contract,
            objective=followed(options.objective),
            forecast=options.forecast,
            wave=WavePolicy.asked(options.ask_wave_s),
            training=options.training,
        )

    def check_plan(self, plan: Plan) -> None:
        """Refuse a plan that the hosts could not follow.

        Raises:
            UserError: naming the place in the plan.
        """
        check_plan(plan, self.source_config())

    def notes(self) -> tuple[str, ...]:
        """What of this deployment stands for something else, a line each; reports show them."""
        if not self.options.launch:
            return ()
        notes = ["hosts are processes of one machine"]
        slow = self.options.slow_motion
        if slow != 1.0:
            notes.append(
                f"measured in slow motion, {slow:g} times: network and devices ran {slow:g} times slower, times are "
                f"divided by that, and so is what this machine adds of its own"
            )
        if self.options.emulate:
            notes.append("links by a relay")
            alike: dict[float, list[str]] = {}
            for device in self.topology.devices:
                if device.computes and device.factor != 1.0:
                    alike.setdefault(device.factor, []).append(device.id)
            notes += [f"{some(ids)}: compute {_emulated(factor)}" for factor, ids in alike.items()]
        if self.options.handling_s:
            notes.append(f"a message takes {format_seconds(self.options.handling_s)} beside its link here (measured)")
        cores = os.cpu_count() or 1
        duty = sorted((1.0 / (slow * self.factor(d.id)) for d in self.topology.devices if d.computes), reverse=True)
        busy = sum(duty[: self.options.in_flight]) * self.threads
        if busy > cores:
            notes.append(
                f"{busy:.3g} cores may be busy at once, this machine has {cores}: "
                "hosts will slow each other down; lower in_flight or the devices' speeds, or play it in slow motion"
            )
        return tuple(notes)
