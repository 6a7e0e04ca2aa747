"""A deployed model that a program calls: `y = net(x)`."""

from __future__ import annotations

from airloom.deployment.book import Request, Stats
from airloom.deployment.deployment import Deployment
from airloom.deployment.setup import DeployOptions

__all__ = ["DeployOptions", "Deployment", "Request", "Stats"]
