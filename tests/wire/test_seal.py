"""Sealing: a counter once, a window against replays, nothing opened that was changed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import WireError
from airloom.wire.seal import LinkKey, Opener, ReplayWindow, Sealer

KEY = LinkKey(bytes(range(32)), b"salt")


def test_the_nonce_is_salt_and_counter() -> None:
    """Sealed as plain AES-GCM would under the nonce that SP 800-38D 8.2.1 builds."""
    sealer = Sealer(KEY)
    sealer.reserve(5)
    counter, sealed = sealer.seal(b"secret", b"clear")
    assert counter == 5
    assert sealed == AESGCM(KEY.key).encrypt(b"salt" + (5).to_bytes(8, "big"), b"secret", b"clear")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=50))
def test_no_counter_is_handed_out_twice(counts: list[int]) -> None:
    sealer, seen = Sealer(KEY), set()
    for count in counts:
        first = sealer.reserve(count)
        new = set(range(first, first + count))
        assert not new & seen
        seen |= new


def test_a_key_that_is_used_up_seals_no_more() -> None:
    sealer = Sealer(KEY)
    sealer.reserve(2**64)
    with pytest.raises(ValueError, match="new one"):
        sealer.reserve(1)


@pytest.mark.parametrize("what", ["sealed", "clear", "counter", "key", "salt", "short"])
def test_nothing_that_was_changed_opens(what: str) -> None:
    counter, sealed = Sealer(KEY).seal(b"secret", b"clear")
    clear, key = b"clear", KEY
    if what == "sealed":
        sealed = bytes([sealed[0] ^ 1]) + sealed[1:]
    elif what == "clear":
        clear = b"clean"
    elif what == "counter":
        counter += 1
    elif what == "key":
        key = LinkKey(b"k" * 32, KEY.salt)
    elif what == "salt":
        key = LinkKey(KEY.key, b"tlas")
    else:
        sealed = sealed[:10]
    with pytest.raises(WireError):
        Opener(key).open(counter, sealed, clear)


def test_a_run_stops_at_the_first_piece_that_is_not_authentic() -> None:
    head, room, pieces = 4, 8, 5
    out = bytearray((head + room + 16) * pieces)
    for k in range(pieces):
        out[k * 28 : k * 28 + head] = bytes([k] * head)
    Sealer(KEY).seal_run(7, memoryview(bytes(range(40))), room, memoryview(out), head)
    plain = memoryview(bytearray(40))
    assert Opener(KEY).open_run(7, memoryview(out), head, plain, room) == pieces
    assert bytes(plain) == bytes(range(40))
    out[3 * 28] ^= 1
    assert Opener(KEY).open_run(7, memoryview(out), head, plain, room) == 3


def test_a_secret_is_not_printed() -> None:
    assert KEY.key.hex() not in repr(KEY)
    assert "key=" not in repr(KEY)


@pytest.mark.parametrize("key", [LinkKey(b"short", b"salt"), LinkKey(b"k" * 32, b"toolong")])
def test_a_key_of_the_wrong_size_is_refused(key: LinkKey) -> None:
    with pytest.raises(ValueError, match="link key"):
        Sealer(key)
    with pytest.raises(ValueError, match="link key"):
        Opener(key)


@given(st.lists(st.integers(0, 200), max_size=200))
@settings(deadline=None)
def test_the_window_takes_a_counter_once(counters: list[int]) -> None:
    """Against the plain definition: taken iff never seen and less than 64 behind the newest."""
    window, seen = ReplayWindow(64), set[int]()
    for counter in counters:
        refused = counter in seen or counter <= max(seen, default=-1) - 64
        assert window.seen(counter) == refused
        if not refused:
            window.add(counter)
            seen.add(counter)


def test_a_far_jump_costs_nothing() -> None:
    window = ReplayWindow(64)
    window.add(1)
    window.add(2**63)
    assert window.seen(2**63)
    assert window.seen(1)
    assert not window.seen(2**63 - 63)
