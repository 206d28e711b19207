"""One HDF5 file: how its bytes are laid out, what it must look like, and the arrays mapped from it.

Writing: h5py lays the file out in memory (groups, headers, room for each array, which it never
fills); `file_image` gives headers and the arrays' own bytes from the first to the last, so that a
file of any size is written front to back in bounded memory. Checksums are made
as the pieces go by.

Reading: h5py describes the file; no link is followed and no value is read by it. What it declares
is compared with the schema before a column is mapped, and offsets and codes before they are used.
"""

from __future__ import annotations

import io
import mmap
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..encoding import MAX_JSON_BYTES, decode_text, encode_json, encode_text
from ..errors import StoreError, StoreForeignError, StoreNotFoundError, StoreReplacedError
from ..files import identity_of, is_being_written, open_regular, read_errors
from ..place import HDF5_SIGNATURE
from ..vectors import MAX_DIM, MAX_TEXT_BYTES, VectorKind
from .codec import Array, Part, corrupt
from .rows import StoredRows
from .schema import (
    ATTRIBUTES,
    BLOCK_ROWS,
    FORMAT,
    FORMAT_MINOR,
    FORMAT_VERSION,
    PAGE_BYTES,
    ROW_ROLES,
    SCHEMA,
    ArraySpec,
    array_specs,
)

# No filter plugin may be loaded from a directory; HDF5 reads this once, when it is loaded.
os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")

import h5py
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5t

_LIBVER = ("v110", "v110")
_PIECE_BYTES = 4 * 2**20
_PIECE_BLOCKS = 64
_JSON_PATHS = ("meta/categories", "meta/provenance", "meta/arrays")


# Writing ---------------------------------------------------------------------------------------


def file_image(
    store: StoredRows, head: Mapping[str, Array], uuid: str
) -> tuple[int, Iterator[bytes | memoryview]]:
    """Lay out a file that holds all rows of a store, and the arrays of `codec.head_arrays`.

    Returns its size in bytes and its content, end to end; memory is that of one piece of a column.
    """
    image = _Image(store, head)
    headers, places = _lay_out(image.shapes, store.kind, uuid)
    return headers.size_bytes, image.blocks(headers, places)


class _Image:
    """Shapes and bytes of every array of a file to be; checksums are made as pieces go by."""

    def __init__(self, store: StoredRows, head: Mapping[str, Array]) -> None:
        specs, self._store = array_specs(), store
        there = [s for p, s in specs.items() if s.table not in ("", "labels") and store.has(p)]
        self._rows = {spec.path: spec for spec in there if spec.role in ROW_ROLES}
        whole = self._whole = {path: array for path, array in head.items() if path in specs}
        whole |= {s.path: store.column(s.path) for s in there if s.role not in ROW_ROLES}
        order = self._order = checksum_order([*self._rows, *whole, "meta/arrays"])
        whole["meta/arrays"] = np.frombuffer(encode_json(order), np.uint8)
        sums = np.array([crc32(whole[path]) for path in order.pop("whole")], "<u4")
        n_labels = len(whole["labels/name_offsets"]) - 1
        for table, paths in order.items():
            n_rows = n_labels if table == "labels" else store.count(table)
            whole[f"checksums/{table}"] = np.zeros((-(-n_rows // BLOCK_ROWS), len(paths)), "<u4")
        for block, (a, b) in enumerate(cuts(n_labels)):
            of_labels = (row_block(whole.__getitem__, path, a, b) for path in order["labels"])
            whole["checksums/labels"][block] = list(map(crc32, of_labels))
        whole["checksums/whole"] = sums
        self._summed: set[str] = set()  # of those with other rows, while their pieces go by
        self.shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        for path, spec in specs.items():
            if path in whole:
                self.shapes[path] = whole[path].dtype.str, whole[path].shape
            elif path in self._rows:
                n_rows = store.count(spec.table)
                sizes = {spec.table: n_rows, f"{spec.table}+1": n_rows + 1, "dim": store.dim}
                if spec.role == "values":
                    ends = (part.required(f"{path}_offsets")[-1] for part in store.parts)
                    sizes["*"] = sum(map(int, ends))
                dtype = store.dtype.str if spec.column.kind == "vector" else spec.dtypes[0]
                shape = tuple(n if isinstance(n, int) else sizes[n] for n in spec.shape)
                self.shapes[path] = dtype, shape

    def blocks(
        self, headers: _Headers, places: Iterable[tuple[int, int, str]]
    ) -> Iterator[bytes | memoryview]:
        """Yield the file's bytes from first to last."""
        parts: list[tuple[int, int, str | bytes]] = [*places]
        parts += ((offset, len(data), data) for offset, data in headers.blocks.items())
        end = 0
        for offset, n_bytes, content in sorted(parts, key=lambda part: part[0]):
            assert offset >= end, content  # HDF5 gave the same place twice
            yield bytes(offset - end)
            end = offset + n_bytes
            if isinstance(content, bytes):
                yield content
                continue
            # HDF5 puts small arrays into gaps: checksums may come before what they cover.
            for covered in self._order.get(content.removeprefix("checksums/"), ()):
                if covered in self._rows and covered not in self._summed:
                    deque(self._row_pieces(self._rows[covered]), maxlen=0)
            spec = self._rows.get(content)
            for piece in self._row_pieces(spec) if spec else [self._whole[content]]:
                offset += piece.nbytes
                if piece.size and offset <= end:  # no array may run into the next
                    yield np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
            assert offset == end, f"{content} has {offset - end:+} bytes beside {n_bytes}"
        yield bytes(headers.size_bytes - end)

    def _row_pieces(self, spec: ArraySpec) -> Iterator[Array]:
        """Yield an array in parts that are it when put end to end."""
        store, n_rows = self._store, self._store.count(spec.table)
        self._summed.add(spec.path)
        column = self._order[spec.table].index(spec.path)
        sums = self._whole[f"checksums/{spec.table}"][:, column]
        # A piece has whole blocks of some megabytes, going by the mean size of a row.
        dtype, shape = self.shapes[spec.path]
        n_bytes = max(prod(shape) * np.dtype(dtype).itemsize, 1)
        n_blocks = min(max(_PIECE_BYTES * n_rows // n_bytes // BLOCK_ROWS, 1), _PIECE_BLOCKS)
        end = np.zeros(1, np.uint64)
        if spec.role == "offsets":
            yield end
        for first, stop in cuts(n_rows, BLOCK_ROWS * n_blocks):
            if spec.role == "offsets":
                lengths = store.lengths(spec.path, first, stop)
                covered = np.concatenate([end, end + np.cumsum(lengths, dtype=np.uint64)])
                piece, end = covered[1:], covered[-1:]
            else:
                piece = covered = np.ascontiguousarray(store.rows(spec.path, first, stop))
            bounds = np.arange(stop - first + 1)
            if spec.role == "values":
                lengths = store.lengths(f"{spec.path}_offsets", first, stop)
                bounds = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths)])
            for number, (a, b) in enumerate(cuts(stop - first)):
                block = covered[int(bounds[a]) : int(bounds[b]) + (spec.role == "offsets")]
                sums[first // BLOCK_ROWS + number] = crc32(block)
            yield piece


def crc32(array: Array) -> int:
    """CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def checksum_order(paths: Iterable[str]) -> dict[str, list[str]]:
    """Which arrays each array of checksums covers, in order."""
    order: dict[str, list[str]] = {table: [] for table in (*SCHEMA, "whole")}
    specs = array_specs()
    for path in sorted(paths):
        if not path.startswith("checksums/"):
            order[specs[path].table if specs[path].role in ROW_ROLES else "whole"].append(path)
    absent = [table.name for table in SCHEMA.values() if table.optional and not order[table.name]]
    return {table: covered for table, covered in order.items() if table not in absent}


def row_block(array: Callable[[str], Array], path: str, first: int, stop: int) -> Array:
    """Values that belong to some rows of one part; of offsets, where these rows begin and end."""
    role, values = array_specs()[path].role, array(path)
    if role == "values":
        bounds = array(f"{path}_offsets")
        return values[int(bounds[first]) : int(bounds[stop])]
    return values[first : stop + (role == "offsets")]


def cuts(n_rows: int, size: int = BLOCK_ROWS) -> Iterator[tuple[int, int]]:
    """First row of each block, and the one after its last."""
    return ((first, min(first + size, n_rows)) for first in range(0, n_rows, size))


def _lay_out(
    shapes: Mapping[str, tuple[str, tuple[int, ...]]], kind: VectorKind, uuid: str
) -> tuple[_Headers, list[tuple[int, int, str]]]:
    """Headers of a file, and offset, size and path of each array; takes a few milliseconds."""
    headers, places = _Headers(), []
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5d.CONTIGUOUS)  # whose room is set aside and never written
    plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    alignment = {"alignment_threshold": PAGE_BYTES, "alignment_interval": PAGE_BYTES}
    with h5py.File(headers, "w", libver=_LIBVER, **alignment) as file:
        for path, (name, shape) in shapes.items():
            dtype, space = np.dtype(name).newbyteorder("<"), h5s.create_simple(shape)
            place = (file.id, path.encode("ascii"), h5t.py_create(dtype), space, plist, links)
            dataset = h5d.create(*place)
            if n_bytes := prod(shape) * dtype.itemsize:
                places.append((int(dataset.get_offset()), n_bytes, path))
        facts: tuple[str | int, ...] = (
            *(FORMAT, FORMAT_VERSION, FORMAT_MINOR, uuid),
            *(kind.fingerprint, kind.model, kind.settings),
        )
        for name, value in zip(ATTRIBUTES, facts, strict=True):
            # With a fixed length: strings of variable length are stored elsewhere in a file.
            file.attrs[name] = (
                np.bytes_(encode_text(value)) if isinstance(value, str) else np.int64(value)
            )
    return headers, places


@dataclass(eq=False)
class _Headers(io.RawIOBase):
    """The file that h5py writes to: keeps the blocks it is given, and no space between."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    size_bytes: int = 0
    _position: int = 0

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


# Reading ---------------------------------------------------------------------------------------

_H5_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError)
_type_of = lru_cache(64)(lambda name: h5t.py_create(np.dtype(name)))
_LAYOUTS = {h5d.COMPACT: "compact", h5d.CHUNKED: "chunked", h5d.VIRTUAL: "virtual"}
_LINKS = {h5l.TYPE_SOFT: "soft link", h5l.TYPE_EXTERNAL: "external link"}


@dataclass(frozen=True, slots=True)
class ArrayPlace:
    """Type and shape of an array that passed the guard, and its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def _type_name(kind: h5t.TypeID) -> str:
    """NumPy's string where the stored type is exactly that integer or float; else a word."""
    if kind.get_class() not in (h5t.INTEGER, h5t.FLOAT):
        return f"class {kind.get_class()}"
    name = str(kind.dtype.str)
    return name if _type_of(name).equal(kind) else "unusual number"


def _read_attributes(path: str, root: h5f.FileID) -> dict[str, Any]:
    """Read the attributes of the root group: integers and strings of fixed length, no others.

    What is not a store, or of another major version, is refused.
    """
    found: dict[str, Any] = {}
    for index in range(h5a.get_num_attrs(root)):
        attribute = h5a.open(root, index=index)
        kind = attribute.get_type()
        is_scalar = attribute.get_space().get_simple_extent_type() == h5s.SCALAR
        is_number = kind.get_class() == h5t.INTEGER and _type_name(kind) != "unusual number"
        is_text = kind.get_class() == h5t.STRING and not kind.is_variable_str()
        value: int | str | None = None
        if is_scalar and kind.get_size() <= MAX_TEXT_BYTES and (is_number or is_text):
            stored = np.zeros((), dtype=kind.dtype)
            attribute.read(stored)
            value = int(stored) if is_number else decode_text(bytes(stored[()]))
        found[attribute.name.decode("utf-8", "backslashreplace")] = value

    name, version = found.get("format"), found.get("format_version")
    if name != FORMAT:
        raise StoreForeignError(
            f"'{path}' is an HDF5 file but not an embedding store (its attribute format is "
            f"{name!r}). Check the path.",
            path=path,
        )
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        remedy = (
            "It was made by a pre-release. Embed the dataset again, with ``restart`` if the path "
            "is the same."
            if older
            else "Update datumaro-embed."
        )
        raise StoreForeignError(
            f"'{path}' has format {version}, but this version reads format {FORMAT_VERSION}. "
            f"{remedy}",
            path=path,
            found=version,
        )
    for name, expected in ATTRIBUTES.items():
        value = found.get(name)
        if not isinstance(value, expected):
            raise corrupt(path, f"attribute {name}", f"is missing or not {expected.__name__}")
        if isinstance(value, int) and value < 0:
            raise corrupt(path, f"attribute {name}", f"is {value}")
    unknown = sorted(found.keys() - ATTRIBUTES.keys())
    if unknown and found["format_minor"] == FORMAT_MINOR:
        raise corrupt(path, f"attribute {unknown[0]}", "stores have no such attribute")
    return found


class Hdf5Part(Part):
    """A file; nothing of it is read before the guard has passed its declarations.

    With `checks` a column with values that cannot be right is refused; otherwise only blocks whose
    checksum is right may be used. `layouts` has the arrays of the schema that the file has, by
    path. A higher minor version wrote a file that `is_newer`: it may hold arrays that nobody here
    can copy. Opening takes some 5 ms and does not depend on the number of rows.

    Raises `StoreNotFoundError`, `StoreForeignError`, `StoreCorruptError`, `StoreReadError`;
    `StoreReplacedError`: another file has taken its place since.
    """

    def __init__(self, path: str | Path, *, checks: bool = True) -> None:
        super().__init__(str(path))
        self._checks = checks
        self._cache: dict[str, Array] = {}
        self._sizes: dict[str, int] = {}  # of each symbol of the schema: a table, ``dim``
        self.layouts: dict[str, ArrayPlace] = {}
        with _opened(self.path) as stream:
            self._bytes: mmap.mmap | None = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._identity = identity_of(os.fstat(stream.fileno()))
            self.n_bytes = len(self._bytes)
            if is_being_written(stream):
                raise StoreError(
                    f"'{self.path}' is open for writing in another program. Close it there first.",
                    path=self.path,
                )
            try:
                with h5py.File(stream.raw, "r") as file:  # which reads whole blocks
                    self._compare(file.id)
            except StoreError:
                raise
            except _H5_ERRORS as error:
                if isinstance(error, OSError) and error.errno:  # of the stream: no damage
                    raise
                raise corrupt(self.path, "/", error) from error

    def _compare(self, root: h5f.FileID) -> None:
        """Compare what the file declares with the schema; no column is read, no link followed."""
        facts = _read_attributes(self.path, root)
        self._minor, self.uuid = facts["format_minor"], facts["uuid"]
        self.is_newer = self._minor != FORMAT_MINOR
        if root.get_create_plist().get_userblock():
            raise corrupt(self.path, "/", "the file has a user block")
        found = dict(self._arrays_in(root))
        for spec in array_specs().values():
            if spec.path in found:
                self.layouts[spec.path] = self._checked(spec, found[spec.path])
            elif not (spec.optional or spec.column.since > self._minor):
                raise corrupt(self.path, spec.path, "is missing")
        # An optional table is there with every column, or not at all.
        for table in (table for table in SCHEMA.values() if table.optional):
            needed = [f"items/{table.name}_offsets", f"checksums/{table.name}"]
            for spec in array_specs().values():
                column = spec.column
                if spec.table == table.name and not column.optional and column.since <= self._minor:
                    needed.append(spec.path)
            missing = [place for place in needed if place not in self.layouts]
            if missing and len(missing) < len(needed):
                raise corrupt(self.path, missing[0], "is missing")
            self._sizes.setdefault(table.name, 0)
            vector = self.layouts.get(f"{table.name}/vector")
            if vector is not None and vector.dtype != self.layouts["items/vector"].dtype:
                why = "its type is not that of items/vector"
                raise corrupt(self.path, f"{table.name}/vector", why)
        dtype = np.dtype(self.layouts["items/vector"].dtype).name
        kind = self._sizes["dim"], dtype, facts["run_fingerprint"]
        self.kind = VectorKind(*kind, settings=facts["vector_settings"], model=facts["model"])

    def _arrays_in(self, root: h5f.FileID) -> Iterator[tuple[str, Any]]:
        """Path and handle of each array of the schema; other things of newer files are left.

        Only hard links whose name the schema knows are opened.
        """
        specs = array_specs()
        known = {*specs, *(path.split("/")[0] for path in specs)}
        groups = [("", root)]
        for prefix, group in groups:
            for raw in list(group):
                path = prefix + raw.decode("utf-8", "backslashreplace")
                kind = group.links.get_info(raw).type
                what = _LINKS.get(kind, "user-defined link")
                if kind == h5l.TYPE_HARD:
                    found = h5o.open(group, raw) if path in known else None
                    if path in specs and isinstance(found, h5d.DatasetID):
                        yield path, found
                        continue
                    if path not in specs and isinstance(found, h5g.GroupID):
                        groups.append((f"{path}/", found))
                        continue
                    word = type(found).__name__.removesuffix("ID").lower()
                    what = word if path in known else "unknown name"
                if self._minor == FORMAT_MINOR:
                    raise corrupt(self.path, path, f"stores have no such object ({what})")
                if path in specs:
                    raise corrupt(self.path, path, f"should be an array but is {what}")
                self.is_newer = True

    def _checked(self, spec: ArraySpec, dataset: h5d.DatasetID) -> ArrayPlace:
        def require(holds: bool, why: str) -> None:
            if not holds:
                raise corrupt(self.path, spec.path, why)

        dtype, space = _type_name(dataset.get_type()), dataset.get_space()
        plist = dataset.get_create_plist()
        is_simple = space.get_simple_extent_type() == h5s.SIMPLE
        shape = space.get_simple_extent_dims() if is_simple else ()
        is_fixed = not is_simple or space.get_simple_extent_dims(True) == shape
        require(dtype in spec.dtypes, f"type {dtype}, not {' or '.join(spec.dtypes)}")
        require(plist.get_external_count() == 0, "its data is in another file")
        if not (is_fixed and self._fits(spec, shape)):  # whose message takes long to make
            require(False, f"shape {shape}, not {spec.shape} with {self._sizes}")
        layout = plist.get_layout()
        word = _LAYOUTS.get(layout, "unknown")
        require(layout == h5d.CONTIGUOUS, f"layout {word}, not contiguous")
        filters = tuple(plist.get_filter(index)[0] for index in range(plist.get_nfilters()))
        require(not filters, f"filters {filters}, but none are allowed")
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        require(n_bytes <= self.n_bytes, f"{n_bytes:,} bytes exceed the file's size")
        offset, is_whole = dataset.get_offset(), dataset.get_storage_size() == n_bytes
        there = offset is not None and is_whole and offset + n_bytes <= self.n_bytes
        require(not n_bytes or there, "part of its data is missing from the file")
        if spec.path in _JSON_PATHS:
            require(n_bytes <= MAX_JSON_BYTES, f"JSON of {n_bytes:,} bytes is too large")
        return ArrayPlace(dtype, shape, offset or 0)

    def _fits(self, spec: ArraySpec, shape: tuple[int, ...]) -> bool:
        """Compare a shape with the schema's and with the arrays before it."""
        if len(shape) != len(spec.shape):
            return False
        for symbol, size in zip(spec.shape, shape, strict=True):
            expected = size
            if isinstance(symbol, int):
                expected = symbol
            elif symbol.endswith("+1"):
                expected = self._sizes.setdefault(symbol[:-2], size - 1) + 1
            elif symbol != "*":
                expected = self._sizes.setdefault(symbol, size)
            if size != expected or size < 0:
                return False
        has_end = shape[0] > 0 or spec.role not in ("offsets", "names_offsets")
        return has_end and 1 <= self._sizes.get("dim", 1) <= MAX_DIM

    @property
    def file(self) -> Hdf5Part:
        return self

    def n_rows(self, table: str) -> int:
        return self._sizes[table]

    def has(self, path: str) -> bool:
        return path in self.layouts

    def array(self, path: str) -> Array | None:
        found, place = self._cache.get(path), self.layouts.get(path)
        if found is not None or place is None:
            return found
        if not (count := prod(place.shape)):
            found = np.zeros(place.shape, dtype=place.dtype)
        else:
            mapped = self._bytes  # which another thread may close meanwhile
            if mapped is None:
                # It was closed since; another file that is at its path now is refused.
                with suppress(StoreNotFoundError, StoreForeignError), _opened(self.path) as stream:
                    if identity_of(os.fstat(stream.fileno())) == self._identity:
                        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                if mapped is None:
                    raise replaced(self.path)
                self._bytes = mapped
            flat = np.frombuffer(mapped, place.dtype, count, offset=place.offset)
            found = flat.reshape(place.shape)
            # A small array may lie at any byte.
            found = found if found.flags.aligned else found.copy()
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
        elif spec.role == "rows" and len(values):
            bound = len(spec.column.values) if spec.column.values else None
            if spec.column.kind == "code":
                bound = self.layouts[f"{spec.path}_names_offsets"].shape[0] - 1
            if bound is not None and int(values.max()) >= bound:
                why = f"value {int(values.max())} is not below {bound}"
                raise corrupt(self.path, spec.path, why)

    def close(self) -> None:
        """Unmap the file until it is next read; arrays that were handed out stay valid."""
        self._cache.clear()
        self._bytes = None


def replaced(path: str | os.PathLike[str]) -> StoreReplacedError:
    """Return the error for a file or directory that is another one now."""
    return StoreReplacedError(
        f"'{path}' was replaced or removed while it was open. Open it again.",
        path=os.fspath(path),
    )


@contextmanager
def _opened(path: str) -> Iterator[io.BufferedReader]:
    """Open a file that starts like HDF5; refuse any other."""
    try:
        stream = open_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(
            f"No store at '{path}'. Check the path, or make one with `datumaro-embed embed`.",
            path=path,
        ) from error
    with stream, read_errors(path):
        if stream.read(len(HDF5_SIGNATURE)) != HDF5_SIGNATURE:
            raise StoreForeignError(
                f"'{path}' does not start like an HDF5 file, so it is not an embedding store. "
                "Check the path.",
                path=path,
            )
        yield stream
