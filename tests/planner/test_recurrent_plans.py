"""Recurrent networks: the linearisation is what live sets are; the usual split module by module, by hand."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from airloom.core.graph import ModelGraph, Operator, Parameter, TensorSpec
from airloom.core.profile import CutSize, Modules, OperatorCost, Profile, Weights
from airloom.core.topology import Device, Link, Topology
from airloom.errors import ConfigError
from airloom.planner.chain import solve
from airloom.planner.decide import decide
from airloom.planner.pricing import PAYLOAD_ONLY
from airloom.planner.recurrent import module_problem, module_profile

STEPS, X, INNER, H, Y = 4, 1_000, 6_000, 3_000, 500


def unrolled(steps: int = STEPS) -> ModelGraph:
    """`steps` modules of two operators: (x_t, h) -> z and z -> (h, y_t)."""
    specs = [TensorSpec((X,), "uint8") for _ in range(steps)]
    operators = []
    state: int | None = None
    outputs = []
    for t in range(steps):
        z, h, y = len(specs), len(specs) + 1, len(specs) + 2
        specs += [TensorSpec((INNER,), "uint8"), TensorSpec((H,), "uint8"), TensorSpec((Y,), "uint8")]
        reads = (t,) if state is None else (t, state)
        operators += [
            Operator(f"in{t}", "linear", reads, (z,), parameters=(0,)),
            Operator(f"out{t}", "cell", (z,), (h, y), parameters=(1,)),
        ]
        state = h
        outputs.append(y)
    return ModelGraph(
        model="rnn",
        tensors=tuple(specs),
        inputs=tuple(range(steps)),
        outputs=tuple(outputs),
        operators=tuple(operators),
        parameters=(Parameter("w", TensorSpec((4,), "uint8")), Parameter("u", TensorSpec((4,), "uint8"))),
    )


def profile_of_graph(graph: ModelGraph, *, named: bool = True) -> Profile:
    cuts = tuple(
        CutSize(tuple(graph.tensors[t].nbytes for t in live), live if named else ())
        for live in (graph.live_set(cut) for cut in range(graph.num_operators + 1))
    )
    steps = graph.num_operators // 2
    return Profile(
        model="rnn",
        device="host",
        operators=tuple(OperatorCost(op.name, 0.5 if k % 2 else 0.25) for k, op in enumerate(graph.operators)),
        cuts=cuts,
        output_nbytes=(Y,) * steps,
        weights=(
            Weights(40, tuple(range(0, 2 * steps, 2))),
            Weights(60, tuple(range(1, 2 * steps, 2))),
        ),
        stage_constant_s=0.125,
        modules=Modules(tuple(range(0, 2 * steps + 1, 2)), state_nbytes=H, input_nbytes=X, output_nbytes=Y),
    )


def line(*ids: str, factors: tuple[float, ...] = ()) -> Topology:
    """1 kB a second over every link."""
    links = [Link(s, d, 8e3) for a, b in itertools.pairwise(ids) for s, d in ((a, b), (b, a))]
    devices = tuple(Device(id, "mec", factor=f) for id, f in itertools.zip_longest(ids, factors, fillvalue=1.0))
    return Topology(devices=devices, links=tuple(links), source=ids[0], sink=ids[-1])


def test_cuts_of_an_unrolled_network_carry_state_inputs_left_and_outputs_so_far() -> None:
    """HiveMind, section VI-A: hidden state, x_{r+1}.., and y_1..y_{r-1} go with the intermediate output."""
    graph = unrolled()
    for r in range(STEPS):
        last = r == STEPS - 1
        assert graph.cut_nbytes(2 * r) == (STEPS - r) * X + (H if r else 0) + r * Y
        assert graph.cut_nbytes(2 * r + 1) == (STEPS - r - 1) * X + INNER + r * Y
        if last:
            assert graph.cut_nbytes(2 * r + 2) == STEPS * Y


@pytest.mark.parametrize("named", [True, False])
def test_a_module_split_by_hand(named: bool) -> None:
    """Four steps of (x, h) -> z -> (h, y); three of them send h back to the source, the last the result."""
    profile = profile_of_graph(unrolled(), named=named)
    topology = line("ue", "mec", factors=(2.0, 1.0))
    problem = module_problem(topology, ("ue", "mec"), {"": profile}, framing=PAYLOAD_ONLY)
    assert problem.num_operators == 2
    # Everything on the ue: its times, a stage's constant at each step.
    assert problem.chain_s((2, 2)) == pytest.approx(2 * (4 * 0.75 + 4 * 0.125))
    # The cell at the mec: z on at each step, h back at three, all of y at the end.
    assert problem.chain_s((1, 2)) == pytest.approx(
        2 * (4 * 0.25 + 4 * 0.125) + (4 * 0.5 + 4 * 0.125) + 4 * 6.0 + 3 * 3.0 + 4 * 0.5
    )
    # All at the mec: x and h on.
    assert problem.chain_s((0, 2)) == pytest.approx(4 * 0.75 + 4 * 0.125 + 4 * 4.0 + 3 * 3.0 + 4 * 0.5)
    stays = module_problem(topology, ("ue", "mec"), {"": profile}, framing=PAYLOAD_ONLY, result_returns=False)
    assert stays.chain_s((0, 2)) == pytest.approx(4 * 0.75 + 4 * 0.125 + 4 * 4.0 + 3 * 3.0)


def test_what_lies_around_the_modules_runs_with_their_ends() -> None:
    plain = profile_of_graph(unrolled())
    around = msgspec.structs.replace(
        plain,
        operators=(OperatorCost("embed", 7.0), *plain.operators, OperatorCost("stack", 5.0)),
        cuts=(plain.cuts[0], *plain.cuts, plain.cuts[-1]),
        weights=(*(Weights(w.nbytes, tuple(op + 1 for op in w.operators)) for w in plain.weights), Weights(9, (0, 9))),
        modules=Modules(tuple(range(1, 2 * STEPS + 2, 2)), state_nbytes=H, input_nbytes=X, output_nbytes=Y),
    )
    module = module_profile(around)
    assert [op.compute_s for op in module.operators] == [7.0 + 1.0, 5.0 + 2.0]
    assert [w.operators for w in module.weights] == [(0,), (1,), (0, 1)]
    # Keeping the first operator on the source keeps the module's first there.
    topology = line("ue", "mec")
    kept = module_problem(topology, ("ue", "mec"), {"": around}, private_operators=1)
    assert [kept.chain_s((stop, 2)) < float("inf") for stop in (0, 1, 2)] == [False, True, True]


def test_where_the_output_is_the_state_that_goes_back() -> None:
    profile = profile_of_graph(unrolled(), named=False)
    same = msgspec.structs.replace(
        profile, modules=Modules(tuple(range(0, 2 * STEPS + 1, 2)), input_nbytes=X, output_nbytes=H)
    )
    topology = line("ue", "mec")
    # As above, with h of the output's size going back three times.
    problem = module_problem(topology, ("ue", "mec"), {"": same}, framing=PAYLOAD_ONLY)
    assert problem.hops[0].back.transfer_s == pytest.approx(3 * 3.0 + 4 * 0.5)


def test_a_step_that_is_cut_out_of_a_whole_sequence_is_sent_alone() -> None:
    """The sequence is one tensor that lives to the end; a remote start needs a step of it."""
    profile = profile_of_graph(unrolled())
    x = 99
    cuts = []
    for index, cut in enumerate(profile.cuts):
        kept = [(t, n) for t, n in zip(cut.tensors, cut.tensor_nbytes, strict=True) if t >= STEPS]
        kept += [(x, STEPS * X)] if index < 2 * STEPS - 1 else []
        cuts.append(CutSize(tuple(n for _, n in kept), tuple(t for t, _ in kept)))
    whole = msgspec.structs.replace(
        profile,
        cuts=tuple(cuts),
        modules=Modules(tuple(range(0, 2 * STEPS + 1, 2)), state_nbytes=H, input_nbytes=STEPS * X, output_nbytes=Y),
    )
    assert module_profile(whole).cuts[0].nbytes == H + X
    assert module_profile(whole).cuts[1].nbytes == INNER


def test_the_unrolled_plan_is_held_against_the_module_split() -> None:
    """A slow source and costly hops: the state goes on once in place of back and forth four times."""
    profile = profile_of_graph(unrolled())
    topology = line("ue", "mec", factors=(40.0, 1.0))
    plan, unrolled_problem = decide(topology, {"": profile}, framing=PAYLOAD_ONLY)
    beside = next(other for other in plan.alternatives if other.scheme == "module-split")
    module = solve(module_problem(topology, ("ue", "mec"), {"": profile}, framing=PAYLOAD_ONLY))
    assert (beside.stops, beside.predicted_s) == (module.stops, module.seconds)
    assert plan.predicted_s == solve(unrolled_problem).seconds
    assert plan.predicted_s == pytest.approx(4 * 0.75 + 0.125 + 4 * 1.0 + 4 * 0.5)  # all inputs on, all outputs back
    assert beside.predicted_s > 3 * plan.predicted_s


def test_a_profile_without_modules_and_one_with_crooked_ones() -> None:
    profile = profile_of_graph(unrolled())
    topology = line("ue", "mec")
    with pytest.raises(ConfigError, match="no recurrent modules"):
        module_problem(topology, ("ue", "mec"), {"": msgspec.structs.replace(profile, modules=None)})
    for starts in ((0, 2, 5), (4, 2, 0), (0, 8, 16), (3,)):
        crooked = msgspec.structs.replace(profile, modules=Modules(starts))
        with pytest.raises(ConfigError, match=r"\$\.modules\.starts"):
            module_problem(topology, ("ue", "mec"), {"": crooked})
