"""How well times are predicted: stages from a profile, and whole requests in the demo.

A profile is judged by stages that took no part in its fit but ran in turns with those that did, so
that a machine whose speed moves moves both. Beside it stages that are timed seconds later, after a
rest as on a host that waits for tensors: the machine's own drift is in that figure.
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


def stage_errors(name: str) -> tuple[float, float]:
    """Median relative errors of predicted stages: held out in the measurement, and timed after it."""
    captured = airloom.capture(name)
    profile = airloom.profile(captured, seconds_budget=8.0)
    executor, graph = StageExecutor(captured), captured.graph
    rng = np.random.default_rng(11)
    data = {t: memoryview(rng.integers(0, 64, graph.tensors[t].nbytes, dtype=np.uint8).tobytes()) for t in graph.inputs}
    later = []
    for _ in range(STAGES):
        start, stop = sorted(int(c) for c in rng.choice(graph.num_operators + 1, 2, replace=False))
        live = executor.run(0, start, data)
        took = []
        for _ in range(RUNS):
            time.sleep(REST_S)
            began = time.perf_counter()
            executor.run(start, stop, live)
            took.append(time.perf_counter() - began)
        later.append(abs(profile.stage_s(start, stop) / statistics.median(took) - 1.0))
    assert profile.stage_error is not None
    return profile.stage_error, statistics.median(later)


def main() -> None:
    for name in MODELS:
        held_out, later = stage_errors(name)
        report(f"{name}: stage time predicted, median error", 100 * held_out, "%", "<= 10")
        report(f"{name}: the same, stages timed seconds later", 100 * later, "%")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "airloom.cli.main", "demo", "--json", "--out", f"{folder}/demo"]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    off = [abs(p["error"]) for s in found["schemes"] for p in s["phases"] if p.get("error") is not None]
    report("demo: end-to-end latency predicted, median error", 100 * statistics.median(off), "%", "<= 15")
    report("demo: end-to-end latency predicted, largest error", 100 * max(off), "%")


if __name__ == "__main__":
    main()
