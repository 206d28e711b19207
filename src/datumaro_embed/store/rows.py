"""Columns in, records out: the inverse of columns.py, one row at a time."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, overload

import numpy.typing as npt

from ..errors import StoreCorruptError
from ..records import AnnotationRecord, Categories, ItemKey, ItemRecord, Split, Status
from ..tally import counted
from .encoding import decode_json, decode_text

__all__ = ["Keys", "RowReader", "corrupt"]

Array = npt.NDArray[Any]

_ANNOTATION_NUMBERS = ("type", "label", "ann_id", "group", "object_id", "z_order")
_ANNOTATION_BYTES = tuple(
    f"annotations/{name}" for name in ("rle", "text", "visibility", "attributes", "extra")
)


def corrupt(path: str, place: str, why: object) -> StoreCorruptError:
    """Word any damage in one way: which file, where in it, what is wrong, what to do."""
    return StoreCorruptError(
        f"The store '{path}' is damaged at '{place}': {why}; restore a copy, or embed again with "
        "--restart.",
        path=path,
        place=place,
    )


class RowReader:
    """Decodes rows of a store.

    Parameters
    ----------
    path : str
        Of the store, for errors.
    n_rows : int
    column : callable
        Schema path → array; offsets must be sound (monotone, within the values).
    """

    def __init__(self, path: str, n_rows: int, column: Callable[[str], Array]) -> None:
        self._path = path
        self._n_rows = n_rows
        self._column = column
        self._names: dict[str, tuple[str, ...]] = {}
        self._categories: Categories | None = None

    def raw(self, stem: str, row: int) -> memoryview:
        """Give the stored bytes of a row in a column of bytes, without a copy."""
        offsets = self._column(f"{stem}_offsets")
        return self._column(f"{stem}_bytes")[int(offsets[row]) : int(offsets[row + 1])].data

    def names(self, group: str) -> tuple[str, ...]:
        """All names of ``subsets``, ``annotation_types`` or ``categories``."""
        if group not in self._names:
            count = len(self._column(f"{group}/names_offsets")) - 1
            self._names[group] = tuple(self._text(f"{group}/names", i) for i in range(count))
        return self._names[group]

    def key(self, row: int) -> ItemKey:
        """Key of a row; `IndexError` out of range."""
        row = self._checked(row)
        code = int(self._column("items/subset_code")[row])
        return ItemKey(self.names("subsets")[code], self._text("items/id", row))

    def error(self, row: int) -> str:
        """Reason why a row has no vector; `IndexError` out of range."""
        return self._text("items/error", self._checked(row))

    def item(self, row: int) -> ItemRecord:
        """Record of a row; `IndexError` out of range."""
        row = self._checked(row)
        return ItemRecord(
            key=self.key(row),
            split=Split(int(self._column("items/split")[row])),
            path=self._text("items/path", row),
            width=int(self._column("items/width")[row]),
            height=int(self._column("items/height")[row]),
            status=Status(int(self._column("items/status")[row])),
            error=self._text("items/error", row),
            content_sha256=self._column("items/content_sha256")[row].tobytes(),
            attributes=self._json("items/attributes", row),
            annotations=tuple(self._annotations(row)),
        )

    def _annotations(self, row: int) -> Iterator[AnnotationRecord]:
        first, end = self._column("items/ann_offsets")[row : row + 2].tolist()
        if first == end:
            return
        columns = [
            self._column(f"annotations/{name}")[first:end].tolist() for name in _ANNOTATION_NUMBERS
        ]
        coords = self._cut("annotations/coords", "annotations/coords", first, end)
        columns += [[tuple(xy.tolist()) for xy in coords]]
        columns += [
            [data.tobytes() for data in self._cut(stem, f"{stem}_bytes", first, end)]
            for stem in _ANNOTATION_BYTES
        ]
        names = self.names("annotation_types")
        with self._values_of("annotations", row):
            for code, label, ann_id, group, object_id, z_order, xy, *values in zip(
                *columns, strict=True
            ):
                rle, text, seen, attributes, extra = values
                yield AnnotationRecord(
                    type=names[code],
                    label=label,
                    ann_id=ann_id,
                    group=group,
                    object_id=object_id,
                    z_order=z_order,
                    coords=xy,
                    rle=decode_text(rle),
                    text=decode_text(text),
                    visibility=tuple(seen),
                    attributes=decode_json(attributes),
                    extra=decode_text(extra),
                )

    def _cut(self, stem: str, values: str, first: int, end: int) -> Iterator[Array]:
        """Views of the values of rows first to below end."""
        offsets = self._column(f"{stem}_offsets")[first : end + 1].tolist()
        data = self._column(values)
        return (data[start:stop] for start, stop in pairwise(offsets))

    def categories(self) -> Categories:
        """Label names and the content of every category type."""
        if self._categories is None:
            full = self.json_object("categories/full", self._column("categories/full"))
            self._categories = Categories(labels=self.names("categories"), full=full)
        return self._categories

    def json_object(self, place: str, data: Array) -> dict[str, Any]:
        """Decode one JSON object."""
        with self._values_of(place):
            return decode_json(data.data)

    def _text(self, stem: str, row: int) -> str:
        with self._values_of(stem, row):
            return decode_text(self.raw(stem, row))

    def _json(self, stem: str, row: int) -> dict[str, Any]:
        with self._values_of(stem, row):
            return decode_json(self.raw(stem, row))

    @contextmanager
    def _values_of(self, place: str, row: int | None = None) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            where = place if row is None else f"{place} of row {row}"
            raise corrupt(self._path, where, error) from error

    def _checked(self, row: int) -> int:
        row = operator.index(row)
        if not 0 <= row < self._n_rows:
            raise IndexError(f"row {row} is out of range; the store has {self._n_rows:,} rows")
        return row


class Keys(Sequence[ItemKey]):
    """The keys of a store in row order; each is decoded when it is asked for."""

    def __init__(self, reader: RowReader, rows: range | None = None) -> None:
        self._reader = reader
        self._rows = range(reader._n_rows) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ItemKey: ...
    @overload
    def __getitem__(self, index: slice) -> Keys: ...
    def __getitem__(self, index: int | slice) -> ItemKey | Keys:
        if isinstance(index, slice):
            return Keys(self._reader, self._rows[index])
        return self._reader.key(self._rows[index])

    def __repr__(self) -> str:
        return f"<Keys of {counted(len(self), 'items')}>"
