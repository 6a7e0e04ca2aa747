"""A certificate authority of one deployment, and a certificate for each of its hosts.

A host is who its certificate says: the common name is the host's id. Whoever holds `ca.key` can
admit hosts; it need not leave the machine on which the authority was made.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from airloom.core.topology import DEVICE_ID
from airloom.errors import ConfigError, UserError
from airloom.files import write_aside

#: Common name of the certificate that may command hosts (`airloom status`, pinning a plan).
OPERATOR = "operator"

# A host whose clock lags a little must not find the certificate in the future.
_BACKDATE = dt.timedelta(minutes=5)


class HostCerts(NamedTuple):
    """Paths of what one host needs to join."""

    ca: Path
    certificate: Path
    key: Path


def host_certs(folder: Path, host_id: str) -> HostCerts:
    """The files of `host_id` in `folder`; refused with the command that makes them where one is missing."""
    certs = HostCerts(folder / "ca.pem", folder / f"{host_id}.pem", folder / f"{host_id}.key")
    for path in certs:
        if not path.is_file():
            raise UserError(f"{path}: no such file: make it with `airloom certs {folder} --hosts {host_id}`")
    return certs


def check_host_ids(ids: Iterable[str]) -> None:
    """Refuse an id that cannot name a host's files, before anything is written.

    Raises:
        ConfigError: naming the id and what one looks like.
    """
    for host_id in ids:
        if not DEVICE_ID.fullmatch(host_id) or host_id == "ca":
            raise ConfigError(f"{host_id!r} cannot be a host id: letters, digits, '_', '.', '-', at most 64, not 'ca'")


def make_ca(folder: Path, *, days: float = 365.0) -> Path:
    """Make `ca.key` and `ca.pem` in `folder` (the key readable by its owner alone); returns the certificate.

    An authority that is already there is kept, so that hosts can be added later.
    """
    certificate, key_path = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() and key_path.exists():
        return certificate
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airloom CA")])
    cert = (
        _builder(name, key.public_key(), name, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_path, key)
    write_aside(certificate, cert.public_bytes(serialization.Encoding.PEM))
    return certificate


def make_host(
    folder: Path, host_id: str, *, addresses: Iterable[str] = (), days: float = 90.0, hours: float | None = None
) -> HostCerts:
    """Make the certificate and key of `host_id`, signed by the authority in `folder`.

    Args:
        addresses: names or IP addresses at which others reach this host, beside localhost.
        days, hours: validity; `hours` wins where given.
    """
    check_host_ids((host_id,))
    ca_path, ca_key_path = folder / "ca.pem", folder / "ca.key"
    if not ca_path.exists() or not ca_key_path.exists():
        raise UserError(f"{folder}: no ca.pem and ca.key: run `airloom certs {folder}` where the authority was made")
    ca = load_certificate(ca_path)
    ca_key = serialization.load_pem_private_key(ca_key_path.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_id)])
    names: dict[str, x509.GeneralName] = {}
    for address in ("localhost", "127.0.0.1", "::1", *addresses):
        names[address] = _general_name(address)
    valid_days = days if hours is None else hours / 24.0
    cert = (
        _builder(subject, key.public_key(), ca.subject, valid_days)
        .add_extension(x509.SubjectAlternativeName(names.values()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    certs = HostCerts(ca_path, folder / f"{host_id}.pem", folder / f"{host_id}.key")
    _write_key(certs.key, key)
    write_aside(certs.certificate, cert.public_bytes(serialization.Encoding.PEM))
    return certs


def load_certificate(path: Path) -> x509.Certificate:
    """The PEM certificate at `path`."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path}: not a PEM certificate: make it again with `airloom certs`") from None


def common_name(certificate: x509.Certificate) -> str:
    """The certificate's common name, "" where it has none or several."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def signed_by(certificate: x509.Certificate, ca: x509.Certificate, *, now: dt.datetime | None = None) -> bool:
    """Whether `ca` issued `certificate` and both are valid now."""
    now = now or dt.datetime.now(dt.UTC)
    for cert in (certificate, ca):
        if not cert.not_valid_before_utc <= now <= cert.not_valid_after_utc:
            return False
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, days: float
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(address: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(address))
    return x509.DNSName(address)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    # 0600 from the first byte: never readable by others, not even for a moment.
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    aside.replace(path)
