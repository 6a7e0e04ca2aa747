"""What is trained: settings (data, network, schedule) and methods (what each step trains), and the jobs of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec
import paper

from airloom.core.depth import Order
from airloom.nn.elastic.recipe import Recipe, Sandwich, Soft
from airloom.planner.depths import Full, FullOrLess, Policy, Uniform

#: Batches for batch-norm statistics of a depth's own.
RECALIBRATE = 30


@dataclass(frozen=True)
class Method:
    """What each step of a training trains.

    Attributes:
        kind: `elastic` goes through `train_elastic`; the others are baselines of baselines.py.
        order: in which blocks are left out, trained and evaluated.
        own_statistics: batch-norm statistics per depth, recalibrated in the end.
        taught: every depth learns from the answers of the ordinary network too, which is there already.
        of: no training: evaluates the weights of that method's job with these statistics.
    """

    name: str
    title: str
    policy: Policy = field(default_factory=Full)
    order: Order = "back"
    kind: Literal["elastic", "exits", "pruned", "int8"] = "elastic"
    sandwich: Sandwich | None = None
    soft: Soft = field(default_factory=Soft)
    own_statistics: bool = False
    taught: bool = False
    of: str = ""


# From the back, ten depths cost little more than one, since what they have in common is computed once. On the first 150
# steps this was 6.7 points below one depth between the ends in mean error over depths, and 0.8 at full size.
_OURS = Method("ours", "Airloom", policy=Uniform(), sandwich=Sandwich(between=8, weight=0.3))
# Where blocks are left out from the back, what a layer sees does not depend on the depth: one set of statistics is
# that of every depth. Only `groups` has something to gain from sets of its own.
_OURS_GROUPS = replace(
    _OURS,
    name="ours-groups",
    title="Airloom by groups",
    order="groups",
    own_statistics=True,
    sandwich=Sandwich(between=1),
)
METHODS = {
    each.name: each
    for each in (
        Method("resnet", "ordinary"),
        Method("coml-05", "CoML-05", FullOrLess(full=0.5)),
        Method("coml-03", "CoML-03", FullOrLess(full=0.3)),
        Method("blockcoml-05", "BlockCoML-05", FullOrLess(full=0.5), "groups"),
        Method("blockcoml-03", "BlockCoML-03", FullOrLess(full=0.3), "groups"),
        _OURS,
        _OURS_GROUPS,
        replace(_OURS, name="ours-taught", title="Airloom, taught", taught=True),
        replace(_OURS, name="ours-labels", title="Airloom without distillation", soft=Soft(share=0.0)),
        replace(_OURS_GROUPS, name="ours-groups-shared", title="Airloom by groups, one set of statistics",
                own_statistics=False, of="ours-groups"),
        *(
            Method(f"blockcoml-0{share}-own", f"BlockCoML-0{share}, statistics per depth",
                   FullOrLess(full=share / 10), "groups", own_statistics=True, of=f"blockcoml-0{share}")
            for share in (5, 3)
        ),
        Method("exits", "early exits", kind="exits"),
        Method("pruned", "three weights in four pruned", kind="pruned"),
        Method("int8", "8 bits a weight", kind="int8"),
    )
}  # fmt: skip
PAPERS = ("resnet", "coml-05", "coml-03", "blockcoml-05", "blockcoml-03")


@dataclass(frozen=True)
class Setting:
    """A network on a data set, and how long it is trained.

    Attributes:
        network: of the zoo, or `transformer` (networks.py).
        published: begins with the published weights of a trained network, not with random ones.
        epochs, rate: of the paper's schedule: the rate is divided by 10 after half and three quarters.
        train, test: so many of the pictures; 0 is all.
        like: the paper's network that this one stands for.
        methods: in the order of the queue; `extras` come when those of all settings are done.
    """

    name: str
    title: str
    dataset: str
    network: str
    epochs: int
    rate: float = paper.RATE
    batch: int = 128
    published: bool = False
    options: dict[str, int] = field(default_factory=dict)
    train: int = 0
    test: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = (*PAPERS, "ours", "int8", "blockcoml-05-own")
    extras: tuple[str, ...] = ()
    like: str = "resnet110"
    precision: Literal["fp32", "bf16"] = "bf16"
    optimizer: Literal["sgd", "adamw"] = "sgd"

    @property
    def num_classes(self) -> int:
        return 100 if self.dataset == "cifar100" else 10

    def recipe(self, method: Method, seed: int) -> Recipe:
        """How a job of this setting is trained."""
        recipe = Recipe(
            policy=method.policy, sandwich=method.sandwich, soft=method.soft, epochs=self.epochs, batch=self.batch,
            lr=self.rate, milestones=(0.5, 0.75), momentum=0.9, weight_decay=1e-4, augment="crop-flip",
            precision=self.precision, channels_last=True, recalibrate=RECALIBRATE if method.own_statistics else 0,
            seed=seed,
        )  # fmt: skip
        if self.optimizer == "adamw":
            changed = {"optimizer": "adamw", "shape": "cosine", "weight_decay": 0.05, "warmup": 0.5}
            return msgspec.structs.replace(recipe, **changed)
        return recipe


_BY_GROUPS = ("blockcoml-03-own", "ours-groups", "ours-groups-shared")
#: By name; the order is that of the queue.
SETTINGS = {
    each.name: each
    for each in (
        Setting(
            "cifar10-resnet56", "CIFAR-10, ResNet-56 from trained weights, 2 epochs", "cifar10", "resnet56", epochs=2,
            rate=0.05, published=True, like="resnet56",
            extras=(*_BY_GROUPS, "pruned", "exits", "ours-taught", "ours-labels"),
        ),
        Setting(
            "cifar100-resnet32", "CIFAR-100, ResNet-32, 8 epochs", "cifar100", "resnet32", epochs=8,
            extras=(*_BY_GROUPS, "exits", "ours-taught", "ours-labels"),
        ),
        Setting(
            "cifar10-transformer", "CIFAR-10, small transformer", "cifar10", "transformer", epochs=8,
            seeds=(0,), methods=(), extras=("resnet", "coml-05", "ours"), like="", optimizer="adamw", rate=1e-3,
        ),
    )
}  # fmt: skip
#: Minutes on a laptop: a look at the whole pipeline, no result.
QUICK = {
    "quick-resnet20": Setting(
        "quick-resnet20", "CIFAR-10, ResNet-20 from trained weights, a few steps", "cifar10", "resnet20", epochs=1,
        rate=0.02, published=True, train=2560, test=500, seeds=(0,), like="resnet56",
        methods=("resnet", "coml-05", "blockcoml-05", "blockcoml-05-own", "ours", "ours-taught", "int8",
                 "pruned", "exits"),
    ),
}  # fmt: skip
#: The paper's recipe for those with a GPU: 164 epochs, a batch of 124, five runs.
FULL = {
    each.name: each
    for each in (
        Setting(f"paper-{dataset}-{network}", title, dataset, network, epochs=paper.EPOCHS, batch=paper.BATCH,
                seeds=tuple(range(paper.RUNS)), like=network,
                extras=(*_BY_GROUPS, "pruned", "exits", "ours-taught", "ours-labels"))
        for dataset, network, title in (
            ("cifar10", "resnet56", "CIFAR-10, ResNet-56, the paper's 164 epochs"),
            ("cifar100", "resnet110", "CIFAR-100, ResNet-110, the paper's 164 epochs"),
        )
    )
}  # fmt: skip
EVERY = {**SETTINGS, **QUICK, **FULL}


@dataclass(frozen=True)
class Job:
    """A setting with a method and a seed."""

    setting: Setting
    method: Method
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting.name}/{self.method.name}/{self.seed}"

    @property
    def needs(self) -> Job | None:
        """The job whose weights this one takes, unless the setting's own beginning has them."""
        starts = self.method.taught or self.method.kind in ("pruned", "int8")
        of = "resnet" if starts else self.method.of
        return Job(self.setting, METHODS[of], self.seed) if of and not (starts and self.setting.published) else None


def jobs(settings: Mapping[str, Setting]) -> Iterator[Job]:
    """All jobs in the queue's order: settings, seeds, methods; extras behind everything else, seed by seed."""
    for setting in settings.values():
        for seed in setting.seeds:
            yield from (Job(setting, METHODS[name], seed) for name in setting.methods)
    for seed in sorted({seed for setting in settings.values() for seed in setting.seeds}):
        for setting in settings.values():
            if seed in setting.seeds:
                yield from (Job(setting, METHODS[name], seed) for name in setting.extras)
