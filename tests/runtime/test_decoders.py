"""Whatever bytes come: a value or the error for bytes that are none, and values survive the way there and back."""

import contextlib
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.plan import Alternative, Plan, Stage
from airloom.core.topology import Device, Link, LinkState, Topology
from airloom.core.trace import Event
from airloom.errors import ConfigError, WireError
from airloom.files import decode_value
from airloom.runtime import commands
from airloom.runtime import relay_control as relay
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


LINK = Link(src="ue", dst="mec", rate_bps=float("inf"), delay_s=0.01)
RELAY_COMMANDS = (
    relay.SetLink(src="ue", dst="mec", rate_bps=1e6, up=False),
    relay.SetHost(host="ue", address="127.0.0.1:7"),
    relay.GetStats(),
    relay.Stop(),
)
RELAY_SAID = (
    relay.Ready(addresses=(relay.LinkAddress(src="ue", dst="mec", address="127.0.0.1:7"),)),
    relay.Done(),
    relay.Refused(error="no"),
    relay.Stats(links=(relay.LinkStats(src="ue", dst="mec", lost=3),), late_max_s=0.1),
    relay.Happened(event=Event(at_s=1.0, host="relay", kind="condition", data={"links": []})),
)
NAMES = ("command", "status", "ack", "answer", "finish", "roster", "relay command", "relay said", "relay spec")


@pytest.mark.parametrize("said", RELAY_SAID)
def test_what_a_relay_says_survives_the_way(said):
    assert relay.decode_said(relay.encode_line(said)) == said


def test_a_number_too_large_to_count_on_from_is_no_roster():
    roster = Roster(TOPOLOGY, "ue", 1)
    for numbers in ((2**64 - 1, 0), (0, 2**64 - 1), (-1, 0)):
        with pytest.raises(WireError, match="not a roster"):
            roster.hear(msgspec.msgpack.encode([("ue", *numbers, ())]))
    roster.everything()


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    """Each decoder that bytes from outside the process reach, with good messages and the error it may raise."""
    folder = tmp_path_factory.mktemp("certs")
    make_ca(folder)
    identity = Identity("ue", make_host(folder, "ue"))
    peer = Identity("mec", make_host(folder, "mec"))
    roster = Roster(TOPOLOGY, "ue", 1)
    offer = identity.offer("mec")
    reply, _ = peer.answer(offer.data)
    spec = relay.RelaySpec(links=(LINK,), hosts={"ue": "127.0.0.1:7"})

    def hear(data):
        roster.hear(data)
        roster.everything()  # what was taken in can be told on

    return {
        "command": (commands.decode_command, [commands.encode(c) for c in COMMANDS], WireError),
        "status": (commands.decode_status, [commands.encode(STATUS)], WireError),
        "ack": (commands.decode_ack, [commands.encode(commands.Ack())], WireError),
        "answer": (identity.answer, [peer.offer("ue").data], WireError),
        "finish": (lambda data: identity.finish(offer, data), [reply], WireError),
        "roster": (hear, [roster.everything(), Roster(TOPOLOGY, "mec", 9).everything()], WireError),
        "relay command": (relay.decode_command, [relay.encode_line(c) for c in RELAY_COMMANDS], ConfigError),
        "relay said": (relay.decode_said, [relay.encode_line(s) for s in RELAY_SAID], ConfigError),
        "relay spec": (
            lambda data: decode_value(data, relay.RelaySpec, where="relay"), [relay.encode_line(spec)], ConfigError,
        ),
    }  # fmt: skip


def test_every_good_message_is_taken(decoders):
    assert tuple(decoders) == NAMES
    for decode, good, _ in decoders.values():
        for message in good:
            decode(message)


def damage(good, junk, place, what):
    """Junk as it is, or a good message changed, cut short or grown at a place."""
    place %= len(good) + 1
    return (junk, good[:place] + junk + good[place + len(junk) :], good[:place], good[:place] + junk + good[place:])[
        what
    ]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=120)
@given(st.integers(0, 4), st.binary(max_size=64), st.integers(0, 1 << 16), st.integers(0, 3))
def test_any_bytes_give_a_value_or_the_error_for_them(decoders, name, message, junk, place, what):
    decode, good, refusal = decoders[name]
    with contextlib.suppress(refusal):
        decode(damage(good[message % len(good)], junk, place, what))


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_thousand_mutants_give_a_value_or_the_error_for_them(decoders, name):
    """Without hypothesis, which would take most of an hour: a few bytes changed, cut short, grown, or noise."""
    decode, good, refusal = decoders[name]
    rng = random.Random(name)
    refused = 0
    for _ in range(100_000):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        junk = rng.randbytes(rng.randrange(9))
        changed = damage(bytes(data), junk, rng.randrange(1 << 16), rng.choice((0, 1, 1, 2, 3)))
        try:
            decode(changed)
        except refusal:
            refused += 1
    assert refused > 1000
