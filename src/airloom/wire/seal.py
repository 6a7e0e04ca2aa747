"""Sealing: AES-GCM with a key of its own for each link and direction.

A nonce is the key's 4-byte salt and a 64-bit counter that only goes up, so no nonce serves twice
under one key; a host that restarts agrees on new keys. A repair resends the sealed bytes as they
are. What is clear (the block header) is authenticated as associated data.

NIST SP 800-38D, 8.2.1 (deterministic construction of the nonce: fixed field and counter).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airloom.errors import WireError

TAG_BYTES = 16
SALT_BYTES = 4
MAX_COUNTER = (1 << 64) - 1

Bytes = bytes | bytearray | memoryview


class LinkKey(NamedTuple):
    """Secret of one direction of one link: `key` of 16 or 32 bytes, `salt` of 4 that starts every nonce."""

    key: bytes
    salt: bytes

    @property
    def tag(self) -> int:
        """32 public bits by which a receiver finds the key of a datagram; they prove nothing."""
        return int.from_bytes(hashlib.sha256(b"airloom link tag 1" + self.key + self.salt).digest()[:4], "little")

    @classmethod
    def generate(cls) -> LinkKey:
        """A fresh random key, from the operating system."""
        return cls(AESGCM.generate_key(256), os.urandom(SALT_BYTES))

    def __repr__(self) -> str:
        return f"LinkKey(tag={self.tag:08x})"  # a secret never ends up in a log


class Sealer:
    """Seals under one key and hands out its nonces, each once."""

    def __init__(self, key: LinkKey) -> None:
        if len(key.key) not in (16, 32) or len(key.salt) != SALT_BYTES:
            raise ValueError(f"a link key has 16 or 32 bytes and a salt of {SALT_BYTES}")
        self.tag = key.tag
        self._salt = key.salt
        self._encrypt_into: Callable[[bytes, Bytes, Bytes, Bytes], int] = AESGCM(key.key).encrypt_into
        self._next = 0

    def reserve(self, count: int) -> int:
        """The first of `count` counters in a row that nobody else will get."""
        first = self._next
        if count < 1 or first + count - 1 > MAX_COUNTER:
            raise ValueError("this key has no nonces left: agree on a new one")
        self._next = first + count
        return first

    def seal_into(self, counter: int, plain: Bytes, clear: Bytes, out: memoryview) -> None:
        """Write the sealed `plain` and its tag to `out`, `len(plain) + 16` bytes; `clear` is authenticated with it.

        `counter` comes from `reserve` and is used once.
        """
        self._encrypt_into(self._salt + counter.to_bytes(8, "big"), plain, clear, out)

    def seal_run(self, counter: int, plain: memoryview, room: int, out: memoryview, head: int) -> None:
        """Seal whole pieces of `room` bytes, with counters from `counter` on.

        `out` has `head + room + 16` bytes for each piece, the clear `head` bytes already there.
        """
        salt, encrypt_into = self._salt, self._encrypt_into
        at, size = 0, head + room + TAG_BYTES
        for source in range(0, len(plain), room):
            body, end = at + head, at + size
            encrypt_into(salt + counter.to_bytes(8, "big"), plain[source : source + room], out[at:body], out[body:end])
            counter += 1
            at = end

    def seal(self, plain: Bytes, clear: Bytes) -> tuple[int, bytes]:
        """A fresh counter, and the sealed bytes."""
        counter = self.reserve(1)
        out = bytearray(len(plain) + TAG_BYTES)
        self.seal_into(counter, plain, clear, memoryview(out))
        return counter, bytes(out)


class Opener:
    """Opens what the other end of the link sealed."""

    def __init__(self, key: LinkKey) -> None:
        if len(key.key) not in (16, 32) or len(key.salt) != SALT_BYTES:
            raise ValueError(f"a link key has 16 or 32 bytes and a salt of {SALT_BYTES}")
        self.tag = key.tag
        self._salt = key.salt
        self._decrypt_into: Callable[[bytes, Bytes, Bytes, Bytes], int] = AESGCM(key.key).decrypt_into

    def open_into(self, counter: int, sealed: Bytes, clear: Bytes, out: Bytes) -> None:
        """Write the plain bytes to `out`, `len(sealed) - 16` of them.

        WireError where they were not sealed under this key with this counter and `clear`; `out`
        then holds bytes that mean nothing.
        """
        try:
            self._decrypt_into(self._salt + counter.to_bytes(8, "big"), sealed, clear, out)
        except InvalidTag:
            raise WireError("not sealed by the other end of this link, or changed on the way") from None

    def open_run(self, counter: int, data: memoryview, head: int, out: memoryview, room: int) -> int:
        """Undo `seal_run`; how many pieces were opened before the first that is not authentic."""
        salt, decrypt_into = self._salt, self._decrypt_into
        at, size = 0, head + room + TAG_BYTES
        opened = 0
        try:
            for start in range(0, len(out), room):
                body, end = at + head, at + size
                decrypt_into(
                    salt + counter.to_bytes(8, "big"), data[body:end], data[at:body], out[start : start + room]
                )
                counter += 1
                opened += 1
                at = end
        except (InvalidTag, OverflowError):  # OverflowError: a counter past 64 bits is nobody's
            pass
        return opened

    def open(self, counter: int, sealed: Bytes, clear: Bytes) -> bytes:
        if len(sealed) < TAG_BYTES:
            raise WireError(f"sealed bytes end in a tag of {TAG_BYTES}, got {len(sealed)}")
        out = bytearray(len(sealed) - TAG_BYTES)
        self.open_into(counter, sealed, clear, out)
        return bytes(out)


class ReplayWindow:
    """Which counters were seen, of the newest `size`; older ones count as seen (RFC 4303, 3.4.3)."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._mask = (1 << size) - 1
        self._newest = -1
        self._seen = 0  # bit k: the counter `newest - k` was seen

    def seen(self, counter: int) -> bool:
        """Whether `counter` must be refused. Ask before opening, `add` only after."""
        behind = self._newest - counter
        return behind >= 0 and (behind >= self._size or bool(self._seen >> behind & 1))

    def add(self, counter: int) -> None:
        """Note a counter whose block was authentic."""
        ahead = counter - self._newest
        if ahead > 0:
            # A jump past the window must not build an integer of that many bits.
            self._seen = ((self._seen << ahead) | 1) & self._mask if ahead < self._size else 1
            self._newest = counter
        elif -ahead < self._size:
            self._seen |= 1 << -ahead
