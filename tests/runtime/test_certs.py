import datetime as dt
import stat

import pytest
from cryptography import x509

from airloom.errors import ConfigError, UserError
from airloom.runtime.certs import common_name, host_certs, load_certificate, make_ca, make_host, signed_by


def test_a_host_certificate_names_the_host_and_is_signed(tmp_path):
    make_ca(tmp_path)
    certs = make_host(tmp_path, "gnb", addresses=["10.0.0.7", "gnb.example"])
    cert = load_certificate(certs.certificate)
    assert common_name(cert) == "gnb"
    assert signed_by(cert, load_certificate(certs.ca))
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "gnb.example" in names.get_values_for_type(x509.DNSName)
    assert "10.0.0.7" in [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    assert host_certs(tmp_path, "gnb") == certs


def test_keys_are_readable_by_their_owner_alone(tmp_path):
    make_ca(tmp_path)
    certs = make_host(tmp_path, "ue")
    for path in (tmp_path / "ca.key", certs.key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_authority_is_kept_so_that_hosts_can_be_added(tmp_path):
    before = make_ca(tmp_path).read_bytes()
    assert make_ca(tmp_path).read_bytes() == before


def test_another_authority_or_an_expired_certificate_does_not_count(tmp_path):
    make_ca(tmp_path / "ours")
    make_ca(tmp_path / "theirs")
    ca = load_certificate(tmp_path / "ours" / "ca.pem")
    stranger = load_certificate(make_host(tmp_path / "theirs", "ue").certificate)
    assert not signed_by(stranger, ca)
    brief = load_certificate(make_host(tmp_path / "ours", "ue", hours=1).certificate)
    now = dt.datetime.now(dt.UTC)
    assert signed_by(brief, ca, now=now)
    assert not signed_by(brief, ca, now=now + dt.timedelta(hours=2))


@pytest.mark.parametrize("name", ["", "ca", "a/b", "*", "x" * 70, "../ue", "a b"])
def test_ids_that_would_be_paths_or_wildcards_are_refused(tmp_path, name):
    make_ca(tmp_path)
    with pytest.raises(ConfigError):
        make_host(tmp_path, name)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match="airloom certs"):
        host_certs(tmp_path, "ue")
    with pytest.raises(UserError, match="airloom certs"):
        make_host(tmp_path, "ue")
