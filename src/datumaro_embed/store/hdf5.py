"""One HDF5 file: how its bytes are laid out, what it must look like, and the arrays mapped from it.

Writing: h5py lays the file out in memory (groups, headers, room for each array, which it never
fills); `file_image` gives headers and the arrays' own bytes from the first to the last, so that a
file of any size is written front to back in bounded memory. Checksums are made
as the pieces go by.

Reading: h5py describes the file; no link is followed and no value is read by it. The description is
compared with the schema before a column is mapped, and offsets and codes before they are used.
"""

from __future__ import annotations

import io
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError, StoreForeignError, StoreNotFoundError, StoreReplacedError
from ..files import Identity, identity_at, identity_of, open_regular, read_errors
from ..place import HDF5_SIGNATURE
from ..vectors import MAX_DIM, MAX_TEXT_BYTES, VectorKind
from .codec import Array, corrupt, decode_json, decode_text, encode_json, encode_text
from .part import Part, StoredRows
from .schema import (
    ATTRIBUTES,
    BLOCK_ROWS,
    FORMAT,
    FORMAT_MINOR,
    FORMAT_VERSION,
    MAX_JSON_BYTES,
    PAGE_BYTES,
    SCHEMA,
    ArraySpec,
    Table,
    array_specs,
    column_arrays,
)

# No filter plugin may be loaded from a directory; HDF5 reads this once, when it is loaded.
os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")

import h5py
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5t

__all__ = ["ArrayBlocks", "Hdf5Part", "crc32", "file_image"]

_LIBVER = ("v110", "v110")
_PIECE_BYTES = 4 * 2**20
_PIECE_ROWS = 64 * BLOCK_ROWS
_TRIES = 20
_JSON_PATHS = ("meta/categories", "meta/provenance", "meta/arrays")


# Writing ---------------------------------------------------------------------------------------


def file_image(
    store: StoredRows, head: Mapping[str, Array], uuid: str
) -> tuple[int, Iterator[bytes | memoryview]]:
    """Lay out a file that holds all rows of a store.

    Parameters
    ----------
    store : StoredRows
        Rows of items and of their tables.
    head : mapping
        Arrays under ``labels/`` and ``meta/`` (see `codec.head_arrays`).
    uuid : str

    Returns
    -------
    size_bytes : int
    blocks : iterator of buffers
        The file, end to end; memory is that of one piece of one column.
    """
    image = _Image(store, head)
    skeleton = _make_skeleton(image.shapes, store.kind, uuid)
    return skeleton.size_bytes, _file_blocks(skeleton, image.pieces)


class _Image:
    """Shapes and bytes of every array of a file to be; checksums are made as pieces go by."""

    def __init__(self, store: StoredRows, head: Mapping[str, Array]) -> None:
        self._store = store
        specs = array_specs()
        self._rows = {
            spec.path: spec
            for spec in specs.values()
            if spec.has_rows
            and spec.table != "labels"
            and not (spec.optional and not store.has(spec.path))
        }
        self._whole = {path: array for path, array in head.items() if path in specs}
        for spec in specs.values():
            if spec.role in ("names", "names_offsets") and store.has(spec.path):
                self._whole[spec.path] = store.column(spec.path)
        self._order = order = checksum_order([*self._rows, *self._whole, "meta/arrays"])
        self._whole["meta/arrays"] = np.frombuffer(encode_json(self._order), np.uint8)
        self._sums: dict[str, Array] = {}
        self._summed: set[str] = set()
        for table in order:
            if table == "whole":
                continue
            n_rows = self._n_rows(table)
            n_blocks = -(-n_rows // BLOCK_ROWS)
            self._sums[table] = np.zeros((n_blocks, len(order[table])), "<u4")
        self._sums["whole"] = np.zeros(len(self._order["whole"]), "<u4")
        self.shapes = {path: self._shape(path) for path in specs if self._is_present(path)}

    def _is_present(self, path: str) -> bool:
        if path.startswith("checksums/"):
            return path.split("/")[1] in self._sums
        return path in self._rows or path in self._whole

    def _n_rows(self, table: str) -> int:
        if table == "labels":
            offsets = self._whole.get("labels/name_offsets")
            return 0 if offsets is None else len(offsets) - 1
        return self._store.count(table)

    def _shape(self, path: str) -> tuple[str, tuple[int, ...]]:
        if path.startswith("checksums/"):
            sums = self._sums[path.split("/")[1]]
            return "<u4", sums.shape
        if path in self._whole:
            return self._whole[path].dtype.str, self._whole[path].shape
        spec, n_rows = self._rows[path], self._n_rows(self._rows[path].table)
        column = spec.column
        assert column is not None
        if spec.role == "offsets":
            return spec.dtypes[0], (n_rows + 1,)
        if spec.role == "values":
            total = sum(
                int(self._store.lengths(f"{path}_offsets", a, b).sum())
                for a, b in _cuts(n_rows, _PIECE_ROWS)
            )
            return spec.dtypes[0], (total,)
        if column.kind == "vector":
            return self._store.dtype.str, (n_rows, self._store.dim)
        return spec.dtypes[0], (n_rows, column.size) if column.size else (n_rows,)

    def pieces(self, path: str) -> Iterator[Array]:
        """Yield an array in parts that are it when put end to end."""
        if path.startswith("checksums/"):
            yield self._sums_of(path.split("/")[1])
        elif path in self._whole:
            yield self._whole[path]
        else:
            yield from self._row_pieces(self._rows[path])

    def _row_pieces(self, spec: ArraySpec) -> Iterator[Array]:
        sums = self._sums[spec.table][:, self._order[spec.table].index(spec.path)]
        self._summed.add(spec.path)
        end = np.zeros(1, np.uint64)
        if spec.role == "offsets":
            yield end
        for first, stop in _cuts(self._n_rows(spec.table), self._rows_at_once(spec)):
            if spec.role == "offsets":
                lengths = self._store.lengths(spec.path, first, stop)
                piece: Array = end + np.cumsum(lengths, dtype=np.uint64)
                whole, end = np.concatenate([end, piece]), piece[-1:]
            else:
                piece = np.ascontiguousarray(self._store.rows(spec.path, first, stop))
            bounds = np.arange(stop - first + 1)
            if spec.role == "values":
                lengths = self._store.lengths(f"{spec.path}_offsets", first, stop)
                bounds = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths)])
            for number, (a, b) in enumerate(_cuts(stop - first, BLOCK_ROWS)):
                block = (
                    whole[a : b + 1]
                    if spec.role == "offsets"
                    else piece[int(bounds[a]) : int(bounds[b])]
                )
                sums[first // BLOCK_ROWS + number] = crc32(block)
            yield piece

    def _rows_at_once(self, spec: ArraySpec) -> int:
        """Whole blocks of some megabytes, going by the mean size of a row."""
        dtype, shape = self.shapes[spec.path]
        row_bytes = prod(shape) * np.dtype(dtype).itemsize / max(self._n_rows(spec.table), 1)
        n_blocks = int(_PIECE_BYTES / max(row_bytes, 1) / BLOCK_ROWS)
        return BLOCK_ROWS * max(1, min(n_blocks, _PIECE_ROWS // BLOCK_ROWS))

    def _sums_of(self, table: str) -> Array:
        """Checksums of a table; HDF5 puts small arrays into gaps before what they cover."""
        sums, arrays = self._sums[table], ArrayBlocks(self._whole.get)
        for number, path in enumerate(self._order[table]):
            if table == "whole":
                sums[number] = crc32(self._whole[path])
            elif table == "labels":
                for block, (a, b) in enumerate(_cuts(self._n_rows(table), BLOCK_ROWS)):
                    sums[block, number] = crc32(arrays.block(path, a, b))
            elif path not in self._summed:
                for _ in self._row_pieces(self._rows[path]):
                    pass
        return sums


def crc32(array: Array) -> int:
    """CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def checksum_order(paths: Iterable[str]) -> dict[str, list[str]]:
    """Which arrays each array of checksums covers, in order."""
    order: dict[str, list[str]] = {table: [] for table in (*SCHEMA, "whole")}
    specs = array_specs()
    for path in sorted(paths):
        if not path.startswith("checksums/"):
            order[specs[path].table if specs[path].has_rows else "whole"].append(path)
    absent = [table.name for table in SCHEMA.values() if table.optional and not order[table.name]]
    return {table: covered for table, covered in order.items() if table not in absent}


class ArrayBlocks:
    """Cuts the bytes that belong to some rows out of the arrays of one part."""

    def __init__(self, array: Callable[[str], Array | None]) -> None:
        self._array = array

    def block(self, path: str, first: int, stop: int) -> Array:
        """Values of rows `first` to below `stop`; of offsets, where these rows begin and end."""
        role = array_specs()[path].role
        values = self._array(path)
        assert values is not None
        if role == "offsets":
            return values[first : stop + 1]
        if role == "values":
            bounds = self._array(f"{path}_offsets")
            assert bounds is not None
            return values[int(bounds[first]) : int(bounds[stop])]
        return values[first:stop]


def _cuts(n_rows: int, size: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + size, n_rows)) for first in range(0, n_rows, size))


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """A file without its arrays' values: its headers, and where each array belongs."""

    size_bytes: int
    headers: tuple[tuple[int, bytes], ...]
    arrays: tuple[tuple[int, int, str], ...]


def _make_skeleton(
    shapes: Mapping[str, tuple[str, tuple[int, ...]]], kind: VectorKind, uuid: str
) -> _Skeleton:
    """Lay a file out; a few milliseconds and some 30 KiB, whatever the shapes."""
    image = _Headers()
    alignment = {"alignment_threshold": PAGE_BYTES, "alignment_interval": PAGE_BYTES}
    arrays = []
    with h5py.File(image, "w", libver=_LIBVER, **alignment) as file:
        for path, (dtype, shape) in shapes.items():
            offset = _reserve(file, path, dtype, shape)
            if n_bytes := prod(shape) * np.dtype(dtype).itemsize:
                arrays.append((offset, n_bytes, path))
        facts: dict[str, str | int] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "format_minor": FORMAT_MINOR,
            "uuid": uuid,
            "run_fingerprint": kind.fingerprint,
            "model": kind.model,
            "vector_settings": kind.settings,
        }
        for name, value in facts.items():
            # With a fixed length: strings of variable length are stored elsewhere in a file.
            file.attrs[name] = (
                np.bytes_(encode_text(value)) if isinstance(value, str) else np.int64(value)
            )
    return _Skeleton(image.size_bytes, tuple(sorted(image.blocks.items())), tuple(sorted(arrays)))


def _reserve(file: Any, path: str, dtype: str, shape: tuple[int, ...]) -> int:
    """Make a contiguous dataset whose room is set aside and never written."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5d.CONTIGUOUS)
    plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind = h5t.py_create(np.dtype(dtype).newbyteorder("<"))
    space = h5s.create_simple(shape)
    dataset = h5d.create(file.id, path.encode("ascii"), kind, space, plist, links)
    return int(dataset.get_offset() or 0)


def _file_blocks(
    skeleton: _Skeleton, pieces: Callable[[str], Iterable[Array]]
) -> Iterator[bytes | memoryview]:
    """Yield the file's bytes from first to last."""
    parts: list[tuple[int, int, str | bytes]] = [
        *((offset, len(data), data) for offset, data in skeleton.headers),
        *skeleton.arrays,
    ]
    end = 0
    for offset, n_bytes, content in sorted(parts, key=lambda part: part[0]):
        assert offset >= end, content  # HDF5 gave the same place twice
        yield bytes(offset - end)
        if isinstance(content, bytes):
            yield content
        else:
            yield from _exactly(n_bytes, content, pieces(content))
        end = offset + n_bytes
    yield bytes(skeleton.size_bytes - end)


def _exactly(n_bytes: int, path: str, pieces: Iterable[Array]) -> Iterator[memoryview]:
    """Bytes of the pieces, which must fill their room: no array may run into the next."""
    rest = n_bytes
    for piece in pieces:
        rest -= piece.nbytes
        if piece.size and rest >= 0:
            yield np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
    assert rest == 0, f"{path} was given {n_bytes - rest} bytes for {n_bytes}"


class _Headers(io.RawIOBase):
    """The file that h5py writes to: keeps the blocks it is given, and no space between."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}
        self.size_bytes = 0
        self._position = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (self.size_bytes if whence == io.SEEK_END else 0)
        return self._position

    def write(self, data: Any) -> int:
        block = bytes(data)
        self.blocks[self._position] = block
        self._position += len(block)
        self.size_bytes = max(self.size_bytes, self._position)
        return len(block)

    def readinto(self, buffer: Any) -> int:
        """Give back what was written; HDF5 reads whole blocks, if it reads at all."""
        block = self.blocks.get(self._position, b"")[: len(buffer)]
        buffer[: len(block)] = block
        return len(block)

    def truncate(self, size: int | None = None) -> int:
        self.size_bytes = self._position if size is None else size
        return self.size_bytes


# Describing ------------------------------------------------------------------------------------


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
    def n_bytes(self) -> int:
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

    attributes: Mapping[str, int | str | None]
    arrays: Mapping[str, ArrayLayout]
    strange: Mapping[str, str]
    size_bytes: int
    user_block_bytes: int


_LAYOUTS = {
    h5d.COMPACT: "compact",
    h5d.CONTIGUOUS: "contiguous",
    h5d.CHUNKED: "chunked",
    h5d.VIRTUAL: "virtual",
}
_USUAL_TYPES = tuple(
    (name, h5t.py_create(np.dtype(name)))
    for name in ("<u8", "|u1", "<i8", "<u4", "<i4", "<u2", "<f8", "<f4", "<f2")
)
_LINKS = {h5l.TYPE_SOFT: "soft link", h5l.TYPE_EXTERNAL: "external link"}


@contextmanager
def _h5_errors(path: str) -> Iterator[None]:
    """Turn whatever h5py raises into a `StoreCorruptError` that names the file."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise corrupt(path, "/", error) from error


def _open_file(path: str) -> h5py.File:
    """Open for reading; a sealed file needs no lock, but a lock shows a program that changes it."""
    try:
        return h5py.File(path, "r")
    except BlockingIOError as error:
        raise StoreError(
            f"'{path}' is open for writing in another program. Close it there first.", path=path
        ) from error
    except OSError:
        # A file system without locks, or this process has the file open with another setting.
        with suppress(OSError):
            return h5py.File(path, "r", locking=False)
        return h5py.File(path, "r", locking=True)


def describe(file: h5py.File, size_bytes: int) -> FileLayout:
    """Collect what the file declares; no column is read, no link out of the file is followed."""
    specs = array_specs()
    arrays: dict[str, ArrayLayout] = {}
    strange: dict[str, str] = {}
    groups = frozenset(path.split("/")[0] for path in specs)
    for path, found in _objects(file.id, groups, frozenset(specs)):
        if isinstance(found, h5d.DatasetID) and path in specs:
            arrays[path] = _describe_array(found)
        elif not (isinstance(found, h5g.GroupID) and path in groups):
            strange[path] = found if isinstance(found, str) else _kind(found)
    return FileLayout(
        attributes=dict(_read_attributes(file.id)),
        arrays=arrays,
        strange=strange,
        size_bytes=size_bytes,
        user_block_bytes=file.id.get_create_plist().get_userblock(),
    )


def _kind(found: Any) -> str:
    return {h5d.DatasetID: "dataset", h5g.GroupID: "group"}.get(type(found), type(found).__name__)


def _objects(
    root: h5f.FileID, groups: frozenset[str], paths: frozenset[str]
) -> Iterator[tuple[str, Any]]:
    """Path and handle of what hangs in the root and the known groups; a str if not opened."""
    for name, found in _links(root, "", groups):
        yield name, found
        if isinstance(found, h5g.GroupID) and name in groups:
            yield from _links(found, f"{name}/", paths)


def _links(group: h5g.GroupID, prefix: str, known: frozenset[str]) -> Iterator[tuple[str, Any]]:
    for raw in list(group):
        path = prefix + raw.decode("utf-8", "backslashreplace")
        kind = group.links.get_info(raw).type
        if kind != h5l.TYPE_HARD:
            yield path, _LINKS.get(kind, "user-defined link")
        elif path in known:
            yield path, h5o.open(group, raw)
        else:
            yield path, "unknown name"


def _describe_array(dataset: h5d.DatasetID) -> ArrayLayout:
    space = dataset.get_space()
    plist = dataset.get_create_plist()
    simple = space.get_simple_extent_type() == h5s.SIMPLE
    shape = space.get_simple_extent_dims() if simple else ()
    layout = _LAYOUTS.get(plist.get_layout(), "unknown")
    n_external = plist.get_external_count()
    inside = layout == "contiguous" and not n_external
    return ArrayLayout(
        dtype=_type_name(dataset.get_type()),
        shape=shape,
        resizable=simple and space.get_simple_extent_dims(True) != shape,
        layout=layout,
        filters=tuple(plist.get_filter(index)[0] for index in range(plist.get_nfilters())),
        n_external=n_external,
        offset=dataset.get_offset() if inside else None,
        storage_bytes=dataset.get_storage_size() if inside else 0,
    )


def _type_name(kind: h5t.TypeID) -> str:
    """NumPy's string where the stored type is exactly that integer or float; else a word."""
    for name, usual in _USUAL_TYPES:
        if kind.equal(usual):
            return name
    if kind.get_class() not in (h5t.INTEGER, h5t.FLOAT):
        return f"class {kind.get_class()}"
    name = str(kind.dtype.str)
    return name if h5t.py_create(np.dtype(name)).equal(kind) else "unusual number"


def _read_attributes(root: h5f.FileID) -> Iterator[tuple[str, int | str | None]]:
    for index in range(h5a.get_num_attrs(root)):
        attribute = h5a.open(root, index=index)
        yield attribute.name.decode("utf-8", "backslashreplace"), _attribute_value(attribute)


def _attribute_value(attribute: h5a.AttrID) -> int | str | None:
    """Read an integer or a string of fixed length; None for anything else, unread."""
    kind = attribute.get_type()
    if attribute.get_space().get_simple_extent_type() != h5s.SCALAR:
        return None
    if kind.get_size() > MAX_TEXT_BYTES:
        return None
    if kind.get_class() == h5t.INTEGER and _type_name(kind) != "unusual number":
        number = np.zeros((), dtype=kind.dtype)
        attribute.read(number)
        return int(number)
    if kind.get_class() == h5t.STRING and not kind.is_variable_str():
        text = np.zeros((), dtype=kind.dtype)
        attribute.read(text)
        return decode_text(bytes(text[()]))
    return None


# Guarding --------------------------------------------------------------------------------------


def check_declared(path: str, layout: FileLayout) -> dict[str, int]:
    """Compare the declarations of a file with the schema.

    Returns
    -------
    dict
        Symbol of the schema (a table, ``dim``) → its length.

    Raises
    ------
    StoreForeignError
        Not a store, or of another major version.
    StoreCorruptError
        With the place that is wrong.
    """
    minor = _check_attributes(path, layout)
    if layout.user_block_bytes:
        raise corrupt(path, "/", "the file has a user block")
    if layout.strange and minor == FORMAT_MINOR:
        place, what = next(iter(layout.strange.items()))
        raise corrupt(path, place, f"stores have no such object ({what})")
    specs = array_specs()
    for place in specs.keys() & layout.strange.keys():
        raise corrupt(path, place, f"should be an array but is {layout.strange[place]}")
    sizes: dict[str, int] = {}
    for spec in specs.values():
        array, column = layout.arrays.get(spec.path), spec.column
        if array is not None:
            _check_array(path, spec, array, layout.size_bytes, sizes)
        elif not (spec.optional or (column is not None and column.since > minor)):
            raise corrupt(path, spec.path, "is missing")
    for table in SCHEMA.values():
        if table.optional:
            _check_table(path, table, layout, minor, sizes)
    return sizes


def _check_table(
    path: str, table: Table, layout: FileLayout, minor: int, sizes: dict[str, int]
) -> None:
    """Check that an optional table is there with every column, or not at all."""
    rows = f"items/{table.name}_offsets"
    needed = [rows, f"checksums/{table.name}"]
    for column in table.columns:
        if not column.optional and column.since <= minor:
            needed.extend(array.path for array in column_arrays(table.name, column))
    missing = [place for place in needed if place not in layout.arrays]
    if missing and len(missing) < len(needed):
        raise corrupt(path, missing[0], "is missing")
    sizes.setdefault(table.name, 0)
    vector = layout.arrays.get(f"{table.name}/vector")
    if vector is not None and vector.dtype != layout.arrays["items/vector"].dtype:
        raise corrupt(path, f"{table.name}/vector", "its type is not that of items/vector")


def _check_attributes(path: str, layout: FileLayout) -> int:
    """Check the attributes of the root group; return the minor version."""
    found = layout.attributes.get("format")
    if found != FORMAT:
        raise StoreForeignError(
            f"'{path}' is an HDF5 file but not an embedding store (its attribute format is "
            f"{found!r}). Check the path.",
            path=path,
        )
    version = layout.attributes.get("format_version")
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        remedy = (
            "It was made by a pre-release. Embed the dataset again."
            if older
            else "Update datumaro-embed."
        )
        raise StoreForeignError(
            f"'{path}' has format {version}, but this version reads format {FORMAT_VERSION}. "
            f"{remedy}",
            path=path,
            found=version,
        )
    for name, kind in ATTRIBUTES.items():
        value = layout.attributes.get(name)
        if not isinstance(value, kind):
            raise corrupt(path, f"attribute {name}", f"is missing or not {kind.__name__}")
        if isinstance(value, int) and not 0 <= value < 2**63:
            raise corrupt(path, f"attribute {name}", f"is {value}")
    minor = int(layout.attributes["format_minor"] or 0)
    unknown = sorted(layout.attributes.keys() - ATTRIBUTES.keys())
    if unknown and minor == FORMAT_MINOR:
        raise corrupt(path, f"attribute {unknown[0]}", "stores have no such attribute")
    return minor


def _check_array(
    path: str, spec: ArraySpec, array: ArrayLayout, size_bytes: int, sizes: dict[str, int]
) -> None:
    def require(holds: bool, why: str) -> None:
        if not holds:
            raise corrupt(path, spec.path, why)

    require(array.dtype in spec.dtypes, f"type {array.dtype}, not {' or '.join(spec.dtypes)}")
    require(array.n_external == 0, "its data is in another file")
    _check_shape(path, spec, array, sizes)
    require(array.layout == "contiguous", f"layout {array.layout}, not contiguous")
    require(not array.filters, f"filters {array.filters}, but none are allowed")
    require(array.n_bytes <= size_bytes, f"{array.n_bytes:,} bytes exceed the file's size")
    there = array.offset is not None and array.storage_bytes == array.n_bytes
    require(
        not array.n_bytes or (there and (array.offset or 0) + array.n_bytes <= size_bytes),
        "part of its data is missing from the file",
    )
    if spec.path in _JSON_PATHS:
        require(array.n_bytes <= MAX_JSON_BYTES, f"JSON of {array.n_bytes:,} bytes is too large")


def _check_shape(path: str, spec: ArraySpec, array: ArrayLayout, sizes: dict[str, int]) -> None:
    wrong = corrupt(path, spec.path, f"shape {array.shape}, not {spec.shape} with {sizes}")
    if array.resizable or len(array.shape) != len(spec.shape):
        raise wrong
    for symbol, size in zip(spec.shape, array.shape, strict=True):
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
    if spec.role in ("offsets", "names_offsets") and not array.shape[0]:
        raise wrong
    if not 1 <= sizes.get("dim", 1) <= MAX_DIM:
        raise wrong


# Reading ---------------------------------------------------------------------------------------


class Hdf5Part(Part):
    """A file; nothing of it is read before the guard has passed its declarations.

    Parameters
    ----------
    path : str or Path
    checks : bool
        Refuse a column with values that cannot be right; otherwise only blocks whose checksum is
        right may be used.

    Attributes
    ----------
    is_newer : bool
        A higher minor version wrote it: it may hold arrays that nobody here can copy.

    Raises
    ------
    StoreNotFoundError, StoreForeignError, StoreCorruptError, StoreReadError
    StoreReplacedError
        It was replaced again and again while it was being opened.

    Notes
    -----
    Opening takes some 5 ms and does not depend on the number of rows.
    """

    def __init__(self, path: str | Path, *, checks: bool = True) -> None:
        self.path, self._checks = str(path), checks
        self._cache: dict[str, Array] = {}
        self._bytes: mmap.mmap | None
        for is_last in (*[False] * _TRIES, True):
            self._bytes, self._identity = _map_file(self.path)
            self._size_bytes = len(self._bytes)
            try:
                self._open()
                return
            except StoreReplacedError:
                if is_last:
                    raise

    def _open(self) -> None:
        """Examine the file that is mapped; h5py opens it by its path, where another may be by now.

        Raises
        ------
        StoreReplacedError
        """
        try:
            with _h5_errors(self.path):
                file = _open_file(self.path)
        except StoreError:
            self._check_same_file(identity_at(self.path))
            raise
        try:
            self._check_same_file(identity_at(self.path))
            with _h5_errors(self.path):
                layout = describe(file, self._size_bytes)
        finally:
            file.close()
        self._sizes = check_declared(self.path, layout)
        self.layouts = layout.arrays
        self.is_newer = bool(layout.strange) or layout.attributes["format_minor"] != FORMAT_MINOR
        facts: Any = layout.attributes
        self.uuid = facts["uuid"]
        dtype = np.dtype(self.layouts["items/vector"].dtype).name
        self.kind = VectorKind(
            *(self._sizes["dim"], dtype, facts["run_fingerprint"]),
            settings=facts["vector_settings"],
            model=facts["model"],
        )

    @property
    def n_bytes(self) -> int:
        """Of the whole file."""
        return self._size_bytes

    def n_rows(self, table: str) -> int:
        """See `Part.n_rows`."""
        return self._sizes[table]

    def array(self, path: str) -> Array | None:
        """See `Part.array`."""
        found = self._cache.get(path)
        if found is None and path in self.layouts:
            found = self._map(self.layouts[path])
            if self._checks:
                self._check_values(array_specs()[path], found)
            self._cache[path] = found
        return found

    def _check_values(self, spec: ArraySpec, values: Array) -> None:
        """Look at offsets and codes before anyone uses them as an index."""
        if spec.role in ("offsets", "names_offsets"):
            cut = self.layouts.get(spec.cuts)
            n_cut = cut.shape[0] if cut is not None else self._sizes[spec.cuts]
            if values[0] != 0 or values[-1] != n_cut:
                raise corrupt(self.path, spec.path, f"offsets do not run from 0 to {n_cut:,}")
            if np.any(values[1:] < values[:-1]):
                raise corrupt(self.path, spec.path, "offsets are not in ascending order")
        elif spec.column is not None and spec.role == "rows" and len(values):
            bound = len(spec.column.values) if spec.column.values else None
            if spec.column.kind == "code":
                bound = self.layouts[f"{spec.path}_names_offsets"].shape[0] - 1
            if bound is not None and int(values.max()) >= bound:
                why = f"value {int(values.max())} is not below {bound}"
                raise corrupt(self.path, spec.path, why)

    def checksummed(self) -> Mapping[str, list[str]]:
        """Return which arrays each array of checksums covers, in order.

        Of a file of a higher minor version the file itself says it.

        Raises
        ------
        StoreCorruptError
        """
        if not self.is_newer:
            return checksum_order(self.layouts)
        data = self.array("meta/arrays")
        try:
            found = decode_json(data.data if data is not None else b"")
            if not all(isinstance(p, str) for paths in found.values() for p in paths):
                raise TypeError("a path is not a string")
        except (ValueError, TypeError) as error:
            raise corrupt(self.path, "meta/arrays", error) from error
        return found

    def _map(self, layout: ArrayLayout) -> Array:
        """View the array where it lies; a small one may lie at any byte and is copied."""
        if not layout.n_bytes:
            return np.zeros(layout.shape, dtype=layout.dtype)
        offset, count = layout.offset or 0, prod(layout.shape)
        flat = np.frombuffer(self._mapped(), layout.dtype, count, offset=offset)
        array = flat.reshape(layout.shape)
        return array if array.flags.aligned else array.copy()

    def release(self) -> None:
        """Unmap the file until it is next read; arrays that were handed out stay valid."""
        self._cache.clear()
        self._bytes = None

    def close(self) -> None:
        """See `Part.close`."""
        self.release()

    def _mapped(self) -> mmap.mmap:
        mapped = self._bytes  # which another thread may release meanwhile
        if mapped is None:
            try:
                mapped, identity = _map_file(self.path)
            except StoreNotFoundError:
                self._check_same_file(None)
                raise
            self._check_same_file(identity)
            self._bytes = mapped
        return mapped

    def _check_same_file(self, identity: Identity | None) -> None:
        """Refuse where the file that was mapped first and the one there now differ."""
        if identity != self._identity:
            raise StoreReplacedError(
                f"'{self.path}' was replaced or removed while it was open. Open it again.",
                path=self.path,
            )


def _map_file(path: str) -> tuple[mmap.mmap, Identity]:
    """Map the whole file as read-only memory, touched nowhere yet; refuse what is no HDF5."""
    try:
        if os.path.isdir(path):
            raise StoreForeignError(f"'{path}' is a directory. Name an .h5 file in it.", path=path)
        with open_regular(path) as stream, read_errors(path):
            if stream.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                return mapped, identity_of(os.fstat(stream.fileno()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(
            f"No store at '{path}'. Check the path, or make one with `datumaro-embed embed`.",
            path=path,
        ) from error
    raise StoreForeignError(
        f"'{path}' does not start like an HDF5 file, so it is not an embedding store. "
        "Check the path.",
        path=path,
    )
