"""A progressive model on its way to the UE: what to send when, and where requests run meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from airloom.api.files import load_topology
from airloom.core.delivery_plan import DeliveryAsked, DeliveryPlan
from airloom.core.graph import ModelGraph
from airloom.core.profile import Profile
from airloom.core.progressive import DepthTable, Manifest
from airloom.core.speed import with_class_factors
from airloom.core.topology import Conditions, Topology
from airloom.errors import ConfigError, Infeasible
from airloom.files import read_value
from airloom.planner import inputs
from airloom.units import format_seconds

if TYPE_CHECKING:
    from airloom.api.delivered import DeliveredModel
    from airloom.deployment import DeployOptions

MANIFEST_FILE = "manifest.json"


def load_progressive(path: str | Path) -> Manifest:
    """What can be sent: an artifact (its folder or `manifest.json`), or a table of `airloom elastic table`.

    Nothing is fetched or run by it, so the manifest's signature is not asked for.

    Raises:
        ConfigError: neither of the two, or trees, which no network is.
    """
    from airloom.deliver.manifest import read_manifest
    from airloom.planner.progressive import manifest_of_table

    where = Path(path)
    if where.is_dir():
        where = where / MANIFEST_FILE
    if where.name == MANIFEST_FILE:
        try:
            data = where.read_bytes()
        except OSError as error:
            raise ConfigError(f"{error.strerror}: name a folder of `airloom elastic pack`", where=str(where)) from None
        manifest = read_manifest(data, where=str(where))
    else:
        manifest = manifest_of_table(read_value(where, DepthTable))
    if manifest.architecture.kind == "trees":
        raise ConfigError("trees have no operators to split: fetch them with `airloom fetch-model`", where=str(where))
    return manifest


def load_delivery_plan(path: str | Path) -> DeliveryPlan:
    """Read a plan that `airloom plan --model-size-on-ue` wrote."""
    return read_value(Path(path), DeliveryPlan)


def deploy_progressive(
    plan: DeliveryPlan | str | Path,
    model: str | Path = "",
    topology: Topology | str | Path = "",
    profile: Profile | Mapping[str, Profile] | str | Path = "",
    *,
    key: str | Path | None = None,
    cache: str | Path | None = None,
    options: DeployOptions | None = None,
    progress: Callable[[str], None] | None = None,
    **settings: Any,
) -> DeliveredModel:
    """Carry out a plan of a delivery: requests are answered from the first one on, and the model comes meanwhile.

        with airloom.deploy_progressive("plan.json") as model:
            answer = model(picture)     # .value, .where, .configuration, .latency_s beside .predicted_s

    Args:
        plan: what `plan_delivery` returned, or its file, which names the other three.
        model: the artifact's folder; its public key lies beside it, or is `key`.
        cache: where what has come is kept; None forgets it at the end.
        options: as of `deploy`; single ones can be named instead.
        progress: hears a line for each step that takes a while.

    Raises:
        UserError: these do not fit together.
        DeploymentError: hosts or the server did not come up.
    """
    import dataclasses

    from airloom.api.delivered import DeliveredModel
    from airloom.deployment import DeployOptions

    decided = plan if isinstance(plan, DeliveryPlan) else load_delivery_plan(plan)
    files = decided.files
    folder, where, known = (
        model or files.get("model"),
        topology or files.get("topology"),
        profile or files.get("profile"),
    )
    if not folder or not where or not known:
        raise ConfigError("the plan names no artifact, topology and profile: pass them")
    path = Path(folder)
    if path.name == MANIFEST_FILE:
        path = path.parent
    if not path.is_dir():
        raise ConfigError("a table cannot be sent: pack the model with `airloom elastic pack`", where=str(path))
    network = where if isinstance(where, Topology) else load_topology(where)
    full = inputs.load_profile(Path(known)) if isinstance(known, str | Path) else known
    by_device = inputs.load_profiles(network, full) if isinstance(full, Profile) else dict(full)
    chosen = dataclasses.replace(options or DeployOptions(), **settings)
    return DeliveredModel(
        decided,
        path,
        network,
        by_device,
        key=key,
        cache=None if cache is None else Path(cache),
        options=chosen,
        progress=progress,
    )


def plan_delivery(
    model: Manifest | DepthTable | str | Path,
    topology: Topology | str | Path,
    profile: Profile | Mapping[str, Profile],
    asked: DeliveryAsked | None = None,
    *,
    graphs: Mapping[int, ModelGraph] | None = None,
    conditions: Conditions | None = None,
    private_operators: int = 0,
    **wanted: Any,
) -> DeliveryPlan:
    """What to send to the UE in which order, and where requests run until it is there (docs/progressive-plans.md).

    Args:
        model: an artifact or a table, as `load_progressive` takes it.
        profile: of the network at full depth, one for all devices or by device id ("" for the others).
        asked: what it is for; single ones can be named instead: `requests_per_s=5, horizon_s=60`.
        graphs: of each depth, where they are at hand: the plan's cuts are then those of the graphs that run.
        conditions: how the network differs from the topology now.
        private_operators: how many of the first operators of the full depth must stay on the UE.

    Raises:
        ConfigError: what is asked for cannot be.
        ProfileMismatch: the profile is of another network.
        Infeasible: the battery leaves no way, no configuration is as accurate as demanded, or no request is answered.
        NoRoute: no path from source to sink, or from where the model is served to the UE.
    """
    from airloom.engine.radios import radio_choices
    from airloom.planner.progressive import depth_profiles, manifest_of_table
    from airloom.planner.progressive import plan_delivery as decide
    from airloom.planner.progressive.depth_profiles import private_by_depth, profile_of_graph

    notes: tuple[str, ...] = ()
    if isinstance(model, DepthTable):
        model = manifest_of_table(model)
    manifest = model if isinstance(model, Manifest) else load_progressive(model)
    if not any(chunk.sha256.strip("0") for chunk in manifest.chunks):
        notes = ("sizes of parts follow from the table by parameters: an artifact's are exact",)
    where = topology if isinstance(topology, Topology) else load_topology(topology)
    by_device = inputs.load_profiles(where, profile) if isinstance(profile, Profile) else dict(profile)
    where = with_class_factors(where, by_device)
    profiles: dict[int, dict[str, Profile]] = {depth: {} for depth in manifest.order.depths}
    for device, full in by_device.items():
        if graphs is None:
            found = depth_profiles(full, manifest)
        else:
            found = {depth: profile_of_graph(full, graph) for depth, graph in graphs.items()}
        for depth, one in found.items():
            profiles[depth][device] = one
    private = private_by_depth(next(iter(by_device.values())), manifest, private_operators)
    given = msgspec.structs.replace(asked or DeliveryAsked(requests_per_s=1.0, horizon_s=60.0), **wanted)

    def decided(request: DeliveryAsked) -> DeliveryPlan:
        return decide(
            manifest, profiles, where, request, conditions=conditions, choices=radio_choices(where, conditions),
            private=private, notes=notes,
        )  # fmt: skip

    plan = decided(given)
    if plan.totals.answered == 0.0:
        raise Infeasible(_unanswered(given, decided))
    return plan


def _unanswered(asked: DeliveryAsked, decided: Callable[[DeliveryAsked], DeliveryPlan]) -> str:
    """Why no request is answered within the horizon, in a line."""
    if asked.deadline_s is not None:
        # Without the deadline, as fast as can be.
        free = decided(msgspec.structs.replace(asked, deadline_s=None, battery_j=None, minimize="latency"))
        fastest = min((p.latency_s for p in free.phases if p.latency_s is not None), default=None)
        if fastest is not None:
            return (
                f"no answer comes within {format_seconds(asked.deadline_s)}: the fastest way that there is within "
                f"{format_seconds(asked.horizon_s)} takes {format_seconds(fastest)}"
            )
    return (
        f"none of {asked.requests_per_s:g} requests/s is answered within {format_seconds(asked.horizon_s)}: no host or "
        "link keeps up with them, or the model does not come in time; ask less often or for longer"
    )
