"""Vectors from elsewhere → a store; what cannot be one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datumaro_embed import ItemKey, ItemRecord, Split, convert_store, import_vectors, open_store
from datumaro_embed.errors import (
    DatasetReadError,
    DatumaroEmbedError,
    StoreExistsError,
    UsageError,
)
from datumaro_embed.store.arrow import METADATA_KEY
from datumaro_embed.vectors import unit_rows
from store_support import begin, row_content

VECTORS = unit_rows(np.random.default_rng(0).standard_normal((4, 6)))


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", VECTORS)
    return tmp_path / "v.npy"


def test_npy_with_a_list_of_ids(npy: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("d\nb\nc\na\n")
    summary = import_vectors(npy, tmp_path / "s.h5", ids=ids)
    assert (summary.n_items, summary.dim, summary.dtype) == (4, 6, "float32")
    with open_store(tmp_path / "s.h5") as store:
        assert [key.id for key in store.keys()] == ["a", "b", "c", "d"]
        np.testing.assert_array_equal(store.embeddings(), VECTORS[[3, 1, 2, 0]])
        assert store.provenance["source"] == "imported"
        assert store.provenance["imported"]["from"] == "v.npy"
        assert store.kind.fingerprint.startswith("imported:")
        assert store.verify() == []


def test_a_table_of_ids_names_subset_path_and_size(npy: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.csv"
    ids.write_text(
        "id,subset,path,width\n01,train2017,a.jpg,7\n02,val,b.jpg,8\n03,x,c,9\n04,x,d,9\n"
    )
    import_vectors(npy, tmp_path / "s.h5", ids=ids, dtype="float16")
    with open_store(tmp_path / "s.h5") as store:
        item = store.item(store.row(ItemKey("train2017", "01")))
        assert (item.split, item.path, item.width) == (Split.TRAIN, "a.jpg", 7)
        assert store.dtype == np.float16


def test_a_clip_retrieval_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for part, rows in enumerate(((0, 1), (2, 3))):
        np.save(folder / "img_emb" / f"img_emb_{part}.npy", VECTORS[list(rows)].astype("float16"))
        table = pa.table({"image_path": [f"{row}.jpg" for row in rows], "caption": ["x", "y"]})
        pq.write_table(table, folder / "metadata" / f"metadata_{part}.parquet")
    import_vectors(folder, tmp_path / "s.h5")
    with open_store(tmp_path / "s.h5") as store:
        assert [key.id for key in store.keys()] == [f"{row}.jpg" for row in range(4)]
        np.testing.assert_array_equal(store.embeddings(), VECTORS.astype("float16"))


def test_parts_of_an_export_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("img_emb", "metadata"):
        (tmp_path / name).mkdir()
    for part in range(12):
        np.save(tmp_path / "img_emb" / f"img_emb_{part}.npy", np.eye(12, dtype="f4")[[part]])
        pq.write_table(
            pa.table({"id": [f"{part:02d}"]}), tmp_path / "metadata" / f"metadata_{part}.parquet"
        )
    import_vectors(tmp_path, tmp_path / "s.h5")
    with open_store(tmp_path / "s.h5") as store:
        np.testing.assert_array_equal(store.embeddings(), np.eye(12))


def test_normalize(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", 3 * VECTORS)
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    arguments = (tmp_path / "v.npy", tmp_path / "s.h5")
    with pytest.raises(UsageError, match=r"'default/a' has norm 3; set normalize to scale"):
        import_vectors(*arguments, ids=tmp_path / "ids.txt")
    assert not (tmp_path / "s.h5").exists()
    import_vectors(*arguments, ids=tmp_path / "ids.txt", normalize=True)
    with open_store(tmp_path / "s.h5") as store:
        np.testing.assert_allclose(store.embeddings(), VECTORS, atol=1e-6)


def test_nothing_is_overwritten(npy: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "s.h5").write_text("mine")
    with pytest.raises(StoreExistsError, match="exists"):
        import_vectors(npy, tmp_path / "s.h5", ids=tmp_path / "ids.txt")


def test_rows_of_a_run_that_did_not_end_are_not_dropped(npy: Path, tmp_path: Path) -> None:
    with begin(tmp_path / "s.h5", dim=6, commit_rows=1) as run:
        run.append(ItemRecord(ItemKey("train", "a")), VECTORS[0])
        run.suspend()
    with pytest.raises(StoreExistsError, match="holds an unfinished run for"):
        import_vectors(npy, tmp_path / "s.h5", ids=tmp_path / "not-looked-at.txt")
    with open_store(tmp_path / "s.h5.work", partial=True) as store:
        assert len(store) == 1


def test_an_import_that_fails_leaves_nothing(npy: Path, tmp_path: Path) -> None:
    np.save(npy, VECTORS * [[1], [1], [1], [2]])
    ids = tmp_path / "ids.txt"
    ids.write_text("a\nb\nc\nd\n")
    with pytest.raises(UsageError, match="has norm 2"):
        import_vectors(npy, tmp_path / "s.h5", ids=ids)
    assert {path.name for path in tmp_path.iterdir()} == {npy.name, ids.name}


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "ids.txt").write_text("a\n")
    with pytest.raises(DatasetReadError, match="cannot be read"):
        import_vectors(tmp_path / "v.npy", tmp_path / "s.h5", ids=tmp_path / "ids.txt")


BAD_IDS = {
    "too few": ("a\nb\n", "4 vectors and 2 ids; each vector needs one id"),
    "twice": ("a\nb\na\nc\n", "Item 'default/a' appears twice"),
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_ids_that_do_not_fit(npy: Path, tmp_path: Path, case: str) -> None:
    text, words = BAD_IDS[case]
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(UsageError, match=words):
        import_vectors(npy, tmp_path / "s.h5", ids=tmp_path / "ids.txt")


def ragged() -> pa.Table:
    return pa.table({"id": ["a", "b"], "embedding": [[1.0, 0.0, 0.0], [1.0]]})


BAD_TABLES = {
    "no vectors": (pa.table({"id": ["a"]}), "has no column embedding"),
    "no ids": (pa.table({"embedding": [[1.0, 0.0]]}), "no column `id`"),
    "ragged": (ragged(), "differ in length"),
    "no numbers": (pa.table({"id": ["a"], "embedding": ["x"]}), "must hold a list of numbers"),
    "a gap": (pa.table({"id": ["a", "b"], "embedding": [[1.0], None]}), "Fill the gaps"),
    "integers": (pa.table({"id": ["a"], "embedding": [[1, 0]]}), "must be floats"),
    "empty": (
        pa.table({"id": pa.array([], "str"), "embedding": pa.array([], pa.list_(pa.float32()))}),
        "no vectors to import",
    ),
    "zero": (pa.table({"id": ["a"], "embedding": [[0.0, 0.0]]}), "norm 0; fix or remove it"),
    "not a number": (pa.table({"id": ["a"], "embedding": [[np.nan]]}), "is not finite. Fix"),
    "no id": (pa.table({"id": [None], "embedding": [[1.0]]}), "Row 0 of the items cannot be read"),
    "status": (
        pa.table({"id": ["a"], "status": ["fine"], "embedding": [[1.0]]}),
        "Row 0 of the items cannot be read",
    ),
    "attributes": (
        pa.table({"id": ["a"], "attributes": [5], "embedding": [[1.0]]}),
        "Row 0 of the items cannot be read",
    ),
    "type": (
        pa.table({"id": ["a"], "annotations": [[{"type": None}]], "embedding": [[1.0]]}),
        "Row 0 of the items cannot be read|type",
    ),
    "error": (
        pa.table({"id": ["a"], "status": ["missing"], "error": [5], "embedding": [[1.0]]}),
        "Row 0 of the items cannot be read|error",
    ),
    "metadata": (
        pa.table({"id": ["a"], "embedding": [[1.0]]}, metadata={METADATA_KEY: b"{}"}),
        "metadata is damaged",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_tables_that_are_refused(tmp_path: Path, case: str) -> None:
    table, words = BAD_TABLES[case]
    pq.write_table(table, tmp_path / "v.parquet")
    with pytest.raises(DatumaroEmbedError, match=words):
        import_vectors(tmp_path / "v.parquet", tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()


def test_files_that_are_refused(npy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no ids. Name the file with the ids"):
        import_vectors(npy, tmp_path / "s.h5")
    with pytest.raises(DatasetReadError, match=r"does not exist. Check the path"):
        import_vectors(tmp_path / "gone.npy", tmp_path / "s.h5")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(DatasetReadError, match=r"cannot be read"):
        import_vectors(tmp_path / "bad.parquet", tmp_path / "s.h5")
    (tmp_path / "v.csv").write_text("1,2\n")
    with pytest.raises(DatasetReadError, match=r"v\.csv' is not an \.npy file\. Save") as caught:
        import_vectors(tmp_path / "v.csv", tmp_path / "s.h5")
    assert "pickle" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="0 files in img_emb and 0 in metadata"):
        import_vectors(tmp_path / "empty", tmp_path / "s.h5")


def test_an_exported_store_can_be_searched_with_its_model_again(
    coco_store: Path, tmp_path: Path
) -> None:
    with open_store(coco_store) as store:
        convert_store(store, tmp_path / "e.parquet", to="parquet")
        fingerprint, crc = store.kind.fingerprint, row_content(store)
    import_vectors(tmp_path / "e.parquet", tmp_path / "s.h5")
    with open_store(tmp_path / "s.h5") as store:
        assert store.kind.fingerprint == fingerprint
        assert row_content(store) == crc


def test_apostrophes_of_a_csv_that_is_not_ours_stay(npy: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.csv"
    ids.write_text("id,subset\n'tis,a\n'=1,a\n\"two\nlines\",a\n=2,a\n")
    import_vectors(npy, tmp_path / "s.h5", ids=ids)
    with open_store(tmp_path / "s.h5") as store:
        assert {key.id for key in store.keys()} == {"'tis", "'=1", "two\nlines", "=2"}
