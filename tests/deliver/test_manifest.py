"""Manifests: what is read back, what is refused and why, and that nothing else comes out of any bytes."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.core.depth import DepthOrder
from airloom.core.progressive import Architecture, Chunk, Configuration, Manifest, Part, encodings_of
from airloom.deliver.manifest import MAX_MANIFEST_BYTES, check_name, manifest_bytes, open_manifest, read_manifest
from airloom.deliver.signing import sign
from airloom.errors import ConfigError, ManifestError, SignatureError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def make_manifest(blocks: int = 3, precisions: tuple[str, ...] = ("bits-4", "bits-6", "fp32")) -> Manifest:
    names = ("base", *(f"groups.0.{k}" for k in range(blocks)))
    encodings = dict.fromkeys(e for p in precisions for e in encodings_of(p))
    depths = tuple(range(1, blocks + 1))
    chunks = [
        Chunk(file=f"chunks/{k}-{e}.safetensors", nbytes=100 + 10 * k, sha256="ab" * 32, part=k, encoding=e)
        for e in encodings
        for k in range(blocks + 1)
    ]
    chunks += [
        Chunk(file=f"chunks/s-{d}.safetensors", nbytes=20, sha256="cd" * 32, part=0, encoding="statistics", depth=d)
        for d in depths
    ]
    rows = [
        Configuration(
            depth=d,
            precision=p,
            nbytes=20 + sum(100 + 10 * k for k in range(d + 1)) * len(encodings_of(p)),
            parameters=7 * (d + 1),
            accuracy=0.5,
        )
        for d in depths
        for p in precisions
    ]
    return Manifest(
        model="tiny",
        architecture=Architecture(kind="zoo", name="resnet20", options={"num_classes": 10}, blocks=names[1:]),
        inputs=("1x3x32x32:uint8",),
        parts=tuple(Part(name=name, parameters=7) for name in names),
        order=DepthOrder(kind="back", arrival=tuple(range(blocks)), depths=depths),
        chunks=tuple(chunks),
        configurations=tuple(sorted(rows, key=lambda row: row.nbytes)),
    )


GOOD = manifest_bytes(make_manifest())


def changed(**places: Any) -> bytes:
    """`GOOD` with other values at paths such as `chunks__0__file`; ... removes the key."""
    tree = json.loads(GOOD)
    for path, value in places.items():
        *way, last = [int(key) if key.isdigit() else key for key in path.split("__")]
        node = tree
        for key in way:
            node = node[key]
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return json.dumps(tree).encode()


def test_a_manifest_reads_back_and_its_bytes_are_canonical() -> None:
    manifest = make_manifest()
    assert read_manifest(GOOD) == manifest
    assert manifest_bytes(read_manifest(GOOD)) == GOOD
    shuffled = json.dumps(dict(reversed(json.loads(GOOD).items())), indent=3).encode()
    assert manifest_bytes(read_manifest(shuffled)) == GOOD


def test_a_configuration_has_the_bytes_of_its_chunks() -> None:
    manifest = read_manifest(GOOD)
    for row in manifest.configurations:
        assert row.nbytes == manifest.nbytes_of(row)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "../x"}, "$.model: '../x' is no name"),
        ({"model": "x" * 101}, "$.model"),
        ({"model": 3}, "$.model: Expected `str`, got `int`"),
        ({"schema": 2}, "schema 2, this airloom reads 1"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"parts": ...}, "missing required field `parts`"),
        ({"parts": []}, "$.parts: 0 of them"),
        ({"chunks": []}, "$.chunks: 0 of them"),
        ({"configurations": []}, "$.configurations: 0 of them"),
        ({"inputs": ["3 x 3"]}, "$.inputs[0]"),
        ({"inputs": ["0x3:uint8"]}, "$.inputs[0]"),
        ({"device": "a\nb"}, "$.device: longer than 200 characters, or not printable"),
        ({"samples": -1}, "$.samples"),
        ({"released": -1}, "$.released"),
        ({"parts__0__name": "start"}, "$.parts[0].name: part 0 is the base"),
        ({"parts__2__name": "groups.0.0"}, "$.parts[2].name: 'groups.0.0' is there twice"),
        ({"parts__2__name": "a/b"}, "$.parts[2].name"),
        ({"parts__1__parameters": -1}, "$.parts[1].parameters"),
        ({"order__arrival": [0, 1], "order__depths": [1, 2]}, "$.order: 2 blocks, 3 parts"),
        ({"order__arrival": [0, 1, 1]}, "does not name each of 3 blocks once"),
        ({"order__depths": [2, 1, 3]}, "do not ascend"),
        ({"architecture__blocks": ["groups.0.0"]}, "$.architecture.blocks"),
        ({"architecture__kind": "pickle"}, "$.architecture.kind"),
        ({"architecture__name": "os.system; x"}, "$.architecture.name"),
        ({"architecture__options": {"num-classes": 1}}, "no option: 'num-classes'"),
        ({"architecture__options": {"a": 2**40}}, "no option: 'a'"),
        ({"architecture__kind": "graph"}, "$.architecture.options: 1 options of a graph"),
        ({"architecture__kind": "graph", "architecture__options": {}}, "$.architecture.file"),
        ({"architecture__file": "../architecture.json"}, "$.architecture.file"),
        ({"architecture__file": "architecture.json", "architecture__nbytes": 9}, "$.architecture.sha256"),
        ({"architecture__nbytes": 9}, "$.architecture.file: zoo has no file"),
        ({"architecture__kind": "trees", "architecture__options": {}}, "$.architecture.blocks"),
        ({"chunks__0__file": "../../etc/passwd"}, "no path below the artifact's folder"),
        ({"chunks__0__file": "/etc/passwd"}, "no path below"),
        ({"chunks__0__file": "chunks\\x.safetensors"}, "no path below"),
        ({"chunks__0__file": "manifest.json"}, "$.chunks[0].file: 'manifest.json' is no safetensors file in chunks/"),
        ({"chunks__0__file": "chunks/x/../../y.safetensors"}, "no path below"),
        ({"chunks__0__file": "chunks/" + "x" * 300 + ".safetensors"}, "$.chunks[0].file"),
        ({"chunks__1__file": "chunks/0-BITS-4.safetensors"}, "is another chunk's"),
        ({"chunks__0__sha256": "AB" * 32}, "64 hex digits"),
        ({"chunks__0__nbytes": -5}, "negative"),
        ({"chunks__0__nbytes": 0}, "$.chunks[0].nbytes"),
        ({"chunks__0__nbytes": 2**40}, "$.chunks[0].nbytes"),
        ({"chunks__0__part": 4}, "$.chunks[0].part: part 4 of 4"),
        ({"chunks__0__encoding": "zip"}, "$.chunks[0].encoding"),
        ({"chunks__0__depth": 1}, "$.chunks[0].encoding"),
        ({"chunks__0__encoding": "fp32"}, "has two chunks in fp32"),
        ({"chunks__12__depth": 7}, "$.chunks[12].depth"),
        ({"chunks__12__part": 1}, "$.chunks[12].depth"),
        ({"chunks__12": ...}, "needs a chunk that is not there"),
        ({"chunks__3": ...}, "needs a chunk that is not there"),
        ({"chunks__0__nbytes": 101}, "its chunks have 231"),
        ({"configurations__0__nbytes": 1}, "$.configurations[0].nbytes: 1, its chunks have 230"),
        ({"configurations__0__depth": 9}, "no depth 9"),
        ({"configurations__0__precision": "int8"}, "needs a chunk that is not there"),
        ({"configurations__0__precision": "bits-5"}, "$.configurations[0]"),
        ({"configurations__1": json.loads(GOOD)["configurations"][0]}, "1/bits-4 is there twice"),
        ({"configurations__0__parameters": 15}, "15, its parts have 14"),
        ({"configurations__0__macs": -1}, "$.configurations[0].macs"),
        ({"configurations__0__accuracy": 1.5}, "1.5 is not between 0 and 1"),
        ({"configurations__0__latency_s": -1.0}, "$.configurations[0].latency_s"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(changed(**change))
    line = str(refused.value)
    assert line.startswith("manifest.json: ")
    assert reason in line


def test_configurations_ascend_in_bytes() -> None:
    tree = json.loads(GOOD)
    tree["configurations"].reverse()
    with pytest.raises(ManifestError, match="ascend in bytes"):
        read_manifest(json.dumps(tree).encode())


def test_nobody_writes_what_nobody_would_read() -> None:
    bad = msgspec.structs.replace(make_manifest(), model="no/name")
    with pytest.raises(ManifestError, match=r"\$\.model"):
        manifest_bytes(bad)


def test_a_manifest_is_opened_with_its_owners_key_only() -> None:
    signature = sign(GOOD, KEY)
    public = KEY.public_key()
    assert open_manifest(GOOD, signature, public, model="tiny") == make_manifest()
    for missing in (None, b""):
        with pytest.raises(SignatureError, match="not signed"):
            open_manifest(GOOD, missing, public)
    with pytest.raises(SignatureError, match="63 bytes, a signature has 64"):
        open_manifest(GOOD, signature[:-1], public)
    with pytest.raises(SignatureError, match=r"is not signed by ed25519:.*changed, or is somebody else's"):
        open_manifest(GOOD, sign(GOOD, OTHER), public)
    with pytest.raises(SignatureError, match="is not signed by"):
        open_manifest(GOOD + b" ", signature, public)
    with pytest.raises(SignatureError, match="is not signed by"):
        open_manifest(GOOD, KEY.sign(GOOD), public)  # of the same bytes, but for another purpose
    with pytest.raises(ManifestError, match="of model 'tiny', 'huge' was asked for"):
        open_manifest(GOOD, signature, public, model="huge")


@given(st.integers(0, 8 * len(GOOD) - 1))
@settings(max_examples=60, deadline=None)
def test_no_bit_of_a_signed_manifest_can_be_changed(bit: int) -> None:
    data = bytearray(GOOD)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError):
        open_manifest(bytes(data), sign(GOOD, KEY), KEY.public_key())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "manifest.json: "),
        (b'{"model":' * 100_000, "manifest.json: "),
        (b'{"schema": ' + b"9" * 5000 + b"}", "manifest.json: "),
        (b'{"samples": ' + b"9" * 5000 + b"}", "manifest.json: "),
        (b" " * (MAX_MANIFEST_BYTES + 1), f"at most {MAX_MANIFEST_BYTES} are read"),
    ],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(data)
    assert reason in str(refused.value)
    assert str(refused.value).isprintable()


def refused_in_a_line(data: bytes) -> None:
    reason = ""
    try:
        read_manifest(data)
    except ManifestError as error:
        reason = str(error)
    assert reason.isprintable()
    assert len(reason) <= 410


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_are_read_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 5))] = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"9999999999", b"null", b"-1", b"{}", b'"', b"\\u0007"]))
        )
    refused_in_a_line(bytes(damaged))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=10), st.just([]), st.just({}),
    st.sampled_from(["chunks/../x", "bits-4", "statistics", "base", [0, 0], [[]], {"a": 1}]),
)  # fmt: skip


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_other_values_anywhere_are_read_or_refused(data: st.DataObject) -> None:
    tree = json.loads(GOOD)
    node: Any = tree
    for _ in range(data.draw(st.integers(1, 4))):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            node[key] = data.draw(VALUES)
            break
        node = node[key]
    text = json.dumps(tree).encode(errors="replace")
    refused_in_a_line(text)


def test_a_large_manifest_is_read_in_little_memory_and_time() -> None:
    data = manifest_bytes(make_manifest(blocks=1000))
    tracemalloc.start()
    try:
        manifest = read_manifest(data)
        assert len(manifest.configurations) == 3000
        assert tracemalloc.get_traced_memory()[1] < 12 * len(data)
    finally:
        tracemalloc.stop()


def test_what_a_stranger_writes_is_not_repeated_at_length() -> None:
    for data in (changed(**{"model": "x" * 10**6}), changed(order__arrival=list(range(50_000)) * 2)):
        with pytest.raises(ManifestError) as refused:
            read_manifest(data)
        assert len(str(refused.value)) < 450


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "ä", "x" * 101, "a b"])
def test_a_name_that_no_address_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        check_name(name, where="--name")


def test_an_ordinary_name_is_taken() -> None:
    assert check_name("ResNet-56_v1.2", where="--name") == "ResNet-56_v1.2"
