"""What a program calls: capture, profile, tolerance, plan, deploy, simulate, write_report.

    captured = airloom.capture("resnet20")
    profile = airloom.profile(captured)
    plan = airloom.plan(captured, airloom.load_topology("topology.yaml"), profile=profile)
    with airloom.deploy(plan) as net:
        y = net(x)

Each step also takes what an earlier one left in a file, and planning needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airloom import config
from airloom.config.objective import ARGUMENTS, check_objective, parse_objective
from airloom.core.objective import Objective
from airloom.core.plan import Plan, PlanCost
from airloom.core.profile import Profile
from airloom.core.speed import with_class_factors
from airloom.core.tolerance import Contract, Pattern, Tolerance
from airloom.core.topology import Conditions, Topology
from airloom.core.trace import Event
from airloom.errors import ConfigError
from airloom.files import read_value
from airloom.planner import inputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from airloom.core.coding import Coding
    from airloom.core.training import LossName, OptimizerName
    from airloom.deployment import Deployment, DeployOptions
    from airloom.nn.captured import Captured
    from airloom.planner.modes import Modes
    from airloom.training import Trained

__all__ = [
    "Planned",
    "capture",
    "deploy",
    "load_plan",
    "load_profile",
    "load_tolerance",
    "load_topology",
    "plan",
    "profile",
    "simulate",
    "tolerance",
    "train",
    "write_report",
]


def capture(
    model: str | nn.Module,
    example_inputs: tuple[Tensor, ...] | Tensor | None = None,
    *,
    name: str | None = None,
    mode: Literal["eval", "train"] = "eval",
    batch: int | None = None,
    weights: str | Path | None = None,
    **options: int,
) -> Captured:
    """A model as a graph with its cuts.

    Args:
        model: a module with its `example_inputs`; or a zoo name, `package.module:factory`, a `.pt2` file,
            or the folder of an artifact.
        batch, weights, options: of a model given by name: size of the inputs' first axis, a safetensors
            file, and the network's own options (`num_classes=100`).

    Raises:
        CaptureError: torch cannot export the model; the line has its reason and the place.
        ConfigError: there is no such model.
    """
    if isinstance(model, str):
        if example_inputs is not None or name is not None or mode != "eval":
            raise ConfigError("a model given by name brings its inputs, name and mode: pass a module to choose them")
        from airloom.nn.models import load_captured

        return load_captured(model, batch=batch, weights=weights, options=options)
    if example_inputs is None or batch is not None or weights is not None or options:
        raise ConfigError("a module is captured with its own weights and `example_inputs`: pass those, and only those")
    from airloom.nn.capture import capture as capture_module

    given = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    return capture_module(model, given, name=name or type(model).__name__, mode=mode)


def profile(
    model: str | Captured,
    *,
    device: str = "this",
    threads: int = 1,
    torch_device: str = "cpu",
    seconds_budget: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """Measure `model` on this host, through the executor that will run it; about `seconds_budget` seconds.

    Args:
        device: what to call this host in the profile.
        threads: torch's own within one operator; hosts run the model with as many.
        progress: called with passes done and passes to do.
    """
    from airloom.nn.executor import StageExecutor
    from airloom.nn.measure import measure

    captured = capture(model) if isinstance(model, str) else model
    executor = StageExecutor(captured, torch_device=torch_device, threads=threads)
    return measure(executor, device_name=device, seconds_budget=seconds_budget, progress=progress)


def tolerance(
    model: str | Captured,
    inputs: Sequence[Any] | Any,
    labels: Any,
    *,
    cuts: Sequence[int] | None = None,
    codings: Sequence[str | Coding] = ("raw", "structured+neighbours"),
    patterns: Sequence[Pattern] = ("burst",),
    error_rates: Sequence[float] | None = None,
    draws: int | None = None,
    block_bytes: Sequence[int] | None = None,
    large: Captured | None = None,
    batch: int = 100,
    score: Callable[[Any, Any], Any] | None = None,
    metric: str = "top-1",
    seed: int = 0,
    threads: int = 1,
    torch_device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Tolerance:
    """Measure how much loss the cuts of `model` may bear: accuracy against the share of lost blocks.

    `airloom tolerance` does the same from the command line, and fine-tunes the receiving half.

    Args:
        model: as hosts will run it: its graph's digest is the profile's.
        inputs: test samples, one array an input of the model, row k of each is sample k.
        labels: the right class of each sample, or what `score` takes.
        cuts: None takes a handful that are worth measuring.
        codings: by name (`core.coding`) or value; a cut that cannot have one is left out there.
        patterns: `burst` loses whole blocks, `random` single elements.
        error_rates, draws, block_bytes: at which rates, how many draws of errors at each, how large a block is.
        large: the same model captured at a batch to measure with, which is faster; a model given
            by name is captured at `batch` for it.
        score: how right each answer is, 0 to 1, from the model's outputs and the labels; top-1 where None.
        progress: called with how many more samples one pass has evaluated.

    Raises:
        ConfigError: no samples or labels that are none, NaN, a rate outside [0, 1], a cut that is not there.
    """
    import numpy as np

    from airloom.core.coding import parse_coding
    from airloom.nn import tolerance as measuring
    from airloom.nn.tolerance.profile import chosen_cuts, measure

    captured = capture(model) if isinstance(model, str) else model
    if large is None:
        large = capture(model, batch=batch) if isinstance(model, str) else captured
    arrays = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    samples = measuring.Samples(tuple(np.asarray(array) for array in arrays), np.asarray(labels))
    samples = measuring.check_samples(samples, captured.graph, classes=score is None, where="labels")
    return measure(
        measuring.Halves(captured, large, torch_device=torch_device, threads=threads),
        samples,
        cuts=chosen_cuts(captured.graph) if cuts is None else cuts,
        codings=[parse_coding(coding) if isinstance(coding, str) else coding for coding in codings],
        patterns=patterns,
        error_rates=measuring.DEFAULT_RATES if error_rates is None else error_rates,
        draws=measuring.DEFAULT_DRAWS if draws is None else draws,
        block_bytes=(measuring.WIRE_BLOCK_BYTES,) if block_bytes is None else block_bytes,
        score=measuring.top1 if score is None else score,
        metric=metric,
        seed=seed,
        advance=progress,
    )


@dataclass(frozen=True, repr=False)
class Planned:
    """A plan with what it was made from, so that it can be run and priced again.

    Attributes:
        plan: the decision; `airloom.files.write_value` puts it into a file.
        profiles: by device id; the one under "" is for all others.
        captured: the model, where planning had it; `deploy` needs it.
        contract: the accuracy that was demanded, and the tolerance profile that says what it takes.
        tuned_folder: where the profile's fine-tuned weights lie; None where it came without a file.
    """

    plan: Plan
    topology: Topology
    profiles: Mapping[str, Profile]
    captured: Captured | None = None
    private_operators: int = 0
    result_returns: bool = True
    contract: Contract | None = None
    tuned_folder: Path | None = None

    @property
    def stops(self) -> tuple[int, ...]:
        """For each device of the chain, the cut at which it stops."""
        return self.plan.stops

    @property
    def predicted_s(self) -> float:
        """Seconds that one request should take."""
        return self.plan.predicted_s

    @property
    def costs(self) -> tuple[PlanCost, ...]:
        """What one request should cost in each metric of the objective, with its bounds."""
        return self.plan.costs

    @property
    def predicted_accuracy(self) -> float | None:
        """What requests should come to; None without a tolerance profile."""
        return self.plan.predicted_accuracy

    def __str__(self) -> str:
        parts = ", ".join(f"{stage.device} {stage.start}..{stage.stop - 1}" for stage in self.plan.stages)
        accuracy = "" if self.predicted_accuracy is None else f", accuracy {100 * self.predicted_accuracy:.1f} %"
        return f"{self.plan.model}: {parts}; {self.predicted_s * 1e3:.2f} ms{accuracy} predicted"

    def __repr__(self) -> str:
        return f"<Planned {self}>"


def plan(
    model: Captured | Profile,
    topology: Topology | str | Path,
    *,
    profile: Profile | Mapping[str, Profile] | None = None,
    conditions: Conditions | None = None,
    private_operators: int = 0,
    result_returns: bool = True,
    runner_ups: int = 3,
    tolerance: Tolerance | str | Path | None = None,
    min_accuracy: float | None = None,
    minimize: str | Sequence[str] = (),
    require: str | Sequence[str] = (),
    solver: str | None = None,
    modes: Modes | None = None,
) -> Planned:
    """The assignment of operators to hosts that answers soonest, or is best under another objective; exact.

    With a tolerance profile each cut may also go in one of the codings that were measured, with as
    many blocks missing as `min_accuracy` leaves room for: cut, coding, protection, and on a radio
    link the MCS, are chosen together.

    Args:
        model: what was captured, or a profile alone: planning needs no more than that, and no torch.
        profile: of `model`, one for all devices or by device id ("" for the others); measured here,
            which takes seconds, where None. Devices that name a profile of their own use that.
        conditions: how the network differs from the topology now.
        private_operators: how many of the first operators must stay on the source.
        result_returns: whether the result travels back to the source.
        tolerance: of `model`, or its file; see `airloom.tolerance`.
        min_accuracy: the floor that every request must be predicted to keep, 0 to 1; None lets
            nothing be lost, and takes a coding only where it costs no accuracy.
        minimize: what a request should cost little of: "energy", "energy@ue,gnb", "money", "bytes",
            "latency=2.5" with a weight; one or several. Latency where nothing is said.
        require: bounds that every request must keep: "latency<=120ms"; one or several.
        solver: "exact", or HiveMind's "convex" and "linear", which cannot promise bounds
            (docs/objectives.md).
        modes: a step of training, parameters that are merged, or a path by hand (`planner.modes.Modes`).

    Raises:
        Infeasible: the limits leave no way, and names the device and the bytes it is short of; or
            the floor is above the accuracy of the model with nothing lost; or no plan keeps every
            bound (`planner.deciding.UnreachablePlan`, whose `plan` is the closest).
        NoRoute: the topology has no path from source to sink.
        ProfileMismatch: model, profile and tolerance profile are not of the same graph.
        ConfigError: the floor is no share, or there is no tolerance profile for it.
    """
    from airloom.engine.radios import adapted_choices, radio_choices
    from airloom.planner.decide import PLAIN, decide

    objective = _objective(minimize, require, solver)
    known_losses = load_tolerance(tolerance) if isinstance(tolerance, str | Path) else tolerance
    contract = inputs.contract_of(known_losses, min_accuracy)
    where = topology if isinstance(topology, Topology) else load_topology(topology, result_returns=result_returns)
    check_objective(objective, where, places=ARGUMENTS)
    captured: Captured | None
    if isinstance(model, Profile):
        captured, known = None, model if profile is None else profile
    else:
        captured, known = model, measured(model) if profile is None else profile
    profiles = inputs.load_profiles(where, known) if isinstance(known, Profile) else dict(known)
    where = with_class_factors(where, profiles)
    if captured is not None:
        inputs.check_model(profiles, captured.graph)
    decided, _ = decide(
        where,
        profiles,
        conditions=conditions,
        private_operators=private_operators,
        result_returns=result_returns,
        contract=contract,
        choices=radio_choices(where, conditions),
        adapted=adapted_choices(where, conditions),
        runner_ups=runner_ups,
        objective=objective,
        modes=modes or PLAIN,
    )
    folder = Path(tolerance).absolute().parent if isinstance(tolerance, str | Path) else None
    return Planned(decided, where, profiles, captured, private_operators, result_returns, contract, folder)


def _objective(minimize: str | Sequence[str], require: str | Sequence[str], solver: str | None) -> Objective | None:
    terms = (minimize,) if isinstance(minimize, str) else tuple(minimize)
    bounds = (require,) if isinstance(require, str) else tuple(require)
    return parse_objective(terms, bounds, solver, places=ARGUMENTS)


# Inside `plan` the name is its argument.
measured = profile


def deploy(
    planned: Planned | Captured,
    topology: Topology | None = None,
    *,
    profiles: Mapping[str, Profile] | Profile | None = None,
    plan: Plan | str | Path | None = None,
    follow: Literal["tables", "plan"] = "tables",
    options: DeployOptions | None = None,
    progress: Callable[[str], None] | None = None,
    minimize: str | Sequence[str] = (),
    require: str | Sequence[str] = (),
    solver: str | None = None,
    **settings: Any,
) -> Deployment:
    """Run the model on its hosts; `with airloom.deploy(plan) as net: y = net(x)`.

    Args:
        planned: what `plan` returned for a captured model; or the captured model, with `topology`
            and `profiles`.
        plan: pinned as it is, one that was kept (`load_plan`, or its file); with a captured model only.
        follow: `tables` lets every host decide by split cost messages, so that the plan follows the
            network; `plan` pins the plan as it is.
        options: see `DeployOptions`; single ones can be named instead: `transport="tcp"`.
        progress: hears a line for each step that takes a while.
        minimize, require, solver: as of `plan`, with a captured model; what `plan` returned keeps the
            objective that it was made under.

    Raises:
        UserError: what was given does not fit together.
        DeploymentError: hosts did not come up.
    """
    import dataclasses

    from airloom.deployment import Deployment, DeployOptions
    from airloom.engine.following import hosts_follow

    if isinstance(planned, Planned):
        if topology is not None or profiles is not None or plan is not None:
            raise ConfigError("a plan has its topology and profiles: plan again for others")
        if planned.captured is None:
            raise ConfigError("this plan was made from a profile alone: plan with the captured model to deploy it")
        captured, topology, profiles = planned.captured, planned.topology, planned.profiles
        limits = {
            "private_operators": planned.private_operators,
            "result_returns": planned.result_returns,
            "contract": planned.contract,
            "tuned_folder": planned.tuned_folder,
            "objective": planned.plan.objective,
        }
        if minimize or require or solver is not None:
            raise ConfigError("a plan keeps the objective it was made under: plan again for another")
    else:
        if topology is None or profiles is None:
            raise ConfigError("a captured model needs a topology and profiles to be deployed: pass them, or a plan")
        if follow == "plan" and plan is None:
            raise ConfigError("there is no plan to follow: pass what `airloom.plan` returned, or `plan`")
        objective = _objective(minimize, require, solver)
        check_objective(objective, topology, places=ARGUMENTS)
        by_device = {"": profiles} if isinstance(profiles, Profile) else profiles
        topology = with_class_factors(topology, by_device)
        captured, limits = planned, dict[str, Any]() if objective is None else {"objective": objective}
    chosen = dataclasses.replace(options or DeployOptions(), **{**limits, **settings})
    pinned = load_plan(plan) if isinstance(plan, str | Path) else plan
    if isinstance(planned, Planned) and (follow == "plan" or not hosts_follow(chosen.objective)):
        pinned = planned.plan
    elif pinned is None and not hosts_follow(chosen.objective):
        raise ConfigError(
            "hosts cannot follow this objective by their tables: pass what `airloom.plan` returns for it, or `plan`",
            where="solver",
        )
    return Deployment(captured, topology, profiles, plan=pinned, options=chosen, progress=progress)


def simulate(
    planned: Planned,
    requests: int = 100,
    *,
    interval_s: float | None = None,
    deadline_s: float = 10.0,
    changes: Sequence[Conditions] = (),
    follow: Literal["tables", "plan"] = "tables",
    seed: int = 0,
) -> list[Event]:
    """The same hosts in virtual time: what `deploy` would do on links and devices as the topology has them.

    The objective that it was planned under holds: hosts follow it by their tables where they can,
    and else the plan is pinned.

    Args:
        requests: how many, one every `interval_s` seconds; None spaces them by twice the predicted latency.
        changes: how the network differs from the topology, each from its `at_s` on.
        seed: of the links' losses; the same seed gives the same trace.

    Returns:
        The trace; every time in it is modelled.
    """
    from airloom.engine.following import followed, hosts_follow
    from airloom.sim.simulation import Arrival, Simulation

    objective = planned.plan.objective
    every_s = 2.0 * planned.predicted_s if interval_s is None else interval_s
    return Simulation(
        planned.topology,
        planned.profiles,
        [Arrival(at_s=k * every_s, deadline_s=deadline_s) for k in range(requests)],
        changes=changes,
        pinned=planned.plan if follow == "plan" or not hosts_follow(objective) else None,
        objective=followed(objective),
        seed=seed,
        private_operators=planned.private_operators,
        result_returns=planned.result_returns,
        contract=planned.contract,
    ).run()


def train(
    model: str | nn.Module | Captured,
    topology: Topology | str | Path,
    data: Any,
    labels: Any,
    *,
    steps: int,
    batch: int | None = None,
    optimizer: OptimizerName = "sgd",
    lr: float = 0.01,
    loss: LossName = "cross_entropy",
    plan: Plan | str | Path | None = None,
    replan: Mapping[int, Plan | None] | None = None,
    profile: Profile | Mapping[str, Profile] | None = None,
    seed: int = 0,
    resume: str | Path | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 0,
    folder: str | Path | None = None,
    weights: str | Path | None = None,
    model_options: Mapping[str, int] | None = None,
    changes: Sequence[Conditions] = (),
    patience_s: float = 30.0,
    optimizer_options: Mapping[str, Any] | None = None,
    deployment: DeployOptions | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Trained:
    """Train a model over the hosts of a topology: activations go forward, gradients back, each host updates its stage.

    The weights after k steps are those of training in one piece, bit for bit (same machine, type, threads), also
    across plans that change. See docs/training.md.

    Args:
        model: a module, a zoo name, `package.module:factory`, or what was captured with mode="train" at the batch.
        data, labels: samples, one array an input of the model; row k of each is sample k.
        batch: samples a step; of a captured model it is fixed.
        optimizer: sgd, adam or adamw, with `optimizer_options` such as `{"momentum": 0.9}`.
        plan: where stages run; None plans the cheapest step from `profile`, which is measured here where None.
        replan: from which step on another plan holds; None in it plans anew.
        seed: of the order of samples, of dropout, and of the emulated links' losses.
        resume: a checkpoint to go on from, with the same model, batch and optimiser.
        checkpoint, checkpoint_every, folder, changes, stop, progress: as `airloom.training.train_split`.

    Raises:
        UserError: what was given does not fit together.
        RequestError: a step failed.
    """
    import dataclasses

    from airloom.core.training import TrainingSpec
    from airloom.deployment import DeployOptions
    from airloom.nn.captured import Captured as CapturedModel
    from airloom.nn.training.batches import Batches, as_arrays
    from airloom.nn.training.checkpoint import load_checkpoint
    from airloom.nn.training.loss import label_form
    from airloom.nn.training.measure import measure_training
    from airloom.nn.training.models import capture_for_training
    from airloom.nn.training.sizes import with_training
    from airloom.training import train_split

    arrays = as_arrays(data)
    where = topology if isinstance(topology, Topology) else load_topology(topology)
    if isinstance(model, CapturedModel):
        if batch is not None or weights is not None or model_options:
            raise ConfigError("a captured model has its batch, weights and options in it: capture it again")
        captured = model
    else:
        captured = capture_for_training(model, arrays, batch=batch, weights=weights, options=model_options or {})
    shape, dtype = label_form(captured.graph, loss)
    spec = TrainingSpec(
        optimizer=optimizer, lr=lr, loss=loss, seed=seed, label_shape=shape, label_dtype=dtype, patience_s=patience_s,
        **(optimizer_options or {}),
    )  # fmt: skip
    batches = Batches(captured.graph, spec, arrays, labels, seed=seed)
    if profile is None:
        tell = (lambda done, total: progress("measuring", done, total)) if progress else None
        profile = measure_training(captured, spec, seconds_budget=5.0, progress=tell)
    profiles = inputs.load_profiles(where, profile) if isinstance(profile, Profile) else dict(profile)
    inputs.check_model(profiles, captured.graph)
    profiles = {id: with_training(one, captured.graph, spec) for id, one in profiles.items()}
    begun = None
    if resume is not None:
        held, state = load_checkpoint(Path(resume), captured.graph, spec)
        begun = held.step, state, held.losses
    options = deployment or DeployOptions()
    return train_split(
        captured, where, batches, spec, steps,
        profiles=profiles, plan=load_plan(plan) if isinstance(plan, str | Path) else plan, replan=replan,
        changes=changes, options=dataclasses.replace(options, seed=seed), resume=begun,
        checkpoint=None if checkpoint is None else Path(checkpoint), checkpoint_every=checkpoint_every,
        folder=None if folder is None else Path(folder), stop=stop, progress=progress,
    )  # fmt: skip


def load_topology(path: str | Path, *, result_returns: bool = True) -> Topology:
    """Read a topology file (docs/formats.md) and check that its source reaches its sink, and back."""
    return config.load_topology(Path(path), result_returns=result_returns)


def load_profile(path: str | Path) -> Profile:
    """Read a profile that `airloom profile`, a person or another tool wrote."""
    return inputs.load_profile(Path(path))


def load_tolerance(path: str | Path) -> Tolerance:
    """Read a tolerance profile that `airloom tolerance` wrote."""
    return inputs.load_tolerance(Path(path))


def load_plan(path: str | Path) -> Plan:
    """Read a plan that `airloom plan --json` wrote."""
    return read_value(Path(path), Plan)


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Make the HTML page of the run folder (or trace files) at `folder`; returns where it is."""
    from airloom.files import write_aside
    from airloom.report.folder import read_run
    from airloom.report.page import render_page

    source = Path(folder)
    found = read_run([source])
    path = Path(out) if out is not None else (source if source.is_dir() else source.parent) / "report.html"
    write_aside(path, render_page(found, found.summary()).encode())
    return path
