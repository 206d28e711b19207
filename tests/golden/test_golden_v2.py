"""The file of format 2.0 that was committed with it: it must read like this for ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from datumaro_embed.store import open_store
from datumaro_embed.store.schema import array_specs
from golden.v2.make_store import (
    CATEGORIES,
    CHILD_VECTORS,
    KIND,
    LABEL_VECTORS,
    PROVENANCE,
    RECORDS,
    VECTORS,
)
from store_support import create_store, row_arrays

STORE = Path(__file__).parent / "v2" / "store.h5"
DIRECTORY = STORE.with_suffix("")
CHECKSUMS = {
    "items": [
        *(1019832222, 1551048118, 1272622592, 4209877381, 867379571, 3125011340, 375929467),
        *(1249017122, 2133469716, 1505411450, 95730620, 3222619559, 2284336059, 160883528),
        *(3447176080, 2832830690, 282728452, 4223825707),
    ],
    "objects": [
        *(1306961641, 2867783840, 3869924326, 2149047420, 3411056504, 2844319735, 1945071741),
        *(1186256614, 1903697793),
    ],
    "captions": [2921744459, 3547253545],
}


def test_the_file_itself_is_unchanged() -> None:
    digest = hashlib.sha256(STORE.read_bytes()).hexdigest()
    assert digest == "17623e3fcc17b9fa909335bcb72668572f67d0fa74f4a4c35f7493d794cb203d"


@pytest.mark.parametrize("path", [STORE, DIRECTORY], ids=["file", "directory"])
def test_it_reads_as_it_was_written(path: Path) -> None:
    with open_store(path) as store:
        assert store.verify() == []
        assert [store.item(row) for row in range(len(store))] == list(RECORDS)
        assert [store.row(record.key) for record in RECORDS] == [0, 1, 2]
        np.testing.assert_array_equal(store.embeddings(), VECTORS.astype(np.float16))
        assert store.dtype == np.float16
        stored = CHILD_VECTORS.astype(np.float16)
        np.testing.assert_array_equal(store.objects.vectors, [stored[0], [0] * 4])
        np.testing.assert_array_equal(store.captions.vectors, stored[1:])
        assert store.categories == CATEGORIES
        np.testing.assert_array_equal(store.label_embeddings, LABEL_VECTORS)
        assert store.provenance == PROVENANCE
        assert store.kind.fingerprint == "golden"
        assert store.kind.settings == "f32 on CPU"
        assert store.kind.model == "demo"
        assert store.format_version == 2
        assert len(store.uuid) == 32


def test_the_uuid() -> None:
    with open_store(STORE) as store:
        assert store.uuid == "392ee626e6ef4f288c049bec17395bae"


def test_checksums() -> None:
    with open_store(STORE) as store:
        for table, expected in CHECKSUMS.items():
            assert store.column(f"checksums/{table}").tolist() == [expected]


def test_the_directory_has_the_columns_of_the_file() -> None:
    with open_store(STORE) as file, open_store(DIRECTORY) as directory:
        for path in row_arrays(file):
            np.testing.assert_array_equal(directory.column(path), file.column(path))
        assert len(directory.parts) == 2


def test_the_manifest_is_one_json_object_that_names_every_file() -> None:
    manifest = json.loads((DIRECTORY / "manifest.json").read_bytes())
    assert manifest["format"] == "datumaro-embed-manifest"
    assert manifest["format_version"] == 2
    named = [*manifest["segments"], manifest["head"]]
    for part in named:
        data = (DIRECTORY / "segments" / part["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (part["n_bytes"], part["sha256"])
    assert [part["n_rows"] for part in named] == [2, 1, 0]


def test_plain_h5py_reads_it() -> None:
    with h5py.File(STORE) as file:
        assert file.attrs["format"] == b"datumaro-embed"
        assert file["items/vector"][:].tolist() == VECTORS.astype(np.float16).tolist()
        cuts, text = file["items/path_offsets"][:], file["items/path"][:].tobytes()
        assert text[cuts[0] : cuts[1]] == b"train/000001.jpg"
        assert json.loads(file["meta/provenance"][:].tobytes()) == PROVENANCE


ADDED_SINCE = ("items/signature", "items/statistics")  # optional


def test_columns_that_were_added_since() -> None:
    with open_store(STORE) as store:
        assert [path for path in array_specs() if not store.has(path)] == [*ADDED_SINCE]


@pytest.mark.parametrize("path", [path for path in array_specs() if path not in ADDED_SINCE])
def test_todays_writer_writes_the_same_columns(path: str, tmp_path: Path) -> None:
    with create_store(tmp_path / "now.h5", **KIND) as writer:
        for record, vector in zip(RECORDS, VECTORS, strict=True):
            writer.append(record, vector if vector.any() else None)
        writer.set_categories(CATEGORIES, LABEL_VECTORS)
        writer.seal(PROVENANCE)
    with open_store(tmp_path / "now.h5") as now, open_store(STORE) as then:
        np.testing.assert_array_equal(now.column(path), then.column(path))
