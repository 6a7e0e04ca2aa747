"""The plan of a delivery."""

from __future__ import annotations

from collections.abc import Mapping

from airloom.core.delivery_plan import DeliveryAsked, DeliveryPlan
from airloom.core.profile import Profile
from airloom.core.progressive import Manifest
from airloom.core.topology import Topology


def plan_delivery(
    manifest: Manifest,
    profiles: Mapping[int, Mapping[str, Profile]],
    topology: Topology,
    asked: DeliveryAsked,
) -> DeliveryPlan:
    """What to send to the UE and where requests run meanwhile.

    Args:
        profiles: by depth, then by device id as `planner.pricing.build_problem` takes them.
    """
    raise NotImplementedError
