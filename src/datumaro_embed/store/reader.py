"""`SealedStore` reads one sealed file: guarded, mapped, each column checked on first use."""

from __future__ import annotations

import mmap
import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreError, StoreForeignError, StoreNotFoundError, StoreReplacedError
from .base import EmbeddingStore
from .files import Identity, identity_at, identity_of, open_regular, read_errors
from .guard import ArrayLayout, check_declared, check_values
from .hdf5 import SIGNATURE, Hdf5File
from .schema import COLUMNS
from .views import StoreInfo

__all__ = ["SealedStore"]

Array = npt.NDArray[Any]
_TRIES = 20


class SealedStore(EmbeddingStore):
    """A sealed file. Nothing of it is read before the guard has passed its declarations.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    StoreNotFoundError, StoreForeignError, StoreCorruptError, StoreReadError
    StoreReplacedError
        It was replaced again and again while it was being opened.

    Notes
    -----
    Opening takes some 5 ms and does not depend on the number of rows.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = str(path)
        self._bytes: mmap.mmap | None
        for is_last in (*[False] * _TRIES, True):
            self._bytes, self._identity = _map_file(self._path)
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
            file = Hdf5File(self._path)
        except StoreError:
            self._check_same_file(identity_at(self._path))
            raise
        try:
            self._check_same_file(identity_at(self._path))
            self._examine(file)
        finally:
            file.close()

    def release(self) -> None:
        """Unmap the file until it is next read; arrays that were handed out stay valid."""
        self._cache.clear()
        self._rows = None
        self._bytes = None

    def _mapped(self) -> mmap.mmap:
        mapped = self._bytes  # which another thread may release meanwhile
        if mapped is None:
            try:
                mapped, identity = _map_file(self._path)
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
                f"'{self._path}' was replaced or removed while it was open. Open it again.",
                path=self._path,
            )

    def _examine(self, file: Hdf5File) -> None:
        layout = file.describe(self._size_bytes)
        self._sizes = check_declared(self._path, layout)
        self._arrays = layout.arrays
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
        values = self._map(layout)
        check_values(
            self._path,
            column,
            values,
            n_indexed=self._length_of(column.indexes),
            bound=self._sizes[column.below] if isinstance(column.below, str) else column.below,
        )
        return values

    def _map(self, layout: ArrayLayout) -> Array:
        """View the array where it lies; a small one may lie at any byte and is copied."""
        if not layout.nbytes:
            return np.zeros(layout.shape, dtype=layout.dtype)
        offset, count = layout.offset or 0, prod(layout.shape)
        flat = np.frombuffer(self._mapped(), layout.dtype, count, offset=offset)
        array = flat.reshape(layout.shape)
        return array if array.flags.aligned else array.copy()

    def _length_of(self, path: str) -> int:
        if path in self._arrays:
            return self._arrays[path].shape[0]
        return self._info.n_annotations

    def _close(self) -> None:
        self._bytes = None  # unmapped when the last array that was handed out is gone


def _map_file(path: str) -> tuple[mmap.mmap, Identity]:
    """Map the whole file as read-only memory, touched nowhere yet; refuse what is no HDF5."""
    try:
        if os.path.isdir(path):
            raise StoreForeignError(f"'{path}' is a directory; name an .h5 file in it.", path=path)
        with open_regular(path) as stream, read_errors(path):
            if stream.read(len(SIGNATURE)) == SIGNATURE:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                return mapped, identity_of(os.fstat(stream.fileno()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(
            f"No store at '{path}'; check the path, or make one with `datumaro-embed embed`.",
            path=path,
        ) from error
    raise StoreForeignError(
        f"'{path}' does not begin as an HDF5 file and is no embedding store; check the path.",
        path=path,
    )
