"""What a plan is to be good at, as options, run files and programs write it: `energy`, `latency<=120ms`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from airloom.core.objective import Bound, Objective, Solver, Term, parse_bound, parse_term
from airloom.core.topology import Device, Power, Role, Topology
from airloom.errors import ConfigError

SOLVERS: tuple[Solver, ...] = get_args(Solver)
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Places:
    """Where terms, bounds and solver were written, for errors; of a list, which of its entries."""

    minimize: str = "--minimize"
    require: str = "--require"
    solver: str = "--solver"
    terms_are_list: bool = False
    bounds_are_list: bool = False

    def term(self, index: int) -> str:
        return f"{self.minimize}[{index}]" if self.terms_are_list else self.minimize

    def bound(self, index: int) -> str:
        return f"{self.require}[{index}]" if self.bounds_are_list else self.require


OPTIONS = Places()
ARGUMENTS = Places("minimize", "require", "solver")


def parse_objective(
    minimize: Sequence[str | Term] = (),
    require: Sequence[str | Bound] = (),
    solver: str | None = None,
    *,
    places: Places = OPTIONS,
) -> Objective | None:
    """The objective that these make; None where nothing is said, which is the least latency.

    Args:
        minimize: terms such as `energy`, `energy@ue,gnb`, `energy=0.2`; none is latency.
        require: bounds such as `latency<=120ms`.
        solver: "exact", "convex" or "linear"; None is exact.

    Raises:
        ConfigError: what is no term, bound or solver, or is there twice; names the place.
    """
    if not minimize and not require and solver is None:
        return None
    terms, bounds = dict[str, Term](), dict[str, Bound]()
    for i, term in enumerate(minimize):
        place = places.term(i)
        value = parse_term(term, where=place) if isinstance(term, str) else term
        if value.name in terms:
            raise ConfigError(f"{value.name} is there twice: keep one, with the weight that it is to have", where=place)
        terms[value.name] = value
    for i, bound in enumerate(require):
        place = places.bound(i)
        limit = parse_bound(bound, where=place) if isinstance(bound, str) else bound
        if limit.name in bounds:
            raise ConfigError(f"{limit.name} has two bounds: keep the smaller", where=place)
        bounds[limit.name] = limit
    return Objective(
        minimize=tuple(terms.values()) or (Term("latency"),),
        require=tuple(bounds.values()),
        solver=parse_solver(solver or "exact", where=places.solver),
    )


def parse_solver(text: str, *, where: str = "--solver") -> Solver:
    """A solver's name.

    Raises:
        ConfigError: there is none of that name.
    """
    for solver in SOLVERS:
        if solver == text:
            return solver
    raise ConfigError(f"no solver {text!r}: there are {', '.join(SOLVERS)}", where=where)


def check_objective(objective: Objective | None, topology: Topology, *, places: Places = OPTIONS) -> None:
    """The devices and roles that an objective names must be there, and have the figures that its metrics follow from.

    Raises:
        ConfigError: names the place, and what there is.
    """
    if objective is None:
        return
    for i, term in enumerate(objective.minimize):
        _check(term, topology, places.term(i))
    for i, bound in enumerate(objective.require):
        _check(bound, topology, places.bound(i))


def _check(what: Term | Bound, topology: Topology, place: str) -> None:
    ids = {device.id for device in topology.devices}
    present = {device.role for device in topology.devices}
    for name in what.devices:
        if name in ids or name in present:
            continue
        if name in ROLES:
            raise ConfigError(f"no device has the role {name}: there are {', '.join(sorted(present))}", where=place)
        raise ConfigError(
            f"no device or role {name!r}: there are {', '.join(sorted(ids))}, and the roles {', '.join(ROLES)}",
            where=place,
        )
    counted = [d for d in topology.devices if not what.devices or d.id in what.devices or d.role in what.devices]
    if what.metric == "energy" and not any(_draws(device) for device in counted):
        raise ConfigError(f"{_whose(what)} power figures: give {_one(what)} `power:` in the topology", where=place)
    if what.metric == "money" and not any(device.price_per_s for device in counted):
        raise ConfigError(f"{_whose(what)} a price: give {_one(what)} `price:` in the topology", where=place)


def _draws(device: Device) -> bool:
    return device.power != Power(idle_w=device.power.idle_w, source=device.power.source)


def _whose(what: Term | Bound) -> str:
    return f"no device of {what.name} has" if what.devices else "no device has"


def _one(what: Term | Bound) -> str:
    return "one of them" if what.devices else "some"
