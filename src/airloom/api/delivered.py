"""A model that is on its way to the UE and answers from the first request on, wherever the plan has requests run.

    with airloom.deploy_progressive("plan.json", "artifact", "topology.yaml", "profile.json") as model:
        answer = model(picture)
        print(answer.value, answer.where, answer.configuration)

The other hosts are processes of this machine and links are acted out by the relay, as of `deploy`; the model is served
by one more process and comes over the same emulated links, behind the requests' results. The UE has no weight but those
that came: all others are NaN here, so that an answer that used one would not be a number, and be refused.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from airloom.api.networks import Networks
from airloom.api.serving import ModelServer
from airloom.core.delivery_plan import DeliveryPlan, Phase, Where
from airloom.core.plan import Plan
from airloom.core.profile import Profile
from airloom.core.progressive import Configuration
from airloom.core.speed import with_class_factors
from airloom.core.topology import Topology
from airloom.deliver.artifact import read_artifact
from airloom.deliver.client.events import FetchEvent
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.manifest import MANIFEST_FILE, PUBLIC_FILE
from airloom.deliver.model import ProgressiveModel
from airloom.deployment import Deployment, DeployOptions
from airloom.errors import AirloomError, ConfigError, DeliveryError, StageFailed
from airloom.nn.source import first_line
from airloom.planner.chain import Solution
from airloom.planner.planning import make_plan
from airloom.planner.pricing import build_problem
from airloom.planner.progressive.depth_profiles import depth_profiles, profile_of_graph
from airloom.runtime.relay_control import Stream

if TYPE_CHECKING:
    from airloom.core.graph import ModelGraph

STREAM = "model"
# A configuration that was asked for is looked at again after that long where no event came.
_LOOK_S = 0.05


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Attributes:
        value: what the model returns.
        where, configuration: as of the phase; the configuration of a local answer is what ran.
        phase: index in the plan.
        at_s: when it was asked, from time 0.
        latency_s, predicted_s: measured, and as the phase has it; None where it has none.
        accuracy: expected.
    """

    value: Any
    where: Where
    configuration: str
    phase: int
    at_s: float
    latency_s: float
    predicted_s: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Began:
    """A phase as it came: when it began and what had arrived by then."""

    phase: int
    at_s: float
    nbytes: int


class DeliveredModel:
    """A plan of a delivery, carried out; use it in a `with` block, or `close()` it.

    Time 0, from which the plan counts, is when it is made: all hosts are up and the model has not begun to come.

    Attributes:
        plan: what is carried out.
        began: the phases so far, as they came.
        notes: what stands for something else, a line each.

    Raises:
        UserError: plan, artifact, topology and profile do not fit together.
        DeploymentError: hosts or the server did not come up.
    """

    def __init__(
        self,
        plan: DeliveryPlan,
        folder: Path,
        topology: Topology,
        profiles: Mapping[str, Profile],
        *,
        key: str | Path | None = None,
        cache: Path | None = None,
        options: DeployOptions | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.plan, self.manifest = plan, read_artifact(folder)
        self._manifest_nbytes = (folder / MANIFEST_FILE).stat().st_size
        self._tell = progress or (lambda line: None)
        self.topology = with_class_factors(topology, profiles)
        self._profiles = dict(profiles)
        self._factor = self.topology.device(self.topology.source).factor
        self._options = options or DeployOptions()
        if self._options.contract is not None or self._options.slow_motion != 1.0:
            raise ConfigError("a model that is sent runs without a tolerance profile and without slow motion")
        if self.manifest.model != plan.model:
            raise ConfigError(f"the plan is for {plan.model}, the artifact is {self.manifest.model}: plan again")
        self._tell(f"reading {self.manifest.model}")
        self._networks = Networks(folder, self.manifest)
        self.began: list[Began] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._done: list[str] = []  # steps that are complete
        self._fault: Exception | None = None
        self._model: ProgressiveModel | None = None
        self._deployments: dict[int, Deployment] = {}
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airloom-delivery-")))
            self._server = ModelServer(folder.resolve(), scratch / "server.log")
            stack.callback(self._server.close)
            self._start_hosts(stack)
            self._pins = [self._pinned(phase) for phase in plan.phases]
            self.notes = (
                *self._deployments[self._first].notes,
                *self._own_links(),
                "the model is served by a process of this machine and comes over the emulated links, behind results",
            )
            self._began_s = time.monotonic()
            self._enter(0)
            self._fetch_options = FetchOptions(cache=cache or scratch / "cache")
            self._key = key or folder / PUBLIC_FILE
            self._follower = threading.Thread(target=self._follow, name="airloom-delivery", daemon=True)
            self._follower.start()
            stack.callback(self._stop_following)
            self._running = stack.pop_all()

    # --- asking -------------------------------------------------------------------------------------

    def __call__(self, *inputs: Any) -> Answer:
        """The answer to a request, by the phase that it falls into.

        Where other hosts fail and the UE has a configuration, that answers.

        Raises:
            RequestError: no answer, by its deadline; or no phase of the plan has one for it yet.
        """
        index, asked_s = self.phase, time.monotonic()
        phase = self.plan.phases[index]
        where, name = phase.where, phase.name
        try:
            if phase.where == "none":
                raise StageFailed("no way keeps what was asked for until more of the model is here")
            if phase.where == "ue":
                value, name = self._own(*inputs)
            else:
                value = self._deployments[phase.depth](*inputs)
                if _has_nan(value):
                    raise StageFailed("other hosts were out of reach, and the UE has not all weights")
        except (AirloomError, RuntimeError) as error:
            if phase.where == "ue" or self.configuration is None:
                if isinstance(error, AirloomError):
                    raise
                raise StageFailed(first_line(error)) from error
            where = "ue"
            value, name = self._own(*inputs)
        return Answer(
            value=value,
            where=where,
            configuration=name,
            phase=index,
            at_s=asked_s - self._began_s,
            latency_s=time.monotonic() - asked_s,
            predicted_s=phase.latency_s,
            accuracy=phase.accuracy,
        )

    def _own(self, *inputs: Any) -> tuple[Any, str]:
        """The UE's own answer, as slow as the UE is."""
        assert self._model is not None
        began_s = time.monotonic()
        tensors = [x if isinstance(x, torch.Tensor) else torch.from_numpy(x) for x in inputs]
        with torch.inference_mode():
            configuration = self._model.configuration
            value = self._model(*tensors)
        if self._options.emulate and self._factor > 1.0:
            time.sleep((self._factor - 1.0) * (time.monotonic() - began_s))
        return value, "" if configuration is None else configuration.name

    # --- watching -----------------------------------------------------------------------------------

    @property
    def phase(self) -> int:
        """Index of the phase that requests fall into now."""
        return self.began[-1].phase

    @property
    def configuration(self) -> Configuration | None:
        """What is complete on the UE; None before anything is."""
        return None if self._model is None else self._model.configuration

    @property
    def fault(self) -> Exception | None:
        """Why the model does not come any further; what had come goes on running."""
        return self._fault or (None if self._model is None else self._model.fault)

    @property
    def fetched_nbytes(self) -> int:
        """Bytes that have come over the links, the manifest among them."""
        return 0 if self._model is None else self._model.fetched_nbytes + self._manifest_nbytes

    @property
    def history(self) -> tuple[FetchEvent, ...]:
        """What happened to the model on its way; times are from its opening, a moment after time 0."""
        return () if self._model is None else self._model.history

    @property
    def now_s(self) -> float:
        """From time 0."""
        return time.monotonic() - self._began_s

    @property
    def graphs(self) -> dict[int, ModelGraph]:
        """By depth, the networks that other hosts run."""
        return {depth: net.graph for depth, net in self._deployments.items()}

    def deployment(self, depth: int) -> Deployment:
        """The hosts that run the network of a depth; links of the first one carry the model."""
        return self._deployments[depth]

    def wait_phase(self, index: int, timeout_s: float) -> None:
        """Until phase `index` has begun.

        Raises:
            DeliveryError: it has not in time; the fault says why, where there is one.
        """
        until = time.monotonic() + timeout_s
        while self.phase < index:
            if time.monotonic() > until:
                raise DeliveryError(f"phase {index} did not begin within {timeout_s:g} s: {self.fault or 'no fault'}")
            time.sleep(0.005)

    def close(self) -> None:
        """End everything that was started. Safe to call twice."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- hosts --------------------------------------------------------------------------------------

    def _start_hosts(self, stack: contextlib.ExitStack) -> None:
        """A deployment for every depth that other hosts run, the first of them with the model's way."""
        depths = list(dict.fromkeys(p.depth for p in self.plan.phases if p.where in ("split", "network")))
        depths = depths or [self.manifest.order.depths[0]]
        self._first = depths[0]
        path = tuple(reversed(self.plan.way))
        streams = (Stream(name=STREAM, path=path, address=self._server.address),) if len(path) > 1 else ()
        for depth in depths:
            captured = self._networks.captured(depth)
            profiles = {id: profile_of_graph(full, captured.graph) for id, full in self._profiles.items()}
            options = replace(self._options, streams=streams if depth == self._first else ())
            net = Deployment(captured, self.topology, profiles, options=options, progress=self._tell)
            stack.callback(net.close)
            self._deployments[depth] = net
            net.use_weights(_unknown(captured.graph, self._networks.names))
        self._url = self._server.address
        if streams:
            self._url = self._deployments[self._first].stream(STREAM)

    def _own_links(self) -> tuple[str, ...]:
        others = [depth for depth in self._deployments if depth != self._first]
        if not others:
            return ()
        return (
            f"networks of {', '.join(map(str, others))} blocks ran over links of their own, without the model on them",
        )

    def _pinned(self, phase: Phase) -> Plan | None:
        """The plan that the hosts of a phase follow; its cut found again by name in the graph that runs."""
        if phase.where not in ("split", "network"):
            return None
        graph = self._networks.captured(phase.depth).graph
        profiles = {id: profile_of_graph(full, graph) for id, full in self._profiles.items()}
        planned = depth_profiles(next(iter(self._profiles.values())), self.manifest)[phase.depth]
        stops = cuts_in(graph, planned, phase.stops)
        problem = build_problem(self.topology, phase.chain, profiles)
        seconds = problem.chain_s(stops)
        if seconds == float("inf"):
            raise ConfigError(f"the plan's phase from {phase.start_s:g} s on cannot be on this topology: plan again")
        return make_plan(
            problem, Solution(stops, seconds), self.topology, profiles.get("", next(iter(profiles.values())))
        )

    # --- the course ---------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Fetch the plan's steps one after the other, and change phases when what they need is here."""
        try:
            for step in (step for step in self.plan.steps if step.nbytes):
                row = self._row(step.depth, step.precision)
                if self._closed.is_set():
                    return
                if self._model is None:
                    self._model = ProgressiveModel.open(
                        f"http://{self._url}{self._server.path}",
                        key=self._key, depth=row.depth, precision=row.precision, options=self._fetch_options,
                    )  # fmt: skip
                else:
                    self._model.upgrade(depth=row.depth, precision=row.precision)
                while not self._model.done and not self._closed.is_set():
                    self._advance()
                    self._closed.wait(_LOOK_S / 10)
                if self._model.fault is not None:
                    return
                self._done.append(row.name)
                self._advance()
        except AirloomError as error:
            self._fault = error

    def _advance(self) -> None:
        while self.phase + 1 < len(self.plan.phases) and self._ready(self.plan.phases[self.phase + 1]):
            self._enter(self.phase + 1)

    def _ready(self, phase: Phase) -> bool:
        """Whether what a phase needs is here: of a way without the UE's weights, all that the plan had here by then."""
        model = self._model
        if model is None:
            return False
        if phase.where == "ue":
            here = model.configuration
            return here is not None and (here.name == phase.name or phase.name in self._done)
        if phase.where == "split":
            return self._needed(phase) <= set(model.arrived_weights(phase.depth, phase.precision))
        steps = [s.name for s in self.plan.steps if s.ready_s is not None and s.ready_s <= phase.start_s + 1e-9]
        return all(name in self._done for name in steps)

    def _needed(self, phase: Phase) -> set[str]:
        """Names of the weights that the UE's stage reads of those that travel."""
        graph, plan = self._networks.captured(phase.depth).graph, self._pins[self.plan.phases.index(phase)]
        assert plan is not None  # a split has one
        read = {graph.parameters[p].name for p in graph.stage_parameters(0, plan.stops[0])}
        return read & self._networks.names

    def _enter(self, index: int) -> None:
        phase, plan = self.plan.phases[index], self._pins[index]
        if plan is not None:
            net = self._deployments[phase.depth]
            if phase.where == "split" and self._model is not None:
                graph = self._networks.captured(phase.depth).graph
                names = {p.name for p in graph.parameters}
                arrays = self._model.arrived_weights(phase.depth, phase.precision)
                net.use_weights({name: torch.from_numpy(a) for name, a in arrays.items() if name in names})
            net.pin(plan)
        nbytes = self.fetched_nbytes
        with self._lock:
            self.began.append(Began(index, time.monotonic() - self._began_s, nbytes))

    def _stop_following(self) -> None:
        self._closed.set()
        self._follower.join()
        if self._model is not None:
            self._model.close()

    def _row(self, depth: int, precision: str) -> Configuration:
        for row in self.manifest.configurations:
            if (row.depth, row.precision) == (depth, precision):
                return row
        raise ConfigError(f"{self.manifest.model} has no configuration {depth}/{precision}: plan again")


def cuts_in(graph: ModelGraph, planned: Profile, stops: tuple[int, ...]) -> tuple[int, ...]:
    """Cuts of a plan in the graph that runs: before the operator of the same name; the end is the end.

    A profile by operators lacks what stands in for blocks that are left out, so numbers differ.

    Raises:
        ConfigError: there is no such operator.
    """
    place = {op.name: k for k, op in enumerate(graph.operators)}
    found = []
    for stop in stops:
        if stop >= planned.num_operators:
            found.append(graph.num_operators)
            continue
        name = planned.operators[stop].name
        if name not in place:
            raise ConfigError(f"the plan cuts before {name}, which {graph.model} does not have: plan again")
        found.append(place[name] if stop else 0)
    return tuple(found)


def _unknown(graph: ModelGraph, names: frozenset[str]) -> dict[str, torch.Tensor]:
    """NaN for every weight that has to come."""
    from airloom.nn.program import DTYPES

    return {
        p.name: torch.full(p.spec.shape, float("nan"), dtype=DTYPES[p.spec.dtype])
        for p in graph.parameters
        if p.name in names and DTYPES[p.spec.dtype].is_floating_point
    }


def _has_nan(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and bool(torch.isnan(value).any())
    if isinstance(value, Mapping):
        return any(_has_nan(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_has_nan(item) for item in value)


__all__ = ["Answer", "Began", "DeliveredModel", "cuts_in"]
