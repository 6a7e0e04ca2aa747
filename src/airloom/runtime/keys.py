"""Agreement on the keys of a link, between two adjacent hosts that prove who they are.

One exchange, `offer -> answer`, gives a fresh key for each direction. Each side signs an ephemeral
X25519 key with its certificate's key; the shared secret goes through HKDF with the whole transcript.
A peer without a certificate of the deployment's authority, or whose certificate names another host
than the one it claims to be, is refused. Nothing is kept on disk: a host that restarts agrees anew,
so no nonce is ever used twice under one key.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airloom.errors import UserError, WireError
from airloom.runtime.certs import HostCerts, common_name, load_certificate, signed_by
from airloom.wire.seal import LinkKey

_LABEL = b"airloom link keys 1"
_MAX_BYTES = 4096


class Handshake(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """An offer or an answer: who speaks to whom, an ephemeral key, and the proof."""

    src: str
    dst: str
    made_ns: int
    nonce: bytes
    public: bytes
    certificate: bytes
    signature: bytes


class PairKeys(NamedTuple):
    """What two hosts agreed on: a key for each direction."""

    peer: str
    send: LinkKey
    receive: LinkKey


class Offer(NamedTuple):
    """An offer that waits for its answer; `data` goes to the peer."""

    peer: str
    data: bytes
    private: X25519PrivateKey


class Identity:
    """This host's certificate, key and authority; makes and checks handshakes."""

    def __init__(self, host: str, certs: HostCerts) -> None:
        self.host = host
        self._ca = load_certificate(certs.ca)
        certificate = load_certificate(certs.certificate)
        if common_name(certificate) != host:
            raise UserError(f"{certs.certificate}: made for {common_name(certificate)!r}, not for {host!r}")
        if not signed_by(certificate, self._ca):
            raise UserError(f"{certs.certificate}: expired, or not signed by {certs.ca}: make it again")
        self._der = certificate.public_bytes(serialization.Encoding.DER)
        try:
            key = serialization.load_pem_private_key(certs.key.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{certs.key}: cannot read the key: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise UserError(f"{certs.key}: not the key of {certs.certificate}: make both again")
        self._key = key
        self._newest: dict[str, int] = {}  # an offer older than one already answered is a replay

    def offer(self, peer: str) -> Offer:
        """Begin an agreement with `peer`."""
        private = X25519PrivateKey.generate()
        data, _ = self._signed(peer, private, b"")
        return Offer(peer, data, private)

    def answer(self, data: bytes, *, peer: str | None = None) -> tuple[bytes, PairKeys]:
        """Answer an offer (from `peer` where that is known); WireError where it proves nothing."""
        offered = self._checked(data, b"", peer)
        if offered.made_ns <= self._newest.get(offered.src, 0):
            raise WireError(f"a key offer of {offered.src} was replayed")
        self._newest[offered.src] = offered.made_ns
        private = X25519PrivateKey.generate()
        reply, transcript = self._signed(offered.src, private, data)
        return reply, self._derive(offered, private, transcript, initiator=offered.src)

    def finish(self, offer: Offer, reply: bytes) -> PairKeys:
        """The keys, from the answer to an offer of ours; WireError where it proves nothing."""
        answered = self._checked(reply, offer.data, offer.peer)
        return self._derive(answered, offer.private, _digest(offer.data, reply), initiator=self.host)

    def _signed(self, peer: str, private: X25519PrivateKey, before: bytes) -> tuple[bytes, bytes]:
        bare = Handshake(
            self.host, peer, time.time_ns(), os.urandom(16), private.public_key().public_bytes_raw(), self._der, b""
        )
        signature = self._key.sign(_digest(before, msgspec.msgpack.encode(bare)), ec.ECDSA(hashes.SHA256()))
        data = msgspec.msgpack.encode(msgspec.structs.replace(bare, signature=signature))
        return data, _digest(before, data)

    def _checked(self, data: bytes, before: bytes, peer: str | None) -> Handshake:
        if len(data) > _MAX_BYTES:
            raise WireError(f"a handshake of {len(data)} bytes")
        try:
            said = msgspec.msgpack.decode(data, type=Handshake)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WireError(f"not a handshake: {error}") from None
        if said.dst != self.host or said.src == self.host or peer not in (None, said.src):
            raise WireError(f"a handshake from {said.src!r} to {said.dst!r} came to {self.host!r}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a stranger's bytes write nothing on our terminal
                certificate = x509.load_der_x509_certificate(said.certificate)
                genuine, name = signed_by(certificate, self._ca), common_name(certificate)
                key = certificate.public_key()
        except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
            raise WireError(f"{said.src}: not a certificate: {error}") from None
        if not genuine:
            raise WireError(f"{said.src}: its certificate is not of this deployment's authority, or has expired")
        if name != said.src:
            raise WireError(f"{said.src}: its certificate is that of {name!r}")
        bare = msgspec.msgpack.encode(msgspec.structs.replace(said, signature=b""))
        if not isinstance(key, ec.EllipticCurvePublicKey) or len(said.public) != 32 or len(said.nonce) != 16:
            raise WireError(f"{said.src}: a handshake of the wrong form")
        try:
            key.verify(said.signature, _digest(before, bare), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise WireError(f"{said.src}: the handshake's signature is wrong") from None
        return said

    def _derive(self, peer: Handshake, private: X25519PrivateKey, transcript: bytes, *, initiator: str) -> PairKeys:
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(peer.public))
        except ValueError:
            raise WireError(f"{peer.src}: a degenerate public key") from None
        okm = HKDF(hashes.SHA256(), length=72, salt=transcript, info=_LABEL).derive(shared)
        # The first half is for what the initiator sends.
        there, back = LinkKey(okm[:32], okm[32:36]), LinkKey(okm[36:68], okm[68:72])
        return PairKeys(peer.src, *((there, back) if initiator == self.host else (back, there)))


def _digest(*parts: bytes) -> bytes:
    h = hashlib.sha256(_LABEL)
    for part in parts:
        h.update(len(part).to_bytes(8, "little"))
        h.update(part)
    return h.digest()
