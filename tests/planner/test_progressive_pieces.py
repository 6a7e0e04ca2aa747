"""What a delivery is planned from: sizes of chunks, profiles of depths, the way of the model, where requests run."""

from __future__ import annotations

import msgspec
import pytest

from airloom.core.delivery_plan import DeliveryAsked
from airloom.core.depth import Block, depth_order
from airloom.core.graph import ModelGraph, Operator, TensorSpec
from airloom.core.profile import CutSize, OperatorCost, Profile, Weights
from airloom.core.progressive import Configuration, DepthTable
from airloom.core.topology import Device, Link, Topology
from airloom.errors import ConfigError, NoRoute, ProfileMismatch
from airloom.planner.progressive import Pieces, depth_profiles, manifest_of_table, plan_delivery
from airloom.planner.progressive.depth_profiles import parts_of, private_by_depth, profile_of_graph
from airloom.planner.progressive.download import Download, find_download

NAMES = ("pixels.to", "stem.conv", "body.0.conv", "body.0.relu", "body.1.conv", "head.linear")


def profile(**changes):
    made = Profile(
        model="tiny",
        device="this",
        operators=tuple(OperatorCost(name=n, compute_s=0.001 * (k + 1)) for k, n in enumerate(NAMES)),
        cuts=tuple(CutSize(tensor_nbytes=(1000 * (k + 1),)) for k in range(7)),
        weights=tuple(Weights(nbytes=400, operators=(k,)) for k in (1, 2, 4, 5)),
    )
    return msgspec.structs.replace(made, **changes)


def table(precisions=("fp32", "int8"), depths=(1, 2)):
    sizes = {"fp32": 4.0, "int8": 1.0, "bits-4": 0.5, "bits-6": 0.75}
    rows = tuple(
        Configuration(
            depth=d, precision=p, nbytes=int((600 + 200 * d) * sizes[p]), parameters=600 + 200 * d, accuracy=0.5
        )
        for d in depths
        for p in precisions
    )
    blocks = tuple(Block(name=f"body.{k}", group=0, parameters=200) for k in range(2))
    return DepthTable(
        model="tiny", blocks=blocks, order=depth_order("back", (0, 0), depths=depths), configurations=rows
    )


def test_sizes_of_a_tables_parts_add_up_to_its_configurations():
    made = manifest_of_table(table(("fp32", "int8", "bits-4", "bits-6")))
    for row in made.configurations:
        assert made.nbytes_of(row) == pytest.approx(row.nbytes, abs=6)
    four, six = (next(c for c in made.configurations if c.name == f"2/{p}") for p in ("bits-4", "bits-6"))
    # Of six bits those that came as four are not sent again.
    assert made.nbytes_of(six, frozenset(made.chunks_of(four))) == pytest.approx(six.nbytes - four.nbytes, abs=6)


def test_a_table_without_its_full_depth_is_refused():
    rows = tuple(c for c in table().configurations if c.name != "2/int8")
    with pytest.raises(ConfigError, match="not at all 2 blocks"):
        manifest_of_table(msgspec.structs.replace(table(), configurations=rows))
    with pytest.raises(ConfigError, match="no configurations"):
        manifest_of_table(msgspec.structs.replace(table(), configurations=()))


def test_a_depth_keeps_its_operators_cuts_and_weights():
    found = depth_profiles(profile(), manifest_of_table(table()))
    assert found[2] == profile()
    one = found[1]
    assert [op.name for op in one.operators] == ["pixels.to", "stem.conv", "body.0.conv", "body.0.relu", "head.linear"]
    assert one.elapsed_s[-1] == pytest.approx(sum(op.compute_s for op in profile().operators) - 0.005)
    # The cut behind the first block carries what went into the second: what comes out of it has the same form.
    assert [cut.nbytes for cut in one.cuts] == [1000, 2000, 3000, 4000, 6000, 7000]
    assert [w.operators for w in one.weights] == [(1,), (2,), (4,)]
    assert parts_of(one, ("body.0", "body.1")) == (-1, 0, 1, -1, 0)
    assert parts_of(msgspec.structs.replace(one, weights=()), ("body.0", "body.1")) == (0, 0, 1, 1, 0)
    assert private_by_depth(profile(), manifest_of_table(table()), 5) == {1: 4, 2: 5}


def test_a_run_of_modules_is_one_block_and_strangers_in_between_are_refused():
    names = ("stem.conv", "features.1.conv", "features.2.norm", "head.linear")
    made = profile(
        operators=tuple(OperatorCost(name=n, compute_s=0.001) for n in names),
        cuts=tuple(CutSize(tensor_nbytes=(10,)) for _ in range(5)),
        weights=(),
    )
    assert parts_of(made, ("features.1-2",)) == (0, 1, 1, 0)
    with pytest.raises(ProfileMismatch, match=r"no operator is in block body\.0"):
        depth_profiles(made, manifest_of_table(table()))
    mixed = profile(operators=tuple(OperatorCost(name=n, compute_s=0.001) for n in (*NAMES[:5], "body.0.late")))
    with pytest.raises(ProfileMismatch, match="others run between"):
        depth_profiles(mixed, manifest_of_table(table()))


def test_a_graph_at_hand_gives_its_own_cuts():
    spec = TensorSpec(shape=(5,), dtype="float32")
    graph = ModelGraph(
        model="tiny",
        tensors=(spec, spec, spec),
        inputs=(0,),
        outputs=(2,),
        operators=(
            Operator(name="stem.conv", target="a", inputs=(0,), outputs=(1,)),
            Operator(name="body.1.skip.pool", target="b", inputs=(1,), outputs=(2,)),
        ),
        parameters=(),
    )
    made = profile_of_graph(profile(), graph)
    assert [op.compute_s for op in made.operators] == [0.002, 0.001]  # what the whole lacks: as its cheapest
    assert [cut.tensor_nbytes for cut in made.cuts] == [(20,), (20,), (20,)]
    assert made.graph_digest == graph.digest


def line(down=(10e6, 4e6)):
    links = (
        Link(src="ue", dst="gnb", rate_bps=2e6, delay_s=0.01),
        Link(src="gnb", dst="ue", rate_bps=down[0], delay_s=0.01),
        Link(src="gnb", dst="cloud", rate_bps=1e9, delay_s=0.03, overhead_s=0.001),
        Link(src="cloud", dst="gnb", rate_bps=down[1], delay_s=0.03, loss=0.1),
    )
    devices = (Device(id="ue", role="ue"), Device(id="gnb", role="gnb"), Device(id="cloud", role="cloud"))
    return Topology(devices=devices, links=links, source="ue", sink="cloud")


def test_the_way_of_the_model_is_its_slowest_link_less_what_results_take():
    found = find_download(line(), "cloud", ("ue", "gnb", "cloud"))
    assert found.devices == ("cloud", "gnb", "ue")
    assert found.round_trip_s == pytest.approx(0.081)
    assert found.rate_bps({}) == pytest.approx(4e6 * 0.9 * 1448 / 1500)
    assert found.rate_bps({("gnb", "ue"): 9e6}) == pytest.approx(10e6 * 1448 / 1500 - 9e6)
    near = find_download(line(), "gnb", ("ue", "gnb", "cloud"))
    assert near.rate_bps({}) == pytest.approx(10e6 * 1448 / 1500)
    here = find_download(line(), "ue", ("ue", "gnb", "cloud"))
    assert (here.devices, here.rate_bps({})) == (("ue",), float("inf"))
    # Off the chain: over the fewest links.
    assert find_download(line(), "cloud", ("ue", "gnb")).devices == ("cloud", "gnb", "ue")
    alone = msgspec.structs.replace(line(), links=line().links[:2])
    with pytest.raises(NoRoute, match="no way from cloud"):
        find_download(alone, "cloud", ("ue", "gnb"))


def test_hosts_and_links_that_cannot_keep_up_are_not_used():
    made = manifest_of_table(table())
    profiles = {d: {"": p} for d, p in depth_profiles(profile(), made).items()}
    often = plan_delivery(made, profiles, line(), DeliveryAsked(requests_per_s=30.0, horizon_s=10.0))
    assert all(phase.latency_s is not None and phase.latency_s < 1.0 for phase in often.phases)
    never = plan_delivery(made, profiles, line(), DeliveryAsked(requests_per_s=300.0, horizon_s=10.0))
    assert [phase.where for phase in never.phases] == ["none"]
    assert never.totals.answered == 0.0
    assert never.totals.latency_s is None


def test_pieces_know_how_far_the_ue_gets():
    made = manifest_of_table(table())
    pieces = Pieces(made)
    whole = next(c for c in made.configurations if c.name == "2/int8")
    chunks = pieces.needs(whole)
    assert pieces.parts_there(frozenset(), 2, "int8") == frozenset()
    assert pieces.parts_there(frozenset(chunks[:2]), 2, "int8") == {0, 1}
    assert pieces.parts_there(frozenset(chunks), 2, "fp32") == frozenset()
    assert [c.name for c in pieces.complete(frozenset(chunks))] == ["1/int8", "2/int8"]


def test_a_result_waits_for_what_the_slowest_link_is_sending():
    slow, fast = 0.2e6 * 1448 / 1500, 50e6
    download = Download(("mec", "gnb", "ue"), {("mec", "gnb"): fast, ("gnb", "ue"): slow}, 0.1, 0.0)
    # A segment of 1500 bytes takes 60 ms at 200 kbit/s; 2 ms of the model wait besides.
    assert download.wait_s({("gnb", "ue"): 0.0, ("mec", "gnb"): 0.0}) == pytest.approx((0.032, 0.062))
    assert download.wait_s({("mec", "gnb"): 0.0}) == (0.0, 0.0)
    # Where links are fast, a piece is a millisecond.
    assert Download(("mec", "ue"), {("mec", "ue"): fast}, 0.1, 0.0).wait_s({("mec", "ue"): 1e6}) == pytest.approx(
        (0.0025, 0.003)
    )
    assert Download(("ue",), {}, 0.0, 0.0).wait_s({}) == (0.0, 0.0)
