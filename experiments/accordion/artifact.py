"""A trained model as it is delivered: packed, and asked for by deadline and rate as in the paper's examples."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import paper
import torch
import work
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from settings import METHODS, Job, Setting

from airloom.core.depth import depth_order
from airloom.core.progressive import (
    Architecture,
    Chunk,
    Configuration,
    DepthTable,
    Manifest,
    Part,
)
from airloom.deliver.packing import pack
from airloom.nn.elastic.model import ElasticModel
from airloom.planner.delivery import Demand, NoConfiguration, choose
from airloom.planner.upgrades import arrival, runnable, upgrade_path


def ten_megabytes(parts: int = 50) -> Manifest:
    """A model of 10 MB in chunks of equal size, the first of which is its base."""
    each = int(paper.EXAMPLE_BYTES) // parts
    return Manifest(
        model="example",
        architecture=Architecture(kind="trees", name="example"),
        inputs=("1x3x32x32:uint8",),
        parts=tuple(Part(name=f"part{k}", parameters=each // 4) for k in range(parts)),
        order=depth_order("back", [0] * (parts - 1)),
        chunks=tuple(
            Chunk(file=f"chunks/{k}.safetensors", nbytes=each, sha256="0" * 64, part=k, encoding="fp32")
            for k in range(parts)
        ),
        configurations=tuple(
            Configuration(depth=d, precision="fp32", nbytes=(1 + d) * each, parameters=(1 + d) * each // 4)
            for d in range(1, parts)
        ),
    )


def paper_example() -> dict[str, Any]:
    """10 MB, 200 ms, 240 Mbit/s: the share that the server decides to send."""
    manifest = ten_megabytes()
    choice = choose(manifest, Demand(deadline_s=paper.EXAMPLE_DEADLINE_S, rate_bps=paper.EXAMPLE_BPS))
    return {"share": choice.nbytes / paper.EXAMPLE_BYTES, "expected_s": choice.expected_s, "paper": paper.EXAMPLE_SHARE}


def table_of(model: ElasticModel, result: dict[str, Any], name: str) -> DepthTable:
    """Accuracy of each depth as the job measured it, for float32 and whatever is as good."""
    rows = tuple(
        Configuration(
            depth=depth, precision="fp32", nbytes=4 * result["parameters"][str(depth)],
            parameters=result["parameters"][str(depth)], macs=result["macs"][str(depth)],
            accuracy=1 - result["error"][str(depth)] / 100,
        )
        for depth in model.order.depths
    )  # fmt: skip
    return DepthTable(
        model=name, blocks=model.blocks, order=model.order, configurations=rows, samples=result["test_pictures"]
    )


def delivered(setting: Setting, seed: int, places: work.Places, method: str = "ours") -> dict[str, Any] | None:
    """The packed model of a job: its bytes, and what answers on the way to all of them; None where it is not trained.

    Sizes are those of files on disk, headers and batch-norm statistics included.
    """
    job = Job(setting, METHODS[method], seed)
    result = places.result(job)
    if not result.exists():
        return None
    model = work.trained(job, places)
    model.to("cpu").eval()
    with tempfile.TemporaryDirectory() as out:
        manifest = pack(
            model, Path(out) / "model", name=setting.name, key=Ed25519PrivateKey.generate(),
            example_inputs=(torch.zeros(1, 3, 32, 32, dtype=torch.uint8),),
            zoo="" if setting.network == "transformer" else setting.network,
            options={"num_classes": setting.num_classes}, precisions=("fp32",),
            table=table_of(model, work.load_json(result), setting.name),
        )  # fmt: skip
    target = max(manifest.configurations, key=lambda c: c.nbytes)
    path = upgrade_path(manifest, (), target)
    whole = sum(manifest.chunks[k].nbytes for k in arrival(manifest, (), path))
    steps, have = [], set()
    for chunk in arrival(manifest, (), path):
        have.add(chunk)
        ready = [c for c in runnable(manifest, have) if c in path]
        if ready and (not steps or steps[-1]["depth"] != ready[-1].depth):
            best = max(ready, key=lambda c: c.depth)
            nbytes = sum(manifest.chunks[k].nbytes for k in have)
            steps.append({"depth": best.depth, "nbytes": nbytes, "share": nbytes / whole, "accuracy": best.accuracy})
    link_share = paper.LINK_BPS * paper.LINK_DEADLINE_S / (paper.NETWORKS["resnet110"].mbit * 1e6)
    rate = 8 * whole * link_share / paper.LINK_DEADLINE_S
    try:
        choice = choose(manifest, Demand(deadline_s=paper.LINK_DEADLINE_S, rate_bps=rate))
        link = {"rate_bps": rate, "depth": choice.configuration.depth, "accuracy": choice.configuration.accuracy,
                "nbytes": choice.nbytes, "share": choice.nbytes / whole}  # fmt: skip
    except NoConfiguration:
        link = {"rate_bps": rate}
    return {"whole_nbytes": whole, "target_nbytes": target.nbytes, "steps": steps, "link": link}
