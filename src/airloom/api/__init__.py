"""What a program calls: capture, profile, tolerance, plan, deploy, simulate, train, write_report.

    captured = airloom.capture("resnet20")
    profile = airloom.profile(captured)
    plan = airloom.plan(captured, airloom.load_topology("topology.yaml"), profile=profile)
    with airloom.deploy(plan) as net:
        y = net(x)

Each step also takes what an earlier one left in a file, and planning needs no torch.
"""

from airloom.api.files import load_plan, load_profile, load_tolerance, load_topology, write_report
from airloom.api.models import capture, profile, tolerance
from airloom.api.planning import Planned, plan
from airloom.api.progressive import deploy_progressive, load_delivery_plan, load_progressive, plan_delivery
from airloom.api.running import deploy, simulate
from airloom.api.training import train

__all__ = [
    "Planned",
    "capture",
    "deploy",
    "deploy_progressive",
    "load_delivery_plan",
    "load_plan",
    "load_profile",
    "load_progressive",
    "load_tolerance",
    "load_topology",
    "plan",
    "plan_delivery",
    "profile",
    "simulate",
    "tolerance",
    "train",
    "write_report",
]
