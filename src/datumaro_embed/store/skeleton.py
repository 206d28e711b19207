"""The bytes of a sealed file, in order, without HDF5 ever seeing the disk or an array's values.

h5py lays the file out in memory: groups, headers, and room for each array, which it never fills.
`file_blocks` then gives headers and the arrays' own bytes from the first to the last, so that a
file of any size is written front to back in bounded memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from .encoding import encode_text
from .hdf5 import h5py  # hdf5.py sets what must be set before HDF5 is loaded
from .schema import FORMAT, FORMAT_MINOR, PAGE_BYTES, SCHEMA
from .views import StoreInfo

__all__ = ["Shapes", "Skeleton", "file_blocks", "make_skeleton", "shapes_of"]

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Schema path → NumPy type string and shape."""
Array = npt.NDArray[Any]

_LIBVER = ("v110", "v110")


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A file without its arrays' values.

    Attributes
    ----------
    size_bytes : int
        Of the whole file.
    headers : tuple of (offset, bytes)
    arrays : tuple of (offset, n_bytes, path)
        Where each array that is not empty belongs.
    """

    size_bytes: int
    headers: tuple[tuple[int, bytes], ...]
    arrays: tuple[tuple[int, int, str], ...]


def shapes_of(arrays: Mapping[str, Array]) -> Shapes:
    """Types and shapes of arrays in memory."""
    return {path: (array.dtype.str, array.shape) for path, array in arrays.items()}


def make_skeleton(shapes: Shapes, info: StoreInfo) -> Skeleton:
    """Lay a file out.

    Parameters
    ----------
    shapes : mapping
        Optional arrays may be absent.
    info : StoreInfo

    Notes
    -----
    A few milliseconds and some 30 KiB, whatever the shapes.
    """
    image = _Headers()
    alignment = {"alignment_threshold": PAGE_BYTES, "alignment_interval": PAGE_BYTES}
    arrays = []
    with h5py.File(image, "w", libver=_LIBVER, **alignment) as file:
        for column in SCHEMA:
            if column.path in shapes:
                dtype, shape = shapes[column.path]
                offset = _reserve(file, column.path, dtype, shape)
                n_bytes = prod(shape) * np.dtype(dtype).itemsize
                if n_bytes:
                    arrays.append((offset, n_bytes, column.path))
        for name, value in _attributes(info).items():
            file.attrs[name] = value
    return Skeleton(image.size_bytes, tuple(sorted(image.blocks.items())), tuple(sorted(arrays)))


def file_blocks(
    skeleton: Skeleton, pieces: Callable[[str], Iterable[Array]]
) -> Iterator[bytes | memoryview]:
    """Yield the file's bytes from first to last.

    Parameters
    ----------
    skeleton : Skeleton
    pieces : callable
        Schema path → the array, or parts of it that are it when put end to end.
    """
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


def _reserve(file: Any, path: str, dtype: str, shape: tuple[int, ...]) -> int:
    """Make a contiguous dataset whose room is set aside and never written."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(np.dtype(dtype).newbyteorder("<"))
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, path.encode("ascii"), kind, space, plist, links)
    return int(dataset.get_offset() or 0)


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
