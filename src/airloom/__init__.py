"""Airloom makes a neural network and the network it lives on fit each other.

    model = airloom.capture("resnet20")
    plan = airloom.plan(model, "topology.yaml")
    with airloom.deploy(plan) as net:
        y = net(x)

Names are looked up when first used: `import airloom` imports neither torch nor numpy.
"""

from __future__ import annotations

__version__ = "0.1.0"

# Type checkers take it for true. Importing it from typing would cost more than all the rest here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from airloom.api import Planned as Planned
    from airloom.api import capture as capture
    from airloom.api import deploy as deploy
    from airloom.api import deploy_progressive as deploy_progressive
    from airloom.api import load_delivery_plan as load_delivery_plan
    from airloom.api import load_plan as load_plan
    from airloom.api import load_profile as load_profile
    from airloom.api import load_tolerance as load_tolerance
    from airloom.api import load_topology as load_topology
    from airloom.api import plan as plan
    from airloom.api import plan_delivery as plan_delivery
    from airloom.api import profile as profile
    from airloom.api import simulate as simulate
    from airloom.api import tolerance as tolerance
    from airloom.api import train as train
    from airloom.api import write_report as write_report
    from airloom.core.graph import ModelGraph as ModelGraph
    from airloom.core.plan import Plan as Plan
    from airloom.core.profile import Profile as Profile
    from airloom.core.run import RunRecord as RunRecord
    from airloom.core.tolerance import Tolerance as Tolerance
    from airloom.core.topology import Conditions as Conditions
    from airloom.core.topology import Device as Device
    from airloom.core.topology import Link as Link
    from airloom.core.topology import Topology as Topology
    from airloom.core.trace import Event as Event
    from airloom.deliver.client.events import FetchEvent as FetchEvent
    from airloom.deliver.client.options import FetchOptions as FetchOptions
    from airloom.deliver.model import ProgressiveModel as ProgressiveModel
    from airloom.deliver.model import fetch_model as fetch_model
    from airloom.deliver.tree_packing import pack_trees as pack_trees
    from airloom.deployment import DeployOptions as DeployOptions
    from airloom.errors import AirloomError as AirloomError
    from airloom.errors import Cancelled as Cancelled
    from airloom.errors import DeadlineExceeded as DeadlineExceeded
    from airloom.errors import DeliveryError as DeliveryError
    from airloom.errors import DeploymentError as DeploymentError
    from airloom.errors import Infeasible as Infeasible
    from airloom.errors import Overloaded as Overloaded
    from airloom.errors import RequestError as RequestError
    from airloom.errors import StageFailed as StageFailed
    from airloom.errors import UserError as UserError
    from airloom.report.trace import read_trace as read_trace
    from airloom.training import Trained as Trained

# Public name -> the module that defines it.
_HOME = {
    "capture": "airloom.api",
    "profile": "airloom.api",
    "plan": "airloom.api",
    "plan_delivery": "airloom.api",
    "deploy_progressive": "airloom.api",
    "load_delivery_plan": "airloom.api",
    "deploy": "airloom.api",
    "simulate": "airloom.api",
    "write_report": "airloom.api",
    "load_topology": "airloom.api",
    "load_profile": "airloom.api",
    "load_plan": "airloom.api",
    "load_tolerance": "airloom.api",
    "tolerance": "airloom.api",
    "train": "airloom.api",
    "Tolerance": "airloom.core.tolerance",
    "Planned": "airloom.api",
    "DeployOptions": "airloom.deployment",
    "fetch_model": "airloom.deliver.model",
    "ProgressiveModel": "airloom.deliver.model",
    "pack_trees": "airloom.deliver.tree_packing",
    "FetchOptions": "airloom.deliver.client.options",
    "FetchEvent": "airloom.deliver.client.events",
    "read_trace": "airloom.report.trace",
    "Trained": "airloom.training",
    "ModelGraph": "airloom.core.graph",
    "Profile": "airloom.core.profile",
    "Topology": "airloom.core.topology",
    "Device": "airloom.core.topology",
    "Link": "airloom.core.topology",
    "Conditions": "airloom.core.topology",
    "Plan": "airloom.core.plan",
    "Event": "airloom.core.trace",
    "RunRecord": "airloom.core.run",
    "AirloomError": "airloom.errors",
    "UserError": "airloom.errors",
    "RequestError": "airloom.errors",
    "Cancelled": "airloom.errors",
    "DeadlineExceeded": "airloom.errors",
    "DeliveryError": "airloom.errors",
    "DeploymentError": "airloom.errors",
    "Overloaded": "airloom.errors",
    "StageFailed": "airloom.errors",
    "Infeasible": "airloom.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    """Import the module of a public name on first use (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'airloom' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
