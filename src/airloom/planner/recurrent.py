"""The usual way to split a recurrent network, to compare with: one module split over the hosts, run R times.

HiveMind (section VI-A) cuts an unrolled network as one long graph; here nothing has to be done for that, since
live sets carry the hidden state, the inputs that are left and the outputs made so far. Its comparison splits
the recurrent module instead: the same split at every step, so that the hidden state made at the end of one
step goes back to the source for the next. `module_problem` prices that: a problem of the module's own
operators, which any planner solves, under any objective.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import msgspec

from airloom.core.framing import Framing
from airloom.core.problem import HopCost, Option, Problem
from airloom.core.profile import CutSize, Modules, OperatorCost, Profile, Weights
from airloom.core.topology import Conditions, Topology
from airloom.planner.inputs import check_modules
from airloom.planner.pricing import FRAMED, Choices, build_problem, profile_of, result_nbytes


def module_problem(
    topology: Topology,
    chain: Sequence[str],
    profiles: Mapping[str, Profile],
    *,
    conditions: Conditions | None = None,
    framing: Framing = FRAMED,
    private_operators: int = 0,
    result_returns: bool = True,
    choices: Choices | None = None,
) -> Problem:
    """The costs of running a recurrent network module by module, every step split in the same way.

    Each of R steps sends the cut of one module over every hop that it crosses; all steps but the last send
    the hidden state back to the source, the last one the result. A stage pays its constant once a step.
    What lies before the modules is run with the first operator, what lies behind them with the last. All steps
    are taken to carry what the second one does, which has a module on either side.

    Returns:
        A problem of the M operators of one module; `stops` of its solutions are cuts of the module.

    Raises:
        ConfigError: the profile has no modules.
        As `pricing.build_problem`.
    """
    first = profile_of(chain[0], profiles)
    modules = check_modules(first, where="$.modules")
    steps, length = modules.count, modules.length
    split = {id: module_profile(profile_of(id, profiles)) for id in dict.fromkeys(chain)}
    kept = min(max(private_operators - modules.starts[0], 1 if private_operators else 0), length)

    def priced(used: Mapping[str, Profile], *, returns: bool) -> Problem:
        return build_problem(
            topology, chain, used, conditions=conditions, framing=framing,
            private_operators=kept, result_returns=returns, choices=choices,
        )  # fmt: skip

    once = priced(split, returns=result_returns)
    state = (state_nbytes(modules),)
    fed_back = priced({id: msgspec.structs.replace(p, output_nbytes=state) for id, p in split.items()}, returns=True)
    hops = tuple(
        HopCost(
            src=hop.src,
            dst=hop.dst,
            options=tuple(tuple(repeated(option, steps) for option in row) for row in hop.options),
            back=_together(repeated(home.back, steps - 1), hop.back),
        )
        for hop, home in zip(once.hops, fed_back.hops, strict=True)
    )
    return dataclasses.replace(once, hops=hops)


def state_nbytes(modules: Modules) -> int:
    """Bytes of the hidden state that one step hands to the next; where the output is the state, those of it."""
    return modules.state_nbytes or modules.output_nbytes


def module_profile(profile: Profile) -> Profile:
    """One module of a recurrent network, with the times of all its steps together and the cuts of one of them."""
    modules = check_modules(profile, where="$.modules")
    steps, length, starts = modules.count, modules.length, modules.starts
    seconds = [sum(profile.operators[start + k].compute_s for start in starts[:-1]) for k in range(length)]
    seconds[0] += sum(op.compute_s for op in profile.operators[: starts[0]])
    seconds[-1] += sum(op.compute_s for op in profile.operators[starts[-1] :])

    def place(op: int) -> int:
        if op < starts[0]:
            return 0
        return length - 1 if op >= starts[-1] else (op - starts[0]) % length

    return msgspec.structs.replace(
        profile,
        operators=tuple(
            OperatorCost(name=profile.operators[starts[0] + k].name, compute_s=s) for k, s in enumerate(seconds)
        ),
        cuts=tuple(CutSize(tensor_nbytes=sizes) for sizes in _cuts(profile, modules)),
        output_nbytes=result_nbytes(profile),
        weights=tuple(
            Weights(w.nbytes, tuple(sorted({place(op) for op in w.operators})), w.trained, w.state_nbytes)
            for w in profile.weights
        ),
        stage_constant_s=profile.stage_constant_s * steps,
        rest_s=profile.rest_s * steps,
        modules=None,
    )


def _cuts(profile: Profile, modules: Modules) -> list[tuple[int, ...]]:
    """What each cut of a module carries at one step: its live set without what only passes the module by."""
    at = min(1, modules.count - 1)
    start, stop = modules.starts[at], modules.starts[at + 1]
    inside = profile.cuts[start : stop + 1]
    state = state_nbytes(modules)
    if not all(cut.tensors for cut in inside):
        # Without names: what is more than a step's own at its start passes by.
        by = max(inside[0].nbytes - state - modules.input_nbytes, 0)
        return [(max(cut.nbytes - by, 0),) for cut in inside]
    passing = set(inside[0].tensors) & set(inside[-1].tensors)
    found = [
        tuple(nbytes for id, nbytes in zip(cut.tensors, cut.tensor_nbytes, strict=True) if id not in passing)
        for cut in inside
    ]
    if modules.input_nbytes and sum(found[0]) <= state and passing:
        # The step's input is cut out of a sequence that lives on: to start elsewhere its share has to be sent.
        found[0] = (*found[0], -(-modules.input_nbytes // modules.count))
    return found


def repeated(option: Option, times: int) -> Option:
    """An option taken several times, one after the other."""
    return msgspec.structs.replace(
        option,
        nbytes=option.nbytes * times,
        transfer_s=option.transfer_s * times if times else 0.0,
        code_s=option.code_s * times,
        decode_s=option.decode_s * times,
        energy_j=option.energy_j * times if times else 0.0,
        receive_j=option.receive_j * times if times else 0.0,
        rounds=option.rounds * times,
    )


def _together(one: Option, other: Option) -> Option:
    return msgspec.structs.replace(
        other,
        nbytes=one.nbytes + other.nbytes,
        transfer_s=one.transfer_s + other.transfer_s,
        energy_j=one.energy_j + other.energy_j,
        receive_j=one.receive_j + other.receive_j,
    )
