"""The control plane: split cost messages, who is up, keys of links, status and commands, over zenoh with mutual TLS.

No central router, no multicast, no gossip: adjacent hosts hold a session with each other, and an
operator one with every host.
"""

from __future__ import annotations

from airloom.runtime.control.host import Control, Listener
from airloom.runtime.control.operator import Operator
from airloom.runtime.control.settings import access_control, zenoh_config

__all__ = ["Control", "Listener", "Operator", "access_control", "zenoh_config"]
