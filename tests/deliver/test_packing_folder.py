"""The artifact's folder: whole or not there, also while somebody reads it and another model goes into it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airloom.core.depth import DepthOrder
from airloom.core.progressive import Architecture, Configuration, Manifest, Part
from airloom.deliver.artifact import EncodedChunk, describe_chunks, describe_file, read_artifact, write_artifact
from airloom.deliver.manifest import open_manifest
from airloom.deliver.signing import public_text, read_public_key
from airloom.errors import ConfigError, ManifestError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NAMES = ("base", "features.11-13")


def model(text: bytes, architecture: bytes = b"{}") -> tuple[Manifest, list[EncodedChunk], bytes]:
    chunks = [EncodedChunk(text + bytes([part]) * 10, part, "fp32") for part in range(2)]
    manifest = Manifest(
        model="tiny",
        architecture=describe_file(Architecture(kind="zoo", name="vgg11", blocks=NAMES[1:]), architecture),
        inputs=("1x4:float32",),
        parts=tuple(Part(name=name, parameters=1) for name in NAMES),
        order=DepthOrder(kind="back", arrival=(0,), depths=(1,)),
        chunks=describe_chunks(chunks, NAMES),
        configurations=(
            Configuration(depth=1, precision="fp32", nbytes=sum(len(c.data) for c in chunks), parameters=2),
        ),
    )
    return manifest, chunks, architecture


def write(folder: Path, text: bytes, architecture: bytes = b"{}") -> Manifest:
    manifest, chunks, file = model(text, architecture)
    write_artifact(folder, manifest, chunks, KEY, architecture_file=file)
    return manifest


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def of(manifest: Manifest) -> set[str]:
    return {chunk.file for chunk in manifest.chunks} | {manifest.architecture.file}


def test_a_folder_holds_what_its_manifest_names_and_nothing_else(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a", b"hello")
    assert files(tmp_path / "a") == of(manifest) | {"manifest.json", "manifest.sig", "manifest.pub"}
    key = read_public_key(tmp_path / "a" / "manifest.pub")
    assert public_text(key) == public_text(KEY.public_key())
    data, signature = ((tmp_path / "a" / name).read_bytes() for name in ("manifest.json", "manifest.sig"))
    assert open_manifest(data, signature, key) == manifest == read_artifact(tmp_path / "a")


def test_names_of_chunks_are_in_order_and_carry_their_digest() -> None:
    first, second = (model(text)[0] for text in (b"one", b"two"))
    assert [chunk.file.rpartition("-")[0] for chunk in first.chunks] == [
        "chunks/0-base-fp32",
        "chunks/1-features.11-13-fp32",
    ]
    assert not of(first) & of(second) - {first.architecture.file}


def test_a_strange_name_of_a_part_stays_in_the_folder() -> None:
    [chunk] = describe_chunks([EncodedChunk(b"x", 0, "fp32")], ["../..//etc/x y"])
    assert chunk.file.startswith("chunks/0-")
    assert ".." not in chunk.file
    assert chunk.file.count("/") == 1


def test_another_model_leaves_the_one_that_is_being_served(tmp_path: Path) -> None:
    """A server or client that has read the manifest before goes on with the chunks that it names."""
    folder = tmp_path / "a"
    first = write(folder, b"one", b'{"a": 1}')
    second = write(folder, b"two", b'{"b": 1}')
    assert read_artifact(folder) == second
    assert of(first) | of(second) <= files(folder)
    third = write(folder, b"three")
    assert not (of(first) - of(third)) & files(folder)
    assert of(second) | of(third) <= files(folder)
    # The same again: what is being served is still there.
    assert write(folder, b"three") == third
    assert of(second) | of(third) <= files(folder)


def test_a_chunk_that_was_damaged_is_written_again(tmp_path: Path) -> None:
    manifest = write(tmp_path, b"one")
    path = tmp_path / manifest.chunks[0].file
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")
    write(tmp_path, b"one")
    assert path.read_bytes() == whole


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="other things in it"):
        write(tmp_path, b"one")
    assert files(tmp_path) == {"notes.txt"}
    with pytest.raises(ConfigError, match="file of that name"):
        write(tmp_path / "notes.txt", b"one")
    with pytest.raises(ConfigError, match="cannot read"):
        read_artifact(tmp_path)


def test_nothing_is_written_of_a_manifest_that_nobody_would_take(tmp_path: Path) -> None:
    manifest, chunks, file = model(b"one")
    with pytest.raises(ManifestError, match="samples"):
        write_artifact(
            tmp_path / "a", msgspec.structs.replace(manifest, samples=-1), chunks, KEY, architecture_file=file
        )
    assert not (tmp_path / "a").exists()
