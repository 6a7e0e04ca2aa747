"""How well times are predicted: stages from a profile, and whole requests in the demo.

Stages are drawn anew after the profile was measured, so that none of them took part in its fit.
They run one after the other, as the profile has them; what a rest of a few milliseconds before each
run costs (caches cool while a host waits for tensors) is reported beside it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import airloom
from airloom.nn.executor import StageExecutor
from harness import report

MODELS = ("resnet20", "resnet56", "resnet18", "gru_tagger")
STAGES = 24
RUNS = 15
REST_S = 0.004


def stage_errors(name: str) -> tuple[list[float], list[float]]:
    """Relative errors of the predicted seconds of stages drawn at random, and how much longer rested ones took."""
    captured = airloom.capture(name)
    profile = airloom.profile(captured, seconds_budget=6.0)
    executor, graph = StageExecutor(captured), captured.graph
    rng = np.random.default_rng(11)
    data = {t: memoryview(rng.integers(0, 64, graph.tensors[t].nbytes, dtype=np.uint8).tobytes()) for t in graph.inputs}
    errors, rested = [], []
    for _ in range(STAGES):
        start, stop = sorted(int(c) for c in rng.choice(graph.num_operators + 1, 2, replace=False))
        live = executor.run(0, start, data)
        took, after_rest = [], []
        for k in range(2 * RUNS):
            if k >= RUNS:
                time.sleep(REST_S)
            began = time.perf_counter()
            executor.run(start, stop, live)
            (took if k < RUNS else after_rest).append(time.perf_counter() - began)
        errors.append(abs(profile.stage_s(start, stop) / statistics.median(took) - 1.0))
        rested.append(statistics.median(after_rest) / statistics.median(took) - 1.0)
    return errors, rested


def main() -> None:
    for name in MODELS:
        errors, rested = stage_errors(name)
        report(f"{name}: stage time predicted, median error", 100 * statistics.median(errors), "%", "<= 10")
        report(f"{name}: longer after a rest of 4 ms, median", 100 * statistics.median(rested), "%")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "airloom.cli.main", "demo", "--json", "--out", f"{folder}/demo"]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    off = [abs(p["error"]) for s in found["schemes"] for p in s["phases"] if p.get("error") is not None]
    report("demo: end-to-end latency predicted, median error", 100 * statistics.median(off), "%", "<= 15")
    report("demo: end-to-end latency predicted, largest error", 100 * max(off), "%")


if __name__ == "__main__":
    main()
