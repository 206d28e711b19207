"""`SealedStore` reads one sealed file: guarded, vectors mapped, columns on first use."""

from __future__ import annotations

import mmap
import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreError, StoreForeignError, StoreNotFoundError
from .base import EmbeddingStore
from .guard import ArrayLayout, check_allocated, check_declared, check_values
from .hdf5 import SIGNATURE, Hdf5File
from .schema import COLUMNS
from .views import StoreInfo

__all__ = ["SealedStore"]

Array = npt.NDArray[Any]


class SealedStore(EmbeddingStore):
    """A sealed file. Nothing of it is read before the guard has passed its declarations.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    StoreNotFoundError, StoreForeignError, StoreCorruptError

    Notes
    -----
    Opening takes some 5 ms and does not depend on the number of rows.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = str(path)
        self._bytes, identity = _map_file(self._path)
        self._size_bytes = len(self._bytes)
        self._file = Hdf5File(self._path)
        try:
            self._check_same_file(identity)
            self._examine()
        except BaseException:
            self._file.close()
            raise

    def _check_same_file(self, identity: os.stat_result) -> None:
        """Refuse where the bytes that are mapped and the file that HDF5 reads are not one."""
        if not os.path.samestat(identity, Path(self._path).stat()):
            raise StoreNotFoundError(
                f"'{self._path}' was replaced while it was being opened; open it again.",
                path=self._path,
            )

    def _examine(self) -> None:
        layout = self._file.describe(self._size_bytes)
        self._sizes = check_declared(self._path, layout)
        self._arrays = layout.arrays
        self._offsets: dict[str, int | None] = {}
        for path, array in layout.arrays.items():
            space = self._file.allocation(path)
            check_allocated(self._path, path, array, space, self._size_bytes)
            self._offsets[path] = space.offset
        facts: Any = layout.attributes
        embedding = layout.arrays["items/embedding"]
        self._info = StoreInfo(
            path=self._path,
            n_rows=facts["n_rows"],
            n_annotations=facts["n_annotations"],
            dim=self._sizes["D"],
            dtype=np.dtype(embedding.dtype),
            uuid=facts["uuid"],
            run_fingerprint=facts["run_fingerprint"],
            format_version=facts["format_version"],
            categories_crc32=facts["categories_crc32"],
            provenance_crc32=facts["provenance_crc32"],
        )

    @property
    def info(self) -> StoreInfo:
        """See `EmbeddingStore.info`."""
        return self._info

    def _load(self, path: str) -> Array | None:
        layout = self._arrays.get(path)
        if layout is None:
            return None
        column = COLUMNS[path]
        if not column.packed:
            return self._map(path, layout)
        values = self._file.read(path, layout)
        check_values(
            self._path,
            column,
            values,
            n_indexed=self._length_of(column.indexes),
            bound=self._sizes[column.below] if isinstance(column.below, str) else column.below,
        )
        return values

    def _map(self, path: str, layout: ArrayLayout) -> Array:
        if not layout.nbytes:
            return np.zeros(layout.shape, dtype=layout.dtype)
        flat = np.frombuffer(
            self._bytes, layout.dtype, prod(layout.shape), offset=self._offsets[path] or 0
        )
        return flat.reshape(layout.shape)

    def _length_of(self, path: str) -> int:
        if path in self._arrays:
            return self._arrays[path].shape[0]
        return self._info.n_annotations

    def _close(self) -> None:
        self._file.close()
        del self._bytes  # unmapped when the last array that was handed out is gone


def _map_file(path: str) -> tuple[mmap.mmap, os.stat_result]:
    """Map the whole file as read-only memory, touched nowhere yet; refuse what is no HDF5."""
    if Path(path).is_dir():
        raise StoreForeignError(
            f"'{path}' is a directory, and this version reads single files; name the .h5 file.",
            path=path,
        )
    try:
        with Path(path).open("rb") as stream:
            if stream.read(len(SIGNATURE)) == SIGNATURE:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                return mapped, os.fstat(stream.fileno())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(
            f"No store at '{path}'; check the path, or make one with `datumaro-embed embed`.",
            path=path,
        ) from error
    except OSError as error:
        raise StoreError(
            f"Cannot read '{path}': {error.strerror or error}; check its permissions.",
            path=path,
            os_errno=error.errno,
        ) from error
    raise StoreForeignError(
        f"'{path}' does not begin as an HDF5 file and is no embedding store; check the path.",
        path=path,
    )
