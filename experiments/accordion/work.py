"""Doing one job: train (or take another job's weights), evaluate at every depth, write what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import baselines
import data
import safetensors.torch
import torch
from evaluate import Stopped, Stopwatch, errors_by_depth, sizes_by_depth
from networks import PatchTransformer
from published import load_published
from settings import RECALIBRATE, Job, Method, Setting
from torch import Tensor, nn

from airloom import zoo
from airloom.core.depth import depth_order
from airloom.nn.capture import capture
from airloom.nn.elastic.blocks import find_blocks
from airloom.nn.elastic.model import ElasticModel
from airloom.nn.elastic.statistics import recalibrate
from airloom.nn.elastic.training import TrainingStep, train_elastic

Stop = Callable[[], bool]


class Places:
    """Where things are.

    Attributes:
        work: checkpoints and results of jobs.
        folders: of the pictures by data set, and `published` for the trained networks.
        torch_device: torch's name of the device to train on.
    """

    def __init__(self, work: Path, folders: Mapping[str, Path | None], torch_device: str = "cpu") -> None:
        self.work, self.folders, self.torch_device = work, folders, torch_device

    def of(self, job: Job) -> Path:
        return self.work / "jobs" / job.name

    def result(self, job: Job) -> Path:
        return self.of(job) / "result.json"

    def pictures(self, setting: Setting) -> data.Pictures:
        folder = self.folders.get(setting.dataset)
        whole = data.load(setting.dataset, folder or Path("nowhere"), self.work)
        return whole.first(setting.train, setting.test)

    def start(self, setting: Setting) -> dict[str, Tensor] | None:
        """Published weights, where the setting begins with them."""
        if not setting.published:
            return None
        folder = self.folders.get("published")
        if folder is None:
            raise FileNotFoundError(f"{setting.name} begins with published weights: give their folder")
        return load_published(setting.network, folder)


def build(
    setting: Setting, method: Method, seed: int, weights: Mapping[str, Tensor] | None
) -> tuple[ElasticModel, int]:
    """The setting's network with the depths of the method, and the multiply-accumulates of all of it for one sample.

    Random weights follow from the seed.
    """
    if setting.network == "transformer":
        torch.manual_seed(seed)
        network: nn.Module = PatchTransformer(num_classes=setting.num_classes)
    else:
        network = zoo.build(setting.network, "random", seed=seed, num_classes=setting.num_classes)
    if weights is not None:
        network.load_state_dict(dict(weights))
    x = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    captured = capture(network.eval(), (x,), name=setting.network)
    blocks = find_blocks(network, (x,), captured=captured)
    macs = sum(op.macs for op in captured.graph.operators) // len(x)
    return ElasticModel(network, blocks, depth_order(method.order, blocks.groups)), macs


def run(job: Job, places: Places, *, stop: Stop = lambda: False, note: Callable[[str], None] = print) -> None:
    """Do the job and write its result.

    Raises:
        Stopped: asked to; a later call goes on.
    """
    folder = places.of(job)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = places.pictures(job.setting)
    found = _found(job, places, pictures, folder, stop, note)
    head = {
        "setting": job.setting.name, "method": job.method.name, "seed": job.seed, "epochs": job.setting.epochs,
        "train_pictures": len(pictures.x_train), "test_pictures": len(pictures.x_test), "torch": torch.__version__,
        "torch_device": places.torch_device,
    }  # fmt: skip
    write(places.result(job), {**head, **found})
    for left in (*folder.glob("checkpoint*"), *folder.glob("*.part")):
        left.unlink()


def _found(
    job: Job, places: Places, pictures: data.Pictures, folder: Path, stop: Stop, note: Callable[[str], None]
) -> dict[str, Any]:
    device = places.torch_device
    match job.method.kind:
        case "exits":
            return baselines.early_exits(job, places.start(job.setting), pictures, folder, stop, device)
        case "pruned":
            return baselines.pruned(job, starting_weights(job, places), pictures, folder, stop, device)
        case "int8":
            return baselines.int8(job, starting_weights(job, places), pictures, device)
    if job.method.of:
        model, macs = build(job.setting, job.method, job.seed, own_weights(job.needs, places))
        watch = Stopwatch()
        if job.method.own_statistics:
            own_statistics(model, pictures, device)
        trained: dict[str, Any] = {"cpu_s": watch.seconds}
    else:
        model, macs, trained = _train(job, places, pictures, folder, stop, note)
    if job.method.own_statistics:
        save(folder / "statistics.safetensors", _statistics(model))
    watch = Stopwatch()
    errors = errors_by_depth(model, pictures.x_test, pictures.y_test, device=device, stop=stop)
    found = {"error": errors, **sizes_by_depth(model, macs), **trained, "evaluation_cpu_s": watch.seconds}
    found["order"] = job.method.order
    found["blocks"] = [{"name": b.name, "group": b.group, "parameters": b.parameters} for b in model.blocks]
    return found


def _train(
    job: Job, places: Places, pictures: data.Pictures, folder: Path, stop: Stop, note: Callable[[str], None]
) -> tuple[ElasticModel, int, dict[str, Any]]:
    """Train, or take what an earlier call trained; statistics of depths included."""
    recipe = job.setting.recipe(job.method, job.seed)
    model, macs = build(job.setting, job.method, job.seed, places.start(job.setting))
    weights, record = folder / "weights.safetensors", folder / "training.json"
    if weights.exists() and record.exists():
        _load(model, folder)
        return model, macs, load_json(record)
    clock = folder / "cpu.json"
    watch = Stopwatch(load_json(clock) if clock.exists() else 0.0)
    reported = [-1]

    def progress(step: TrainingStep) -> None:
        share = 20 * step.step // step.steps
        if share != reported[0]:
            reported[0] = share
            losses = " ".join(f"{loss:.2f}" for loss in step.losses)
            note(f"{job.name} step {step.step}/{step.steps} loss {losses}, {step.rest_s:.0f} s to go")

    teacher = None
    if job.method.taught:
        teacher = baselines.ordinary(job.setting, starting_weights(job, places)).to(memory_format=torch.channels_last)
    trained = train_elastic(
        model, [pictures.x_train.numpy()], pictures.y_train.numpy(), recipe, checkpoint=folder / "checkpoint",
        resume=True, teacher=teacher, stop=stop, progress=progress, torch_device=places.torch_device,
    )  # fmt: skip
    write(clock, watch.seconds)
    if not trained.is_finished:
        raise Stopped
    steps = recipe.epochs * (len(pictures.x_train) // recipe.batch)
    history = [{"loss": e.loss, "full_loss": e.full_loss, "share": e.share} for e in trained.history]
    found = {"cpu_s": watch.seconds, "steps": steps, "history": history, "seconds": trained.seconds}
    if job.method.own_statistics:
        save(folder / "statistics.safetensors", _statistics(model))
    save(weights, model.state_dict())
    write(record, found)
    return model, macs, found


def trained(job: Job, places: Places) -> ElasticModel:
    """The model of a finished training."""
    model, _ = build(job.setting, job.method, job.seed, None)
    _load(model, places.of(job))
    return model


def _load(model: ElasticModel, folder: Path) -> None:
    model.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    for depth, own in _read_statistics(folder / "statistics.safetensors").items():
        model.load_statistics(depth, own)


def own_statistics(model: ElasticModel, pictures: data.Pictures, device: str) -> None:
    """Batch-norm statistics of each depth from training pictures as they are."""
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = 128
    batches = [pictures.x_train[k * size : (k + 1) * size].to(device) for k in range(RECALIBRATE)]
    recalibrate(model, [batch for batch in batches if len(batch) == size], model.order.depths)


def starting_weights(job: Job, places: Places) -> dict[str, Tensor]:
    """Of the ordinary network that a baseline begins with: the published ones, or those trained here."""
    start = places.start(job.setting)
    return own_weights(job.needs, places) if start is None else start


def own_weights(job: Job | None, places: Places) -> dict[str, Tensor]:
    assert job is not None
    return safetensors.torch.load_file(places.of(job) / "weights.safetensors")


def _statistics(model: ElasticModel) -> dict[str, Tensor]:
    return {
        f"{depth}:{key}": tensor
        for depth in model.statistics_depths
        for key, tensor in model.statistics(depth).items()
    }  # fmt: skip


def _read_statistics(path: Path) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    if path.exists():
        for name, tensor in safetensors.torch.load_file(path).items():
            depth, _, key = name.partition(":")
            found.setdefault(int(depth), {})[key] = tensor
    return found


def save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    aside = path.with_suffix(".part")
    safetensors.torch.save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, aside)
    aside.replace(path)


def load_json(path: Path) -> Any:
    return json.loads(path.read_text())


def write(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    aside = path.with_suffix(f".{os.getpid()}.part")
    aside.write_text(text)
    aside.replace(path)
