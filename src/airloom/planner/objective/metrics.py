"""What an objective counts: metrics by name, the devices whose share counts, and the price of one stage and option."""

from __future__ import annotations

from collections.abc import Mapping

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


def option_costs(
    option: Option, sender: HostCost, receiver: HostCost, counted: Counted, roles: Mapping[str, str]
) -> list[float]:
    """`[M]` of one option: its sender's share, and of energy and money its receiver's."""
    found = []
    for metric, devices in counted.values():
        sends, receives = counts(sender.device, devices, roles), counts(receiver.device, devices, roles)
        match metric:
            case "latency":
                found.append(option.total_s)
            case "bytes":
                found.append(float(option.nbytes) if sends else 0.0)
            case "energy":
                found.append(
                    (option.energy_j + option.code_s * sender.energy_w if sends else 0.0)
                    + (option.receive_j + option.decode_s * receiver.energy_w if receives else 0.0)
                )
            case "money":
                found.append(
                    (option.code_s * sender.price_per_s if sends else 0.0)
                    + (option.decode_s * receiver.price_per_s if receives else 0.0)
                )
    return found
