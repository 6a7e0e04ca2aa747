"""Whatever goes wrong: the last good configuration goes on running, and somebody can read why."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest
from client_models import KEY, PUBLIC, SumRunner, hosted, write_weights
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom.deliver import running
from airloom.deliver.arrived import Arrived
from airloom.deliver.client import partial
from airloom.deliver.client.faults import Damaged, DiskFull, Interrupted, Refused, Untrusted
from airloom.deliver.client.options import FetchOptions
from airloom.deliver.model import ProgressiveModel
from airloom.deliver.signing import public_text, sign
from airloom.errors import ChunkError, ConfigError, ManifestError, SignatureError


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "make_runner", SumRunner)
    return FetchOptions(cache=tmp_path / "cache", stall_timeout_s=0.3, patience_s=0.8, connect_timeout_s=0.5)


@pytest.fixture
def model(tmp_path):
    return tmp_path / "m", write_weights(tmp_path / "m", blocks=4)


def opened(source, options, **wanted):
    return ProgressiveModel.open(source, **{"key": PUBLIC, "options": options, **wanted})


def broken(folder, manifest, options, host, damage, kind, line):
    """A model at 1/bits-4 whose upgrade meets `damage`: what had arrived runs, and somebody can read what happened."""
    with opened(host.url, options, depth=1, precision="bits-4") as model:
        good = model.wait(10)
        damage()
        model.upgrade(depth=4, precision="fp32")
        with pytest.raises(kind, match=line):
            model.wait(10)
        assert isinstance(model.fault, kind)
        assert model.history[-1].kind == "fault"
        assert line.replace("\\", "") in model.history[-1].text
        usable = [event.configuration for event in model.history if event.kind == "usable"]
        assert model.configuration == usable[-1]
        assert good in usable
        answer = model(None)
        assert answer[0] == usable[-1].depth < 4
        history = model.history
    assert answer[1] == pytest.approx(expected_sum(manifest, usable[-1], folder))
    return history


def expected_sum(manifest, configuration, folder):
    """What `SumRunner` says, from the chunks themselves."""
    arrived = Arrived(manifest)
    for index in manifest.chunks_of(configuration):
        arrived.add(index, bytearray((folder / manifest.chunks[index].file).read_bytes()))
    return SumRunner(manifest).prepare(configuration.depth, arrived.arrays(configuration))()[1]


def last_chunk(manifest):
    """One that only the whole model in fp32 needs."""
    full = next(c for c in manifest.configurations if c.name == "4/fp32")
    return manifest.chunks[manifest.chunks_of(full)[-1]]


def test_a_flipped_bit(model, options):
    folder, manifest = model
    chunk = last_chunk(manifest)
    with hosted(folder) as host:
        history = broken(
            folder,
            manifest,
            options,
            host,
            lambda: host.corrupt.update({chunk.file: 900}),
            Damaged,
            "not those of the signed",
        )
        assert any(event.kind == "retry" for event in history)  # once more, before it is given up
        host.corrupt.clear()
        with opened(host.url, options, depth=4, precision="fp32") as model:
            model.wait(10)  # mended at the host: nothing of it stuck in the cache


def test_a_truncated_chunk(model, options):
    folder, manifest = model
    file = folder / last_chunk(manifest).file
    with hosted(folder) as host:
        broken(
            folder,
            manifest,
            options,
            host,
            lambda: file.write_bytes(file.read_bytes()[:-10]),
            Damaged,
            "the manifest names",
        )


def test_a_chunk_of_another_model(model, options, tmp_path):
    folder, manifest = model
    other = write_weights(tmp_path / "other", name="other", blocks=4, seed=1)
    chunk = last_chunk(manifest)
    same_place = next(c for c in other.chunks if (c.part, c.encoding) == (chunk.part, chunk.encoding))
    data = (tmp_path / "other" / same_place.file).read_bytes()
    data += b" " * (chunk.nbytes - len(data))
    with hosted(folder) as host:
        broken(
            folder, manifest, options, host, lambda: (folder / chunk.file).write_bytes(data[: chunk.nbytes]), Damaged,
            "not those of the signed",
        )  # fmt: skip


def test_a_publisher_that_signs_another_models_chunk(options, tmp_path):
    """The digest is the manifest's, the content says that it belongs elsewhere."""
    manifest = write_weights(tmp_path / "m", blocks=4)
    other = write_weights(tmp_path / "other", name="other", blocks=4, seed=1)
    chunk = last_chunk(manifest)
    theirs = next(c for c in other.chunks if (c.part, c.encoding) == (chunk.part, chunk.encoding))
    if theirs.nbytes != chunk.nbytes:  # the names differ in length, and nothing else
        pad = chunk.nbytes - theirs.nbytes
        assert abs(pad) < 16
    changed = msgspec.structs.replace(chunk, nbytes=theirs.nbytes, sha256=theirs.sha256)
    chunks = tuple(changed if c == chunk else c for c in manifest.chunks)
    forged = msgspec.structs.replace(manifest, chunks=chunks)
    rows = tuple(msgspec.structs.replace(c, nbytes=forged.nbytes_of(c)) for c in forged.configurations)
    forged = msgspec.structs.replace(forged, configurations=tuple(sorted(rows, key=lambda c: c.nbytes)))
    data = msgspec.json.encode(forged)
    (tmp_path / "m" / "manifest.json").write_bytes(data)
    (tmp_path / "m" / "manifest.sig").write_bytes(sign(data, KEY))
    (tmp_path / "m" / chunk.file).write_bytes((tmp_path / "other" / theirs.file).read_bytes())
    with hosted(tmp_path / "m") as host:
        broken(tmp_path / "m", forged, options, host, lambda: None, ChunkError, "'other' where 'tiny' was expected")


def test_a_server_that_stalls(model, options):
    folder, manifest = model

    def stall(handler, file, start):
        if file.startswith("chunks/"):
            time.sleep(1.0)
            return True
        return False

    with hosted(folder) as host:
        broken(folder, manifest, options, host, lambda: setattr(host, "fault", stall), Interrupted, "stalls")


def test_a_server_that_has_gone(model, options):
    folder, manifest = model

    def gone():
        host.fault = lambda handler, file, start: handler.connection.close() or True
        host.close()

    with hosted(folder) as host:
        broken(folder, manifest, options, host, gone, Interrupted, "127.0.0.1")


def test_a_server_that_no_longer_has_it(model, options):
    folder, manifest = model
    with hosted(folder) as host:
        broken(folder, manifest, options, host, (folder / last_chunk(manifest).file).unlink, Refused, "not there")


def test_a_full_disk(model, options, monkeypatch):
    folder, manifest = model

    def full(handle, piece, at):
        raise OSError(errno.ENOSPC, "No space left on device")

    with hosted(folder) as host:
        broken(
            folder, manifest, options, host, lambda: monkeypatch.setattr(partial.os, "pwrite", full), DiskFull,
            "the disk is full",
        )  # fmt: skip


def test_a_disk_that_fills_in_a_process_of_its_own(model, options, tmp_path):
    """RLIMIT_FSIZE: the kernel refuses the write itself."""
    folder, _ = model
    code = textwrap.dedent(f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from client_models import PUBLIC, SumRunner
        from airloom.deliver import model as m, running
        from airloom.deliver.client.options import FetchOptions
        running.make_runner = SumRunner
        from pathlib import Path
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        options = FetchOptions(cache=Path(sys.argv[2]))
        with m.ProgressiveModel.open(sys.argv[1], key=PUBLIC, options=options, precision="bits-4") as model:
            model.wait(10)
            model.upgrade(precision="fp32")
            try:
                model.wait(10)
            except Exception as error:
                print(type(error).__name__, error, model.configuration and model.configuration.name)
    """)
    with hosted(folder) as host:
        done = subprocess.run(
            [sys.executable, "-c", code, host.url, str(tmp_path / "full")], capture_output=True, text=True, check=True
        )
    assert done.stdout.startswith("DiskFull")
    assert "files may not be larger" in done.stdout
    assert "--cache" in done.stdout
    assert "bits-4" in done.stdout  # what had arrived runs


def test_a_cache_that_is_too_small(model, options, tmp_path):
    folder, manifest = model
    small = msgspec.structs.replace(options, cache_nbytes=manifest.configurations[0].nbytes + 3000)
    with hosted(folder) as host:
        broken(folder, manifest, small, host, lambda: None, ConfigError, "--cache-size")


def test_a_server_that_dies_and_comes_back(model, options):
    folder, manifest = model
    patient = msgspec.structs.replace(options, patience_s=20.0)
    down = []

    def dead(handler, file, start):
        if down and file.startswith("chunks/"):
            handler.close_connection = True
            handler.connection.close()
            return True
        return False

    with hosted(folder) as host:
        host.pace, host.nap_s, host.fault = 2000, 0.005, dead
        with opened(host.url, patient, precision="fp32") as model:
            model.wait_ready(10)
            down.append(1)
            time.sleep(0.6)
            assert model(None)
            down.clear()
            model.wait(20)
            assert any(event.kind == "retry" for event in model.history)
        for chunk in manifest.chunks:
            assert host.sent.get(chunk.file, 0) in (0, chunk.nbytes)  # nothing verified came twice


# --- trust ------------------------------------------------------------------------------------


def test_no_key_is_no_model(model, options):
    with pytest.raises(Untrusted, match="--trust-first"):
        opened(model[0], options, key=None)


def test_no_signature(model, options):
    (model[0] / "manifest.sig").unlink()
    with pytest.raises(SignatureError, match="not signed"):
        opened(model[0], options)


def test_a_signature_of_somebody_else(model, options):
    other = Ed25519PrivateKey.generate()
    data = (model[0] / "manifest.json").read_bytes()
    (model[0] / "manifest.sig").write_bytes(sign(data, other))
    with pytest.raises(SignatureError, match="somebody else"):
        opened(model[0], options)


def test_a_changed_manifest(model, options):
    path = model[0] / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"depth":1', b'"depth":2', 1))
    with pytest.raises(SignatureError):
        opened(model[0], options)


def test_a_path_that_leaves_the_folder(model, options, tmp_path):
    path = model[0] / "manifest.json"
    first = model[1].chunks[0].file.encode()
    for file in (b"../../etc/passwd", b"/etc/passwd", b"chunks/../../x.safetensors"):
        data = path.read_bytes().replace(first, file)
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / "manifest.json").write_bytes(data)
        (tmp_path / "bad" / "manifest.sig").write_bytes(sign(data, KEY))
        with pytest.raises(ManifestError):
            opened(tmp_path / "bad", options)


def test_a_link_that_leaves_the_folder(model, options, tmp_path):
    chunk = last_chunk(model[1])
    data = (model[0] / chunk.file).read_bytes()
    (tmp_path / "elsewhere").write_bytes(data)
    (model[0] / chunk.file).unlink()
    (model[0] / chunk.file).symlink_to(tmp_path / "elsewhere")
    with opened(model[0], options, depth=4, precision="fp32") as one:
        with pytest.raises(Damaged, match="leads out of the folder"):
            one.wait(10)
        assert one.configuration is not None


def test_the_first_key_is_kept(model, options, tmp_path):
    folder, _ = model
    with opened(folder, options, key=None, trust_first=True) as one:
        one.wait(10)
    with opened(folder, options, key=None) as one:  # remembered
        one.wait(10)
    other = Ed25519PrivateKey.generate()
    data = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sig").write_bytes(sign(data, other))
    with pytest.raises(SignatureError):
        opened(folder, options, key=None)
    (folder / "manifest.pub").write_text(public_text(other.public_key()) + "\n")
    with pytest.raises(Untrusted, match="its key was"):
        opened(folder, options, key=None, trust_first=True)
    with opened(folder, options, key=public_text(other.public_key())) as one:  # named on purpose
        one.wait(10)


def test_there_is_no_key_to_trust_first(model, options):
    (model[0] / "manifest.pub").unlink()
    with pytest.raises(Untrusted, match="no key to trust first"):
        opened(model[0], options, key=None, trust_first=True)


def test_an_older_manifest_is_refused(options, tmp_path):
    write_weights(tmp_path / "m", released=200)
    with opened(tmp_path / "m", options) as one:
        one.wait(10)
    write_weights(tmp_path / "m", released=100)
    with pytest.raises(Untrusted, match="released before"):
        opened(tmp_path / "m", options)
    with opened(tmp_path / "m", msgspec.structs.replace(options, allow_rollback=True)) as one:
        one.wait(10)
    write_weights(tmp_path / "m", released=300)
    with opened(tmp_path / "m", options) as one:
        one.wait(10)


def test_what_is_remembered_is_damaged(model, options):
    options.cache.mkdir(parents=True)
    (options.cache / "trust.json").write_text("{")
    with pytest.raises(ConfigError, match="remove it"):
        opened(model[0], options)


# --- a process that is killed -----------------------------------------------------------------

_CLIENT = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from client_models import PUBLIC, SumRunner
from airloom.deliver import model as m, running
from airloom.deliver.client.options import FetchOptions
running.make_runner = SumRunner
options = FetchOptions(cache=Path(sys.argv[2]), patience_s=30.0)
with m.ProgressiveModel.open(sys.argv[1], key=PUBLIC, options=options) as model:
    print("open", flush=True)
    model.wait(60)
    print(model.configuration.name, repr(model(None)[1]), flush=True)
"""


def killed_at_random(tmp_path, moments, seed):
    folder, cache = tmp_path / "m", tmp_path / "cache"
    manifest = write_weights(folder, blocks=6, rows=256, precisions=("fp32",))
    rng = random.Random(seed)
    command = [sys.executable, "-c", _CLIENT]
    with hosted(folder) as host:
        tail = [str(cache), str(Path(__file__).parent)]
        host.pace, host.nap_s = 4096, 0.004
        verified = {}
        for _ in range(moments):
            process = subprocess.Popen([*command, host.url, *tail], stdout=subprocess.PIPE, text=True)
            assert process.stdout.readline() == "open\n"
            time.sleep(rng.uniform(0.0, 0.25))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for file, (count, asked) in verified.items():
                assert host.sent[file] == count  # what was whole before this one began is never sent again
                assert [f for _, f, _ in host.requests].count(file) == asked
            time.sleep(0.02)  # what the host had in hand when its reader died
            verified = {
                c.file: (host.sent[c.file], [f for _, f, _ in host.requests].count(c.file))
                for c in manifest.chunks
                if (cache / "chunks" / c.sha256).exists()
            }
        # Bytes that were on their way when the process died may come again; those of verified chunks never do.
        whole = {c.file: host.sent[c.file] for c in manifest.chunks if (cache / "chunks" / c.sha256).exists()}
        host.nap_s, mark = 0.0, len(host.requests)
        done = subprocess.run([*command, host.url, *tail], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[0] == "open"
        asked = {file for _, file, _ in host.requests[mark:]}
        assert not asked & set(whole)
        assert {f: host.sent[f] for f in whole} == whole
        name, value = done.stdout.splitlines()[1].split()
        assert name == "6/fp32"
        for left in (cache / "chunks").iterdir():
            assert left.suffix != ".part"
    fresh = subprocess.run(
        [*command, str(folder), str(tmp_path / "fresh"), tail[1]], capture_output=True, text=True, check=True
    )
    assert fresh.stdout.splitlines()[1] == f"{name} {value}"


def test_killed_at_some_moments_it_goes_on(tmp_path):
    killed_at_random(tmp_path, 6, seed=os.getpid())


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_a_hundred_moments_it_goes_on(tmp_path):
    for round_ in range(10):
        (tmp_path / str(round_)).mkdir()
        killed_at_random(tmp_path / str(round_), 10, seed=round_)
