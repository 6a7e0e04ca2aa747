"""Tables of networks that move: Figs. 6 and 15 to 17, every scheme under dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paper
from cells import ms, percent, table


def tally_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    kept = "" if row.get("left") is None else percent(row["left"])
    if kept and row.get("left_min") is not None:
        kept += f" ({percent(row['left_min'])} to {percent(row['left_max'])})"
    return (name, str(row["tasks"]), str(row["spikes"]), percent(row["share"]), kept,
            *(ms(row[k]) for k in ("mean_s", "p50_s", "p95_s", "p99_s", "max_s")))  # fmt: skip


TALLY = ("", "tasks", "spikes", "of tasks, %", "left, % (over seeds)", "mean, ms", "p50, ms", "p95, ms", "p99, ms",
         "most, ms")  # fmt: skip


def flattened(rows: dict[str, Any], before: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Rows of figure 16 with the names of what they are under."""
    found = []
    for name, row in rows.items():
        title = f"{before}{name}"
        found += [(title, row)] if "tasks" in row else flattened(row, f"{title}, ")
    return found


def figure_6(found: dict[str, Any]) -> str:
    rows = [
        tally_row(f"{network}, coherence {1e3 * what['coherence_s']:g} ms", what["tally"])
        for network, what in found.items()
    ]
    return (
        f"## Fig. 6: without prediction (paper: spikes of more than {paper.FIG6_SPIKE_MS:g} ms)\n\n{table(TALLY, rows)}"
    )


def figure_16(found: dict[str, Any]) -> str:
    parts = ["## Fig. 16: spikes of more than 100 ms with and without prediction"]
    for network, times in found.items():
        for coherence, rows in times.items():
            published = paper.FIG16_LEFT.get(int(coherence))
            parts += [
                f"### {network}, coherence {coherence} ms (paper, perfect prediction: "
                f"{'not given' if published is None else f'{published:g} % left'})",
                table(TALLY, [tally_row(name, row) for name, row in flattened(rows)]),
            ]
    return "\n\n".join(parts)


def figure_17(found: dict[str, Any]) -> str:
    parts = ["## Fig. 17: prediction with an error, coherence 50 ms"]
    for network, what in found.items():
        rows = [tally_row("none", what["none"])]
        rows += [tally_row(f"{percent(e)} %", row) for e, row in zip(what["errors"], what["rows"], strict=True)]
        pays = {key: what[f"{key}_pays_up_to"] for key in ("median", "mean")}
        said = "; ".join(f"in the {key} {'never' if e is None else f'up to {percent(e)} %'}" for key, e in pays.items())
        parts += [
            f"### {network}",
            table(("error", *TALLY[1:]), rows),
            f"Of the errors tried prediction pays {said} (paper, median: {paper.FIG17_BREAK_EVEN:g} %).",
        ]
    return "\n\n".join(parts)


def figure_15(found: dict[str, Any]) -> str:
    rows, notes = [], []
    for machines, what in found.items():
        for when in ("before", "after"):
            side = what[when]
            ran = ", ".join(f"{host} {count:.1f}" for host, count in side["operators"].items() if count)
            route = " - ".join(side["route"])
            rows.append((f"{machines}, {when}", route, str(side["tasks"]), ms(side["mean_s"]), ms(side["p50_s"]), ran))
        law, seeds = what["law"], ", ".join(f"{1e3 * more:.1f}" for more in what["more_by_seed_s"])
        notes.append(
            f"- {machines}: mean {1e3 * what['more_s']:.1f} ms more (by network {seeds}), median "
            f"{1e3 * what['more_p50_s']:.1f} ms more; what the routes alone change, planned on {law['draws']} draws "
            f"with the same access link: {1e3 * law['more_planned_s']:.1f} ms in the mean, "
            f"{1e3 * law['more_planned_p95_s']:.1f} at the 95th percentile. Hosts that stay on the route "
            f"({', '.join(law['hosts'])}) would do otherwise with a task, at any cut, on {law['differing']} draws."
        )
    head = ("machines", "route", "tasks", "mean, ms", "median, ms", "operators, mean")
    return (
        f"## Fig. 15: a handover that makes the route a hop longer (paper: less than {paper.FIG15_MORE_MS:g} ms more)"
        f"\n\n{table(head, rows)}\n\n" + "\n".join(notes)
    )


def dynamics_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    return (name, str(row["tasks"]), str(row["errors"]),
            *(ms(row[k]) for k in ("mean_s", "mean_min_s", "mean_max_s", "p50_s", "p95_s")),
            "" if row["planning_s"] is None else ms(row["planning_s"]))  # fmt: skip


def under_dynamics(found: dict[str, Any], title: str = "## Under dynamics, by load") -> str:
    rows = []
    for name, schemes in found.items():
        rows += [dynamics_row(f"{name}, {scheme}", row) for scheme, row in schemes.items()
                 if isinstance(row, dict) and "tasks" in row]  # fmt: skip
    notes = [
        f"{name}: {percent(row['off_cloud'])} % off the cloud's mean, {percent(row['off_single'])} % off the single "
        f"split's; with plans at no cost {percent(row['off_cloud_ideal'])} and {percent(row['off_single_ideal'])} %; "
        f"{' and '.join(key for key, lower in row['lower'].items() if lower) or 'neither mean nor p95'} lower than "
        "every baseline's"
        for name, row in found.items()
    ]
    head = (
        "",
        "results",
        "no result",
        "mean, ms",
        "least of seeds",
        "most of seeds",
        "p50, ms",
        "p95, ms",
        "of it planning, ms",
    )
    return f"{title}\n\n{table(head, rows)}\n\n" + "\n".join(f"- {note}" for note in notes)


def many_ues(found: dict[str, Any]) -> str:
    return under_dynamics(found, "## Under dynamics, by number of UEs, mid load")


#: By section of results.json, in the order of the page.
TABLES: dict[str, Callable[[Any], str]] = {
    "figure_6": figure_6,
    "figure_15": figure_15,
    "figure_16": figure_16,
    "figure_17": figure_17,
    "under_dynamics": under_dynamics,
    "many_ues": many_ues,
}
