"""`import_vectors`: vectors and ids → a sealed store."""

from __future__ import annotations

import os
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..encoding import decode_json
from ..errors import UsageError
from ..maintenance.output import checked_output, run_for
from ..paths import refuse_empty
from ..records import (
    CaptionRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    Status,
    split_of,
)
from ..store.arrow import METADATA_KEY
from ..store.schema import SCHEMA, Table, optional_tables
from ..tally import counted
from ..vectors import VectorKind, unit_rows
from ..versions import installed_versions
from .sources import read_source

Row = dict[str, Any]
_DTYPES = {"float16": "float16", "float32": "float32", "float64": "float32"}


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import wrote."""

    store: str
    n_items: int
    dim: int
    dtype: str

    def lines(self) -> list[str]:
        shape = f"{self.n_items} × {self.dim} {self.dtype}"
        return [f"{counted(self.n_items, 'items')} in {self.store} ({shape})"]


def import_vectors(
    vectors: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    ids: str | os.PathLike[str] | None = None,
    subset: str = "default",
    dtype: str | None = None,
    normalize: bool = False,
) -> ImportSummary:
    """Make a store of vectors that were made elsewhere, or of an export of ours.

    Parameters
    ----------
    vectors : path
        ``.npy``; ``.parquet`` with a list column ``embedding``; or a folder with ``img_emb/*.npy``
        and ``metadata/*.parquet``.
    store : path of the ``.h5`` file to write
    ids : path, optional
        One id per line (``.txt``), or ``.csv`` / ``.parquet`` with a column ``id``; without it the
        parquet's own columns are used.
    subset : str
        For items whose table names none.
    dtype : {"float16", "float32"}, optional
        The exported store's, or the vectors' own.
    normalize : bool
        Scale rows to norm 1; without it other vectors are refused.

    Raises
    ------
    UsageError, DatasetReadError, StoreExistsError, OutputFolderError, StoreWriteError

    Notes
    -----
    A parquet file of a whole store comes back exactly: vectors, items, annotations, objects,
    captions and categories, bit for bit. Folders (npy) have no objects and captions. Vectors of
    unknown origin get a run fingerprint of their own, so that no model's text queries are compared
    with them by mistake.
    """
    refuse_empty(vectors)
    place = checked_output(store)
    source = read_source(Path(vectors), Path(ids) if ids else None)
    dim = source.vectors.shape[1]
    ours = _store_facts(source.items, dim)
    if ours and ours.of != "items":
        raise UsageError(f"'{vectors}' holds {ours.of}. Import the items of the store instead.")
    fingerprint = f"imported:{source.digest}"
    origin = {"name": "imported", "source": Path(vectors).name, "fingerprint": fingerprint}
    facts = ours or StoreFacts(
        dtype=_DTYPES.get(source.vectors.dtype.name, "float32"),
        run_fingerprint=fingerprint,
        provenance={"model": origin},
    )
    children: dict[str, list[Any]] = {
        name: _children(source.items[name], SCHEMA[name], dim)
        for name in optional_tables()
        if ours and name in source.items.column_names
    }
    items = source.items.drop_columns([*children])
    records = [
        replace(record, **{name: found[row] for name, found in children.items()})
        for row, record in enumerate(_item_records(items, subset))
    ]
    chosen = dtype or facts.dtype
    if normalize:
        source = replace(source, vectors=unit_rows(source.vectors))
    kind = VectorKind(dim, chosen, facts.run_fingerprint, facts.vector_settings, facts.model)
    with run_for("import", place, kind) as writer:
        for row in sorted(range(len(records)), key=lambda row: records[row].key):
            writer.append(records[row], _vector(source.vectors[row], records[row]))
        writer.set_categories(facts.categories, facts.label_vectors)
        imported = {
            "from": Path(vectors).name,
            "vectors_sha256": source.digest,
            "versions": installed_versions(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        writer.seal({**facts.provenance, "source": "imported", "imported": imported})
    return ImportSummary(str(store), len(records), dim, chosen)


def _vector(
    vector: npt.NDArray[np.floating[Any]], record: ItemRecord
) -> npt.NDArray[np.floating[Any]] | None:
    if record.status is not Status.OK:
        return None
    if not np.isfinite(vector).all():
        raise UsageError(
            f"The vector of '{record.key}' holds a value that is not finite. Fix or remove it.",
            key=record.key,
        )
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not abs(norm - 1.0) <= 1e-3:
        advice = "set ``normalize`` to scale vectors to norm 1" if norm > 0 else "fix or remove it"
        raise UsageError(
            f"The vector of '{record.key}' has norm {norm:.6g}; {advice}.", key=record.key
        )
    return vector


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the metadata of one of our own exports says of the store it came from.

    The defaults are those of vectors that somebody else made.
    """

    dtype: str
    run_fingerprint: str
    provenance: Row
    model: str = "imported"
    vector_settings: str = ""
    categories: Categories = field(default_factory=Categories)
    label_vectors: npt.NDArray[np.float32] | None = None
    of: str = "items"


def _store_facts(items: pa.Table, dim: int) -> StoreFacts | None:
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
            of=str(facts.get("of", "items")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"The file's own metadata is damaged ({error!r}). Export it again."
        ) from error


def _item_records(items: pa.Table, subset: str) -> list[ItemRecord]:
    """Make one record of each row: ``id`` or ``image_path``, and columns of `to_arrow`.

    `subset` is for rows without one; a value that cannot be is a `UsageError`.
    """
    column = next((name for name in ("id", "image_path") if name in items.column_names), None)
    if column is None:
        raise UsageError(
            "The table of ids has no column `id`. Rename the column that holds them to `id`."
        )
    records = []
    for number, row in enumerate(items.to_pylist()):
        try:
            if row[column] is None:
                raise ValueError("no id")
            named = row.get("subset")
            key = ItemKey(subset if named is None else str(named), str(row[column]))
            fields = _fields(SCHEMA["items"], row, without=("subset", "id"))
            fields.setdefault("split", split_of(key.subset))
            fields["annotations"] = tuple(
                _made(SCHEMA["annotations"], **_fields(SCHEMA["annotations"], entry))
                for entry in row.get("annotations") or ()
            )
            records.append(_made(SCHEMA["items"], key=key, **fields))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"Row {number} of the items cannot be read ({error!r}). Fix the row.", row=number
            ) from error
    return records


def _children(
    column: pa.ChunkedArray, table: Table, dim: int
) -> list[tuple[ObjectRecord | CaptionRecord, ...]]:
    """Rows of a table for each item, from a column of lists of structs."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    structs = pa.chunked_array([chunk.flatten() for chunk in column.chunks]).combine_chunks()
    names = [field.name for field in structs.type if field.name != "embedding"]
    vectors = structs.field("embedding").flatten().to_numpy(zero_copy_only=False)
    vectors = vectors.reshape(-1, dim)
    rows = pa.table([structs.field(name) for name in names], names).to_pylist()
    made = [_made(table, **_fields(table, row)) for row in rows]
    found = [
        replace(record, vector=vector if record.has_vector else None)
        for record, vector in zip(made, vectors, strict=True)
    ]
    ends = np.cumsum([0, *lengths]).tolist()
    return [tuple(found[first:stop]) for first, stop in pairwise(ends)]


def _made(table: Table, **fields: Any) -> Any:
    assert table.record is not None
    return table.record(**fields)


def _fields(table: Table, row: Row, without: Sequence[str] = ()) -> Row:
    """Values of a record, for the columns that the row has: the inverse of store/arrow.py."""
    fields: Row = {}
    for column in table.columns:
        name, kind, value = column.name, column.kind, row.get(column.name)
        if name in without or kind in ("vector", "rows") or value is None:
            continue
        if column.values is not None:
            value = column.values[str(value or column.values(0).name).upper()]
        elif kind == "json":
            value = decode_json(value.encode()) if value else {}
        elif kind == "digest":
            if not isinstance(value, bytes):
                value = bytes.fromhex(value) if value else bytes(column.size)
        elif column.size or kind in ("floats", "ints", "bytes"):
            value = tuple(value)
        elif kind == "number" and isinstance(value, str):
            value = int(value)  # of a column in which another cell is no number
        elif kind in ("text", "code") and not isinstance(value, str):
            raise ValueError(f"{name} {value!r} is not a string")
        fields[name] = value
    return fields
