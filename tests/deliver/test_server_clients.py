import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_models import ask, write_model

from airloom.deliver.server.app import ModelServer
from airloom.deliver.server.rates import LOT_NBYTES, MIN_BUSY_S, MIN_NBYTES, TICK_S, Rates
from airloom.deliver.server.settings import ServerSettings
from airloom.deliver.server.shelf import Shelf
from airloom.deliver.server.tokens import read_tokens
from airloom.errors import ConfigError

ALICE, BOB = "a" * 32, "Zm9v+/bar=baz"[:-4] + "0123456789="


def token_file(tmp_path, text, mode=0o600):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_tokens_are_let_in_by_name(tmp_path):
    tokens = read_tokens(token_file(tmp_path, f"# who\nalice {ALICE}\n\n{BOB} # a comment\n"))
    assert len(tokens) == 2
    assert tokens.name_of(f"Bearer {ALICE}") == "alice"
    assert tokens.name_of(f"bearer  {BOB}") == "line-4"
    for wrong in (None, "", "Bearer", "Bearer ", f"Basic {ALICE}", ALICE, f"Bearer {ALICE}x", f"Bearer {ALICE[:-1]}"):
        assert tokens.name_of(wrong) is None


@settings(deadline=None)
@given(st.text(max_size=50))
def test_no_other_text_is_a_token(tmp_path_factory, text):
    tokens = read_tokens(token_file(tmp_path_factory.mktemp("t"), ALICE))
    assert tokens.name_of(text) is None
    assert (tokens.name_of(f"Bearer {text}") is not None) == (text.strip() == ALICE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no token in it"),
        ("# nothing\n", "no token in it"),
        ("short\n", r"tokens:1: a token has at least 16 characters"),
        (f"{ALICE}\na b {ALICE}\n", r"tokens:2: expected `NAME TOKEN`"),
        ("token-with-ümlaut-in-it\n", "expected"),
        (f"{'n' * 70} {ALICE}", "expected"),
    ],
)
def test_files_of_tokens_that_are_refused(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=reason) as error:
        read_tokens(token_file(tmp_path, text))
    assert ALICE not in str(error.value)


def test_tokens_that_others_may_read_are_refused(tmp_path):
    for mode in (0o644, 0o640, 0o604):
        with pytest.raises(ConfigError, match="chmod 600"):
            read_tokens(token_file(tmp_path, ALICE, mode))
    with pytest.raises(ConfigError, match="cannot read"):
        read_tokens(tmp_path / "none")


def test_without_a_token_nothing_but_health(tmp_path):
    write_model(tmp_path / "m")
    tokens = read_tokens(token_file(tmp_path, f"alice {ALICE}"))
    folders = (tmp_path / "m",)
    server = ModelServer(Shelf(folders), ServerSettings(folders), tokens=tokens)
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/v1/models/tiny/manifest.json"),
        ("POST", "/v1/models/tiny/plan"),
        ("GET", "/none"),
    ):
        reply = ask(server.app, method, path, headers={"Authorization": f"Bearer {BOB}"})
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert BOB not in reply.error
    good = {"Authorization": f"Bearer {ALICE}"}
    assert ask(server.app, "GET", "/healthz").status == 200
    assert ask(server.app, "GET", "/v1/models", headers=good).status == 200
    reply = ask(server.app, "GET", "/v1/models/tiny/manifest.json", headers=good)
    assert reply.headers["cache-control"].startswith("private")
    # Estimates are of a token at an address.
    server.rates.add("alice@10.0.0.1", 10**6, 1.0)
    body = b'{"deadline_s": 1}'
    assert ask(server.app, "POST", "/v1/models/tiny/plan", body=body, headers=good).json["rate_bps"] == 8e6
    moved = ask(server.app, "POST", "/v1/models/tiny/plan", body=body, headers=good, client=("10.0.0.9", 1))
    assert moved.json["rate_basis"] == "assumed"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@settings(deadline=None)
@given(st.lists(st.floats(1e3, 5e8), min_size=1, max_size=12))
def test_a_rate_is_the_harmonic_mean_of_the_last_five(rates):
    known = Rates()
    for rate in rates:
        known.add("ue", 10**6, 8e6 / rate)
    last = rates[-5:]
    assert known.estimate_bps("ue") == pytest.approx(len(last) / sum(1 / rate for rate in last))
    assert min(last) * 0.999 <= known.estimate_bps("ue") <= max(last) * 1.001


def test_what_says_too_little_is_counted_on():
    known = Rates()
    assert not known.add("ue", MIN_NBYTES - 1, 1.0)
    assert not known.add("ue", LOT_NBYTES - 1, MIN_BUSY_S / 2)
    assert known.estimate_bps("ue") is None
    assert known.estimate_bps("nobody") is None
    assert len(known) == 0
    # Faster than the kernel's clock: no faster than a tick says.
    assert known.add("ue", LOT_NBYTES, 0.0)
    assert known.estimate_bps("ue") == 8 * LOT_NBYTES / TICK_S


def test_old_transfers_and_too_many_clients_are_forgotten():
    clock = Clock()
    known = Rates(max_clients=3, max_age_s=10.0, clock=clock)
    known.add("ue", 10**6, 1.0)
    clock.now = 9.0
    known.add("ue", 10**6, 0.5)
    assert known.estimate_bps("ue") == pytest.approx(2 / (1 / 8e6 + 1 / 16e6))
    clock.now = 12.0
    assert known.estimate_bps("ue") == 16e6
    clock.now = 30.0
    assert known.estimate_bps("ue") is None
    assert len(known) == 0
    for k in range(50):
        known.add(str(k), 10**6, 1.0)
    assert len(known) == 3
    assert known.estimate_bps("49") == 8e6
    assert known.estimate_bps("46") is None
