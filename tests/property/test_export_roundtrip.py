"""What is exported and imported again is the same store, bit for bit."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    Split,
    Status,
    convert_store,
    import_vectors,
    open_store,
)
from datumaro_embed.encoding import encode_json
from datumaro_embed.records import CaptionRecord, CropShape, ObjectRecord, ObjectStatus
from datumaro_embed.vectors import unit_rows
from store_support import create_store, row_arrays

texts = st.text(max_size=8)
json_objects = st.dictionaries(
    texts | st.just("$float"), st.none() | st.floats() | texts, max_size=3
)
annotations = st.builds(
    AnnotationRecord,
    type=texts,
    label=st.integers(-1, 4),
    ann_id=st.integers(-(2**63), 2**63 - 1),
    group=st.integers(-(2**63), 2**63 - 1),
    object_id=st.integers(-(2**63), 2**63 - 1),
    z_order=st.integers(-(2**31), 2**31 - 1),
    coords=st.lists(st.floats(), max_size=6).map(tuple),
    rle=texts,
    text=texts,
    visibility=st.lists(st.integers(0, 255), max_size=4).map(tuple),
    attributes=json_objects,
    extra=texts,
)
items = st.builds(
    ItemRecord,
    key=st.builds(ItemKey, texts, texts),
    split=st.sampled_from(Split),
    path=texts,
    width=st.integers(0, 2**32 - 1),
    height=st.integers(0, 2**32 - 1),
    status=st.sampled_from(Status),
    error=texts,
    content_sha256=st.binary(min_size=32, max_size=32),
    attributes=json_objects,
    annotations=st.lists(annotations, max_size=3).map(tuple),
)
objects = st.builds(
    ObjectRecord,
    label=st.integers(-1, 4),
    box=st.tuples(*[st.floats()] * 4),
    area=st.floats(),
    status=st.sampled_from(ObjectStatus),
    crop=st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 4),
    shape=st.sampled_from(CropShape),
)


def with_tables(record: ItemRecord, entries: list[ObjectRecord]) -> ItemRecord:
    """Add objects, each of all annotations, and a caption for each."""
    count, unit = len(record.annotations), np.array([0, 0.6, 0.8], np.float32)
    made = [
        replace(e, annotations=tuple(range(count)), vector=unit if e.has_vector else None)
        for e in entries
    ]
    captions = tuple(CaptionRecord(n, unit[::-1].copy()) for n in range(count))
    return replace(record, objects=tuple(made), captions=captions)


tables = st.lists(items, min_size=1, max_size=5, unique_by=lambda record: record.key).map(
    lambda records: sorted(records, key=lambda record: record.key)
)


@pytest.mark.parametrize(("to", "name"), [("parquet", "e.parquet"), ("npy", "e")])
@settings(max_examples=40, deadline=None)
@given(
    records=tables,
    labels=st.lists(texts, max_size=3).map(tuple),
    full=json_objects,
    provenance=json_objects,
    dtype=st.sampled_from(["float16", "float32"]),
    entries=st.none() | st.lists(objects, max_size=3),
)
def test_round_trip(
    to: str,
    name: str,
    records: list[ItemRecord],
    labels: tuple[str, ...],
    full: dict[str, Any],
    provenance: dict[str, Any],
    dtype: str,
    entries: list[ObjectRecord] | None,
) -> None:
    if entries is not None and to == "parquet":
        records = [with_tables(record, entries[i % 2 :]) for i, record in enumerate(records)]
    rng = np.random.default_rng(len(records))
    vectors = unit_rows(rng.normal(size=(len(records), 3)))
    label_vectors = unit_rows(rng.normal(size=(len(labels), 3))) if labels else None
    with tempfile.TemporaryDirectory() as folder:
        source, export, back = (Path(folder) / part for part in ("a.h5", name, "b.h5"))
        with create_store(source, dim=3, dtype=dtype, run_fingerprint="run") as writer:
            for record, vector in zip(records, vectors, strict=True):
                writer.append(record, vector if record.status == Status.OK else None)
            writer.set_categories(Categories(labels, full), label_vectors)
            writer.seal(provenance)
        with open_store(source) as store:
            convert_store(store, export, to=to)
            import_vectors(export, back)
            with open_store(back) as again:
                assert again.verify() == []
                assert again.kind.fingerprint == "run"
                assert again.provenance["source"] == "imported"
                assert again.dtype == store.dtype
                for path in (*row_arrays(store), "labels/name", "labels/vector", "meta/categories"):
                    assert store.has(path) == again.has(path), path
                    if store.has(path):
                        assert store.column(path).tobytes() == again.column(path).tobytes(), path


cells = st.builds(str.__add__, st.sampled_from(["", *"=+-@'\t\r\n\"", "''", "\n="]), texts)


@settings(max_examples=40, deadline=None)
@given(
    records=st.lists(
        st.builds(
            ItemRecord,
            key=st.builds(ItemKey, cells, cells),
            split=st.sampled_from(Split),
            path=cells,
            error=cells,
            status=st.just(Status.MISSING),
            content_sha256=st.binary(min_size=32, max_size=32),
            attributes=json_objects,
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda record: record.key,
    ).map(lambda records: sorted(records, key=lambda record: record.key))
)
def test_csv_gives_texts_back_and_no_cell_is_a_formula(records: list[ItemRecord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, table, back = (Path(folder) / part for part in ("a.h5", "e.csv", "b.h5"))
        with create_store(source, dim=3) as writer:
            for record in records:
                writer.append(record, None)
            writer.seal({})
        with open_store(source) as store:
            convert_store(store, table, to="csv")
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                assert not [cell for cell in row.values() if cell[:1] in set("=+-@\t\r\n")]
        np.save(Path(folder) / "v.npy", np.zeros((len(records), 3), np.float16))
        import_vectors(Path(folder) / "v.npy", back, ids=table)
        with open_store(back) as again:
            found = [comparable(again.item(row)) for row in range(len(again))]
            assert found == [comparable(record) for record in records]


def comparable(record: ItemRecord) -> tuple[ItemRecord, bytes]:
    """Attributes as the store's JSON: a NaN is no equal of itself."""
    return replace(record, attributes={}), encode_json(record.attributes)
