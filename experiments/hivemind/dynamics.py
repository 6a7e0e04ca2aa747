"""Figs. 6 and 15 to 17, and every scheme on a network that moves: simulated, every figure modelled.

All schemes of a comparison have the same draw of the network. Airloom's plans are made as it would make them: a wave
of split costs for each task, which the task waits for (`replan="task"`); beside it, of the network as it is at that
moment and at no cost (`"ideal"`), as baselines' always are. Seeds are networks of their own; quantiles over several of
them are those of all their centiles together.

    python dynamics.py [--full] [--data ../../../shared/data/traces/lumos5g-5g]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from setting import HERE, LOADS, faster, profile, scenario

from airloom.config.rate_trace import read_rate_rows
from airloom.config.scenario import load_scenario
from airloom.core.forecast import METHODS, WHENS, ForecastPolicy, When
from airloom.core.problem import Problem
from airloom.core.scenario import Coherence, Forecast, Scenario, Tasks
from airloom.core.simulated import SchemeTally
from airloom.core.speed import with_class_factors
from airloom.core.topology import Conditions, LinkState
from airloom.core.trace import Event
from airloom.planner.modes import Pricer
from airloom.planner.wave import step
from airloom.playing.crowd import with_ues
from airloom.playing.play import Play, Replan
from airloom.playing.simulated import play_simulated
from airloom.radio.cell.network import ScenarioNetwork
from airloom.report.trace import read_trace

SPIKE_S = 0.1
SCHEMES = ("ue-only", "cloud-only", "single-split", "airloom")
MODEL = "resnet18"
#: Coherence times of Fig. 16.
COHERENCES_S = (0.01, 0.05)
#: HiveMind's prediction error at which the gain ends is 13 %.
ERRORS = (0.0, 0.02, 0.05, 0.08, 0.1, 0.13, 0.17, 0.2, 0.25, 0.3)
#: Below it a rate of a recorded trace counts as so much of the greatest: a scheduler does not starve a UE wholly.
LEAST_SHARE = 0.01
ROUTES = {
    "before": ("ue", "gnb1", "gnb4", "gnb6", "core7", "core8", "cloud"),
    "after": ("ue", "gnb2", "gnb3", "gnb4", "gnb6", "core7", "core8", "cloud"),
}


@dataclass(frozen=True)
class Effort:
    """How much is simulated.

    Attributes:
        seeds: networks.
        tasks: of each network and setting of Figs. 16 and 17.
        seconds: of the network with cells, for each load and scheme.
        ues: how many contend.
        whens: rules by which learned forecasts are used.
        errors: of Fig. 17.
        draws: on which the law of Fig. 15 is checked.
    """

    seeds: int
    tasks: int
    seconds: float
    ues: tuple[int, ...] = (1, 5, 20)
    whens: tuple[When, ...] = WHENS
    errors: tuple[float, ...] = ERRORS
    draws: int = 200


QUICK = Effort(seeds=1, tasks=400, seconds=20.0, ues=(1, 5), whens=("always",), errors=(0.0, 0.13, 0.3), draws=50)
FULL = Effort(seeds=5, tasks=2000, seconds=60.0)


def all_figures(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """{"figure_6", "figure_15", "figure_16", "figure_17", "under_dynamics", "many_ues"}: see each function."""
    return {name: figure(effort, data) for name, figure in FIGURES.items()}


# --- links that fade ----------------------------------------------------------------------------


def figure_6(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """Total latency over time without prediction, by network: as `networks` has them.

    {"coherence_s": float, "seconds": float, "latencies": [[submitted s, latency s], ...],
     "rates": {"ue->mec1": [Mbit/s of tick 0, 1, ...], ...}, "tally": a row as of figure 16}
    """
    found, seconds = {}, min(effort.seconds, 20.0)
    for name, model, what in networks(data, COHERENCES_S[1], seed=1):
        with tempfile.TemporaryDirectory() as folder:
            play = Play(
                _predicted(what), {"": profile(model)}, seconds=seconds, replan="task", keep="requests", seed=1,
                spike_s=SPIKE_S,
            )  # fmt: skip
            _, record = play_simulated(play, folder=Path(folder))
            events = read_trace(Path(folder) / "traces")
        network = ScenarioNetwork(what, seed=1)
        onward = [(k, f"{a}->{b}") for k, (a, b) in enumerate(network.links) if a == "ue" or (a < b and b != "ue")]
        ticks = np.array([network.rates(t).copy() for t in range(round(seconds / network.period_s))]) / 1e6
        found[name] = {
            "coherence_s": network.period_s,
            "seconds": seconds,
            "latencies": [[round(e.at_s - (e.took_s or 0.0), 4), round(e.took_s or 0.0, 4)]
                          for e in events if e.kind == "result"],
            "rates": {link: [round(float(v), 2) for v in ticks[:, k]] for k, link in onward},
            "tally": pooled(record.schemes),
        }  # fmt: skip
    return found


def figure_16(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """Spikes with and without prediction, by network, coherence time in ms ("10", "50") and way to predict.

    Each row is as `pooled` has it, with "left" (spikes over those without prediction; None where there are none),
    "left_min" and "left_max" over seeds that have any: rows "none", "perfect", and under "learned" {"last": {"beyond":
    row, "within": row, "always": row}, "ewma": ..., "autoregressive": ..., "kalman": ...} (the rules of `effort`).
    """
    found: dict[str, Any] = {}
    for coherence_s in COHERENCES_S:
        plain = fading(effort, data, coherence_s)
        perfect = fading(effort, data, coherence_s, method="perfect")
        learned = {
            (method, when): fading(effort, data, coherence_s, policy=ForecastPolicy(
                method=method, when=when, tick_s=coherence_s, tau_s=2 * coherence_s, coherence_s=coherence_s,
            ))
            for method in METHODS for when in effort.whens
        }  # fmt: skip
        for name, bare in plain.items():
            rows = {m: {w: beside(learned[m, w][name], bare) for w in effort.whens} for m in METHODS}
            found.setdefault(name, {})[f"{1e3 * coherence_s:g}"] = {
                "none": beside(bare, bare), "perfect": beside(perfect[name], bare), "learned": rows,
            }  # fmt: skip
    return found


def figure_17(effort: Effort, data: Path | None = None) -> dict[str, Any]:
    """By network, at a coherence time of 50 ms: {"none": row, "errors": [...], "rows": [row, ...],
    "median_pays_up_to": error, "mean_pays_up_to": error}.

    Rows are as of figure 16. The latter two are the greatest relative errors up to which the median and the mean
    latency are no more than those without prediction; None where they never are.
    """
    plain = fading(effort, data, COHERENCES_S[1])
    rows = [fading(effort, data, COHERENCES_S[1], method="perfect", error=error) for error in effort.errors]
    found: dict[str, Any] = {}
    for name, bare in plain.items():
        own = [beside(row[name], bare) for row in rows]
        none = beside(bare, bare)

        found[name] = {
            "none": none, "errors": list(effort.errors), "rows": own,
            "median_pays_up_to": _pays(effort, own, none, "p50_s"),
            "mean_pays_up_to": _pays(effort, own, none, "mean_s"),
        }  # fmt: skip
    return found


def _pays(effort: Effort, rows: Sequence[dict[str, Any]], none: dict[str, Any], key: str) -> float | None:
    pairs = itertools.takewhile(lambda pair: pair[1][key] <= none[key], zip(effort.errors, rows, strict=True))
    return max((error for error, _ in pairs), default=None)


def fading(
    effort: Effort, data: Path | None, coherence_s: float, *, method: str = "", error: float = 0.0,
    policy: ForecastPolicy | None = None,
) -> dict[str, list[SchemeTally]]:  # fmt: skip
    """By network, what came of it for each seed."""
    found: dict[str, list[SchemeTally]] = {}
    for seed in range(1, effort.seeds + 1):
        for name, model, what in networks(data, coherence_s, seed=seed):
            play = Play(
                _predicted(what, method, error), {"": profile(model)}, requests=effort.tasks, replan="task", seed=seed,
                forecast=policy, spike_s=SPIKE_S,
            )  # fmt: skip
            found.setdefault(name, []).extend(play_simulated(play, folder=None)[1].schemes)
    return found


def networks(data: Path | None, coherence_s: float, *, seed: int) -> Iterator[tuple[str, str, Scenario]]:
    """(name, model, chain whose links fade): other users' bursts, with slack and without, and recorded mmWave rates
    where there are any in the folder `data`.

    Each recorded second lasts one coherence time, its rate scaled so that the trace's greatest is the link's
    capacity: what fades in the recording fades here. Both ways of a link have traces of their own.
    """
    times = Coherence(access_s=coherence_s, backhaul_s=coherence_s, wired_s=coherence_s)
    chains = {
        name: msgspec.structs.replace(load_scenario(HERE / "scenarios" / f"{name}.yaml").scenario, coherence=times)
        for name in ("spikes", "spikes_tight")
    }
    yield "synthetic", "resnet18", chains["spikes"]
    yield "synthetic, no slack", "vgg11", chains["spikes_tight"]
    if data is None:
        return
    base = chains["spikes_tight"]
    files = sorted(path for path in data.iterdir() if path.is_file())
    chosen = np.random.default_rng([seed, len(files)]).permutation(len(files))
    with tempfile.TemporaryDirectory() as folder:
        links = []
        for k, link in enumerate(base.topology.links):
            _, rates = read_rate_rows(files[chosen[k % len(files)]])
            shares = np.maximum(np.array(rates) / max(rates), LEAST_SHARE)
            rows = (f"{n * coherence_s:.3f} {share * link.rate_bps / 1e6:.4f}" for n, share in enumerate(shares))
            path = Path(folder) / f"{k}.txt"
            path.write_text("\n".join(rows) + "\n")
            links.append(msgspec.structs.replace(link, trace=str(path)))
        topology = msgspec.structs.replace(base.topology, links=tuple(links))
        yield "recorded", "vgg11", msgspec.structs.replace(base, topology=topology, links=())


def _predicted(what: Scenario, method: str = "", error: float = 0.0) -> Scenario:
    return msgspec.structs.replace(what, forecast=Forecast(method=method, past=what.forecast.past, error=error))


# --- a network with cells -----------------------------------------------------------------------


def figure_15(effort: Effort) -> dict[str, Any]:
    """A handover that makes the route a hop longer, in the middle of a while with tasks every 100 ms.

    By machines ("the paper's", "IAB hosts a fifth as fast"):

        {"at_s": of the handover, "before": {"route": [...], "operators": {host: mean count}, "mean_s", "p50_s",
         "tasks": int}, "after": {...}, "more_s": mean after less mean before, "more_p50_s": the same of medians,
         "more_by_seed_s": [...], "latencies": [[submitted s, latency s, {host: operators}], ...] of the first seed,
         "law": {"draws": int, "hosts": [...], "differing": int, "more_planned_s": mean, "more_planned_p95_s": float}}

    The law: what the hosts of the part of the route that stays would do with a task, for every cut at which it may
    come, on both routes of the same draw of the network. On these draws both cells offer the UE what the one that
    serves it does, so that the difference of what is planned is that of the routes, and not that of the cells' users.
    """
    what = scenario("mmwave_iab", "mid")
    topology = with_class_factors(what.topology, {"": profile(MODEL)})
    found = {}
    for name, times in (("the paper's", 1.0), ("IAB hosts a fifth as fast", 0.2)):
        found[name] = _handover(msgspec.structs.replace(what, topology=faster(topology, "gnb", times)), effort)
    return found


def _handover(what: Scenario, effort: Effort) -> dict[str, Any]:
    half_s = min(15.0, effort.seconds / 2)
    tasks = Tasks(kind="every", every_s=0.1, deadline_s=what.tasks.deadline_s)
    what = msgspec.structs.replace(what, tasks=tasks)
    at_s = next(
        change.at_s for change in ScenarioNetwork(what).changes()
        if change.at_s > 0 and any(s.up and (s.src, s.dst) == ("ue", "gnb2") for s in change.links)
    )  # fmt: skip
    by_seed = []
    for seed in range(1, effort.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            play = Play(
                what, {"": profile(MODEL)}, seconds=at_s + half_s, replan="task", keep="requests", seed=seed,
            )  # fmt: skip
            play_simulated(play, folder=Path(folder))
            rows = _requests(read_trace(Path(folder) / "traces"))
        by_seed.append([row for row in rows if row[0] >= at_s - half_s])
    sides = [{"before": [r for r in rows if r[0] + r[1] < at_s], "after": [r for r in rows if r[0] >= at_s]}
             for rows in by_seed]  # fmt: skip
    found: dict[str, Any] = {"at_s": at_s}
    for side in ("before", "after"):
        own = [row for one in sides for row in one[side]]
        total: Counter[str] = Counter()
        for _, _, ran in own:
            total.update(ran)
        took = np.array([row[1] for row in own])
        found[side] = {
            "route": list(ROUTES[side]), "tasks": len(own),
            "mean_s": float(took.mean()), "p50_s": float(np.median(took)),
            "operators": {host: total[host] / len(own) for host in ROUTES[side]},
        }  # fmt: skip
    found["more_s"] = found["after"]["mean_s"] - found["before"]["mean_s"]
    found["more_p50_s"] = found["after"]["p50_s"] - found["before"]["p50_s"]
    means = [{side: float(np.mean([row[1] for row in one[side]])) for side in one} for one in sides]
    found["more_by_seed_s"] = [mean["after"] - mean["before"] for mean in means]
    found["latencies"] = [[round(s, 4), round(took, 4), dict(ran)] for s, took, ran in by_seed[0]]
    found["law"] = unchanged(what, effort.draws)
    return found


def unchanged(what: Scenario, count: int) -> dict[str, Any]:
    """Whether hosts that stay on the route do the same before and after a handover, on every draw."""
    network = ScenarioNetwork(what)
    profiles = {"": profile(MODEL)}
    topology = with_class_factors(network.topology, profiles)
    shared = [host for host in ROUTES["before"] if host in ROUTES["after"] and host != "ue"]
    every, differing, more = max(1, round(1.0 / network.period_s)), 0, []
    for k in range(count):
        rates = dict(zip(network.links, network.rates(k * every).tolist(), strict=True))
        up = max(rate for (src, _), rate in rates.items() if src == "ue")
        down = max(rate for (_, dst), rate in rates.items() if dst == "ue")
        states = tuple(
            LinkState(src=src, dst=dst, rate_bps=up if src == "ue" else down if dst == "ue" else rate)
            for (src, dst), rate in rates.items()
        )
        price = Pricer(topology, profiles, conditions=Conditions(links=states), result_returns=True)
        before, after = (_tables(price(ROUTES[side])) for side in ("before", "after"))
        differing += any(not np.array_equal(before.stops[host], after.stops[host]) for host in shared)
        more.append(after.seconds - before.seconds)
    return {
        "draws": count, "hosts": shared, "differing": differing,
        "more_planned_s": float(np.mean(more)), "more_planned_p95_s": float(np.quantile(more, 0.95)),
    }  # fmt: skip


class _Tables(NamedTuple):
    """Where every host would stop, for each cut to start from; seconds of the best plan."""

    stops: dict[str, Any]
    seconds: float


def _tables(problem: Problem) -> _Tables:
    """As the wave gives them."""
    said, stops = None, {}
    for k in range(len(problem.hosts) - 1, -1, -1):
        host = problem.hosts[k]
        said, table = step(host, problem.hops[k] if k < len(problem.hops) else None, said)
        stops[host.device] = table.stop
    assert said is not None
    return _Tables(stops, float(said[0]))


def _requests(events: Sequence[Event]) -> list[tuple[float, float, Counter[str]]]:
    """(submitted s, latency s, operators by host) of every request, in order of time."""
    ran: dict[int, Counter[str]] = {}
    rows = []
    for event in events:
        if event.request is None:
            continue
        if event.kind == "stage":
            ran.setdefault(event.request, Counter())[event.host] += event.data["stop"] - event.data["start"]
        elif event.kind == "result":
            took_s = event.took_s or 0.0
            rows.append((event.at_s - took_s, took_s, ran.pop(event.request, Counter())))
    return sorted(rows, key=lambda row: row[0])


def under_dynamics(effort: Effort) -> dict[str, Any]:
    """By load ("low", "mid", "high"): every scheme on the mmWave network as the UE moves.

        {"ue-only": row, "cloud-only": row, "single-split": row, "airloom": row (a wave for each task), "airloom-ideal":
         row, "off_cloud": 1 - airloom's mean over the cloud's, "off_single": ..., "off_cloud_ideal": ...,
         "off_single_ideal": ..., "lower": {"mean": bool, "p95": bool}: than every baseline's}

    Rows are as `pooled` has them.
    """
    return {load: schemes(scenario("mmwave_iab", load), effort) for load in LOADS}


def many_ues(effort: Effort) -> dict[str, Any]:
    """By number of UEs at mid load, as `under_dynamics`: they contend for the same hosts, links and cells."""
    return {str(count): schemes(with_ues(scenario("mmwave_iab", "mid"), count), effort) for count in effort.ues}


def schemes(what: Scenario, effort: Effort) -> dict[str, Any]:
    """Every scheme on the same draws of a scenario, back to back over the seeds."""
    tallies: dict[str, list[SchemeTally]] = {}
    asked: list[tuple[tuple[str, ...], Replan, str]] = [(SCHEMES, "task", ""), (("airloom",), "ideal", "-ideal")]
    for seed in range(1, effort.seeds + 1):
        for names, replan, suffix in asked:
            play = Play(
                what, {"": profile(MODEL)}, schemes=names, seconds=effort.seconds, replan=replan, seed=seed,
                spike_s=SPIKE_S,
            )  # fmt: skip
            for tally in play_simulated(play, folder=None)[1].schemes:
                tallies.setdefault(tally.name + suffix, []).append(tally)
    found: dict[str, Any] = {name: pooled(own) for name, own in tallies.items()}
    baselines = SCHEMES[:-1]
    own = {"": found["airloom"], "_ideal": found["airloom-ideal"]}
    for suffix, row in own.items():
        found[f"off_cloud{suffix}"] = 1.0 - row["mean_s"] / found["cloud-only"]["mean_s"]
        found[f"off_single{suffix}"] = 1.0 - row["mean_s"] / found["single-split"]["mean_s"]
    found["lower"] = {
        key: all(own[""][f"{key}_s"] < found[name][f"{key}_s"] for name in baselines) for key in ("mean", "p95")
    }
    return found


def pooled(tallies: Sequence[SchemeTally]) -> dict[str, Any]:
    """Several networks together.

    {"tasks": int, "errors": int, "spikes": int, "share": of tasks, "mean_s", "mean_min_s", "mean_max_s" (over
     seeds), "p50_s", "p95_s", "p99_s", "max_s", "planning_s": floats or None}
    """
    results = np.array([tally.results for tally in tallies], dtype=np.float64)
    means = np.array([tally.mean_s if tally.mean_s is not None else np.nan for tally in tallies])
    centiles = np.concatenate([tally.quantiles_s for tally in tallies]) if results.all() else np.array([np.nan])
    spikes = sum(tally.spikes for tally in tallies)
    waits = [tally.planning_s for tally in tallies if tally.planning_s is not None]
    p50, p95, p99 = (float(v) for v in np.quantile(centiles, (0.5, 0.95, 0.99)))
    return {
        "tasks": int(results.sum()), "errors": sum(sum(tally.errors.values()) for tally in tallies),
        "spikes": spikes, "share": spikes / max(1.0, float(results.sum())),
        "mean_s": float((results * means).sum() / results.sum()), "mean_min_s": float(means.min()),
        "mean_max_s": float(means.max()), "p50_s": p50, "p95_s": p95, "p99_s": p99, "max_s": float(centiles.max()),
        "planning_s": float(np.mean(waits)) if waits else None,
    }  # fmt: skip


def beside(own: Sequence[SchemeTally], bare: Sequence[SchemeTally]) -> dict[str, Any]:
    """`pooled`, with the share of spikes that are left of those without prediction."""
    found = pooled(own)
    left = [a.spikes / b.spikes for a, b in zip(own, bare, strict=True) if b.spikes]
    before = sum(b.spikes for b in bare)
    found["left"] = found["spikes"] / before if before else None
    found["left_min"], found["left_max"] = (min(left), max(left)) if left else (None, None)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="more networks and tasks; without it some three minutes")
    parser.add_argument("--data", type=Path, default=os.environ.get("AIRLOOM_DATA"), help="folder of recorded rates")
    parser.add_argument("--only", choices=sorted(FIGURES), help="one figure")
    args = parser.parse_args(argv)
    effort = FULL if args.full else QUICK
    data = Path(args.data) if args.data else None
    found = {}
    for name, figure in FIGURES.items():
        if args.only in (None, name):
            began_s = time.perf_counter()
            found[name] = figure(effort, data)
            found[f"{name}_took_s"] = round(time.perf_counter() - began_s, 1)
    print(json.dumps(found, indent=1))


#: Every figure by name; those of the network with cells have no recorded rates.
FIGURES = {
    "figure_6": figure_6,
    "figure_15": lambda effort, data: figure_15(effort),
    "figure_16": figure_16,
    "figure_17": figure_17,
    "under_dynamics": lambda effort, data: under_dynamics(effort),
    "many_ues": lambda effort, data: many_ues(effort),
}

if __name__ == "__main__":
    main()
