"""All that is measured at one cut of one model; the result is plain data for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from evaluate import (
    Damage,
    Floats,
    Losses,
    Outcome,
    blocks_lost,
    clean_scores,
    elements_lost,
    evaluate,
    ideal_importance,
)
from link import independent, residual
from schemes import (
    FLOAT32,
    FLOOR_POINTS,
    PRUNED,
    TUNED,
    bearable,
    by_attempts,
    exponential,
    fitting,
    halved,
    once,
    repaired_at_once,
    transmission,
    whole,
)
from subjects import Data, Subject, cut_index
from torch import Tensor

from airloom.core.coding import RAW, Coding
from airloom.core.tolerance import CutTolerance
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.maps import calibrate
from airloom.nn.tolerance.measuring import measure_cut
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.tuning import fine_tune
from airloom.planner.accuracy import accuracy_at

BLER_GRID = tuple(round(0.05 * k, 2) for k in range(20))
Failures = Callable[[float], tuple[float, ...]]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rates: error rates of the tolerance profile.
        calibration, draws: samples and draws of it.
        samples: fresh samples of each seed; other ones each time where there are enough.
        blers: of the results.
        tune_steps: of fine-tuning the receiving half where that is the whole network; more behind later cuts, where a
            step costs less, up to five times as many.
    """

    rates: tuple[float, ...] = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    calibration: int = 1000
    draws: int = 2
    samples: int = 500
    seeds: int = 5
    blers: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
    tune_steps: int = 80
    messages: int = 200


QUICK = Effort(
    rates=(0.2, 0.4, 0.6, 0.8, 0.95), calibration=300, draws=1, samples=150, seeds=2, blers=(0.1, 0.5, 0.9),
    tune_steps=20, messages=50,
)  # fmt: skip


def left_by(losses: Losses) -> Losses:
    """The same losses to a network: nothing at all where every block comes in the end."""
    whole = losses.tolerable == 0.0 and residual(losses.failure, losses.attempts) < 1e-9
    return Losses((0.0,)) if whole else losses


def seeds_of(samples: Samples, effort: Effort) -> list[Samples]:
    """The fresh samples of each seed: one part after the other, from the beginning again after the last."""
    count = min(effort.samples, len(samples))
    rows = [(np.arange(count) + k * count) % len(samples) for k in range(effort.seeds)]
    return [Samples(tuple(x[part] for x in samples.inputs), samples.labels[part]) for part in rows]


class CutWork:
    """One cut of one model.

    Args:
        failures: BLER of a first attempt -> failure of every attempt (HARQ with combining).
    """

    def __init__(
        self,
        subject: Subject,
        halves: Halves,
        data: Data,
        place: int,
        effort: Effort,
        *,
        failures: Failures,
        seed: int = 0,
    ) -> None:
        share = subject.cuts[place].effort
        effort = dataclasses.replace(
            effort,
            calibration=round(share * subject.cuts[place].profile * effort.calibration),
            samples=round(share * effort.samples),
        )
        self.subject, self.halves, self.data, self.effort, self.seed = subject, halves, data, effort, seed
        self.failures = failures
        self.cut = cut_index(halves.graph, subject.cuts[place].after)
        self.title = subject.cuts[place].title
        self.tuning = subject.cuts[place].tuning
        self.calibration = data.calibration.first(effort.calibration)
        self.maps = {order.tensor: order for order in calibrate(halves, self.calibration.first(128), [self.cut])}
        self.tuned: Halves | None = None

    def rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.cut, *what])

    def tune(self, weights: Mapping[str, Tensor] | None = None) -> Mapping[str, Tensor]:
        """Receiving half for the tuned codings: trained now on training samples, or of `weights` made before."""
        coding = fitting(self.halves.host, self.cut, TUNED)
        if weights is None:
            weights = fine_tune(
                self.halves,
                self.cut,
                coding,
                self.data.train,
                rng=self.rng(1),
                seconds=None,
                steps=round(self.tuning * self.effort.tune_steps / max(0.2, self.share_behind)),
                block_bytes=self.subject.block_bytes,
                maps=self.maps,
                classes=not self.subject.speech,
            )
        self.tuned = self.halves.tuned(weights)
        return weights

    def asked(self, policy: Callable[..., Losses], failure: Sequence[float], share: float) -> Losses:
        """What may stay missing lies at the end where every block has as much of everything: one tensor."""
        return policy(failure, share)._replace(at_end=len(self.halves.graph.live_set(self.cut)) == 1)

    @property
    def share_behind(self) -> float:
        """Share of the network's multiplications that the receiving half does."""
        macs = [op.macs for op in self.halves.graph.operators]
        return sum(macs[self.cut :]) / sum(macs)

    def receiver(self, coding: Coding) -> Halves:
        if not coding.tuned:
            return self.halves
        assert self.tuned is not None, "tune first"
        return self.tuned

    def profile(self, coding: Coding, pattern: str = "burst") -> CutTolerance:
        return measure_cut(
            self.receiver(coding), self.calibration, self.cut, coding, pattern=pattern,
            block_bytes=self.subject.block_bytes, error_rates=self.effort.rates, draws=self.effort.draws,
            rng=self.rng(2, len(coding.name), pattern == "burst"), score=self.subject.score, maps=self.maps,
        )  # fmt: skip

    def run(self, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
        """Profile, choice of codings, results on fresh samples, times."""
        graph, subject = self.halves.graph, self.subject
        if self.tuned is None:
            self.tune()
            note("tuned")
        pruned, scattered, *better = (fitting(self.halves.host, self.cut, c) for c in (PRUNED, *FLOAT32))
        entries: dict[Coding, CutTolerance] = {}

        def measured(coding: Coding) -> None:
            if coding not in entries:
                entries[coding] = self.profile(coding)
                note(f"profile {coding.name}")

        for coding in (RAW, scattered, *better):
            measured(coding)
        random = self.profile(RAW, "random")
        clean = entries[RAW].clean
        floor = clean - FLOOR_POINTS
        best = self.choose(entries, floor, (scattered, *better))
        measured(halved(best))
        short = self.choose(entries, floor, (best, halved(best)))
        share = {coding: bearable(entry, floor) for coding, entry in entries.items()}
        paper_share = bearable(entries[scattered], floor, paper=True)
        plans: dict[str, tuple[Coding, float, Callable[..., Losses]]] = {
            "raw": (RAW, 0.0, once),
            "pruned": (pruned, 0.0, once),
            "pruned_harq": (pruned, 0.0, whole),
            "neuromessenger": (scattered, paper_share, by_attempts),
            "airloom": (best, share[best], repaired_at_once),
            "airloom_any_precision": (short, share[short], repaired_at_once),
        }
        parts = seeds_of(self.data.test, self.effort)
        cleans = [clean_scores(self.halves, part, subject.score) for part in parts]
        # Order of bytes and what stands in for losses change neither size nor the time to prune.
        plain = self.timed(pruned)
        results: dict[str, Any] = {}
        for name, plan in plans.items():
            same = next((n for n in results if plans[n] == plan), None)
            results[name] = results[same] if same else self.results(*plan, entries.get(plan[0], plain), cleans)
            note(f"results {name}")
        return {
            "model": subject.name, "title": self.title, "cut": self.cut,
            "after": graph.operators[self.cut - 1].name,
            "block_bytes": subject.block_bytes, "resource_blocks": subject.prbs,
            "raw_nbytes": graph.cut_nbytes(self.cut),
            "raw_blocks": graph.cut_nbytes(self.cut) / subject.block_bytes,
            "calibration_clean": clean, "floor": floor,
            "test_clean": float(np.mean([c.mean() for c in cleans])),
            "chosen": best.name, "chosen_any_precision": short.name,
            "profiles": [self.described(entry, floor, share[entry.coding]) for entry in entries.values()]
            + [self.described(random, floor, bearable(random, floor))],
            "schemes": results,
            "fresh": self.fresh(entries[best], clean),
            "ideal_importance": self.importance() if subject.speech else [],
        }  # fmt: skip

    def timed(self, coding: Coding) -> CutTolerance:
        """Bytes and seconds of a coding whose tolerance nobody asks for."""
        return measure_cut(
            self.halves, self.calibration.first(self.subject.messages), self.cut, coding,
            block_bytes=self.subject.block_bytes, error_rates=(), draws=1, rng=self.rng(6), score=self.subject.score,
            maps=self.maps,
        )  # fmt: skip

    def choose(self, entries: Mapping[Coding, CutTolerance], floor: float, among: Sequence[Coding]) -> Coding:
        """The coding with the least mean time from BLER 0 to 0.95 under the floor."""

        def seconds(coding: Coding) -> float:
            entry = entries[coding]
            wire = [
                transmission(
                    entry.nbytes / entry.block_bytes,
                    repaired_at_once(self.failures(bler), bearable(entry, floor)),
                    rng=self.rng(3),
                    messages=30,
                )[1]["wire_s"]
                for bler in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
            ]
            return float(np.mean(wire)) + entry.code_s + entry.decode_s

        good = [coding for coding in dict.fromkeys(among) if entries[coding].clean >= floor]
        return min(good, key=seconds)

    def results(
        self, coding: Coding, share: float, policy: Callable[..., Losses], entry: CutTolerance, cleans: Sequence[Floats]
    ) -> dict[str, Any]:
        """Accuracy on fresh samples, by seed, and times."""
        blers = (0.0, *self.effort.blers)
        losses = [self.asked(policy, self.failures(bler), share) for bler in blers]
        # What is the same is evaluated once: HARQ that repairs everything leaves what was sent.
        cases = list(dict.fromkeys(left_by(case) for case in losses))
        accuracy, blocks = [], []
        for seed, part in enumerate(seeds_of(self.data.test, self.effort)):
            outcome = self.evaluated(coding, part, [blocks_lost(case) for case in cases], seed)
            accuracy.append(outcome.scores.mean(1))
            blocks.append(outcome.num_blocks.mean())
        where = [cases.index(left_by(case)) for case in losses]
        by_seed = np.array(accuracy)[:, where]
        drop = np.array([c.mean() for c in cleans])[:, None] - by_seed
        mean_blocks = float(np.mean(blocks))
        return {
            "coding": coding.name, "tolerable": share, "nbytes": entry.nbytes, "side_nbytes": entry.side_nbytes,
            "blocks": mean_blocks, "code_s": entry.code_s, "decode_s": entry.decode_s,
            "points": [
                {
                    "bler": bler, "accuracy": float(by_seed[:, k].mean()), "drop": float(drop[:, k].mean()),
                    "drop_by_seed": drop[:, k].tolist(), "attempts": losses[k].attempts, "let_go": losses[k].tolerable,
                }
                for k, bler in enumerate(blers)
            ],
            "times": [self.times(mean_blocks, entry, share, policy, bler) for bler in BLER_GRID],
        }  # fmt: skip

    def times(
        self, blocks: float, entry: CutTolerance, share: float, policy: Callable[..., Losses], bler: float
    ) -> dict[str, float]:
        """Seconds with combining HARQ and with independent attempts."""
        found: dict[str, float] = {"bler": bler}
        for suffix, failures in (("", self.failures), ("_independent", independent)):
            _, seconds = transmission(
                blocks, self.asked(policy, failures(bler), share), rng=self.rng(4), messages=self.effort.messages
            )
            found |= {f"{key}{suffix}": value for key, value in seconds.items()}
        coding_s = entry.code_s + entry.decode_s
        return found | {
            "total_s": found["wire_s"] + coding_s,
            "total_s_independent": found["wire_s_independent"] + coding_s,
        }

    def evaluated(self, coding: Coding, part: Samples, cases: Sequence[Damage], seed: int) -> Outcome:
        return evaluate(
            self.receiver(coding), part, self.cut, coding, cases, block_bytes=self.subject.block_bytes,
            score=self.subject.score, maps=self.maps, rng=self.rng(5, seed),
        )  # fmt: skip

    def fresh(self, entry: CutTolerance, clean: float) -> dict[str, Any]:
        """G against accuracy measured on samples and draws that it has not seen, nothing repaired.

        The fresh samples may be easier or harder as such, so accuracies are compared as drops too.

        Args:
            clean: accuracy of the model on the samples of the profile.
        """
        rates = (0.0, *self.effort.blers)
        cases = [blocks_lost(Losses((rate,))) for rate in rates]
        parts = seeds_of(self.data.test, self.effort)[:2]
        scores = [self.evaluated(entry.coding, part, cases, 100 + k).scores for k, part in enumerate(parts)]
        measured = np.concatenate(scores, 1).mean(1)
        cleans = [clean_scores(self.halves, part, self.subject.score).mean() for part in parts]
        shift = float(np.mean(cleans)) - clean
        found: dict[str, Any] = {"coding": entry.coding.name, "rates": rates, "measured": measured.tolist()}
        for curve in (entry.curves[0], exponential(entry)):
            predicted = np.array([accuracy_at(curve, rate) for rate in rates])
            found[f"mae_{curve.kind}"] = float(np.abs(predicted - measured).mean())
            found[f"mae_{curve.kind}_drop"] = float(np.abs(predicted + shift - measured).mean())
        return found | {"better": entry.curves[0].kind}

    def importance(self) -> list[dict[str, float]]:
        """The paper's ideal importance coding of the raw live set beside single elements lost at random."""
        rates = self.effort.blers
        cases = [*(ideal_importance(rate) for rate in rates), *(elements_lost(rate) for rate in rates)]
        part = seeds_of(self.data.test, self.effort)[0]
        means = self.evaluated(RAW, part, cases, 200).scores.mean(1)
        return [
            {"rate": rate, "accuracy": float(means[k]), "random": float(means[len(rates) + k])}
            for k, rate in enumerate(rates)
        ]

    @staticmethod
    def described(entry: CutTolerance, floor: float, share: float) -> dict[str, Any]:
        return {
            "coding": entry.coding.name, "pattern": entry.pattern, "nbytes": entry.nbytes, "clean": entry.clean,
            "side_nbytes": entry.side_nbytes, "code_s": entry.code_s, "decode_s": entry.decode_s,
            "blocks": entry.num_blocks, "tolerable": share,
            "points": [[p.error_rate, p.accuracy, p.spread] for p in entry.points],
            "curves": [[c.kind, c.mae, c.margin] for c in entry.curves],
        }  # fmt: skip
