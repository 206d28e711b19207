"""A table of items → records; columns that are absent get their defaults."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..adapter.dataset import split_of
from ..errors import UsageError
from ..records import AnnotationRecord, Categories, ItemKey, ItemRecord
from ..store.arrow import METADATA_KEY
from ..store.codec import decode_json
from ..store.schema import SCHEMA, Column, Table

__all__ = ["StoreFacts", "item_records", "store_facts"]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the metadata of one of our own exports says of the store it came from."""

    dtype: str
    run_fingerprint: str
    model: str
    vector_settings: str
    categories: Categories
    label_vectors: npt.NDArray[np.float32] | None
    provenance: Row


def store_facts(items: pa.Table, dim: int) -> StoreFacts | None:
    """Read the schema's metadata; None where the table is no export of ours."""
    raw = (items.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        return None
    try:
        facts = decode_json(raw)
        vectors = np.frombuffer(b64decode(facts["label_embedding"]), dtype="<f4")
        return StoreFacts(
            dtype=str(facts["dtype"]),
            run_fingerprint=str(facts["run_fingerprint"]),
            model=str(facts["model"]),
            vector_settings=str(facts["vector_settings"]),
            categories=Categories(tuple(map(str, facts["labels"])), dict(facts["categories"])),
            label_vectors=vectors.reshape(len(facts["labels"]), dim) if len(vectors) else None,
            provenance=dict(facts["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"The file's own metadata is damaged ({error!r}); export it again."
        ) from error


def item_records(items: pa.Table, subset: str) -> list[ItemRecord]:
    """Make one record of each row: ``id`` or ``image_path``, and columns of `to_arrow`.

    `subset` is for rows without one; a value that cannot be is a `UsageError`.
    """
    column = next((name for name in ("id", "image_path") if name in items.column_names), None)
    if column is None:
        raise UsageError("The ids have no column `id`; name the one that holds them so.")
    records = []
    for number, row in enumerate(items.to_pylist()):
        try:
            records.append(_record(row, column, subset))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"Row {number} of the items cannot be read ({error!r}); mend it.", row=number
            ) from error
    return records


def _record(row: Row, id_column: str, subset: str) -> ItemRecord:
    if row[id_column] is None:
        raise ValueError("no id")
    named = row.get("subset")
    key = ItemKey(subset if named is None else str(named), str(row[id_column]))
    fields = _fields(SCHEMA["items"], row, without=("subset", "id"))
    fields.setdefault("split", split_of(key.subset))
    fields["annotations"] = tuple(
        AnnotationRecord(**_fields(SCHEMA["annotations"], entry))
        for entry in row.get("annotations") or ()
    )
    return ItemRecord(key=key, **fields)


def _fields(table: Table, row: Row, without: Sequence[str] = ()) -> Row:
    """Values of a record, for the columns that the row has."""
    return {
        column.name: _value(column, row[column.name])
        for column in table.columns
        if column.name not in without
        and column.kind not in ("vector", "rows")
        and row.get(column.name) is not None
    }


def _value(column: Column, value: Any) -> Any:
    """Turn a cell into a record's value: the inverse of store/arrow.py."""
    if column.values is not None:
        return column.values[str(value or column.values(0).name).upper()]
    if column.kind == "json":
        return decode_json(value.encode()) if value else {}
    if column.kind == "digest":
        return bytes.fromhex(value) if value else bytes(column.size)
    if column.kind in ("floats", "bytes"):
        return tuple(value)
    if column.kind in ("text", "code") and not isinstance(value, str):
        raise ValueError(f"{column.name} {value!r} is not a text")
    return value
