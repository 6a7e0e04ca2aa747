"""A tolerance profile: every asked cut under every asked coding, what is known already left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from airloom.core.coding import RAW, Coding
from airloom.core.graph import ModelGraph
from airloom.core.tolerance import CutTolerance, LayerTolerance, MapOrder, Pattern, Tolerance, TunedWeights
from airloom.core.value import canonical_json, digest
from airloom.errors import ConfigError
from airloom.nn.captured import Captured
from airloom.nn.tolerance.channel import can_carry
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.maps import CALIBRATION_SAMPLES, calibrate
from airloom.nn.tolerance.measuring import (
    DEFAULT_DRAWS,
    DEFAULT_RATES,
    WIRE_BLOCK_BYTES,
    Advance,
    check_cut,
    check_rates,
    measure_cut,
    message_scores,
)
from airloom.nn.tolerance.samples import Samples
from airloom.nn.tolerance.score import Score, top1

#: Raised when what is measured changes, so that entries of an older version are not mixed in.
FORM = 1


class Case(NamedTuple):
    """One thing to measure."""

    cut: int
    coding: Coding
    pattern: Pattern
    block_bytes: int

    @classmethod
    def of(cls, entry: CutTolerance) -> Case:
        """The case that `entry` is the measurement of."""
        return cls(entry.cut, entry.coding, entry.pattern, entry.block_bytes)


def cases(
    host: Captured,
    cuts: Sequence[int],
    codings: Sequence[Coding],
    patterns: Sequence[Pattern],
    block_bytes: Sequence[int],
) -> list[Case]:
    """Every combination that the model has, cut by cut.

    Single elements that are lost do not know blocks: `random` is measured once, at the first block size.
    """
    found = []
    for cut in dict.fromkeys(cuts):
        for coding in dict.fromkeys(codings):
            if not can_carry(host, cut, coding):
                continue
            for pattern in dict.fromkeys(patterns):
                sizes = block_bytes if pattern == "burst" else block_bytes[:1]
                found += [Case(cut, coding, pattern, size) for size in dict.fromkeys(sizes)]
    return found


def measure(
    halves: Halves,
    samples: Samples,
    *,
    cuts: Sequence[int],
    codings: Sequence[Coding] = (RAW,),
    patterns: Sequence[Pattern] = ("burst",),
    error_rates: Sequence[float] = DEFAULT_RATES,
    draws: int = DEFAULT_DRAWS,
    block_bytes: Sequence[int] = (WIRE_BLOCK_BYTES,),
    score: Score = top1,
    metric: str = "top-1",
    seed: int = 0,
    maps: Sequence[MapOrder] | None = None,
    tuned: Mapping[int, Halves] | None = None,
    tuned_files: Sequence[TunedWeights] = (),
    layers: Sequence[LayerTolerance] = (),
    data: str = "",
    known: Collection[CutTolerance] = (),
    finished: Callable[[CutTolerance], None] | None = None,
    advance: Advance | None = None,
) -> Tolerance:
    """The tolerance profile of a model.

    Args:
        halves: the model as hosts run it, and at a batch to measure with.
        codings: those that a cut cannot have are left out there.
        maps: importance and means of feature maps; None calibrates with the first samples.
        tuned: receiving halves with their own weights by cut, for codings that are tuned.
        known: entries measured before with the same settings; they are taken as they are.
        finished: called with every entry as soon as it is there.
        advance: called with how many messages one pass has evaluated.

    Raises:
        ConfigError: nothing to measure, no such cut, a model that only guesses, or what `measure_cut` refuses.
    """
    for cut in cuts:
        check_cut(halves, cut)
    check_rates(error_rates)
    asked = cases(halves.host, cuts, codings, patterns, block_bytes)
    if not asked:
        raise ConfigError(f"{halves.graph.model}: no asked cut can have any of the asked codings")
    clean = clean_score(halves, samples, score)
    if score is top1:
        check_clean(clean, len(samples), halves)
    if maps is None:
        maps = calibrate(halves, samples.first(CALIBRATION_SAMPLES), {case.cut for case in asked})
    by_tensor = {order.tensor: order for order in maps}
    have = {Case.of(entry): entry for entry in known}
    entries = []
    for case in asked:
        if case not in have:
            receiver = (tuned or {}).get(case.cut) if case.coding.tuned else halves
            if receiver is None:
                raise ConfigError(f"cut {case.cut} has no tuned weights for {case.coding.name}: train them first")
            have[case] = measure_cut(
                receiver, samples, case.cut, case.coding, pattern=case.pattern, block_bytes=case.block_bytes,
                error_rates=error_rates, draws=draws, rng=case_rng(seed, case), score=score, maps=by_tensor,
                advance=advance,
            )  # fmt: skip
            if finished is not None:
                finished(have[case])
        entries.append(have[case])
    return Tolerance(
        model=halves.graph.model, graph_digest=halves.graph.digest, weights_digest=halves.host.weights_digest,
        metric=metric, clean=clean, samples=len(samples), cuts=tuple(entries),
        layers=tuple(layers), maps=tuple(maps), tuned=tuple(tuned_files), data=data, seed=seed,
    )  # fmt: skip


def settings_digest(
    host: Captured,
    test: Samples,
    train: Samples | None = None,
    *,
    score: str,
    error_rates: Sequence[float],
    draws: int,
    seed: int,
    training: tuple[float, float] | None = None,
) -> str:
    """Identity of all that an entry depends on, its case apart."""
    training_digest = "" if train is None else train.digest
    settings = [
        host.graph.digest, host.weights_digest, test.digest, training_digest, score, list(check_rates(error_rates)),
        draws, seed, list(training or ()), FORM,
    ]  # fmt: skip
    return digest(canonical_json(settings))


def case_rng(seed: int, case: Case) -> np.random.Generator:
    """The errors of a case are its own, whatever else is measured and in which order."""
    return np.random.default_rng([seed, case.cut, case.block_bytes, *case.coding.name.encode(), *case.pattern.encode()])


def clean_score(halves: Halves, samples: Samples, score: Score = top1) -> float:
    """Mean score of the whole model."""
    total = 0.0
    for live, labels in halves.front(0, samples):
        total += float(message_scores(halves, score, halves.back(0, live), labels).sum())
    return total / halves.num_messages(samples)


def check_clean(clean: float, samples: int, halves: Halves) -> None:
    """ConfigError where a top-1 accuracy of `clean` is no more than guessing: labels of another data set or another
    order, or weights that were never trained. Two standard errors of guessing are allowed for."""
    graph = halves.graph
    chance = 1.0 / graph.tensors[graph.outputs[0]].shape[-1]
    if samples >= _ENOUGH and clean <= chance + 2.0 * math.sqrt(chance * (1.0 - chance) / samples):
        raise ConfigError(
            f"{graph.model} is right on {clean:.1%} of {samples} samples, guessing on {chance:.1%}: "
            "check that the labels are those of the inputs, and that the weights are trained ones"
        )


#: Samples from which accuracy can be told from guessing.
_ENOUGH = 40


def chosen_cuts(graph: ModelGraph, count: int = 6) -> tuple[int, ...]:
    """A handful of cuts worth measuring: after the first operator that works, and where the fewest bytes cross.

    A run of cuts that carry equally little is one place (the operators between only go over the elements);
    its last cut stands for it. Of many places those are taken that are spread best over the model's work.
    """
    last = graph.num_operators
    size = [graph.cut_nbytes(cut) for cut in range(last + 1)]
    done = np.cumsum([0, *(op.macs for op in graph.operators)])
    places: list[int] = []
    start = 1
    while start < last:
        stop = start
        while stop + 1 < last and size[stop + 1] == size[start]:
            stop += 1
        first = done[start - 1] == 0 < done[stop]
        narrow = size[start - 1] >= size[start] and size[stop + 1] >= size[stop]
        if done[stop] and (first or narrow or stop + 1 == last):
            places.append(stop)
        start = stop + 1
    if not places:
        return (last // 2,) if last > 1 else (last,)
    if len(places) <= count:
        return tuple(places)
    goals = np.linspace(done[places[0]], done[places[-1]], count)
    return tuple(sorted({min(places, key=lambda c: abs(done[c] - goal)) for goal in goals}))
