"""Accordion's experiments: sizes as published, depths evaluated in one pass, the queue, figures read off curves."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "experiments" / "accordion"
MODULES = [path.stem for path in FOLDER.glob("*.py")] + ["cifar10", "cifar100"]
Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Imports a module of the experiment; other experiments have modules of the same names."""
    others = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path[:] = path
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(others)


def curve(*points: tuple[int, int, float]) -> list[dict[str, Any]]:
    return [
        {"depth": k, "parameters": p, "macs": m, "error": e, "deviation": None} for k, (p, m, e) in enumerate(points)
    ]


# --- the paper ------------------------------------------------------------------------------------


def test_numbers_of_the_paper(load: Load) -> None:
    paper = load("paper")
    assert paper.BITS_SAVED == {
        "resnet": 25, "blockcoml-05": 66, "blockcoml-03": 75, "coml-05": 89, "coml-03": 90
    }  # fmt: skip
    assert paper.MACS_SAVED == {
        "resnet": 11.5, "blockcoml-05": 69.2, "blockcoml-03": 73.1, "coml-05": 57.7, "coml-03": 61.5
    }  # fmt: skip
    assert [paper.LINK_ERROR[p] for p in paper.POLICIES] == [96, 43, 38, 69, 46]
    for network in paper.NETWORKS.values():
        assert network.mbit * 1e6 / network.parameters == pytest.approx(paper.PAPER_BITS, rel=0.03)


def test_a_link_of_240_mbit_brings_60_percent_of_10_mb_in_200_ms(load: Load) -> None:
    found = load("artifact").paper_example()
    assert found["share"] == pytest.approx(0.6)
    assert found["expected_s"] == pytest.approx(0.2)


def test_third_groups_of_the_papers_networks(load: Load) -> None:
    """ "if only 66% of the full model has to be sent, the full third inner-block is not transmitted": of its blocks."""
    settings, work, evaluate = load("settings"), load("work"), load("evaluate")
    model, whole = work.build(settings.SETTINGS["cifar10-resnet56"], settings.METHODS["coml-05"], 0, None)
    assert len(model.blocks) == 3 * load("paper").NETWORKS["resnet56"].brls_per_group
    sizes = evaluate.sizes_by_depth(model, whole)
    assert sizes["macs"][27] == pytest.approx(load("paper").NETWORKS["resnet56"].macs, rel=0.02)
    assert sizes["macs"][18] / sizes["macs"][27] == pytest.approx(0.66, abs=0.02)
    assert sizes["parameters"][18] / sizes["parameters"][27] == pytest.approx(0.24, abs=0.01)
    assert sizes["parameters"][27] == 853_018
    assert sizes["statistics"][27] == 2 * (19 * 16 + 18 * 32 + 18 * 64)


# --- evaluation -----------------------------------------------------------------------------------


def test_one_pass_gives_what_each_depth_gives(load: Load) -> None:
    settings, work, evaluate = load("settings"), load("work"), load("evaluate")
    setting = replace(settings.QUICK["quick-resnet20"], published=False)
    model, _ = work.build(setting, settings.METHODS["coml-05"], 0, None)
    model.eval()
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))
    alone, together = dict(evaluate.each_depth(model, x)), dict(evaluate.one_pass(model, x))
    assert sorted(alone) == sorted(together) == list(range(1, 10))
    for depth, logits in alone.items():
        assert torch.equal(together[depth], logits)
    assert not torch.equal(alone[1], alone[9])
    assert model.depth == 9


def test_published_weights_keep_their_answers(load: Load, tmp_path: Path) -> None:
    """Folding ImageNet's normalisation into the first layer changes nothing but at the border."""
    from airloom import zoo
    from airloom.zoo.pixels import IMAGENET_MEAN, IMAGENET_STD, NormalizePixels

    published = load("published")
    model = zoo.build("resnet20", "random", seed=1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=torch.Generator().manual_seed(2))
    theirs = {
        f"module.{k.replace('groups.0', 'layer1').replace('groups.1', 'layer2').replace('groups.2', 'layer3')}".replace(
            "fc.", "linear."
        ): v
        for k, v in model.state_dict().items()
    }
    torch.save({"state_dict": theirs}, tmp_path / published.FILES["resnet20"])
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8))
    folded = zoo.build("resnet20", "random")
    folded.load_state_dict(published.load_published("resnet20", tmp_path))
    plain = zoo.build("resnet20", "random")
    plain.load_state_dict(published.load_published("resnet20", tmp_path, fold=False))
    plain.pixels = NormalizePixels(IMAGENET_MEAN, IMAGENET_STD)
    with torch.inference_mode():
        first, second = (m.bn1(m.conv1(m.pixels(x)))[:, :, 1:-1, 1:-1] for m in (folded, plain))
        border = (folded.bn1(folded.conv1(folded.pixels(x))) - plain.bn1(plain.conv1(plain.pixels(x)))).abs()
    assert torch.allclose(first, second, atol=1e-4)
    assert border[:, :, 0].max() > 1e-3


def test_exits_stop_where_they_say(load: Load) -> None:
    networks, baselines = load("networks"), load("baselines")
    model = networks.EarlyExits("resnet20", 10).eval()
    x = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    with torch.inference_mode():
        everything = model(x)
        assert all(torch.equal(model.answer(x, k), logits) for k, logits in enumerate(everything))
    parameters = [model.parameters_until(k) for k in range(3)]
    assert parameters[-1] == sum(p.numel() for p in model.parameters())
    assert parameters == sorted(parameters)
    macs = [baselines.macs_until(model, k) for k in range(3)]
    assert macs[0] < 0.45 * macs[2] < macs[1] < macs[2]


def test_a_transformer_has_blocks_to_leave_out(load: Load) -> None:
    settings, work, evaluate = load("settings"), load("work"), load("evaluate")
    model, whole = work.build(settings.SETTINGS["cifar10-transformer"], settings.METHODS["ours"], 0, None)
    assert model.order.depths == tuple(range(1, 9))
    macs = evaluate.sizes_by_depth(model, whole)["macs"]
    # A block is 8 width^2 for each of 64 tokens, and attention between all pairs of them twice.
    assert macs[8] - macs[7] == 64 * 8 * 96**2 + 2 * 64**2 * 96
    assert 0 < macs[1] - (macs[8] - macs[7]) < 64 * 3 * 16 * 96 + 1000
    with torch.inference_mode(), model.at(2):
        assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 10)


# --- the queue ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(load: Load, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A setting of a few small pictures and its places."""
    settings, work = load("settings"), load("work")
    setting = replace(
        settings.QUICK["quick-resnet20"], name="tiny", published=False, train=256, test=64, seeds=(0, 1), batch=64,
        methods=("resnet", "coml-05"), extras=("int8",), precision="fp32",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("accordion")
    rng = np.random.default_rng(0)
    (folder / "data").mkdir()
    for part, count in (("train", 300), ("test", 80)):
        np.save(folder / "data" / f"cifar10-x_{part}.npy", rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))
        np.save(folder / "data" / f"cifar10-y_{part}.npy", rng.integers(0, 10, count))
    return setting, work.Places(folder, {})


def test_every_policy_of_a_seed_comes_before_the_next_seed_and_extras_last(load: Load) -> None:
    settings = load("settings")
    names = [job.name for job in settings.jobs(settings.SETTINGS)]
    assert names[0] == "cifar10-resnet56/resnet/0"
    assert names.index("cifar10-resnet56/ours/0") < names.index("cifar10-resnet56/resnet/1")
    assert names.index("cifar100-resnet32/ours/2") < names.index("cifar10-resnet56/exits/0")
    assert len(names) == len(set(names))
    everything = [*settings.jobs(settings.EVERY)]
    assert all(job.needs is None or job.needs.name in {j.name for j in everything} for job in everything)
    for job in everything:
        job.setting.recipe(job.method, job.seed).check()


def test_the_papers_recipe(load: Load) -> None:
    settings, paper = load("settings"), load("paper")
    recipe = settings.FULL["paper-cifar100-resnet110"].recipe(settings.METHODS["coml-05"], 0)
    assert (recipe.epochs, recipe.batch, recipe.lr, recipe.weight_decay) == (164, 124, 0.1, 1e-4)
    rates = [recipe.lr_at(epoch) for epoch in (0, 81, 82, 122, 123, 163)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert paper.DROPS == (82, 123)


def test_a_stopped_job_goes_on_to_the_same_weights(load: Load, tiny: tuple[Any, Any], tmp_path: Path) -> None:
    settings, work, evaluate = load("settings"), load("work"), load("evaluate")
    setting, places = tiny
    job = settings.Job(replace(setting, epochs=1), settings.METHODS["coml-05"], 7)
    (tmp_path / "data").symlink_to(places.work / "data")
    again = work.Places(tmp_path, {})
    work.run(job, places, note=lambda _: None)
    asked = iter([False, True])
    with pytest.raises(evaluate.Stopped):
        work.run(job, again, stop=lambda: next(asked, True), note=lambda _: None)
    assert not again.result(job).exists()
    work.run(job, again, note=lambda _: None)
    first, second = work.load_json(places.result(job)), work.load_json(again.result(job))
    assert first["error"] == second["error"]
    own, other = (work.own_weights(job, p) for p in (places, again))
    assert all(torch.equal(own[key], other[key]) for key in own)
    assert first["steps"] == 4
    assert not list(places.of(job).glob("checkpoint*"))


def test_a_worker_does_what_is_left_and_nobody_elses(
    load: Load, tiny: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train, settings = load("train"), load("settings")
    setting, places = tiny
    queue = [job for job in settings.jobs({"tiny": setting}) if job.seed == 0]
    assert [train.state(job, places) for job in queue if job.needs] == ["waits"]
    with train.held(places.of(queue[1]) / "lock") as mine:
        assert mine
        train.work_through(queue, places, stop=lambda: False, wait=False)
        assert [train.state(job, places) for job in queue] == ["done", "running", "done"]
    before = places.result(queue[0]).stat().st_mtime_ns
    train.work_through(queue, places, stop=lambda: False)
    assert [train.state(job, places) for job in queue] == ["done"] * 3
    assert places.result(queue[0]).stat().st_mtime_ns == before
    train.show(queue, places)
    assert capsys.readouterr().out.endswith("3 of 3 done\n")


def test_results_of_what_there_is(load: Load, tiny: tuple[Any, Any], tmp_path: Path) -> None:
    """One seed of two: tables say so, pictures are drawn, and nothing that lacks is made up."""
    run, settings, train = load("run"), load("settings"), load("train")
    setting, places = tiny
    train.work_through([*settings.jobs({"tiny": replace(setting, seeds=(0,))})], places, stop=lambda: False)
    results = run.short(run.results_of({"tiny": setting}, places))
    run.report(results, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == results
    methods = results["settings"]["tiny"]["methods"]
    assert set(methods) == {"resnet", "coml-05", "int8"}
    assert {m["seeds"] for m in methods.values()} == {1}
    assert results["settings"]["tiny"]["wanted_seeds"] == 2
    text = (tmp_path / "tables.md").read_text()
    assert "| CoML-05 | 1 |" in text
    assert "nan" not in text
    assert (tmp_path / "figures" / "fig4-tiny.png").exists()


# --- figures --------------------------------------------------------------------------------------


def test_figures_are_read_off_curves(load: Load) -> None:
    summary = load("summary")
    points = curve((10, 40, 70.0), (25, 50, 49.0), (60, 90, 52.0), (100, 100, 30.0))
    assert summary.at_most(points, 0.25)["error"] == 49.0
    assert summary.at_most(points, 0.05) is None
    assert summary.saved(points, 50.0) == pytest.approx(75.0)
    assert summary.saved(points, 50.0, "macs") == pytest.approx(50.0)
    assert summary.saved(points, 20.0) is None
    better = curve((10, 40, 60.0), (25, 50, 50.0), (100, 100, 29.0))
    found = summary.above({"ours": better, "coml-05": points})["ours over coml-05"]
    assert (found["better"], found["of"], found["least"]) == (2, 3, -1.0)
    assert pytest.approx(1.75) == summary.RELATIVE


def test_energy_adds_up(load: Load) -> None:
    energy = load("energy")
    use = energy.Use(ues=10, answers=0)
    point = {"parameters": 1e6, "macs": 1e6}
    found = energy.phases(point, 1e12, use)
    # 32 Mbit at 100 Mbit/s with 4.14 W (5G low band).
    assert found["download"] == pytest.approx(0.32 * 4.14)
    assert found["answers"] == 0
    # An RTX 2080: 208 W more than idle while it does 1.814e9 MACs in 2.24 ms.
    assert found["training"] == pytest.approx(1e12 / 10 * 208 * 0.00224 / 1.814e9, rel=1e-6)
    assert energy.phases(point, 2e12, use)["training"] == pytest.approx(2 * found["training"])


def test_recorded_results_hold_together(load: Load) -> None:
    """What the folder shows was made of one results.json."""
    file = FOLDER / "results.json"
    if not file.exists():
        pytest.skip("no results are recorded yet")
    results = json.loads(file.read_text())
    assert results["example"]["share"] == pytest.approx(0.6)
    for name, setting in results["settings"].items():
        assert (FOLDER / "figures" / f"fig4-{name}.png").exists()
        for method, found in setting["methods"].items():
            for point in found["points"]:
                assert len(point["errors"]) == found["seeds"] <= setting["wanted_seeds"], (name, method)
                assert point["error"] == pytest.approx(np.mean(point["errors"]), rel=1e-4)
        steps = results["delivered"].get(name, {}).get("steps", [{"share": 0}])
        assert steps[0]["share"] <= 0.15
