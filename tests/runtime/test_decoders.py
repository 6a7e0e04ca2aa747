"""Whatever bytes come: a value or WireError, and values survive the way there and back."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.plan import Alternative, Plan, Stage
from airloom.core.topology import Device, Link, LinkState, Topology
from airloom.errors import WireError
from airloom.runtime import commands
from airloom.runtime.certs import make_ca, make_host
from airloom.runtime.keys import Identity
from airloom.runtime.roster import Roster

PLAN = Plan(
    model="m",
    graph_digest="sha256:1",
    problem_digest="",
    chain=("ue", "mec"),
    stops=(1, 2),
    stages=(Stage(id="s", device="ue", start=0, stop=2),),
    transfers=(),
    predicted_s=float("inf"),
    alternatives=(Alternative(stops=(0, 2), predicted_s=float("inf")),),
)
STATUS = commands.HostStatus(
    host="mec", role="mec", incarnation=1, uptime_s=2.0, load=0.1, in_flight=0, jobs=1, up=("ue",),
    links=(LinkState(src="mec", dst="ue", rate_bps=float("inf")),), counters={"stages": 3.0},
)  # fmt: skip
COMMANDS = (commands.Pin(plan=PLAN), commands.Pin(), commands.SetFactor(factor=2.0), commands.ShutDown())
TOPOLOGY = Topology(
    devices=(Device(id="ue", role="ue"), Device(id="mec", role="mec")),
    links=(Link(src="ue", dst="mec", rate_bps=1e6),),
    source="ue",
    sink="mec",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_survive_the_way(command):
    assert commands.decode_command(commands.encode(command)) == command


def test_status_and_answers_survive_the_way():
    assert commands.decode_status(commands.encode(STATUS)) == STATUS
    assert commands.decode_ack(commands.encode(commands.Ack(ok=False, error="no"))) == commands.Ack(
        ok=False, error="no"
    )


def test_what_is_too_long_or_unknown_is_refused():
    with pytest.raises(WireError, match="bytes"):
        commands.decode_command(b"\0" * (commands.MAX_BYTES + 1))
    # A SetFactor with a key too many.
    with pytest.raises(WireError):
        commands.decode_command(b"\x83\xa4type\xaaset_factor\xa6factor\xcb@\0\0\0\0\0\0\0\xa1x\x01")


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")
    make_ca(folder)
    identity = Identity("ue", make_host(folder, "ue"))
    peer = Identity("mec", make_host(folder, "mec"))
    roster = Roster(TOPOLOGY, "ue", 1)
    return (
        (commands.decode_command, [commands.encode(c) for c in COMMANDS]),
        (commands.decode_status, [commands.encode(STATUS)]),
        (commands.decode_ack, [commands.encode(commands.Ack())]),
        (identity.answer, [peer.offer("ue").data]),
        (roster.hear, [roster.everything()]),
    )


def damage(good, junk, place, what):
    """Junk as it is, or a good message changed, cut short or grown at a place."""
    place %= len(good) + 1
    return (junk, good[:place] + junk + good[place + len(junk) :], good[:place], good[:place] + junk + good[place:])[
        what
    ]


ANY = (st.integers(0, 4), st.integers(0, 3), st.binary(max_size=64), st.integers(0, 1 << 16), st.integers(0, 3))


def check(decoders, which, message, junk, place, what):
    decode, good = decoders[which]
    with contextlib.suppress(WireError):
        decode(damage(good[message % len(good)], junk, place, what))


@settings(deadline=None, max_examples=500)
@given(*ANY)
def test_any_bytes_give_a_value_or_a_wire_error(decoders, which, message, junk, place, what):
    check(decoders, which, message, junk, place, what)


@pytest.mark.long
@settings(deadline=None, max_examples=100_000)
@given(*ANY)
def test_a_hundred_thousand_messages_give_a_value_or_a_wire_error(decoders, which, message, junk, place, what):
    check(decoders, which, message, junk, place, what)
