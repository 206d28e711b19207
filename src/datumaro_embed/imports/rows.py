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
from ..records import AnnotationRecord, Categories, ItemKey, ItemRecord, Split, Status
from ..store.arrow import METADATA_KEY
from ..store.encoding import decode_json

__all__ = ["StoreFacts", "item_records", "store_facts"]

Row = dict[str, Any]

_SIZES = ("width", "height")
_TEXTS = ("path", "error")
_ANNOTATION_TEXTS = ("type", "rle", "text", "extra")


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the metadata of one of our own exports says of the store it came from.

    Attributes
    ----------
    dtype : str
    run_fingerprint : str
    categories : Categories
    label_vectors : array of shape (n_labels, dim), float32; or None
    provenance : dict
    """

    dtype: str
    run_fingerprint: str
    categories: Categories
    label_vectors: npt.NDArray[np.float32] | None
    provenance: Row


def store_facts(items: pa.Table, dim: int) -> StoreFacts | None:
    """Read the schema's metadata; None where the table is no export of ours.

    Raises
    ------
    UsageError
        It is, but damaged.
    """
    raw = (items.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        return None
    try:
        facts = decode_json(raw)
        vectors = np.frombuffer(b64decode(facts["label_embedding"]), dtype="<f4")
        return StoreFacts(
            dtype=str(facts["dtype"]),
            run_fingerprint=str(facts["run_fingerprint"]),
            categories=Categories(tuple(map(str, facts["labels"])), dict(facts["categories"])),
            label_vectors=vectors.reshape(len(facts["labels"]), dim) if len(vectors) else None,
            provenance=dict(facts["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"The file's own metadata is damaged ({error!r}); export it again."
        ) from error


def item_records(items: pa.Table, subset: str) -> list[ItemRecord]:
    """Make one record for each row.

    Parameters
    ----------
    items : pyarrow.Table
        Column ``id`` (or ``image_path`` instead), and any that `EmbeddingStore.to_arrow` gives.
    subset : str
        For rows without one.

    Raises
    ------
    UsageError
        No ids, or a value that cannot be.
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
    digest = row.get("content_sha256") or ""
    named = row.get("subset")
    key = ItemKey(subset if named is None else str(named), str(row[id_column]))
    return ItemRecord(
        key=key,
        split=Split[str(row["split"]).upper()] if row.get("split") else split_of(key.subset),
        status=Status[str(row.get("status") or "ok").upper()],
        content_sha256=bytes.fromhex(digest) if digest else bytes(32),
        attributes=_json(row.get("attributes")),
        annotations=tuple(_annotation(entry) for entry in row.get("annotations") or ()),
        **({name: row[name] for name in _SIZES if row.get(name) is not None} | _texts(row, _TEXTS)),
    )


def _annotation(entry: Row) -> AnnotationRecord:
    known = {name: entry[name] for name in AnnotationRecord.__dataclass_fields__ if name in entry}
    known = {name: value for name, value in known.items() if name not in _ANNOTATION_TEXTS}
    known |= _texts(entry, _ANNOTATION_TEXTS)
    known["coords"] = tuple(known.get("coords") or ())
    known["visibility"] = tuple(known.get("visibility") or ())
    known["attributes"] = _json(known.get("attributes"))
    return AnnotationRecord(**known)


def _texts(row: Row, names: Sequence[str]) -> Row:
    found = {name: row[name] for name in names if row.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, str):
            raise ValueError(f"{name} {value!r} is no text")
    return found


def _json(text: str | None) -> Row:
    return decode_json(text.encode()) if text else {}
