"""The profile of every depth, from the one of the network whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from airloom.core.depth import block_modules
from airloom.core.graph import ModelGraph
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.progressive import Manifest
from airloom.errors import ConfigError, ProfileMismatch


def operators_of_blocks(profile: Profile, blocks: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """For each block the operators in it: those that a module below its path in the module tree called.

    Raises:
        ProfileMismatch: a block has no operator, or what lies between its first and last is not all of it.
    """
    found = []
    for block in blocks:
        paths = tuple(f"{path}." for path in block_modules(block))
        inside = tuple(k for k, op in enumerate(profile.operators) if op.name.startswith(paths))
        if not inside:
            raise ProfileMismatch(
                f"profile of {profile.model}: no operator is in block {block}: profile the progressive model itself"
            )
        if inside[-1] - inside[0] + 1 != len(inside):
            raise ProfileMismatch(f"profile of {profile.model}: others run between the operators of block {block}")
        found.append(inside)
    return tuple(found)


def depth_profiles(
    profile: Profile, manifest: Manifest, *, operators: Sequence[Sequence[int]] | None = None
) -> dict[int, Profile]:
    """By depth: the profile of the network with that many blocks, made of the operators that it keeps.

    What takes the place of a block that is left out where dimensions differ (pooling, zeros) is not in the profile of
    the whole and counts nothing; where graphs are at hand, `profile_of_graph` counts it.

    Args:
        operators: of each block, in order of execution; None goes by the blocks' paths in the module tree.
    """
    blocks = manifest.architecture.blocks
    if len(blocks) != manifest.order.num_blocks:
        raise ConfigError(
            f"{manifest.model}: {len(blocks)} blocks have names, the order has {manifest.order.num_blocks}"
        )
    inside = operators_of_blocks(profile, blocks) if operators is None else operators
    found: dict[int, Profile] = {}
    for depth in manifest.order.depths:
        kept = set(manifest.order.kept(depth))
        gone = {k for block, members in enumerate(inside) if block not in kept for k in members}
        found[depth] = without(profile, gone)
    return found


def parts_of(profile: Profile, blocks: Sequence[str]) -> tuple[int, ...]:
    """For each operator of a depth's profile the part whose weights it reads: 0 the base, 1 + k block k, -1 none.

    A profile without weights, such as one written by hand, is taken to need its part in every operator.
    """
    inside = [tuple(f"{path}." for path in block_modules(block)) for block in blocks]
    reads = {k for weight in profile.weights for k in weight.operators}
    found = []
    for k, op in enumerate(profile.operators):
        if profile.weights and k not in reads:
            found.append(-1)
            continue
        found.append(next((1 + b for b, paths in enumerate(inside) if op.name.startswith(paths)), 0))
    return tuple(found)


def private_by_depth(profile: Profile, manifest: Manifest, private_operators: int) -> dict[int, int]:
    """By depth: how many of its operators are among the first `private_operators` of the whole.

    Raises:
        ConfigError: more are private than there are.
    """
    if not 0 <= private_operators <= profile.num_operators:
        raise ConfigError(f"{private_operators} operators cannot stay: {profile.model} has {profile.num_operators}")
    if private_operators == 0:
        return {}
    inside = operators_of_blocks(profile, manifest.architecture.blocks)
    found = {}
    for depth in manifest.order.depths:
        kept = set(manifest.order.kept(depth))
        gone = {k for block, members in enumerate(inside) if block not in kept for k in members}
        found[depth] = sum(k not in gone for k in range(private_operators))
    return found


def without(profile: Profile, gone: set[int]) -> Profile:
    """The profile without some operators; a cut where they were is the one behind them."""
    if not gone:
        return profile
    kept = [k for k in range(profile.num_operators) if k not in gone]
    place = {old: new for new, old in enumerate(kept)}
    cuts = [profile.cuts[old] for old in kept]
    weights = []
    for weight in profile.weights:
        left = tuple(place[k] for k in weight.operators if k in place)
        if left:
            weights.append(msgspec.structs.replace(weight, operators=left))
    return msgspec.structs.replace(
        profile,
        operators=tuple(profile.operators[k] for k in kept),
        cuts=(*cuts, profile.cuts[-1]),
        weights=tuple(weights),
        graph_digest="",
        modules=None,
        basis="modelled",
    )


def profile_of_graph(profile: Profile, graph: ModelGraph) -> Profile:
    """The profile of a network's depth from that of the whole and the depth's own graph: cuts and tensors are its own.

    Operators of the same name take as long; one that the whole does not have (what stands in for a block that is left
    out) takes as long as the whole's cheapest.
    """
    known: Mapping[str, OperatorCost] = {op.name: op for op in profile.operators}
    least = min((op.compute_s for op in profile.operators), default=0.0)
    return msgspec.structs.replace(
        profile,
        model=graph.model,
        operators=tuple(
            known.get(op.name, OperatorCost(name=op.name, compute_s=least, macs=op.macs)) for op in graph.operators
        ),
        cuts=tuple(
            CutSize(tensors=live, tensor_nbytes=tuple(graph.tensors[t].nbytes for t in live))
            for live in graph.live_sets
        ),
        output_nbytes=tuple(graph.tensors[t].nbytes for t in graph.outputs),
        weights=tuple(
            Weights(
                nbytes=p.spec.nbytes,
                operators=tuple(k for k, op in enumerate(graph.operators) if index in op.parameters),
            )
            for index, p in enumerate(graph.parameters)
        ),
        graph_digest=graph.digest,
        modules=None,
        basis="modelled",
    )
