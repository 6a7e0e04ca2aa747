"""What a plan under an objective costs, what its solver proves, and what others would have cost, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airloom.core.plan import Alternative, Plan, PlanCost
    from airloom.report.costs import CostSummary
    from airloom.report.summary import Summary


def costs_table(plan: Plan) -> str:
    """A row for each metric: predicted, its bound, and whether that is kept."""
    from airloom.cli.terminal import table
    from airloom.core.objective import format_amount

    objective = plan.objective
    weights = {} if objective is None else {term.name: term.weight for term in objective.minimize}
    rows = []
    for cost in plan.costs:
        role = ""
        if cost.name in weights:
            role = "small" if len(weights) == 1 else f"small, weight {weights[cost.name]:g}"
        rows.append(
            (
                cost.name,
                format_amount(cost.name, cost.predicted),
                "" if cost.limit is None else f"<= {format_amount(cost.name, cost.limit)}",
                verdict(cost),
                role,
                plan.basis,
            )
        )
    return table(rows, ("metric", "predicted", "bound", "", "asked for", "basis"), align="lrrlll")


def verdict(cost: PlanCost) -> str:
    """`kept`, `broken by 12.5 %`, or nothing where there is no bound."""
    from airloom.units import format_percent

    if cost.limit is None:
        return ""
    return "kept" if cost.kept else f"broken by {format_percent(cost.predicted / cost.limit - 1.0)}"


def proof(plan: Plan) -> str:
    """What the solver says of its plan."""
    objective = plan.objective
    solver = "exact" if objective is None else objective.solver
    bounded = objective is not None and bool(objective.require)
    if solver == "exact":
        if plan.gap is None:
            return "exact solver: no proof of how far from the optimum this is"
        if plan.gap <= 1e-9:
            return "exact solver: optimal, proven"
        return f"exact solver: within {100 * plan.gap:.2g} % of the optimum, proven"
    if not bounded:
        return f"{solver} solver: without bounds the least weighted sum, proven"
    if solver == "convex":
        return "convex solver (HiveMind, Eq. 12): no proof, and it cannot promise bounds"
    return "linear solver (HiveMind, Eq. 11): least weighted sum of all metrics, it cannot promise bounds"


def broken(plan: Plan) -> str:
    """The bounds that a plan breaks, in a line; "" where it keeps all."""
    from airloom.core.objective import format_amount

    return ", ".join(
        f"{cost.name} <= {format_amount(cost.name, cost.limit or 0.0)} (comes to "
        f"{format_amount(cost.name, cost.predicted)})"
        for cost in plan.costs
        if not cost.kept
    )


def alternatives_table(plan: Plan) -> str:
    """Baselines, other solvers and near assignments under the same objective, a row each."""
    from airloom.cli.terminal import table
    from airloom.core.objective import format_amount

    names = [cost.name for cost in plan.costs]
    names = [name for name in names if any(c.name == name for other in plan.alternatives for c in other.costs)]
    bounded = any(cost.limit is not None for cost in plan.costs)
    rows: list[tuple[str, ...]] = []
    for title, other in titled(plan):
        if other is None:
            rows.append((title, "not possible within the limits"))
            continue
        amounts = {cost.name: format_amount(cost.name, cost.predicted) for cost in other.costs}
        if other.stops == plan.stops and not other.chain and _same(plan, other):
            rows.append((title, "the same"))
            continue
        row = [title, placement(other.chain or plan.chain, other.stops), *(amounts.get(name, "") for name in names)]
        rows.append(tuple([*row, "kept" if other.kept else "broken"] if bounded else row))
    header = ("beside it", "stages", *names, *(("bounds",) if bounded else ()))
    return table(rows, header, align="ll" + "r" * len(names) + ("l" if bounded else ""))


def _same(plan: Plan, other: Alternative) -> bool:
    """Whether cuts also travel as in the plan."""
    own = {cost.name: cost.predicted for cost in plan.costs}
    return all(abs(c.predicted - own.get(c.name, c.predicted)) <= 1e-9 * abs(c.predicted) for c in other.costs)


def titled(plan: Plan) -> list[tuple[str, Alternative | None]]:
    """The alternatives with titles for people, those that everybody knows first; None where one is not possible."""
    from airloom.planner.baselines import TITLES
    from airloom.planner.beside import TITLES_BESIDE
    from airloom.planner.decide import LINK_ADAPTATION
    from airloom.planner.deciding import LEAST_LATENCY

    titles = {
        **TITLES,
        LEAST_LATENCY: "least latency",
        "exact": "exact solver",
        "convex": "convex solver",
        "linear": "linear solver",
        LINK_ADAPTATION: "MCS at 10 % BLER",
        **TITLES_BESIDE,
    }
    by_scheme = {other.scheme: other for other in plan.alternatives if other.scheme}
    found: list[tuple[str, Alternative | None]] = []
    for scheme, title in titles.items():
        if scheme in by_scheme:
            found.append((title, by_scheme[scheme]))
        elif scheme in TITLES and plan.alternatives:
            found.append((title, None))
    others = [other for other in plan.alternatives if other.scheme not in titles]
    # They differ from the plan in one cut: the best of those, not of all.
    return found + [(f"nearby {k}", other) for k, other in enumerate(others, 1)]


def placement(chain: tuple[str, ...], stops: tuple[int, ...]) -> str:
    """`ue 0..3, cloud 4..20`."""
    runs = zip(chain, (0, *stops), stops, strict=False)
    return ", ".join(
        f"{device} {start}" if stop == start + 1 else f"{device} {start}..{stop - 1}"
        for device, start, stop in runs
        if stop > start
    )


def kept_said(cost: CostSummary) -> str:
    """`42 of 60`, and how many of the others the planner foresaw."""
    return f"{cost.kept} of {cost.requests}" + (f", {cost.foreseen} foreseen" if cost.foreseen else "")


def run_costs_table(summary: Summary) -> str:
    """What requests of a run cost, predicted beside what came, and bounds kept; empty without an objective."""
    from airloom.cli.terminal import table
    from airloom.core.objective import format_amount

    rows = []
    for s in summary.schemes:
        for k, cost in enumerate(s.costs):

            def shown(figure: object, name: str = cost.name) -> str:
                value = getattr(figure, "value", None)
                return "–" if value is None else format_amount(name, value)

            rows.append(
                [
                    s.title if k == 0 else "",
                    cost.name,
                    shown(cost.predicted),
                    shown(cost.mean),
                    shown(cost.p95),
                    shown(cost.worst),
                    "" if cost.limit is None else f"<= {format_amount(cost.name, cost.limit)}",
                    "" if cost.kept is None else kept_said(cost),
                    "" if cost.mean is None else cost.mean.basis,
                ]
            )
    header = ["scheme", "metric", "predicted", "mean", "p95", "worst", "bound", "kept in", "basis"]
    return table(rows, header, "llrrrrrrl") if rows else ""
