import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import UserError, WireError
from airloom.runtime.certs import HostCerts, make_ca, make_host
from airloom.runtime.keys import Handshake, Identity


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("certs")
    make_ca(path)
    return path


@pytest.fixture
def pair(folder):
    return Identity("ue", make_host(folder, "ue")), Identity("gnb", make_host(folder, "gnb"))


def test_both_ends_agree_on_a_key_for_each_direction(pair):
    ue, gnb = pair
    offer = ue.offer("gnb")
    reply, theirs = gnb.answer(offer.data, peer="ue")
    ours = ue.finish(offer, reply)
    assert ours.send == theirs.receive
    assert ours.receive == theirs.send
    assert ours.send.key != ours.receive.key
    assert (len(ours.send.key), len(ours.send.salt)) == (32, 4)


def test_every_agreement_gives_other_keys(pair):
    ue, gnb = pair
    seen = set()
    for _ in range(5):
        offer = ue.offer("gnb")
        reply, _ = gnb.answer(offer.data)
        keys = ue.finish(offer, reply)
        seen |= {keys.send.key, keys.receive.key}
    assert len(seen) == 10


def test_a_replayed_offer_is_refused(pair):
    ue, gnb = pair
    offer = ue.offer("gnb")
    gnb.answer(offer.data)
    with pytest.raises(WireError, match="replayed"):
        gnb.answer(offer.data)


def test_an_answer_to_another_offer_is_refused(pair):
    ue, gnb = pair
    first, second = ue.offer("gnb"), ue.offer("gnb")
    reply, _ = gnb.answer(first.data)
    with pytest.raises(WireError, match="signature"):
        ue.finish(second, reply)


def test_a_host_of_another_authority_is_refused(pair, tmp_path):
    _, gnb = pair
    make_ca(tmp_path)
    stranger = Identity("ue", make_host(tmp_path, "ue"))
    with pytest.raises(WireError, match="authority"):
        gnb.answer(stranger.offer("gnb").data)


def test_a_host_that_claims_another_name_is_refused(pair, folder):
    ue, gnb = pair
    mec = Identity("mec", make_host(folder, "mec"))
    said = msgspec.msgpack.decode(mec.offer("gnb").data, type=Handshake)
    with pytest.raises(WireError):
        gnb.answer(msgspec.msgpack.encode(msgspec.structs.replace(said, src="ue")))
    with pytest.raises(WireError, match="came to"):
        gnb.answer(mec.offer("gnb").data, peer="ue")
    with pytest.raises(WireError, match="came to"):
        gnb.answer(ue.offer("mec").data)


def test_a_certificate_of_another_host_does_not_start(folder):
    ue = make_host(folder, "ue")
    gnb = make_host(folder, "gnb")
    with pytest.raises(UserError, match="not for 'gnb'"):
        Identity("gnb", ue)
    with pytest.raises(UserError, match="not the key"):
        Identity("ue", HostCerts(ue.ca, ue.certificate, gnb.key))


@pytest.fixture(scope="module")
def lasting(folder):
    return Identity("ue", make_host(folder, "ue")), Identity("gnb", make_host(folder, "gnb"))


@settings(deadline=None, max_examples=200)
@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
def test_no_changed_byte_passes(place, change, lasting):
    ue, gnb = lasting
    offer = bytearray(ue.offer("gnb").data)
    offer[place % len(offer)] ^= change
    with pytest.raises(WireError):
        gnb.answer(bytes(offer))


@settings(deadline=None, max_examples=200)
@given(junk=st.binary(max_size=5000))
def test_junk_is_no_handshake(junk, lasting):
    with pytest.raises(WireError):
        lasting[1].answer(junk)
