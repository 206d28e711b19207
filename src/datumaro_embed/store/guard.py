"""What a file must look like before a byte of its columns is read.

Pure: hdf5.py describes a file without reading it, and the functions here compare the description
with the schema. A file passes in two steps: its declarations, with the space really set aside for
them, and, when a column is first read, its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreForeignError
from .rows import corrupt
from .schema import (
    ATTRIBUTES,
    COLUMNS,
    FORMAT,
    FORMAT_MINOR,
    FORMAT_VERSION,
    MAX_DIM,
    MAX_JSON_BYTES,
    SCHEMA,
    Column,
)

__all__ = [
    "ArrayLayout",
    "FileLayout",
    "check_declared",
    "check_values",
]

Attribute = int | str


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """One dataset of a file as it declares itself.

    Attributes
    ----------
    dtype : str
        NumPy's string, or a word where the type is not exactly NumPy's.
    shape : tuple of int
    resizable : bool
    layout : str
        "contiguous", "chunked", "compact" or "virtual".
    filters : tuple of int
        HDF5's numbers.
    n_external : int
        Files outside that hold its bytes.
    offset : int or None
        In the file, of the first byte; None where there is none, or it is not contiguous.
    storage_bytes : int
        Set aside there.
    """

    dtype: str
    shape: tuple[int, ...]
    resizable: bool
    layout: str
    filters: tuple[int, ...]
    n_external: int
    offset: int | None = None
    storage_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Declared size."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class FileLayout:
    """A file as it declares itself.

    Attributes
    ----------
    attributes : mapping
        Of the root group: int, str, or None where the value is of a kind that stores never have.
    arrays : mapping
        Path → layout, for paths of the schema that are hard links to datasets.
    strange : mapping
        Path → what it is, for every other link; none of them was opened.
    size_bytes : int
    user_block_bytes : int
    """

    attributes: Mapping[str, Attribute | None]
    arrays: Mapping[str, ArrayLayout]
    strange: Mapping[str, str]
    size_bytes: int
    user_block_bytes: int


def check_declared(path: str, layout: FileLayout) -> dict[str, int]:
    """Compare the declarations with the schema.

    Returns
    -------
    dict
        Symbol of the schema (N, A, D, L, S, T) → its length.

    Raises
    ------
    StoreForeignError
        Not a store, or of another major version.
    StoreCorruptError
        With the place that is wrong.
    """
    _check_format(path, layout)
    _check_attributes(path, layout)
    if layout.user_block_bytes:
        raise corrupt(path, "/", "the file has a user block")
    if layout.strange and layout.attributes["format_minor"] == FORMAT_MINOR:
        place, what = next(iter(layout.strange.items()))
        raise corrupt(path, place, f"stores have no such thing ({what})")
    for place in COLUMNS.keys() & layout.strange.keys():
        raise corrupt(path, place, f"should be an array and is {layout.strange[place]}")
    sizes = {"N": _number(layout, "n_rows"), "A": _number(layout, "n_annotations")}
    for column in SCHEMA:
        array = layout.arrays.get(column.path)
        if array is not None:
            _check_array(path, column, array, layout.size_bytes, sizes)
        elif column.required:
            raise corrupt(path, column.path, "is missing")
    return sizes


def _check_format(path: str, layout: FileLayout) -> None:
    found = layout.attributes.get("format")
    if found != FORMAT:
        raise StoreForeignError(
            f"'{path}' is an HDF5 file and no embedding store (attribute format is {found!r}); "
            "check the path.",
            path=path,
        )
    version = layout.attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreForeignError(
            f"'{path}' is of format {version} and this version reads format {FORMAT_VERSION}; "
            "update datumaro-embed.",
            path=path,
            found=version,
        )


def _check_attributes(path: str, layout: FileLayout) -> None:
    for name, kind in ATTRIBUTES.items():
        value = layout.attributes.get(name)
        if not isinstance(value, int if kind == "int" else str):
            raise corrupt(path, f"attribute {name}", f"is missing or no {kind}")
        if isinstance(value, int) and not 0 <= value < 2**63:
            raise corrupt(path, f"attribute {name}", f"is {value}")
    if layout.attributes["complete"] != 1:
        raise corrupt(path, "attribute complete", "the file was never finished")
    unknown = sorted(layout.attributes.keys() - ATTRIBUTES.keys())
    if unknown and layout.attributes["format_minor"] == FORMAT_MINOR:
        raise corrupt(path, f"attribute {unknown[0]}", "stores have no such attribute")


def _number(layout: FileLayout, name: str) -> int:
    value = layout.attributes[name]
    assert isinstance(value, int), name  # _check_attributes saw to it
    return value


def _check_array(
    path: str, column: Column, array: ArrayLayout, size_bytes: int, sizes: dict[str, int]
) -> None:
    def require(holds: bool, why: str) -> None:
        if not holds:
            raise corrupt(path, column.path, why)

    require(array.dtype in column.dtypes, f"type {array.dtype}, not {' or '.join(column.dtypes)}")
    require(array.n_external == 0, "its bytes lie in another file")
    _check_shape(path, column, array, sizes)
    require(array.layout == "contiguous", f"layout {array.layout}, not contiguous")
    require(not array.filters, f"filters {array.filters}, and none are allowed")
    require(array.nbytes <= size_bytes, f"{array.nbytes:,} bytes cannot come from this file")
    there = array.offset is not None and array.storage_bytes == array.nbytes
    require(
        not array.nbytes or (there and (array.offset or 0) + array.nbytes <= size_bytes),
        "its bytes are not all in the file",
    )
    if column.path in ("categories/full", "provenance"):
        require(array.nbytes <= MAX_JSON_BYTES, f"JSON of {array.nbytes:,} bytes is too large")


def _check_shape(path: str, column: Column, array: ArrayLayout, sizes: dict[str, int]) -> None:
    wrong = corrupt(path, column.path, f"shape {array.shape}, not {column.shape} with {sizes}")
    if array.resizable or len(array.shape) != len(column.shape):
        raise wrong
    for symbol, size in zip(column.shape, array.shape, strict=True):
        if isinstance(symbol, int):
            expected = symbol
        elif symbol == "*":
            expected = size
        elif symbol.endswith("+1"):
            expected = sizes.setdefault(symbol[:-2], size - 1) + 1
        else:
            expected = sizes.setdefault(symbol, size)
        if size != expected or size < 0:
            raise wrong
    if not 1 <= sizes["D"] <= MAX_DIM:
        raise wrong


def check_values(
    path: str, column: Column, values: npt.NDArray[Any], *, n_indexed: int, bound: int | None
) -> None:
    """Look at the values of a column just read, before anyone uses them as an index.

    Parameters
    ----------
    path : str
    column : Column
    values : array
    n_indexed : int
        Offsets only: length of what they cut.
    bound : int or None
        Exclusive upper bound of the values.

    Raises
    ------
    StoreCorruptError
    """
    if column.indexes:
        if values[0] != 0 or values[-1] != n_indexed:
            raise corrupt(path, column.path, f"offsets do not run from 0 to {n_indexed:,}")
        if np.any(values[1:] < values[:-1]):
            raise corrupt(path, column.path, "offsets are not in ascending order")
    elif bound is not None and len(values) and int(values.max()) >= bound:
        raise corrupt(path, column.path, f"value {int(values.max())} is not below {bound}")
