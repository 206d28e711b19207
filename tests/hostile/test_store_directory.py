"""Store directories that were made to harm, or were harmed: each is refused with its reason."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datumaro_embed.encoding import decode_json, encode_json
from datumaro_embed.errors import StoreCorruptError, StoreForeignError
from datumaro_embed.store import open_store
from hostile.store_mutants import content, write_sample
from store_support import begin

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "sample"
    write_sample(path)
    return path


@pytest.fixture
def path(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "bad"))


def edit(path: Path, change: Callable[[Manifest], object]) -> None:
    """Change the manifest and give it a checksum that is right, as somebody with intent would."""
    manifest = decode_json((path / "manifest.json").read_bytes())
    del manifest["sha256"]
    change(manifest)
    digest = hashlib.sha256(encode_json(manifest)).hexdigest()
    (path / "manifest.json").write_bytes(encode_json({**manifest, "sha256": digest}) + b"\n")


def part(name: str, value: Any, index: int = 1) -> Callable[[Manifest], object]:
    return lambda manifest: manifest["segments"][index].__setitem__(name, value)


def field(name: str, value: Any) -> Callable[[Manifest], object]:
    return lambda manifest: manifest.__setitem__(name, value)


REFUSED: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "path traversal": (part("name", "../../../etc/passwd"), "regex"),
    "absolute path": (part("name", "/etc/passwd"), "regex"),
    "separator": (part("name", "x/0-000001.h5"), "regex"),
    "NUL": (part("name", "0-000001.h5\0"), "regex"),
    "newline": (part("name", "0-000001.h5\n"), "regex"),
    "hidden": (part("name", ".0-000001.h5"), "regex"),
    "name that is no text": (part("name", 7), "Expected `str`"),
    "twice the same shard": (
        lambda m: m["segments"].append(dict(m["segments"][0])),
        "named twice|does not come after",
    ),
    "a shard as head": (lambda m: m.__setitem__("head", m["segments"][0]), "named twice"),
    "negative rows": (part("n_rows", -1), ">= 0"),
    "rows beyond 64 bits": (part("n_rows", 2**64), "out of range|<="),
    "rows as truth": (part("n_rows", True), "Expected `int`"),
    "rows as text": (part("n_rows", "4"), "Expected `int`"),
    "order": (lambda m: m["segments"].reverse(), "does not come after"),
    "overlap": (part("first", ["train", "000"]), "does not come after"),
    "key of another kind": (part("first", {"subset": "a", "id": "b"}), "Expected `array`"),
    "digest": (part("sha256", "xyz"), "regex"),
    "extra field": (field("colour", "red"), "unknown field"),
    "extra field of a shard": (part("colour", "red"), "unknown field"),
    "missing field": (lambda m: m.pop("uuid"), "uuid"),
    "shards as text": (field("segments", "abc"), "Expected `array`"),
    "dim": (field("dim", 0), "Expected|regex"),
    "dim beyond limits": (field("dim", 10**9), "Expected|regex"),
    "dtype": (field("dtype", "float64"), "Expected|regex"),
    "uuid": (field("uuid", "x"), "regex"),
    "deep": (field("model", {"a": [[[]]]}), "Expected `str`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_strange_manifest_is_refused_on_opening(path: Path, name: str) -> None:
    change, why = REFUSED[name]
    edit(path, change)
    with pytest.raises(StoreCorruptError, match=why) as caught:
        open_store(path)
    assert "manifest" in str(caught.value)
    with pytest.raises(StoreCorruptError):
        begin(path, dim=16, run_fingerprint="f" * 64)


LIES: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "rows": (part("n_rows", 3), "not the file that the manifest names"),
    "annotations": (
        part("children", [["annotations", 3], ["objects", 3], ["captions", 0]]),
        "not the file that the manifest names",
    ),
    "bytes": (part("n_bytes", 3), "not the file that the manifest names"),
    "dim": (field("dim", 17), "not the file that the manifest names"),
    "fingerprint": (field("run_fingerprint", "g"), "not the file that the manifest names"),
    "first key": (part("first", ["train", "0035"]), "does not hold the items"),
    "last key": (part("last", ["val", "0075"]), "does not hold the items"),
    "a shard that is not there": (part("name", "0-000099.h5"), "is missing"),
    "another shard": (
        lambda m: m["segments"][1].__setitem__("name", "0-000009.h5"),
        "not the file|does not hold the items",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_manifest_that_lies_of_a_shard_is_found_when_it_is_read(path: Path, name: str) -> None:
    if name == "another shard":
        shutil.copy(path / "segments" / "0-000001.h5", path / "segments" / "0-000009.h5")
    change, why = LIES[name]
    edit(path, change)
    with pytest.raises(StoreCorruptError, match=why), open_store(path) as store:
        content(store)


def test_a_wrong_digest_is_found_by_verify(path: Path) -> None:
    edit(path, part("sha256", "0" * 64))
    with open_store(path) as store:
        assert any("SHA-256" in problem for problem in store.verify())


def test_a_shard_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    shard = path / "segments" / "0-000002.h5"
    shard.rename(tmp_path / "elsewhere.h5")
    shard.symlink_to(tmp_path / "elsewhere.h5")
    with open_store(path) as store, pytest.raises(StoreCorruptError, match="symbolic link"):
        content(store)


def test_a_huge_manifest_is_not_parsed(path: Path) -> None:
    with (path / "manifest.json").open("r+b") as stream:
        stream.truncate(2**32)
    with pytest.raises(StoreCorruptError, match="over the limit"):
        open_store(path)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", StoreCorruptError),
        (b"{}", StoreForeignError),
        (b"[" * 100_000, StoreCorruptError),
        (b"\xff\xfe", StoreCorruptError),
        (b'{"format":"datumaro-embed-manifest","format_version":1}', StoreForeignError),
    ],
)
def test_other_json_is_refused(path: Path, data: bytes, error: type[Exception]) -> None:
    (path / "manifest.json").write_bytes(data)
    with pytest.raises(error):
        open_store(path)


def test_a_folder_without_a_manifest_is_foreign(tmp_path: Path) -> None:
    with pytest.raises(StoreForeignError, match="without a manifest"):
        open_store(tmp_path)
