"""What a host says of itself: its status for operators, samples for Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from airloom.core.topology import LinkState
from airloom.engine.config import HostConfig
from airloom.runtime.commands import HostStatus
from airloom.runtime.metrics import Metric

if TYPE_CHECKING:
    from airloom.runtime.node import Node


def outgoing_links(config: HostConfig) -> dict[str, LinkState]:
    """The host's links by where they lead, with the topology's figures."""
    return {
        link.dst: LinkState(src=link.src, dst=link.dst, rate_bps=link.rate_bps, delay_s=link.delay_s, loss=link.loss)
        for link in config.topology.links
        if link.src == config.device
    }


def status_of(node: Node) -> HostStatus:
    """The host as it sees itself now."""
    profile, now, up = node.config.profile, node.host.snapshot(), node.control.up
    return HostStatus(
        host=node.id,
        role=node.config.own.role,
        incarnation=node.control.incarnation,
        uptime_s=time.monotonic() - node.began_s,
        load=now.load,
        in_flight=now.in_flight,
        jobs=now.jobs,
        up=tuple(sorted(up)),
        links=tuple(msgspec.structs.replace(link, up=link.dst in up) for link in node.links.values()),
        parent=now.parent,
        table=now.stop,
        cost_s=now.cost_s,
        pinned=now.pinned_epoch is not None,
        model=profile.model,
        graph_digest=profile.graph_digest,
        transport=node.options.transport,
        pid=os.getpid(),
        counters=_counters(node, now.counters),
    )


def metrics_of(node: Node) -> list[Metric]:
    """The host's status as samples; every one carries the host's id."""
    status = status_of(node)
    me = (("host", status.host),)
    found = [
        Metric("up_hosts", "gauge", len(status.up), "other hosts within reach", me),
        Metric("load", "gauge", status.load, "a stage takes 1 + load times its unloaded time", me),
        Metric("in_flight", "gauge", status.in_flight, "requests under way from this host", me),
        Metric("jobs", "gauge", status.jobs, "stages that wait or run here", me),
        Metric("uptime_seconds", "gauge", status.uptime_s, "since this host started", me),
    ]
    for link in status.links:
        way = (*me, ("dst", link.dst))
        if link.rate_bps is not None:
            found.append(Metric("link_rate_bps", "gauge", link.rate_bps, "rate of the link", way))
        if link.delay_s is not None:
            found.append(Metric("link_delay_seconds", "gauge", link.delay_s, "one-way delay of the link", way))
    found += [Metric(f"{name}_total", "counter", value, "", me) for name, value in status.counters.items()]
    return found


def _counters(node: Node, dropped: Mapping[str, int]) -> dict[str, float]:
    """Everything counted since the start, by name."""
    counts: dict[str, float] = {name: float(n) for name, n in node.counters.items()}
    counts |= {f"dropped_{reason.replace(' ', '_')}": float(n) for reason, n in dropped.items()}
    if node.transport is not None:
        counts |= {f"data_{name}": float(n) for name, n in node.transport.counters().items()}
    return counts | {"stages": float(node.compute.stages), "busy_seconds": node.compute.busy_s}
