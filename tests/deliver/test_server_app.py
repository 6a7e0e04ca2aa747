import contextlib
import hashlib
import json
import shutil
import time

import pytest
from client_models import write_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from server_models import ask, write_model

from airloom.deliver.server.app import MAX_BODY, ModelServer
from airloom.deliver.server.planning import PlanRequest, read_ranges, write_ranges
from airloom.deliver.server.refusals import Refusal
from airloom.deliver.server.settings import ServerSettings
from airloom.deliver.server.shelf import Shelf
from airloom.planner.delivery import Demand, arrival, choose, upgrade_path

BASE = "/v1/models/tiny"


def serving(*folders, said=None, **settings):
    return ModelServer(
        Shelf(folders), ServerSettings(folders)._replace(**settings), say=(said if said is not None else []).append
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "tiny"
    write_model(path)
    return path


@pytest.fixture(scope="module")
def manifest(folder):
    return Shelf((folder,)).models[0].manifest


@pytest.fixture(scope="module")
def app(folder):
    return serving(folder).app


def plan(app, demand, **rest):
    return ask(app, "POST", f"{BASE}/plan", body=demand if isinstance(demand, bytes) else json.dumps(demand).encode())


def test_models_and_health(app, manifest, folder):
    assert ask(app, "GET", "/healthz").json == {"ok": True}
    (entry,) = ask(app, "GET", "/v1/models").json["models"]
    assert entry["model"] == "tiny"
    assert entry["configurations"] == 6
    assert entry["nbytes"] == manifest.configurations[-1].nbytes
    assert entry["manifest"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def test_files_are_those_of_the_folder(app, folder, manifest):
    """Law: what is fetched from `/v1/models/M/` is what lies in the folder, as on a static host."""
    names = ["manifest.json", "manifest.sig", "manifest.pub", *(chunk.file for chunk in manifest.chunks)]
    for name in names:
        reply = ask(app, "GET", f"{BASE}/{name}")
        data = (folder / name).read_bytes()
        assert (reply.status, reply.body) == (200, data)
        assert reply.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
        assert reply.headers["airloom-api"] == "1"
        head = ask(app, "HEAD", f"{BASE}/{name}")
        assert (head.status, head.body, head.headers["etag"]) == (200, b"", reply.headers["etag"])
        assert head.headers["content-length"] == str(len(data))
        same = ask(app, "GET", f"{BASE}/{name}", headers={"If-None-Match": reply.headers["etag"]})
        assert (same.status, same.body) == (304, b"")


def test_what_may_be_kept(app, manifest):
    chunk = manifest.chunks[0]
    assert "immutable" in ask(app, "GET", f"{BASE}/{chunk.file}").headers["cache-control"]
    assert ask(app, "GET", f"{BASE}/manifest.json").headers["cache-control"] == "public, no-cache"
    assert ask(app, "GET", f"{BASE}/{chunk.file}", query=f"sha256={chunk.sha256}").status == 200
    other = ask(app, "GET", f"{BASE}/{chunk.file}", query=f"sha256={'0' * 64}")
    assert (other.status, other.error[:12]) == (409, "tiny has ano")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_ranges_of_a_chunk(app, folder, manifest, data):
    chunk = manifest.chunks[1]
    whole = (folder / chunk.file).read_bytes()
    first = data.draw(st.integers(0, 2 * chunk.nbytes))
    last = data.draw(st.none() | st.integers(0, 2 * chunk.nbytes))
    header = f"bytes={first}-{'' if last is None else last}"
    reply = ask(app, "GET", f"{BASE}/{chunk.file}", headers={"Range": header})
    if last is not None and last < first:
        assert (reply.status, reply.body) == (200, whole)
    elif first >= chunk.nbytes:
        assert reply.status == 416
        assert reply.headers["content-range"] == f"bytes */{chunk.nbytes}"
        assert "has no byte" in reply.error
    else:
        end = chunk.nbytes if last is None else min(last + 1, chunk.nbytes)
        assert (reply.status, reply.body) == (206, whole[first:end])
        assert reply.headers["content-range"] == f"bytes {first}-{end - 1}/{chunk.nbytes}"


def test_resuming_what_has_changed_begins_again(app, folder, manifest):
    chunk = manifest.chunks[1]
    etag = f'"{chunk.sha256}"'
    resumed = {"Range": "bytes=100-", "If-Range": etag}
    assert ask(app, "GET", f"{BASE}/{chunk.file}", headers=resumed).status == 206
    reply = ask(app, "GET", f"{BASE}/{chunk.file}", headers=resumed | {"If-Range": '"other"'})
    assert (reply.status, len(reply.body)) == (200, chunk.nbytes)
    several = ask(app, "GET", f"{BASE}/{chunk.file}", headers={"Range": "bytes=0-1,5-6"})
    assert (several.status, len(several.body)) == (200, chunk.nbytes)


def test_a_plan_is_the_choice_and_its_stream(app, folder, manifest):
    asked = {"deadline_s": 0.2, "rate_bps": 1e6, "overhead_s": 0.01}
    reply = plan(app, asked)
    found = reply.json
    choice = choose(manifest, Demand(**asked))
    assert found["configuration"] == choice.configuration.name
    assert found["accuracy"] == choice.configuration.accuracy
    assert found["rate_basis"] == "stated"
    assert found["decided_by"] == "deadline_s"
    assert found["expected_s"] == pytest.approx(0.01 + 8 * found["nbytes"] / 1e6)
    assert found["expected_s"] <= 0.2
    assert found["manifest"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert found["path"][-1] == choice.configuration.name
    path, _, query = found["stream"].partition("?")
    stream = ask(app, "GET", f"{BASE}/{path}", query=query)
    files = b"".join((folder / chunk["file"]).read_bytes() for chunk in found["chunks"])
    assert (stream.status, stream.body) == (200, files)
    assert len(files) == found["nbytes"]
    assert stream.headers["airloom-chunks"] == write_ranges(chunk["index"] for chunk in found["chunks"])


def test_the_manifest_comes_with_the_rate_that_a_plan_would_take(app, folder, manifest):
    told = ask(app, "GET", f"{BASE}/manifest.json").headers["airloom-rate"]
    planned = ask(app, "POST", f"{BASE}/plan", body=b'{"deadline_s": 9}').json
    assert float(told) == planned["rate_bps"]
    assert "airloom-rate" not in ask(app, "GET", f"{BASE}/manifest.sig").headers


def test_a_stream_may_begin_with_the_architecture(tmp_path):
    file = b"{}" * 99
    manifest = write_weights(tmp_path / "tiny", file=file)
    app = serving(tmp_path / "tiny").app
    query = "configuration=1/fp32&have="
    bare = ask(app, "GET", f"{BASE}/stream", query=query)
    both = ask(app, "GET", f"{BASE}/stream", query=f"{query}&include=architecture")
    assert both.body == file + bare.body
    assert both.headers["etag"] != bare.headers["etag"]
    assert both.headers["airloom-chunks"] == bare.headers["airloom-chunks"]
    whole = {"Range": f"bytes={len(file)}-", "If-Range": both.headers["etag"]}
    assert ask(app, "GET", f"{BASE}/stream", query=f"{query}&include=architecture", headers=whole).body == bare.body
    assert "only architecture" in ask(app, "GET", f"{BASE}/stream", query=f"{query}&include=all").error
    assert manifest.architecture.nbytes == len(file)


def test_a_stream_is_what_the_client_works_out(app, folder, manifest):
    """Law: whoever has the manifest knows the stream's bytes: `arrival` of `upgrade_path`."""
    target, have = manifest.configurations[-1], (0, 1)
    path = upgrade_path(manifest, have, target)
    query = f"configuration={','.join(row.name for row in path)}&have=0-1"
    reply = ask(app, "GET", f"{BASE}/stream", query=query)
    chunks = arrival(manifest, have, path)
    whole = b"".join((folder / manifest.chunks[k].file).read_bytes() for k in chunks)
    assert reply.body == whole
    assert not set(chunks) & set(have)
    for start in (0, 1, len(whole) // 2, len(whole) - 1):
        again = ask(app, "GET", f"{BASE}/stream", query=query, headers={"Range": f"bytes={start}-"})
        assert (again.status, again.body) == (206, whole[start:])
        assert again.headers["etag"] == reply.headers["etag"]
    assert ask(app, "HEAD", f"{BASE}/stream", query=query).headers["content-length"] == str(len(whole))


def test_more_bytes_than_there_are_numbers_for(app, manifest):
    found = plan(app, {"deadline_s": 1e308, "rate_bps": 1e308})
    assert found.status == 200
    assert found.json["configuration"] == manifest.configurations[-1].name


def test_ranges_that_repeat_each_other_are_read_once():
    began = time.process_time()
    assert read_ranges(",".join(["0-65535"] * 4000), 65_536) == frozenset(range(65_536))
    assert time.process_time() - began < 2.0


def test_nothing_lacks(app, manifest):
    everything = f"0-{len(manifest.chunks) - 1}"
    reply = ask(app, "GET", f"{BASE}/stream", query=f"configuration=3/bits-6&have={everything}")
    assert (reply.status, reply.body) == (200, b"")
    found = plan(app, {"have": list(range(len(manifest.chunks)))}).json
    assert (found["nbytes"], found["expected_s"], found["chunks"]) == (0, 0.0, [])


def test_rates_that_are_not_stated(folder):
    server = serving(folder, assumed_rate_bps=5e5)
    assumed = plan(server.app, {"deadline_s": 0.3}).json
    assert (assumed["rate_basis"], assumed["rate_bps"]) == ("assumed", 5e5)
    none = plan(server.app, {}).json
    assert (none["rate_basis"], none["rate_bps"], none["expected_s"]) == ("", None, None)
    server.rates.add("@10.0.0.1", 10**6, 1.0)
    estimated = plan(server.app, {"deadline_s": 0.3}).json
    assert (estimated["rate_basis"], estimated["rate_bps"]) == ("estimated", 8e6)
    assert plan(server.app, {"deadline_s": 0.3, "rate_bps": 1e6}).json["rate_basis"] == "stated"
    assert estimated["accuracy"] > assumed["accuracy"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "Expected `object`"),
        (b'{"deadline_s": NaN}', 400, "not JSON"),
        (b'{"deadline_s": 1e999, "rate_bps": 1}', 400, "out of range"),
        (b'{"deadline_s": -1}', 400, "deadline_s is at least 0"),
        (b'{"deadline_s": "200 ms"}', 400, "$.deadline_s"),
        (b'{"deadlin_s": 1}', 400, "deadlin_s"),
        (b'{"rate_bps": 0}', 400, "rate_bps is above 0"),
        (b'{"accuracy": 91}', 400, "write 90 % as 0.9"),
        (b'{"max_joules": 1}', 400, "needs joules_per_mac or watts"),
        (b'{"have": [99]}', 400, "no chunk 99"),
        (b'{"have": [-1]}', 400, "no chunk -1"),
        (b'{"have": ["0"]}', 400, "$.have"),
        (b'{"manifest": "' + b"0" * 64 + b'"}', 409, "another manifest"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "Expected `object`"),
        (b'{"have":' + b"[" * 100_000, 400, "have"),
        (b'{"max_nbytes": 10}', 422, "the nearest, 1/bits-4, takes"),
        (b'{"accuracy": 0.99}', 422, "the nearest, 3/bits-6, is 91.0 %"),
        (b" " * (MAX_BODY + 1), 413, "more than"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be(app, body, status, reason):
    reply = plan(app, body)
    assert reply.status == status
    assert reason in reply.error
    if status == 422:
        assert reply.json["nearest"] in ("1/bits-4", "3/bits-6")


def test_a_body_without_a_length_is_bounded(app):
    reply = ask(app, "POST", f"{BASE}/plan", body=[b" " * 300_000] * 5)
    assert reply.status == 413
    assert reply.headers["connection"] == "close"
    assert ask(app, "POST", f"{BASE}/plan", headers={"Content-Length": "99999999"}).status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(PlanRequest.__struct_fields__)
NUMBERS = st.none() | st.integers(-2, 10**6) | st.floats(0, 10)


@settings(deadline=None, max_examples=150)
@given(
    body=st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(FIELDS, NUMBERS | JSON, max_size=4).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_planned_or_refused(app, body):
    """Law: whatever is sent, the answer is a plan within the demand or one line that says why not."""
    reply = plan(app, body)
    if reply.status == 200:
        assert reply.json["chunks"] is not None
        asked = json.loads(body or b"{}")
        if asked.get("max_nbytes") is not None:
            assert reply.json["nbytes"] <= asked["max_nbytes"]
        if asked.get("deadline_s") is not None:
            assert reply.json["expected_s"] <= asked["deadline_s"] * (1 + 1e-6)
    else:
        assert reply.status in (400, 409, 422)
        assert reply.error


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "reason"),
    [
        ("GET", "/", "", 404, "no such resource"),
        ("GET", "/v1/models/none/manifest.json", "", 404, "no model 'none': there are tiny"),
        ("POST", "/v1/models/none/plan", "", 404, "no model"),
        ("GET", f"{BASE}/chunks/none", "", 404, "no file"),
        ("GET", f"{BASE}/chunks", "", 404, "no file"),
        ("GET", f"{BASE}/", "", 404, "no file"),
        ("GET", f"{BASE}/plan", "", 404, "no file"),
        ("GET", f"{BASE}/../../../etc/passwd", "", 400, "no path below"),
        ("GET", f"{BASE}/chunks/../manifest.json", "", 400, "no path below"),
        ("GET", f"{BASE}/%2e%2e/x", "", 404, "no file"),
        ("GET", f"{BASE}/a\0b", "", 400, "no path below"),
        ("GET", f"{BASE}/..\\x", "", 400, "no path below"),
        ("GET", f"{BASE}//etc/passwd", "", 400, "no path below"),
        ("GET", f"{BASE}/.manifest.before.json", "", 404, "no file"),
        ("DELETE", f"{BASE}/manifest.json", "", 405, "not with DELETE"),
        ("POST", f"{BASE}/stream", "", 405, "not with POST"),
        ("GET", f"{BASE}/manifest.json", "x=1", 400, "unknown key 'x'"),
        ("GET", f"{BASE}/manifest.json", f"manifest={'0' * 64}", 409, "another manifest"),
        ("GET", f"{BASE}/stream", "", 400, "configuration=DEPTH/PRECISION"),
        ("GET", f"{BASE}/stream", "configuration=9/fp32", 400, "no configuration '9/fp32'"),
        ("GET", f"{BASE}/stream", "configuration=", 400, "no configuration"),
        ("GET", f"{BASE}/stream", "configuration=1/bits-4&configuration=2/bits-4", 400, "twice"),
        ("GET", f"{BASE}/stream", "configuration=" + ",".join(["1/bits-4"] * 9), 400, "9 names, there are 6"),
        ("GET", f"{BASE}/stream", "configuration=1/bits-4&have=x", 400, "expected indices"),
        ("GET", f"{BASE}/stream", "configuration=1/bits-4&have=0-99999999", 400, "there are chunks 0 to"),
        ("GET", f"{BASE}/stream", "configuration=1/bits-4&have=5-2", 400, "there are chunks"),
        ("GET", f"{BASE}/stream", f"configuration=1/bits-4&manifest={'0' * 64}", 409, "another manifest"),
        ("GET", f"{BASE}/stream", "configuration=%ff", 400, "cannot be read"),
        ("GET", f"{BASE}/stream", "&".join(["a=1"] * 40), 400, "cannot be read"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be(app, method, path, query, status, reason):
    reply = ask(app, method, path, query=query)
    assert reply.status == status
    assert reason in reply.error


@settings(deadline=None, max_examples=100)
@given(path=st.text(max_size=30), query=st.text(st.characters(codec="ascii"), max_size=30))
def test_any_path_is_answered(app, path, query):
    reply = ask(app, "GET", f"{BASE}/{path}", query=query)
    assert reply.status in (400, 404, 409) or path in ("manifest.json", "manifest.sig", "manifest.pub")


@settings(deadline=None)
@given(st.sets(st.integers(0, 40)))
def test_ranges_of_indices_are_read_as_written(indices):
    assert read_ranges(write_ranges(sorted(indices)), 41) == indices


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_indices_or_refused(text):
    with contextlib.suppress(Refusal):
        assert all(0 <= k < 7 for k in read_ranges(text, 7))


def test_too_many_requests_under_way(folder):
    server = serving(folder, max_transfers_per_client=2, max_transfers=3)
    front = server.front
    front._per_client["@10.0.0.1"] = 2
    reply = ask(server.app, "GET", "/v1/models")
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    assert "2 of your requests" in reply.error
    assert ask(server.app, "GET", "/v1/models", client=("10.0.0.2", 1)).status == 200
    front.in_flight = 3
    reply = ask(server.app, "GET", "/v1/models", client=("10.0.0.2", 1))
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert ask(server.app, "GET", "/healthz", client=("10.0.0.2", 1)).status == 200


def test_a_damaged_file_is_not_sent(tmp_path):
    manifest = write_model(tmp_path / "m")
    said = []
    server = serving(tmp_path / "m", said=said)
    path = tmp_path / "m" / manifest.chunks[0].file
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        reply = ask(server.app, "GET", f"{BASE}/{manifest.chunks[0].file}")
        assert (reply.status, reply.error) == (503, "this file is damaged on the server")
    assert manifest.chunks[0].file in said[0]
    assert ask(server.app, "GET", f"{BASE}/{manifest.chunks[1].file}").status == 200
    data[7] ^= 1
    path.write_bytes(data)
    assert ask(server.app, "GET", f"{BASE}/{manifest.chunks[0].file}").body == bytes(data)


def test_a_mistake_of_ours_is_one_line(folder, monkeypatch):
    said = []
    server = serving(folder, said=said)
    monkeypatch.setattr(server.shelf, "find", lambda *args: 1 / 0)
    reply = plan(server.app, {})
    assert (reply.status, reply.error) == (500, "the server failed")
    assert said
    assert "ZeroDivisionError" in said[0]
    assert "\n" not in said[0]


def test_metrics_count(folder, manifest):
    server = serving(folder)
    plan(server.app, {})
    plan(server.app, {"accuracy": 1.0})
    plan(server.app, {"deadline_s": -1})
    for _ in range(3):
        ask(server.app, "GET", f"{BASE}/{manifest.chunks[0].file}")
    text = ask(server.app, "GET", "/metrics").body.decode()
    assert 'airloom_delivery_decisions_total{outcome="answered"} 1\n' in text
    assert 'airloom_delivery_decisions_total{outcome="refused"} 1\n' in text
    assert 'airloom_delivery_decisions_total{outcome="wrong"} 1\n' in text
    assert 'airloom_delivery_requests_total{status="422"} 1\n' in text
    assert 'airloom_delivery_cache_reads_total{outcome="hit"} 2\n' in text
    assert f"airloom_delivery_cache_bytes {manifest.chunks[0].nbytes}\n" in text
    sent = next(line for line in text.splitlines() if line.startswith("airloom_delivery_sent_bytes_total"))
    assert int(sent.split()[1]) >= 3 * manifest.chunks[0].nbytes


def test_chunks_larger_than_the_cache_are_sent_in_pieces(tmp_path):
    manifest = write_model(tmp_path / "m", nbytes=700_000, blocks=1)
    server = serving(tmp_path / "m", cache_nbytes=1_000_000)
    chunk = manifest.chunks[0]
    whole = (tmp_path / "m" / chunk.file).read_bytes()
    assert ask(server.app, "GET", f"{BASE}/{chunk.file}").body == whole
    assert (
        ask(server.app, "GET", f"{BASE}/{chunk.file}", headers={"Range": "bytes=300000-650000"}).body
        == (whole[300_000:650_001])
    )
    assert (server.cache.nbytes, server.cache.passed) == (0, 2)
    shutil.rmtree(tmp_path / "m")
    assert ask(server.app, "GET", f"{BASE}/{chunk.file}").body == whole
