"""The file of format 1.0 that was committed with it: it must read like this for ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from datumaro_embed.store import open_store
from datumaro_embed.store.schema import SCHEMA
from golden.v1.make_store import CATEGORIES, LABEL_VECTORS, PROVENANCE, RECORDS, VECTORS
from store_support import create_store

STORE = Path(__file__).parent / "v1" / "store.h5"
DIRECTORY = STORE.with_suffix("")


def test_the_file_itself_is_unchanged() -> None:
    digest = hashlib.sha256(STORE.read_bytes()).hexdigest()
    assert digest == "8651873010af0ef890083eb9682d1bcdd758c126ab3a0d5aee3cc4e0e57bec67"


@pytest.mark.parametrize("path", [STORE, DIRECTORY], ids=["file", "directory"])
def test_it_reads_as_it_was_written(path: Path) -> None:
    with open_store(path) as store:
        assert store.verify() == []
        assert [store.item(row) for row in range(len(store))] == list(RECORDS)
        assert [store.row(record.key) for record in RECORDS] == [0, 1, 2]
        np.testing.assert_array_equal(store.embeddings(), VECTORS.astype(np.float16))
        assert store.dtype == np.float16
        assert store.categories == CATEGORIES
        np.testing.assert_array_equal(store.label_embeddings, LABEL_VECTORS)
        assert store.provenance == PROVENANCE
        assert store.run_fingerprint == "golden"
        assert store.format_version == 1
        assert len(store.uuid) == 32


def test_the_uuid() -> None:
    with open_store(STORE) as store:
        assert store.uuid == "59fc649d619a446ea1e3df06bc4c5bda"


def test_hashes_and_checksums() -> None:
    with open_store(STORE) as store:
        assert store.row_crc32.tolist() == [2562229197, 3833181801, 463771346]
        assert store.column("items/key_hash").tolist() == [
            0xA2E6B1C6AA09A940,
            0x6C9F1EBF80A395B2,
            0x9EA88625364057DF,
        ]


def test_the_directory_has_the_columns_of_the_file() -> None:
    with open_store(STORE) as file, open_store(DIRECTORY) as directory:
        for column in SCHEMA:
            np.testing.assert_array_equal(directory.column(column.path), file.column(column.path))
        assert len(directory.shards) == 2


def test_the_manifest_is_one_json_object_that_names_every_file() -> None:
    manifest = json.loads((DIRECTORY / "manifest.json").read_bytes())
    assert manifest["format"] == "datumaro-embed-manifest"
    assert manifest["format_version"] == 1
    named = [*manifest["segments"], manifest["head"]]
    for part in named:
        data = (DIRECTORY / "segments" / part["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part["n_bytes"], part["sha256"])
    assert [part["n_rows"] for part in named] == [2, 1, 0]


def test_plain_h5py_reads_it() -> None:
    with h5py.File(STORE) as file:
        assert file.attrs["format"] == b"datumaro-embed"
        assert file["items/vector"][:].tolist() == VECTORS.astype(np.float16).tolist()
        cuts, text = file["items/path_offsets"][:], file["items/path_bytes"][:].tobytes()
        assert text[cuts[0] : cuts[1]] == b"train/000001.jpg"
        assert json.loads(file["provenance"][:].tobytes()) == PROVENANCE


@pytest.mark.parametrize("path", [column.path for column in SCHEMA])
def test_todays_writer_writes_the_same_columns(path: str, tmp_path: Path) -> None:
    with create_store(tmp_path / "now.h5", dim=4) as writer:
        for record, vector in zip(RECORDS, VECTORS, strict=True):
            writer.append(record, vector if vector.any() else None)
        writer.set_categories(CATEGORIES, LABEL_VECTORS)
        writer.seal(PROVENANCE)
    with open_store(tmp_path / "now.h5") as now, open_store(STORE) as then:
        np.testing.assert_array_equal(now.column(path), then.column(path))
