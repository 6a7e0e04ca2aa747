"""What figures need beside the cuts of Table I: every layer of VGG11, early layers of ResNet-18, a picture of maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from cutwork import Effort, Failures, seeds_of
from evaluate import Losses, blocks_lost, clean_scores, elements_lost, evaluate
from schemes import CONCEALED, FLOOR_POINTS, PRUNED, bearable, fitting, once, repaired_at_once, transmission, whole
from subjects import Data, Subject, cut_index

from airloom.core.coding import RAW
from airloom.nn.tolerance.channel import Channel
from airloom.nn.tolerance.halves import Halves
from airloom.nn.tolerance.maps import calibrate
from airloom.nn.tolerance.measuring import measure_cut
from airloom.nn.tolerance.samples import Samples

FIG16_BLER = 0.2


def first_layer_cut(halves: Halves) -> int:
    """The first cut behind an operator with weights: what comes before is the picture."""
    return next(k + 1 for k, op in enumerate(halves.graph.operators) if op.parameters and op.macs)


def every_layer(
    subject: Subject, halves: Halves, data: Data, effort: Effort, failures: Failures, note: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Fig. 16: time and accuracy at BLER 0.2 behind every layer, with the coding that needs no training."""
    rows = []
    calibration = data.calibration.first(effort.calibration // 4)
    part = data.test.first(effort.samples // 2)
    clean = float(clean_scores(halves, part, subject.score).mean())
    cuts = range(first_layer_cut(halves), halves.graph.num_operators)
    maps = {order.tensor: order for order in calibrate(halves, calibration.first(128), list(cuts))}
    for cut in cuts:
        rng = np.random.default_rng([16, cut])
        coding, pruned = fitting(halves.host, cut, CONCEALED), fitting(halves.host, cut, PRUNED)
        entry = measure_cut(
            halves, calibration, cut, coding, block_bytes=subject.block_bytes, error_rates=(0.1, 0.2, 0.3, 0.5),
            draws=1, rng=rng, score=subject.score, maps=maps,
        )  # fmt: skip
        share = bearable(entry, entry.clean - FLOOR_POINTS)
        row: dict[str, Any] = {
            "cut": cut,
            "after": halves.graph.operators[cut - 1].name,
            "clean": clean,
            "share": share,
        }
        for name, coded, policy in (
            ("raw", RAW, once), ("pruned", pruned, once), ("pruned_harq", pruned, whole),
            ("airloom", coding, repaired_at_once),
        ):  # fmt: skip
            losses = policy(failures(FIG16_BLER), share)
            outcome = evaluate(
                halves, part, cut, coded, [blocks_lost(losses)], block_bytes=subject.block_bytes, score=subject.score,
                maps=maps, rng=rng,
            )  # fmt: skip
            blocks = float(outcome.num_blocks.mean())
            _, seconds = transmission(blocks, losses, rng=rng, messages=effort.messages)
            coding_s = entry.code_s + entry.decode_s if coded is not RAW else 0.0
            row[name] = {
                "accuracy": float(outcome.scores.mean()),
                "blocks": blocks,
                "total_s": seconds["wire_s"] + coding_s,
            }
        rows.append(row)
        note(f"layer {row['after']}")
    return rows


def bursts_and_singles(
    subject: Subject, halves: Halves, data: Data, effort: Effort, after: str
) -> list[tuple[float, float, float]]:
    """Fig. 4: (error rate, accuracy with blocks lost, accuracy with single elements lost) of the raw live set."""
    part = seeds_of(data.test, effort)[0]
    rates = (0.0, *effort.rates)
    cases = [*(blocks_lost(Losses((rate,))) for rate in rates), *(elements_lost(rate) for rate in rates)]
    scores = evaluate(
        halves, part, cut_index(halves.graph, after), RAW, cases, block_bytes=subject.block_bytes, score=subject.score,
        rng=np.random.default_rng(4),
    ).scores.mean(1)  # fmt: skip
    return [(rate, float(scores[k]), float(scores[len(rates) + k])) for k, rate in enumerate(rates)]


def damaged_maps(
    subject: Subject, halves: Halves, sample: Samples, after: str, pooled: str, *, rate: float = 0.5
) -> dict[str, list[list[list[float]]]]:
    """Fig. 5: the mean of the feature maps behind `after` and behind `pooled`, whole and with half of it lost."""
    cut, stop = cut_index(halves.graph, after), cut_index(halves.graph, pooled)
    rng, message = np.random.default_rng(5), torch.arange(1)
    found: dict[str, list[list[list[float]]]] = {}
    with torch.inference_mode():
        live = next(iter(halves.front(cut, sample)))[0]
        for name, coding, pattern in (
            ("nothing lost", RAW, None), ("blocks lost", RAW, "burst"), ("single elements lost", RAW, "random"),
            ("blocks lost, structured order, neighbours", fitting(halves.host, cut, CONCEALED), "burst"),
        ):  # fmt: skip
            channel = Channel(halves.host, cut, coding, block_bytes=subject.block_bytes, maps={})
            sent = channel.send(live)
            rates = torch.full((1,), rate if pattern else 0.0, dtype=torch.float64)
            got = channel.receive(sent, message, channel.draw(sent, message, rates, pattern or "burst", rng))
            joined = {t: halves.join(t, x.expand(halves.messages, *x.shape[1:])) for t, x in got.items()}
            (pool,) = halves.executor.run_tensors(cut, stop, joined).values()
            (maps,) = got.values()
            found[name] = [maps[0, 0].mean(0).tolist(), pool[0].mean(0).tolist()]
    return found
