"""What a training host's executor thread calls: one `Train` of the engine after the other."""

from __future__ import annotations

from collections.abc import Mapping

from airloom.core.messages import Parcel
from airloom.core.training import TrainingSpec
from airloom.engine.events import Train
from airloom.errors import StageFailed
from airloom.nn.captured import Captured
from airloom.nn.executor import Buffer
from airloom.nn.training.trainer import StageTrainer


class TrainingExecutor:
    """A trainer of this host; `train` carries out what the engine asks for."""

    def __init__(self, captured: Captured, spec: TrainingSpec, *, torch_device: str = "cpu", threads: int = 1) -> None:
        self.trainer = StageTrainer(captured, spec, torch_device=torch_device, threads=threads)

    @property
    def is_single_threaded(self) -> bool:
        """Whether the thread that calls `train` does all of the work, and its processor time is that of the work."""
        return self.trainer.threads == 1 and self.trainer.torch_device.type == "cpu"

    def train(self, job: Train) -> Parcel:
        """The tensors that `job.makes` names.

        Raises:
            AirloomError: what was asked for cannot be done; one line.
        """
        trainer, data = self.trainer, dict(zip(job.parcel.tensors, job.parcel.data, strict=True))
        made: Mapping[int, Buffer]
        match job.action:
            case "place":
                trainer.place(job.step, job.stages, job.stage, data)
                made = {}
            case "forward":
                made = trainer.forward(job.step, data)
            case "backward":
                made = trainer.backward(job.step, data)
            case "update":
                made = trainer.update(job.step)
            case "install":
                trainer.install(job.step, data)
                made = {}
            case "export":
                made = trainer.export(job.step, [id for id, _ in job.makes])
        ids = tuple(id for id, _ in job.makes)
        if set(ids) - set(made):
            raise StageFailed(f"{job.action} made tensors {sorted(made)}, asked for {sorted(ids)}")
        return Parcel(ids, tuple(memoryview(made[id]) for id in ids))

    def run(self, start: int, stop: int, data: Mapping[int, memoryview]) -> dict[int, memoryview]:
        """Inference is for other hosts: what a stage gives in training mode depends on the batch."""
        raise StageFailed(f"operators {start}..{stop - 1}: this host trains the model, it answers no requests")

    def load(self, start: int, stop: int) -> None:
        """Nothing to make ready: a training host is told its stage."""
