"""Whatever a record holds comes back as it was, from memory and from a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crash.runs import QuickFiles
from datumaro_embed.encoding import decode_json, decode_text, encode_json, encode_text
from datumaro_embed.records import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    Split,
    Status,
)
from datumaro_embed.store import EmbeddingStore, Hdf5Stores
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind, unit_rows

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
valid_text = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | valid_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(valid_text, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(valid_text | st.just("$float"), json_values, max_size=3)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
uint32 = st.integers(0, 2**32 - 1)
floats = st.lists(st.floats(allow_nan=False), max_size=6).map(tuple)

annotations = st.builds(
    AnnotationRecord,
    type=any_text,
    label=int32,
    ann_id=int64,
    group=int64,
    object_id=int64,
    z_order=int32,
    coords=floats,
    rle=any_text,
    text=any_text,
    visibility=st.lists(st.integers(0, 255), max_size=4).map(tuple),
    attributes=json_objects,
    extra=any_text,
)
items = st.builds(
    ItemRecord,
    key=st.builds(ItemKey, any_text, any_text),
    split=st.sampled_from(Split),
    path=any_text,
    width=uint32,
    height=uint32,
    status=st.sampled_from(Status),
    error=any_text,
    content_sha256=st.binary(min_size=32, max_size=32),
    attributes=json_objects,
    annotations=st.lists(annotations, max_size=3).map(tuple),
)
tables = st.lists(items, max_size=5, unique_by=lambda record: record.key).map(
    lambda records: sorted(records, key=lambda record: record.key)
)


def check(store: EmbeddingStore, records: list[ItemRecord], vectors: Any) -> None:
    assert [store.item(row) for row in range(len(store))] == records
    assert [store.row(record.key) for record in records] == list(range(len(records)))
    for row, record in enumerate(records):
        expected = vectors[row] if record.status == Status.OK else np.zeros_like(vectors[row])
        np.testing.assert_array_equal(store.embeddings([row])[0], expected.astype(store.dtype))
    assert store.verify() == []


@pytest.mark.parametrize("backend", ["memory", "file"])
@settings(max_examples=60, deadline=None)
@given(
    records=tables,
    labels=st.lists(any_text, max_size=3).map(tuple),
    full=json_objects,
    provenance=json_objects,
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_round_trip(
    backend: str,
    records: list[ItemRecord],
    labels: tuple[str, ...],
    full: dict[str, Any],
    provenance: dict[str, Any],
    dtype: str,
) -> None:
    vectors = unit_rows(np.random.default_rng(len(records)).normal(size=(len(records), 3)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.h5"
        stores = MemoryStores() if backend == "memory" else Hdf5Stores(QuickFiles())
        with stores.begin(path, VectorKind(3, dtype)) as writer:
            for record, vector in zip(records, vectors, strict=True):
                writer.append(record, vector if record.status == Status.OK else None)
            writer.set_categories(Categories(labels, full))
            writer.seal(provenance)
        with stores.open(path) as store:
            check(store, records, vectors)
            assert store.categories == Categories(labels, full)
            assert store.provenance == provenance


@given(json_objects)
def test_json_round_trip(value: dict[str, Any]) -> None:
    assert decode_json(encode_json(value)) == value


@given(any_text, any_text)
def test_text_keeps_its_order(left: str, right: str) -> None:
    assert decode_text(encode_text(left)) == left
    assert (left < right) == (encode_text(left) < encode_text(right))
