"""Keys: made once, kept from others, read in every form, told apart."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from airloom.deliver.signing import (
    fingerprint,
    make_keys,
    public_pem,
    public_text,
    read_private_key,
    read_public_key,
    sign,
    verify,
)
from airloom.errors import ConfigError, SignatureError


def test_keys_are_made_once_and_the_private_one_is_private(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path / "keys" / "me")
    assert (private.name, public.name) == ("me.key", "me.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    with pytest.raises(ConfigError, match=r"me\.key: there is a key already"):
        make_keys(tmp_path / "keys" / "me")
    private.unlink()
    with pytest.raises(ConfigError, match=r"me\.pub: there is a key already"):
        make_keys(tmp_path / "keys" / "me")
    assert not private.exists()
    assert before


def test_a_key_is_read_in_every_form(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path / "me")
    key = read_private_key(private).public_key()
    line = tmp_path / "line.pub"
    line.write_text(public_text(key) + "\n")
    for form in (public, str(public), line, public_text(key), key.public_bytes_raw().hex()):
        assert read_public_key(form).public_bytes_raw() == key.public_bytes_raw()
    assert public_pem(key) == public.read_bytes()


def test_fingerprints_are_the_start_of_the_keys_sha256() -> None:
    # RFC 8032, 7.1, TEST 1; the digest by `xxd -r -p | sha256sum`.
    key = ed25519.Ed25519PublicKey.from_public_bytes(
        bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    )
    assert fingerprint(key) == "21fe 31df a154 a261 626b f854 046f d227"


@pytest.mark.parametrize("text", ["ed25519:", "ed25519:AAAA", "ed25519:" + "!" * 44, "ed25519:" + "A" * 80])
def test_a_line_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no public key"):
        read_public_key(text)


def test_files_that_are_no_such_keys_are_refused(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path / "me")
    other = x25519.X25519PrivateKey.generate()
    wrong = tmp_path / "x25519.key"
    wrong.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    wrong_public = tmp_path / "x25519.pub"
    wrong_public.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(ConfigError, match="this is the private key"):
        read_public_key(private)
    with pytest.raises(ConfigError, match="not of Ed25519"):
        read_public_key(wrong_public)
    with pytest.raises(ConfigError, match="not a public key"):
        read_public_key(text)
    with pytest.raises(ConfigError, match="cannot read"):
        read_public_key(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="not of Ed25519"):
        read_private_key(wrong)
    for path in (public, text):
        with pytest.raises(ConfigError, match="not a private key"):
            read_private_key(path)


def test_a_signature_holds_for_its_bytes_alone(tmp_path: Path) -> None:
    private, _ = make_keys(tmp_path / "me")
    key = read_private_key(private)
    signature = sign(b"manifest", key)
    verify(b"manifest", signature, key.public_key())
    with pytest.raises(SignatureError):
        verify(b"manifesto", signature, key.public_key())
