"""How deep and how precise a model should be on the UE, when, and where requests run until it is there.

profiles = depth_profiles(profile, manifest)
plan = plan_delivery(manifest, profiles, topology, DeliveryAsked(requests_per_s=5, horizon_s=60))
"""

from airloom.planner.progressive.decide import plan_delivery
from airloom.planner.progressive.depth_profiles import depth_profiles
from airloom.planner.progressive.pieces import Pieces, manifest_of_table

__all__ = ["Pieces", "depth_profiles", "manifest_of_table", "plan_delivery"]
