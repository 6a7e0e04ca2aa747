"""Which way of deciding an objective takes, host by host."""

from __future__ import annotations

from airloom.engine.config import HostConfig
from airloom.engine.decision import Decider, LeastLatency


def decider(config: HostConfig) -> Decider:
    """How the host of `config` decides."""
    return LeastLatency(config.num_operators)
