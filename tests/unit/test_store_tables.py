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
    iter_batches,
    to_arrow,
    to_numpy,
    to_pandas,
)
from datumaro_embed.errors import UsageError
from datumaro_embed.store import EmbeddingStore, MemoryStores
from datumaro_embed.tables import iter_tables

POINTS = AnnotationRecord("points", 1, coords=(1.5, 2.0), visibility=(2,), attributes={"a": 1})


@pytest.fixture
def store() -> EmbeddingStore:
    stores = MemoryStores()
    with stores.create("s", dim=2, dtype="float16") as writer:
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
    vectors = to_numpy(store)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, store.embeddings().astype(np.float32))
    vectors[0] = 7  # a copy, which may be written to
    assert to_numpy(store, embedded_only=True).shape == (2, 2)
    assert to_numpy(store, dtype="float64").dtype == np.float64


def test_arrow_columns(store: EmbeddingStore) -> None:
    table = to_arrow(store)
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
    assert to_arrow(store, vectors=False).column_names == table.column_names[:-1]
    assert to_arrow(store, embedded_only=True).num_rows == 2
    assert (
        to_arrow(store, dtype="float16").schema.field("embedding").type.value_type == pa.float16()
    )


def test_to_pandas(store: EmbeddingStore) -> None:
    frame = to_pandas(store)
    np.testing.assert_array_equal(np.stack(frame["embedding"]), to_numpy(store))
    assert frame["width"].tolist() == [4, 0, 0]


def test_parts_make_the_whole(store: EmbeddingStore) -> None:
    parts = list(iter_tables(store, 2))
    assert [part.num_rows for part in parts] == [2, 1]
    assert pa.concat_tables(parts).equals(to_arrow(store))


def test_batches(store: EmbeddingStore) -> None:
    batches = list(iter_batches(store, 2))
    assert [batch.rows.tolist() for batch in batches] == [[0, 1], [2]]
    assert [key for batch in batches for key in batch.keys] == list(store.keys())
    np.testing.assert_array_equal(np.concatenate([b.vectors for b in batches]), to_numpy(store))
    assert [b.rows.tolist() for b in iter_batches(store, 9, embedded_only=True)] == [[0, 2]]


def test_an_empty_store_has_every_column() -> None:
    stores = MemoryStores()
    with stores.create("s", dim=3) as writer:
        writer.seal({})
    table = to_arrow(stores.open("s"))
    assert table.num_rows == 0
    assert "embedding" in table.column_names


def test_wrong_arguments(store: EmbeddingStore) -> None:
    with pytest.raises(UsageError, match="dtype is 'int8'; choose one of"):
        to_numpy(store, dtype="int8")
    with pytest.raises(UsageError, match="n_rows is 0; give at least 1"):
        next(iter_batches(store, 0))
