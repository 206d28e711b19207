"""Arrays and tables of a store."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    Split,
    Status,
)
from datumaro_embed.errors import NoTableError, UsageError
from datumaro_embed.store import EmbeddingStore, arrow
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind

POINTS = AnnotationRecord("points", 1, coords=(1.5, 2.0), visibility=(2,), attributes={"a": 1})


@pytest.fixture
def store() -> EmbeddingStore:
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2)) as writer:
        writer.append(
            ItemRecord(
                ItemKey("train", "é"),
                Split.TRAIN,
                "a/é.jpg",
                width=4,
                height=3,
                annotations=(AnnotationRecord("caption", text="hi"), POINTS),
            ),
            np.array([1.0, 0.0]),
        )
        failed = ItemRecord(ItemKey("train", "ü"), status=Status.MISSING, error="gone")
        writer.append(failed, None)
        writer.append(ItemRecord(ItemKey("val", "\udcff")), np.array([0.6, 0.8]))
        writer.set_categories(Categories(("x", "y")))
        writer.seal({})
    return stores.open("s")


def test_to_numpy(store: EmbeddingStore) -> None:
    vectors = store.to_numpy()
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, store.embeddings().astype(np.float32))
    vectors[0] = 7  # a copy, which may be written to
    assert store.to_numpy(embedded_only=True).shape == (2, 2)
    assert store.to_numpy(dtype="float64").dtype == np.float64


def test_arrow_columns(store: EmbeddingStore) -> None:
    table = store.to_arrow()
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 2)
    first, second, third = table.to_pylist()
    assert (first["subset"], first["id"], first["split"]) == ("train", "é", "train")
    assert first["labels"] == ["y"]
    assert [a["label_name"] for a in first["annotations"]] == [None, "y"]
    assert first["annotations"][1]["coords"] == [1.5, 2.0]
    assert first["annotations"][1]["visibility"] == [2]
    assert first["annotations"][1]["attributes"] == '{"a":1}'
    assert first["embedding"] == [1.0, 0.0]
    assert (second["status"], second["error"], second["embedding"]) == ("missing", "gone", [0, 0])
    assert third["id"] == "\ufffd\ufffd\ufffd"  # what is no text cannot be in a table of texts
    assert store.to_arrow(vectors=False).column_names == table.column_names[:-1]
    assert store.to_arrow(embedded_only=True).num_rows == 2
    assert store.to_arrow(dtype="float16").schema.field("embedding").type.value_type == pa.float16()


def test_to_pandas(store: EmbeddingStore) -> None:
    frame = store.to_pandas()
    np.testing.assert_array_equal(np.stack(frame["embedding"]), store.to_numpy())
    assert frame["width"].tolist() == [4, 0, 0]


def test_a_table_that_is_absent_is_no_attribute(store: EmbeddingStore) -> None:
    assert not hasattr(store, "objects")
    assert getattr(store, "captions", None) is None
    with pytest.raises(NoTableError, match=r"s' has no objects\. Embed the dataset with --objects"):
        _ = store.objects


def test_parts_make_the_whole(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store.to_arrow()
    monkeypatch.setattr(arrow, "_VECTORS", 2)
    parts = list(store.items.iter_arrow())
    assert [part.num_rows for part in parts] == [2, 1]
    assert pa.concat_tables(parts).equals(whole)


def test_batches(store: EmbeddingStore) -> None:
    batches = list(store.iter_batches(2))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1], [2]]
    assert [key for batch in batches for key in batch.keys] == list(store.keys())
    np.testing.assert_array_equal(np.concatenate([b.vectors for b in batches]), store.to_numpy())
    assert [b.rows.tolist() for b in store.iter_batches(9, embedded_only=True)] == [[0, 2]]


def test_an_empty_store_has_every_column() -> None:
    stores = MemoryStores()
    with stores.begin("s", VectorKind(3)) as writer:
        writer.seal({})
    table = stores.open("s").to_arrow()
    assert table.num_rows == 0
    assert "embedding" in table.column_names


def test_wrong_arguments(store: EmbeddingStore) -> None:
    with pytest.raises(UsageError, match="dtype is 'int8'; choose one of"):
        store.to_numpy(dtype="int8")
    with pytest.raises(UsageError, match="n_rows is 0; give at least 1"):
        next(store.iter_batches(0))
