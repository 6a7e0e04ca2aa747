"""G: accuracy as a function of the error rate, through measured points, and its inverse.

Three forms are fitted and judged by the points left out: the exponential of NeuroMessenger with
least L1 distance (Sec. V-C, Eq. 2), a logistic, and monotone cubic pieces (PCHIP, Fritsch and
Carlson 1980) through the points made monotone. None of them rises with the error rate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from airloom.core.tolerance import Curve, ErrorPoint
from airloom.errors import UserError

Floats = NDArray[np.float64]

_STEEPEST = 60.0  # of an exponential or logistic over the error rates 0 to 1
_LEAST_RATES = 5
_ZOOMS = 3  # how often the search looks closer around the best shape so far


def fit(points: Sequence[ErrorPoint]) -> tuple[Curve, ...]:
    """Curves through `points`, the better first: the one that errs least on points left out.

    Points may come in any order; those of one error rate count by their draws. With fewer than five
    error rates there is only the PCHIP: the others would pass through whatever they are given. A
    curve knows the highest error rate that it was fitted to (its last parameter, or the last rate
    of a PCHIP): `tolerable` never goes beyond.

    `margin` is the mean error on points left out plus the spread of one fresh draw.

    Raises:
        UserError: no points, or error rates or accuracies outside [0, 1].
    """
    rates, accuracies, weights = _pooled(points)
    draws = np.array([max(1, point.draws) for point in points], dtype=float)
    spreads = np.array([point.spread for point in points])
    # A fresh draw differs from the mean of n draws by s sqrt(1 + 1/n).
    spread = float(np.sqrt(np.average(spreads**2 * (1.0 + 1.0 / draws), weights=draws)))
    kinds = ("exponential", "logistic", "pchip") if len(rates) >= _LEAST_RATES else ("pchip",)
    curves = []
    for kind in kinds:
        make = _FITS[kind]
        mae = _left_out(make, rates, accuracies, weights)
        curves.append(
            Curve(kind=kind, parameters=make(rates, accuracies, weights), mae=mae, margin=mae + spread)  # type: ignore[arg-type]
        )
    return tuple(sorted(curves, key=lambda curve: curve.mae))


def accuracy_at(curve: Curve, error_rate: float) -> float:
    """G(r), 0 to 1, without the margin; beyond the rates of a PCHIP the accuracy of its last one."""
    value = float(_EVALUATE[curve.kind](np.array(curve.parameters), np.array([float(error_rate)]))[0])
    return min(1.0, max(0.0, value))


def tolerable(curve: Curve, floor: float) -> float:
    """G^-1 with the margin: the largest error rate at which the accuracy keeps `floor`.

    At most the largest error rate that was measured; -1.0 where not even an error rate of 0 will do.
    """
    need = floor + curve.margin
    if accuracy_at(curve, 0.0) < need:
        return -1.0
    low, high = 0.0, _last_rate(curve)
    if accuracy_at(curve, high) >= need:
        return high
    while high - low > 1e-6:
        middle = (low + high) / 2
        if accuracy_at(curve, middle) >= need:
            low = middle
        else:
            high = middle
    return low


def curve_fault(curve: Curve) -> str:
    """Why a curve that was not made by `fit` cannot be used, "" where it can: it never rises, and has its numbers."""
    parameters, shape = curve.parameters, {"exponential": 3, "logistic": 4}.get(curve.kind)
    if not all(map(math.isfinite, (*parameters, curve.mae, curve.margin))) or curve.mae < 0 or curve.margin < 0:
        return "its numbers are finite, its error and margin not negative"
    if shape is not None:
        if len(parameters) not in (shape, shape + 1):
            return f"{curve.kind} has {shape} parameters and the last error rate, got {len(parameters)}"
        if len(parameters) > shape and not 0.0 <= parameters[shape] <= 1.0:
            return f"an error rate is a share from 0 to 1, got {parameters[shape]}"
    elif not parameters or len(parameters) % 2:
        return f"pchip has as many error rates as accuracies, got {len(parameters)} parameters"
    else:
        half = len(parameters) // 2
        if not (parameters[0] >= 0.0 and parameters[half - 1] <= 1.0) or any(
            a >= b for a, b in itertools.pairwise(parameters[:half])
        ):
            return "the error rates of pchip ascend from 0 to 1"
    with np.errstate(all="ignore"):
        values = _EVALUATE[curve.kind](np.array(parameters), np.linspace(0.0, 1.0, 101))
    if not np.isfinite(values).all() or (np.diff(values) > 1e-9).any():
        return "accuracy rises with the error rate"
    return ""


# --- points ---------------------------------------------------------------------------------------


def _pooled(points: Sequence[ErrorPoint]) -> tuple[Floats, Floats, Floats]:
    """Ascending error rates, the mean accuracy at each, and how many draws it is of."""
    if not points:
        raise UserError("no points to fit accuracy against error rate: measure some error rates first")
    for point in points:
        if not (0.0 <= point.error_rate <= 1.0 and 0.0 <= point.accuracy <= 1.0 and point.spread >= 0.0):
            raise UserError(
                f"error rate {point.error_rate:g} with accuracy {point.accuracy:g} and spread {point.spread:g}: "
                "rates and accuracies are shares from 0 to 1"
            )
    by_rate: dict[float, list[ErrorPoint]] = {}
    for point in points:  # rates that hardly differ are one: no curve turns so sharply
        by_rate.setdefault(round(point.error_rate, 6), []).append(point)
    rates = np.array(sorted(by_rate))
    accuracies, weights = np.empty(len(rates)), np.empty(len(rates))
    for k, rate in enumerate(sorted(by_rate)):
        here = by_rate[rate]
        weights[k] = sum(max(1, point.draws) for point in here)
        accuracies[k] = sum(point.accuracy * max(1, point.draws) for point in here) / weights[k]
    return rates, accuracies, weights


def _left_out(
    make: Callable[[Floats, Floats, Floats], tuple[float, ...]], rates: Floats, accuracies: Floats, weights: Floats
) -> float:
    """Mean absolute error on each inner point when fitted without it.

    The outer points are never left out: that would judge extrapolation. With fewer than three
    there is nothing to judge by, and any course between the points is possible.
    """
    if len(rates) < 3:
        return float(np.ptp(accuracies)) / 2
    errors = []
    kind = next(kind for kind, known in _FITS.items() if known is make)
    for out in range(1, len(rates) - 1):
        kept = np.arange(len(rates)) != out
        parameters = make(rates[kept], accuracies[kept], weights[kept])
        there = _EVALUATE[kind](np.array(parameters), rates[out : out + 1])[0]
        errors.append(abs(float(there) - float(accuracies[out])))
    return float(np.mean(errors))


def _last_rate(curve: Curve) -> float:
    """The largest error rate that the curve was fitted to; 1 where a hand-made curve does not say."""
    parameters = curve.parameters
    if curve.kind == "pchip":
        return float(parameters[len(parameters) // 2 - 1])
    shape = {"exponential": 3, "logistic": 4}[curve.kind]
    return float(parameters[shape]) if len(parameters) > shape else 1.0


# --- the exponential of Eq. (2) ---------------------------------------------------------------------


def _exponential(rates: Floats, accuracies: Floats, weights: Floats) -> tuple[float, ...]:
    """(a, b, c, last rate) of a + b exp(c r) with the least sum of absolute distances, b c <= 0.

    For a given c the best line interpolates two points (or none, and is the median), so all of
    them are tried; c is searched on a grid that is refined around the best.
    """
    magnitudes = np.geomspace(0.1, _STEEPEST, 14)
    grid = np.concatenate([-magnitudes[::-1], magnitudes])
    best = (np.inf, 0.0, 0.0, 0.1)
    for _ in range(_ZOOMS + 1):
        best = min((best, _least_l1(rates, accuracies, grid)), key=lambda fitted: fitted[0])
        near = int(np.abs(grid - best[3]).argmin())
        low, high = grid[max(near - 1, 0)], grid[min(near + 1, len(grid) - 1)]
        grid = np.array([c for c in np.linspace(low, high, 9) if abs(c) >= 0.05])
    _, offset, slope, c = best
    return float(offset - slope / c), float(slope / c), float(c), float(rates[-1])


def _least_l1(rates: Floats, values: Floats, shapes: Floats) -> tuple[float, float, float, float]:
    """(distance, offset, slope, c) of the best offset + slope (exp(c r) - 1) / c among those that do not rise.

    All lines through two points are tried for each of the shapes c: [shapes, pairs, points].
    """
    median = float(np.median(values))
    best = (float(np.abs(values - median).sum()), median, 0.0, float(shapes[0]))
    first, second = np.triu_indices(len(rates), 1)
    basis = np.expm1(shapes[:, None] * rates) / shapes[:, None]
    width = basis[:, second] - basis[:, first]
    bent = width > 0  # a steep exponential is flat in parts
    slopes = (values[second] - values[first]) / np.where(bent, width, 1.0)
    offsets = values[first] - slopes * basis[:, first]
    distances = np.abs(offsets[..., None] + slopes[..., None] * basis[:, None, :] - values).sum(axis=2)
    distances[(slopes > 0) | ~bent] = np.inf
    shape, pair = np.unravel_index(int(distances.argmin()), distances.shape)
    if distances[shape, pair] < best[0]:
        found = (distances[shape, pair], offsets[shape, pair], slopes[shape, pair], shapes[shape])
        best = (float(found[0]), float(found[1]), float(found[2]), float(found[3]))
    return best


def _exponential_at(parameters: Floats, rates: Floats) -> Floats:
    a, b, c = parameters[:3]
    value: Floats = a + b * np.exp(c * rates)
    return value


# --- the logistic -----------------------------------------------------------------------------------


def _logistic(rates: Floats, accuracies: Floats, weights: Floats) -> tuple[float, ...]:
    """(low, high, k, middle, last rate) of low + (high - low) / (1 + exp(k (r - middle))), least squares."""
    steep, middles = np.geomspace(1.0, _STEEPEST, 16), np.linspace(-0.25, 1.25, 31)
    best = (np.inf, 0.0, 0.0, 1.0, 0.5)
    for _ in range(_ZOOMS + 1):
        best = min((best, _best_logistic(rates, accuracies, weights, steep, middles)), key=lambda fitted: fitted[0])
        ratio = float(steep[1] / steep[0])
        width = float(middles[1] - middles[0])
        steep = np.clip(best[3] * np.geomspace(1 / ratio, ratio, 9), 0.5, 2 * _STEEPEST)
        middles = best[4] + np.linspace(-width, width, 9)
    _, low, span, k, middle = best
    return float(low), float(low + span), float(k), float(middle), float(rates[-1])


def _best_logistic(
    rates: Floats, accuracies: Floats, weights: Floats, steep: Floats, middles: Floats
) -> tuple[float, float, float, float, float]:
    """(squared distance, low, span, k, middle) of the best of all pairs, each with its best low and span >= 0."""
    k, middle = (grid.ravel() for grid in np.meshgrid(steep, middles))
    basis = 1.0 / (1.0 + np.exp(np.clip(k[:, None] * (rates - middle[:, None]), -700, 700)))
    share = weights / weights.sum()
    mean_basis, mean = basis @ share, float(accuracies @ share)
    centred = basis - mean_basis[:, None]
    variance = np.maximum((centred**2) @ share, 1e-12)
    span = np.maximum((centred * share) @ (accuracies - mean) / variance, 0.0)
    low = mean - span * mean_basis
    distance = (low[:, None] + span[:, None] * basis - accuracies) ** 2 @ share
    least = int(distance.argmin())
    return float(distance[least]), float(low[least]), float(span[least]), float(k[least]), float(middle[least])


def _logistic_at(parameters: Floats, rates: Floats) -> Floats:
    low, high, k, middle = parameters[:4]
    value: Floats = low + (high - low) / (1.0 + np.exp(np.clip(k * (rates - middle), -700, 700)))
    return value


# --- monotone cubic pieces --------------------------------------------------------------------------


def _pchip(rates: Floats, accuracies: Floats, weights: Floats) -> tuple[float, ...]:
    """Rates, then accuracies made non-increasing by pooling neighbours that rise (weighted by draws)."""
    pools: list[list[float]] = []  # mean, weight, how many
    for accuracy, weight in zip(accuracies, weights, strict=True):
        pools.append([float(accuracy), float(weight), 1.0])
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            mean, mass, count = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + mean * mass) / (last[1] + mass)
            last[1] += mass
            last[2] += count
    level = np.concatenate([np.full(int(count), mean) for mean, _, count in pools])
    return (*(float(rate) for rate in rates), *(float(value) for value in level))


def _pchip_at(parameters: Floats, rates: Floats) -> Floats:
    knots, values = np.split(parameters, 2)
    if len(knots) == 1:
        return np.full(len(rates), values[0])
    slopes = _pchip_slopes(knots, values)
    where = np.clip(rates, knots[0], knots[-1])
    piece = np.clip(np.searchsorted(knots, where, side="right") - 1, 0, len(knots) - 2)
    width = knots[piece + 1] - knots[piece]
    t = (where - knots[piece]) / width
    value: Floats = (
        (1 + 2 * t) * (1 - t) ** 2 * values[piece]
        + t**2 * (3 - 2 * t) * values[piece + 1]
        + width * t * (1 - t) * ((1 - t) * slopes[piece] - t * slopes[piece + 1])
    )
    return value


def _pchip_slopes(knots: Floats, values: Floats) -> Floats:
    """Slopes at the knots that keep every piece monotone (Fritsch and Butland's weighted harmonic mean)."""
    width, rise = np.diff(knots), np.diff(values) / np.diff(knots)
    if len(knots) == 2:
        return np.array([rise[0], rise[0]])
    slopes = np.zeros(len(knots))
    left, right = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    same = rise[:-1] * rise[1:] > 0
    safe = np.where(same, rise[:-1], 1.0), np.where(same, rise[1:], 1.0)
    with np.errstate(over="ignore"):  # the mean with a rise that is next to nothing is nothing
        slopes[1:-1] = np.where(same, (left + right) / (left / safe[0] + right / safe[1]), 0.0)
    for end, (h0, h1, d0, d1) in (
        (0, (width[0], width[1], rise[0], rise[1])),
        (-1, (width[-1], width[-2], rise[-1], rise[-2])),
    ):
        slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
        if slope * d0 <= 0:
            slope = 0.0
        elif d0 * d1 <= 0 and abs(slope) > 3 * abs(d0):
            slope = 3 * d0
        slopes[end] = slope
    return slopes


_FITS: dict[str, Callable[[Floats, Floats, Floats], tuple[float, ...]]] = {
    "exponential": _exponential, "logistic": _logistic, "pchip": _pchip,
}  # fmt: skip
_EVALUATE: dict[str, Callable[[Floats, Floats], Floats]] = {
    "exponential": _exponential_at, "logistic": _logistic_at, "pchip": _pchip_at,
}  # fmt: skip
