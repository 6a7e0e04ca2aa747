"""What an objective counts: metrics by name, the devices whose share counts, and the price of one stage and option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from airloom.core.objective import Metric, Objective
from airloom.core.problem import Floats, HostCost, Option
from airloom.errors import ConfigError

#: By name of a metric, the metric and the devices that count.
Counted = Mapping[str, tuple[Metric, tuple[str, ...]]]


def metrics_of(objective: Objective) -> Counted:
    """The metrics that an objective names, best effort first."""
    found: dict[str, tuple[Metric, tuple[str, ...]]] = {}
    for term in objective.minimize:
        found[term.name] = (term.metric, term.devices)
    for bound in objective.require:
        found.setdefault(bound.name, (bound.metric, bound.devices))
    return found


def weights_of(objective: Objective) -> Floats:
    """`[M]` weight of each of `metrics_of`, 0 where a metric is only bounded."""
    names = tuple(metrics_of(objective))
    weights = np.zeros(len(names))
    for term in objective.minimize:
        weights[names.index(term.name)] += term.weight
    return weights


def bounds_of(objective: Objective) -> Floats:
    """`[M]` bound on each of `metrics_of`, infinity where there is none."""
    names = tuple(metrics_of(objective))
    bounds = np.full(len(names), np.inf)
    for bound in objective.require:
        bounds[names.index(bound.name)] = min(bound.limit, bounds[names.index(bound.name)])
    return bounds


def known_metrics(objective: Objective, roles: Mapping[str, str]) -> Counted:
    """`metrics_of`, every device in which is known.

    Raises:
        ConfigError: the objective counts devices that there are none of.
    """
    counted = metrics_of(objective)
    for device in (device for _, devices in counted.values() for device in devices):
        if device not in roles and device not in roles.values():
            raise ConfigError(
                f"the objective counts {device!r}, which is no device and no role here: there are "
                f"{', '.join(dict.fromkeys((*roles, *roles.values())))}"
            )
    return counted


def counts(device: str, devices: tuple[str, ...], roles: Mapping[str, str]) -> bool:
    """Whether a device's share counts: it or its role is among `devices`, or that is empty."""
    return not devices or device in devices or roles.get(device) in devices


def rates_of(host: HostCost, counted: Counted, roles: Mapping[str, str]) -> Floats:
    """`[M]` cost of a second of computing."""
    per_second = {"latency": 1.0, "energy": host.energy_w, "bytes": 0.0, "money": host.price_per_s}
    return np.array(
        [per_second[metric] if counts(host.device, devices, roles) else 0.0 for metric, devices in counted.values()]
    )


def elapsed_of(host: HostCost, rates: Floats, counted: Counted, roles: Mapping[str, str]) -> Floats:
    """`[M, L+1]` costs of a host's operators before each cut; weights that travel for them cost no computing."""
    found: Floats = rates[:, None] * host.busy_s
    if host.haul is None:
        return found
    shares = {"energy": host.haul.joules, "bytes": host.haul.nbytes}
    for row, (metric, devices) in zip(found, counted.values(), strict=True):
        if metric == "latency":
            row += host.haul.seconds
        for device, share in shares.get(metric, {}).items():
            if counts(device, devices, roles):
                row += share
    return found


class Carried(Protocol):
    """What one option spends, or many as arrays: the fields of `core.problem.Option`."""

    @property
    def transfer_s(self) -> Any: ...
    @property
    def code_s(self) -> Any: ...
    @property
    def decode_s(self) -> Any: ...
    @property
    def nbytes(self) -> Any: ...
    @property
    def energy_j(self) -> Any: ...
    @property
    def receive_j(self) -> Any: ...


def shares(
    metric: Metric, devices: tuple[str, ...], option: Carried, sender: HostCost, receiver: HostCost,
    roles: Mapping[str, str],
) -> tuple[Any, Any, Any]:  # fmt: skip
    """What a metric counts of the link, of coding at the sender and of decoding at the receiver.

    A field of `option` is read only where it counts: there may be thousands of options.
    """
    if metric == "latency":
        return option.transfer_s, option.code_s, option.decode_s
    sends, receives = counts(sender.device, devices, roles), counts(receiver.device, devices, roles)
    if metric == "bytes":
        return (option.nbytes if sends else 0.0), 0.0, 0.0
    link: Any = 0.0
    rate, rate_there = sender.price_per_s, receiver.price_per_s
    if metric == "energy":
        link = (option.energy_j if sends else 0.0) + (option.receive_j if receives else 0.0)
        rate, rate_there = sender.energy_w, receiver.energy_w
    code = option.code_s * rate if sends and rate else 0.0
    return link, code, (option.decode_s * rate_there if receives and rate_there else 0.0)


def option_costs(
    option: Option, sender: HostCost, receiver: HostCost, counted: Counted, roles: Mapping[str, str]
) -> list[float]:
    """`[M]` of one option: its sender's share, and of energy and money its receiver's."""
    return [
        float(sum(shares(metric, devices, option, sender, receiver, roles))) for metric, devices in counted.values()
    ]
