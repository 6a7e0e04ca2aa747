import itertools
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.depth import DepthOrder
from airloom.core.progressive import (
    BIT_PLANES,
    STATISTICS,
    Architecture,
    Chunk,
    Configuration,
    Manifest,
    Part,
    encodings_of,
)
from airloom.errors import ConfigError
from airloom.planner.delivery import (
    Choice,
    Demand,
    Lookup,
    NoConfiguration,
    arrival,
    choose,
    runnable,
    transfer_s,
    upgrade_path,
)

BITS = tuple(f"bits-{k}" for k in BIT_PLANES)


def manifest(sizes, table, *, depths=None, statistics=None):
    """A manifest of parts of `sizes[encoding][part]` bytes, rows `(depth, precision, accuracy, macs, latency_s)`."""
    parts = len(next(iter(sizes.values())))
    depths = tuple(range(parts)) if depths is None else depths
    digest = "0" * 64
    chunks = [
        Chunk(file=f"chunks/{k}-{encoding}.safetensors", nbytes=n, sha256=digest, part=k, encoding=encoding)
        for encoding, column in sizes.items()
        for k, n in enumerate(column)
    ]
    for depth, n in (statistics or {}).items():
        chunks.append(Chunk(file=f"chunks/s{depth}", nbytes=n, sha256=digest, part=0, encoding=STATISTICS, depth=depth))
    bare = Manifest(
        model="m",
        architecture=Architecture(kind="zoo", name="m"),
        inputs=("1x4",),
        parts=tuple(Part(name=str(k), parameters=1) for k in range(parts)),
        order=DepthOrder(kind="back", arrival=tuple(range(parts - 1)), depths=depths),
        chunks=tuple(chunks),
        configurations=(),
    )
    rows = []
    for depth, precision, *rest in table:
        accuracy, macs, latency_s = (*rest, None, None, None)[:3]
        row = Configuration(depth=depth, precision=precision, nbytes=0, parameters=depth + 1)
        rows.append(
            Configuration(
                depth=depth,
                precision=precision,
                nbytes=bare.nbytes_of(row),
                parameters=depth + 1,
                macs=macs or 0,
                accuracy=accuracy,
                latency_s=latency_s,
            )
        )
    return Manifest(
        **{
            **{name: getattr(bare, name) for name in bare.__struct_fields__},
            "configurations": tuple(sorted(rows, key=lambda row: row.nbytes)),
        }
    )


def ladder(sizes, accuracies, **rest):
    """One precision, a configuration for each depth."""
    return manifest({"fp32": sizes}, [(k, "fp32", a) for k, a in enumerate(accuracies)], **rest)


MB = 1_000_000


def test_papers_example_sends_60_percent():
    """Accordion, "Practical Implementation": 10 MB, 200 ms, 240 Mbit/s: only 60 % of the model."""
    model = ladder([MB] * 10, [0.5 + 0.04 * k for k in range(10)])
    choice = choose(model, Demand(deadline_s=0.2, rate_bps=240e6))
    assert choice.nbytes == 6 * MB
    assert choice.nbytes / model.configurations[-1].nbytes == 0.6
    assert choice.expected_s == pytest.approx(0.2)
    assert choice.decided_by == "deadline_s"
    assert choice.chunks == tuple(range(6))


def test_papers_example_of_resnet_110():
    """Accordion, "Performance Results": 100 Mbit/s for 0.3 s is 30 of ResNet-110's 111 Mbit."""
    sizes = [110_000 // 8] + [4 * 2055 // 8 * 10] * 54
    scale = 111e6 / 8 / sum(sizes)
    sizes = [int(n * scale) for n in sizes]
    choice = choose(ladder(sizes, [k / 60 for k in range(55)]), Demand(deadline_s=0.3, rate_bps=100e6))
    assert 30e6 - 8 * sizes[1] < 8 * choice.nbytes <= 30e6
    assert 0.25 < choice.nbytes / sum(sizes) < 0.271


@st.composite
def models(draw, unmeasured=True):
    parts = draw(st.integers(1, 4))
    encodings = draw(st.sets(st.sampled_from(["fp32", "int8", *BITS[:3]]), min_size=1))
    encodings |= {name for precision in encodings for name in encodings_of(precision)}
    size = st.integers(1, 50)  # a file is never empty
    sizes = {e: [draw(size) for _ in range(parts)] for e in sorted(encodings)}
    depths = tuple(sorted(draw(st.sets(st.integers(0, parts - 1))) | {parts - 1}))
    statistics = {d: draw(size) for d in depths} if draw(st.booleans()) else None
    accuracy = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5, 0.9, 1.0])
    if unmeasured:
        accuracy |= st.none()
    cells = list(itertools.product(depths, sorted(encodings)))
    kept = draw(st.lists(st.sampled_from(cells), min_size=1, unique=True))
    table = [
        (d, p, draw(accuracy), draw(st.integers(0, 3)), draw(st.sampled_from([None, 0.0, 0.5, 2.0]))) for d, p in kept
    ]
    return manifest(sizes, table, depths=depths, statistics=statistics)


@st.composite
def demands(draw, model, accuracy=True):
    have = draw(st.sets(st.sampled_from(range(len(model.chunks)))))
    some = st.none() | st.integers(0, 150)
    joules = draw(st.none() | st.integers(0, 6))
    return Demand(
        deadline_s=draw(st.none() | st.sampled_from([0.0, 0.5, 1.0, 4.0])),
        rate_bps=draw(st.sampled_from([8.0, 80.0, 800.0])),
        overhead_s=draw(st.sampled_from([0.0, 0.25])),
        accuracy=draw(st.none() | st.sampled_from([0.0, 0.25, 0.5, 0.95])) if accuracy else None,
        max_nbytes=draw(some),
        max_macs=draw(st.none() | st.integers(0, 3)),
        max_latency_s=draw(st.none() | st.sampled_from([0.0, 1.0, 4.0])),
        latency_factor=draw(st.sampled_from([1.0, 2.0])),
        max_joules=joules,
        joules_per_mac=1.0 if joules is not None else None,
        watts=draw(st.none() | st.just(2.0)),
        have=frozenset(have),
    )


def within(model, row, demand):
    nbytes = model.nbytes_of(row, demand.have)
    latency = math.inf if row.latency_s is None else row.latency_s * demand.latency_factor
    seconds = demand.overhead_s + 8 * nbytes / demand.rate_bps if nbytes else 0.0
    checks = [
        (demand.deadline_s, seconds),
        (demand.max_nbytes, nbytes),
        (demand.max_macs, row.macs),
        (demand.max_latency_s, latency),
        (demand.max_joules, (demand.joules_per_mac or 0) * row.macs + (demand.watts * latency if demand.watts else 0)),
    ]
    return all(bound is None or value <= bound for bound, value in checks)


def asks_the_unknown(model, demand):
    energy = demand.max_joules is not None
    counted = any(row.macs for row in model.configurations)
    timed = any(row.latency_s is not None for row in model.configurations)
    macs = demand.max_macs is not None or (energy and demand.joules_per_mac)
    latency = demand.max_latency_s is not None or (energy and demand.watts)
    return bool((macs and not counted) or (latency and not timed))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_choice_is_that_of_brute_force(data):
    model = data.draw(models(unmeasured=False))
    demand = data.draw(demands(model))
    allowed = [row for row in model.configurations if within(model, row, demand)]
    if demand.accuracy is not None:
        allowed = [row for row in allowed if row.accuracy >= demand.accuracy]
    if asks_the_unknown(model, demand):
        with pytest.raises(ConfigError, match="nobody"):
            choose(model, demand)
        return
    if not allowed:
        with pytest.raises(NoConfiguration) as refused:
            choose(model, demand)
        assert refused.value.nearest in (None, *model.configurations)
        assert "\n" not in str(refused.value)
        return
    choice = choose(model, demand)
    chosen = choice.configuration
    assert chosen in allowed
    assert choice.nbytes == model.nbytes_of(chosen, demand.have) == sum(model.chunks[k].nbytes for k in choice.chunks)
    assert set(choice.chunks) == set(model.chunks_of(chosen)) - demand.have
    key = (lambda c: -c.accuracy) if demand.accuracy is None else (lambda c: 0.0)
    best = min((key(row), model.nbytes_of(row, demand.have)) for row in allowed)
    assert (key(chosen), choice.nbytes) == best
    assert choice.expected_s == transfer_s(choice.nbytes, demand)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_without_a_table_larger_is_better(data):
    model = data.draw(models(unmeasured=False))
    bare = [(row.depth, row.precision) for row in model.configurations]
    rows = tuple(
        Configuration(depth=c.depth, precision=c.precision, nbytes=c.nbytes, parameters=c.parameters)
        for c in model.configurations
    )
    model = Manifest(**{name: getattr(model, name) for name in model.__struct_fields__} | {"configurations": rows})
    limit = data.draw(st.integers(0, 300))
    fitting = [row.nbytes for row in rows if row.nbytes <= limit]
    if not fitting:
        with pytest.raises(NoConfiguration):
            choose(model, Demand(max_nbytes=limit))
        return
    choice = choose(model, Demand(max_nbytes=limit))
    assert choice.configuration.nbytes == max(fitting)
    assert "larger passes for better" in choice.note
    assert (choice.configuration.depth, choice.configuration.precision) in bare
    with pytest.raises(ConfigError, match="nobody measured how accurate"):
        choose(model, Demand(accuracy=0.5, max_nbytes=limit))


def test_unmeasured_passes_for_at_least_as_accurate_as_what_is_smaller():
    model = ladder([10, 10, 10, 10], [0.5, None, 0.8, None])
    assert choose(model, Demand()).configuration.depth == 3
    assert choose(model, Demand(max_nbytes=30)).configuration.depth == 2
    assert choose(model, Demand(max_nbytes=30)).note == ""
    # Only what was measured can be promised.
    assert choose(model, Demand(accuracy=0.6)).configuration.depth == 2
    with pytest.raises(NoConfiguration, match=r"95\.0 % accurate: the nearest, 2/fp32, is 80\.0 %"):
        choose(model, Demand(accuracy=0.95))


def test_step_5_counts_only_what_lacks():
    model = ladder([100, 50, 50], [0.5, 0.7, 0.9])
    first = choose(model, Demand(max_nbytes=160))
    assert first.configuration.depth == 1
    more = choose(model, Demand(max_nbytes=60, have=frozenset(first.chunks)))
    assert (more.configuration.depth, more.chunks, more.nbytes) == (2, (2,), 50)
    back = choose(model, Demand(accuracy=0.4, have=frozenset((0, 1, 2))))
    assert (back.nbytes, back.expected_s, back.configuration.depth) == (0, 0.0, 2)


def test_a_battery_limit_shrinks():
    model = manifest(
        {"fp32": [10, 10, 10]}, [(0, "fp32", 0.5, 100, 0.1), (1, "fp32", 0.7, 200, 0.2), (2, "fp32", 0.9, 300, 0.3)]
    )
    held = frozenset((0, 1, 2))
    choice = choose(model, Demand(max_joules=0.25, joules_per_mac=1e-3, have=held))
    assert (choice.configuration.depth, choice.decided_by, choice.nbytes) == (1, "max_joules", 0)
    assert choose(model, Demand(max_joules=0.25, watts=1.0, latency_factor=2.0, have=held)).configuration.depth == 0
    both = Demand(max_joules=0.25, watts=1.0, joules_per_mac=1e-3, have=held)
    assert choose(model, both).configuration.depth == 0
    assert choose(model, Demand(max_macs=250)).decided_by == "max_macs"
    assert choose(model, Demand(max_latency_s=0.2)).configuration.depth == 1


def test_a_refusal_names_the_nearest():
    model = ladder([MB, MB], [0.5, 0.9])
    with pytest.raises(NoConfiguration) as refused:
        choose(model, Demand(deadline_s=0.1, rate_bps=8e6))
    assert refused.value.nearest == model.configurations[0]
    assert str(refused.value) == (
        "no configuration of m is within the limits: the nearest, 0/fp32, takes 1.00 s (deadline_s is 100 ms)"
    )
    with pytest.raises(
        NoConfiguration, match=r"is 50\.0 %; 1/fp32 would be, but takes 2\.00 s \(deadline_s is 1\.00 s"
    ):
        choose(model, Demand(deadline_s=1.0, rate_bps=8e6, accuracy=0.9))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"deadline_s": -1.0}, "deadline_s is at least 0"),
        ({"deadline_s": math.nan}, "deadline_s is a finite number"),
        ({"rate_bps": 0.0}, "rate_bps is above 0"),
        ({"rate_bps": math.inf}, "finite"),
        ({"accuracy": 90.0}, "write 90 % as 0.9"),
        ({"accuracy": -0.1}, "accuracy is at least 0"),
        ({"max_nbytes": -1}, "max_nbytes is at least 0"),
        ({"latency_factor": 0.0}, "latency_factor is above 0"),
        ({"max_joules": 1.0}, "needs joules_per_mac or watts"),
    ],
)
def test_demands_that_cannot_be_meant(wrong, reason):
    with pytest.raises(ConfigError, match=reason):
        Demand(**wrong)


@pytest.mark.parametrize(
    ("demand", "reason"),
    [
        (Demand(deadline_s=1.0), "needs rate_bps"),
        (Demand(have=frozenset((7,))), "no chunk 7: they are 0 to 1"),
        (Demand(have=frozenset((-1,))), "no chunk -1"),
        (Demand(max_macs=5), "nobody counted the MACs"),
        (Demand(max_latency_s=5.0), "nobody measured how long"),
        (Demand(max_joules=1.0, watts=1.0), "nobody measured how long"),
    ],
)
def test_demands_that_a_manifest_cannot_answer(demand, reason):
    with pytest.raises(ConfigError, match=reason):
        choose(ladder([1, 1], [0.1, 0.2]), demand)


def paths_to(model, have, target):
    """All ascending sequences of configurations that end in `target`, the first none that runs already."""
    rows = [
        row
        for row in model.configurations
        if row.depth <= target.depth
        and set(encodings_of(row.precision)) <= set(encodings_of(target.precision))
        and row != target
        and model.nbytes_of(row, have)
    ]
    for count in range(len(rows) + 1):
        for chain in itertools.permutations(rows, count):
            chain = (*chain, target)
            if all(
                a.depth <= b.depth and set(encodings_of(a.precision)) <= set(encodings_of(b.precision))
                for a, b in itertools.pairwise(chain)
            ):
                yield chain


def cost_of(model, have, path):
    """What is lost until `path` is done: less accuracy than the target's, times bytes; straight from the definition."""
    target = path[-1]
    ready = runnable(model, have)
    now = max([0.0, *(row.accuracy for row in ready)])
    start, held, cost, first = now, set(have), 0.0, None
    for row in path:
        nbytes = model.nbytes_of(row, frozenset(held))
        cost += max(target.accuracy - now, 0.0) * nbytes
        held |= set(model.chunks_of(row))
        now = max(start, row.accuracy)
        first = nbytes if first is None else first
    late = not ready and first > 0.15 * model.nbytes_of(target, have)
    return late, cost


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_path_is_the_cheapest_of_all(data):
    model = data.draw(models(unmeasured=False))
    have = frozenset(data.draw(st.sets(st.sampled_from(range(len(model.chunks))), max_size=3)))
    target = data.draw(st.sampled_from(model.configurations))
    path = upgrade_path(model, have, target)
    chains = list(itertools.islice(paths_to(model, have, target), 3000))
    assert path in chains
    late, cost = cost_of(model, have, path)
    best_late, best = min(cost_of(model, have, chain) for chain in chains)
    assert late == best_late
    assert cost == pytest.approx(best, abs=1e-4)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_path_sends_nothing_that_the_target_does_not_need(data):
    model = data.draw(models())
    have = frozenset(data.draw(st.sets(st.sampled_from(range(len(model.chunks))))))
    target = data.draw(st.sampled_from(model.configurations))
    spare = data.draw(st.none() | st.integers(0, 40))
    path = upgrade_path(model, have, target, spare_nbytes=spare)
    assert path[-1] == target
    sent = arrival(model, have, path)
    assert len(set(sent)) == len(sent)
    assert not set(sent) & have
    extra = set(sent) - set(model.chunks_of(target))
    assert set(model.chunks_of(target)) <= set(sent) | have
    assert all(model.chunks[k].encoding == STATISTICS and model.chunks[k].depth < target.depth for k in extra)
    if spare is not None:
        assert sum(model.chunks[k].nbytes for k in extra) <= spare
    done = set(have)
    for row in path:
        done |= set(arrival(model, done, [row]))
        assert row in runnable(model, done)


def test_bit_planes_first_coarse_then_deep():
    sizes = {name: [10, 10, 10] for name in BITS[:2]}
    model = manifest(
        sizes,
        [(0, BITS[0], 0.3), (2, BITS[0], 0.8), (0, BITS[1], 0.32), (2, BITS[1], 0.85)],
        depths=(0, 2),
    )
    path = upgrade_path(model, (), model.configurations[-1])
    assert [row.name for row in path] == ["0/bits-4", "2/bits-4", "2/bits-6"]


def test_statistics_on_the_way_are_weighed():
    hardly = ladder([5, 50, 50], [0.5, 0.51, 0.9], statistics={0: 1, 1: 2, 2: 1})
    dear = ladder([5, 50, 50], [0.5, 0.51, 0.9], statistics={0: 1, 1: 40, 2: 1})
    assert [row.depth for row in upgrade_path(hardly, (), hardly.configurations[-1])] == [0, 2]
    better = ladder([5, 50, 50], [0.5, 0.8, 0.9], statistics={0: 1, 1: 1, 2: 1})
    assert [row.depth for row in upgrade_path(better, (), better.configurations[-1])] == [0, 1, 2]
    assert [row.depth for row in upgrade_path(dear, (), dear.configurations[-1])] == [0, 2]
    assert [row.depth for row in upgrade_path(better, (), better.configurations[-1], spare_nbytes=0)] == [2]


def test_first_answer_before_15_percent_even_if_it_is_poor():
    model = ladder([10, 40, 50], [0.01, 0.5, 0.9])
    path = upgrade_path(model, (), model.configurations[-1])
    assert model.nbytes_of(path[0]) <= 0.15 * model.configurations[-1].nbytes
    assert [row.depth for row in path] == [0, 1, 2]


def test_what_is_there_is_the_path():
    model = ladder([10, 40, 50], [0.1, 0.5, 0.9])
    assert upgrade_path(model, range(3), model.configurations[1]) == (model.configurations[1],)
    assert arrival(model, range(3), (model.configurations[1],)) == ()
    with pytest.raises(ConfigError, match="no configuration 7/fp32"):
        upgrade_path(model, (), Configuration(depth=7, precision="fp32", nbytes=1, parameters=1))


@pytest.mark.parametrize(
    "name", ["", "2", "2/", "/fp32", "-1/fp32", "2/fp16", "²/fp32", "9" * 5000 + "/fp32", "2/fp32/"]
)
def test_names_of_configurations_that_are_none(name):
    with pytest.raises(ConfigError, match="no configuration"):
        Lookup(ladder([1, 1, 1], [0.1, 0.2, 0.3])).by_name(name)


def test_lookup_knows_names_and_the_choice_is_the_same():
    model = ladder([1, 1, 1], [0.1, 0.2, 0.3])
    table = Lookup(model)
    assert table.by_name("1/fp32") == model.configurations[1]
    assert isinstance(choose(table, Demand(max_nbytes=2)), Choice)
    assert choose(table, Demand(max_nbytes=2)) == choose(model, Demand(max_nbytes=2))
    with pytest.raises(ConfigError, match="no configuration"):
        Lookup(manifest({"fp32": [1]}, []))


def test_a_thousand_choices_take_no_time():
    """The table of ResNet-110 in five precisions: a server decides at least 500 times a second."""
    sizes = {name: [1000] * 55 for name in BITS}
    cells = [(d, p, (d + 1) / 60 - 0.01 * (5 - k)) for d in range(1, 55) for k, p in enumerate(BITS)]
    model = manifest(sizes, [(d, p, max(a, 0.0)) for d, p, a in cells], statistics=dict.fromkeys(range(1, 55), 30))
    table = Lookup(model)
    start = time.perf_counter()
    for k in range(100):
        choose(table, Demand(deadline_s=0.1, rate_bps=1e6 * (k + 1), have=frozenset(range(k))))
    choosing = (time.perf_counter() - start) / 100
    start = time.perf_counter()
    path = upgrade_path(table, (), model.configurations[-1])
    assert choosing < 2e-3, f"{1e3 * choosing:.2f} ms a choice"
    assert time.perf_counter() - start < 0.5
    assert path[0].nbytes <= 0.15 * model.configurations[-1].nbytes
