"""The only importer of h5py: arrays to the bytes of a file, and a file's own description of itself.

Nothing here decides what is allowed (guard.py does) and no link out of a file is ever followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from .encoding import decode_text, encode_text
from .guard import Allocation, ArrayLayout, FileLayout
from .rows import corrupt
from .schema import (
    COLUMNS,
    FORMAT,
    FORMAT_MINOR,
    GROUPS,
    GZIP_LEVEL,
    MAX_ATTRIBUTE_BYTES,
    PAGE_BYTES,
    SCHEMA,
    chunk_shape,
)
from .views import StoreInfo

# No filter plugin may be loaded from a directory; HDF5 reads this once, when it is loaded.
os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")

import h5py
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5t, h5z

__all__ = ["SIGNATURE", "Hdf5File", "write_image"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_LIBVER = ("v110", "v110")
_LAYOUTS = {
    h5d.COMPACT: "compact",
    h5d.CONTIGUOUS: "contiguous",
    h5d.CHUNKED: "chunked",
    h5d.VIRTUAL: "virtual",
}
_FILTERS = {h5z.FILTER_SHUFFLE: "shuffle", h5z.FILTER_DEFLATE: "gzip"}
_LINKS = {h5l.TYPE_SOFT: "soft link", h5l.TYPE_EXTERNAL: "external link"}

Array = npt.NDArray[Any]


@contextmanager
def _h5_errors(path: str, place: str) -> Iterator[None]:
    """Turn whatever h5py raises into a `StoreCorruptError` that names file and place."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise corrupt(path, place, error) from error


# Writing ------------------------------------------------------------------------------------------


def write_image(arrays: Mapping[str, Array], info: StoreInfo) -> BytesIO:
    """Build the bytes of a whole file in memory: HDF5 never sees the disk while writing.

    Parameters
    ----------
    arrays : mapping
        Schema path → array; optional ones may be absent.
    info : StoreInfo

    Notes
    -----
    The result takes about the memory of the vectors plus that of the packed columns.
    """
    image = BytesIO()
    embedding_bytes = arrays["items/embedding"].nbytes
    aligned = (
        {"alignment_threshold": embedding_bytes, "alignment_interval": PAGE_BYTES}
        if embedding_bytes >= PAGE_BYTES
        else {}
    )
    with h5py.File(image, "w", libver=_LIBVER, **aligned) as file:
        for column in SCHEMA:
            if column.path in arrays:
                _write_array(file, column.path, arrays[column.path], packed=column.packed)
        for name, value in _attributes(info).items():
            file.attrs[name] = value
    return image


def _write_array(file: h5py.File, path: str, values: Array, *, packed: bool) -> None:
    storage: dict[str, Any] = {"track_times": False}
    if packed and values.size:
        storage |= {
            "chunks": chunk_shape(values.shape),
            "shuffle": True,
            "compression": "gzip",
            "compression_opts": GZIP_LEVEL,
        }
    file.create_dataset(path, data=np.ascontiguousarray(values), **storage)


def _attributes(info: StoreInfo) -> dict[str, Any]:
    return {
        "format": _fixed_text(FORMAT),
        "format_version": np.int64(info.format_version),
        "format_minor": np.int64(FORMAT_MINOR),
        "complete": np.int64(1),
        "uuid": _fixed_text(info.uuid),
        "run_fingerprint": _fixed_text(info.run_fingerprint),
        "n_rows": np.int64(info.n_rows),
        "n_annotations": np.int64(info.n_annotations),
        "categories_crc32": np.int64(info.categories_crc32),
        "provenance_crc32": np.int64(info.provenance_crc32),
    }


def _fixed_text(text: str) -> np.bytes_:
    """Encode with a fixed length: strings of variable length are stored elsewhere in a file."""
    return np.bytes_(encode_text(text))


# Reading ------------------------------------------------------------------------------------------


class Hdf5File:
    """A file opened for reading; whatever h5py raises comes out as `StoreCorruptError`."""

    def __init__(self, path: str) -> None:
        self._path = path
        with _h5_errors(path, "/"):
            self._file = _open_file(path)

    def describe(self, size_bytes: int) -> FileLayout:
        """Tell what the file declares: no column is read, no link is followed."""
        with _h5_errors(self._path, "/"):
            return _describe(self._file, size_bytes)

    def allocation(self, place: str) -> Allocation:
        """Measure the space that one array really has: for plausible shapes only, as it counts."""
        with _h5_errors(self._path, place):
            dataset = self._file[place].id
            chunked = dataset.get_create_plist().get_layout() == h5d.CHUNKED
            return Allocation(
                storage_bytes=dataset.get_storage_size(),
                offset=None if chunked else dataset.get_offset(),
                n_chunks=dataset.get_num_chunks() if chunked else None,
            )

    def read(self, place: str, array: ArrayLayout) -> Array:
        """All values of one array."""
        values = np.zeros(array.shape, dtype=array.dtype)
        if values.size:
            with _h5_errors(self._path, place):
                self._file[place].id.read(h5s.ALL, h5s.ALL, values)
        return values

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _open_file(path: str) -> h5py.File:
    """Open for reading; a sealed file needs no lock, but a lock shows a program that changes it."""
    try:
        return h5py.File(path, "r")
    except BlockingIOError as error:
        raise StoreError(
            f"'{path}' is open for writing in another program; close it there first.", path=path
        ) from error
    except OSError:
        # A file system without locks, or this process has the file open with another setting.
        with suppress(OSError):
            return h5py.File(path, "r", locking=False)
        return h5py.File(path, "r", locking=True)


def _describe(file: h5py.File, size_bytes: int) -> FileLayout:
    """Collect what the file declares, without following a link out of it."""
    arrays: dict[str, ArrayLayout] = {}
    strange: dict[str, str] = {}
    for path, found in _objects(file.id):
        if isinstance(found, h5d.DatasetID) and path in COLUMNS:
            arrays[path] = _describe_array(found)
        elif not (isinstance(found, h5g.GroupID) and path in GROUPS):
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


def _objects(root: h5f.FileID) -> Iterator[tuple[str, Any]]:
    """Path and handle of what hangs in the root and the known groups; a str if not opened."""
    for name, found in _links(root, "", frozenset(path.split("/")[0] for path in COLUMNS)):
        yield name, found
        if isinstance(found, h5g.GroupID) and name in GROUPS:
            yield from _links(found, f"{name}/", frozenset(COLUMNS))


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
    codes = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    return ArrayLayout(
        dtype=_type_name(dataset.get_type()),
        shape=shape,
        resizable=simple and space.get_simple_extent_dims(True) != shape,
        layout=layout,
        chunk=plist.get_chunk() if layout == "chunked" else (),
        filters=tuple(_FILTERS.get(code, f"number {code}") for code in codes),
        n_external=plist.get_external_count(),
    )


def _type_name(kind: h5t.TypeID) -> str:
    """NumPy's string where the stored type is exactly that integer or float; else a word."""
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
    if kind.get_size() > MAX_ATTRIBUTE_BYTES:
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
