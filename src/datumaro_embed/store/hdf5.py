"""A file's own description of itself, by h5py (whose only other importer is skeleton.py).

Nothing here decides what is allowed (guard.py does), no link out of a file is ever followed, and no
value of an array is read: arrays are mapped where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ..errors import StoreError
from .encoding import decode_text
from .guard import ArrayLayout, FileLayout
from .rows import corrupt
from .schema import COLUMNS, GROUPS, MAX_ATTRIBUTE_BYTES

# No filter plugin may be loaded from a directory; HDF5 reads this once, when it is loaded.
os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")

import h5py
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5t

__all__ = ["SIGNATURE", "Hdf5File", "h5py"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"

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
def _h5_errors(path: str, place: str) -> Iterator[None]:
    """Turn whatever h5py raises into a `StoreCorruptError` that names file and place."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise corrupt(path, place, error) from error


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
