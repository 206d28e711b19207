"""One sealed file: how it is created, published and opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..errors import StoreExistsError, StoreNotFoundError
from .base import EmbeddingStore
from .files import FileSystem, check_writable, open_regular, publish, read_errors
from .hdf5 import SIGNATURE
from .reader import SealedStore
from .sharded import ShardedStore, is_store_directory
from .skeleton import file_blocks, make_skeleton, shapes_of
from .views import StoreInfo
from .writer import ColumnWriter
from .writing import StoreWriter

__all__ = ["create_store", "is_hdf5_file", "open_store"]


def open_store(path: str | os.PathLike[str], *, partial: bool = False) -> EmbeddingStore:
    """Open a store for reading.

    Parameters
    ----------
    path : path of an ``.h5`` file, or of a store directory
    partial : bool
        Read the rows that an unfinished run has committed so far; otherwise it is refused.

    Returns
    -------
    EmbeddingStore
        A context manager; arrays taken from it outlive it.

    Raises
    ------
    StoreNotFoundError
        Nothing there.
    StoreForeignError
        Not an embedding store, or one of another major version.
    StoreCorruptError
        Damaged, or made to harm: with `path` and `place`.
    StoreUnfinishedError
        The run that writes it has not ended.
    StoreReadError
        The operating system cannot read it now.

    Notes
    -----
    Some 5 ms, whatever the size: a file's columns are memory-mapped, a directory's shards opened
    when a row of theirs is read.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        return ShardedStore(name, partial=partial)
    try:
        return SealedStore(name)
    except StoreNotFoundError:
        work = Path(f"{name}.work")  # where the run works that will publish the file
        if not is_store_directory(work):
            raise
        return ShardedStore(work, partial=partial)


def create_store(
    path: str | os.PathLike[str],
    *,
    dim: int,
    dtype: str = "float16",
    run_fingerprint: str = "",
    overwrite: bool = False,
    files: FileSystem | None = None,
) -> StoreWriter:
    """Begin a store; nothing is on disk before `StoreWriter.seal`.

    Parameters
    ----------
    path : path of the ``.h5`` file to be
        Missing parent directories are made when it is sealed.
    dim : int
        Length of every vector.
    dtype : {"float16", "float32"}
        float16 rounds to nearest and halves the file.
    run_fingerprint : str
        Equal where two runs must give equal vectors.
    overwrite : bool
        Replace an HDF5 file at `path` when sealing; never anything else.
    files : FileSystem, optional
        The operating system unless given.

    Returns
    -------
    StoreWriter

    Raises
    ------
    StoreExistsError
        Something is at `path`: with `overwrite`, something that is no HDF5 file.
    StoreWriteError
        No file can be made there.
    UsageError
        dim or dtype cannot be stored.
    """
    return _SealedFileWriter(
        Path(path),
        dim=dim,
        dtype=dtype,
        run_fingerprint=run_fingerprint,
        overwrite=overwrite,
        files=files or FileSystem(),
    )


class _SealedFileWriter(ColumnWriter):
    def __init__(
        self,
        path: Path,
        *,
        dim: int,
        dtype: str,
        run_fingerprint: str,
        overwrite: bool,
        files: FileSystem,
    ) -> None:
        super().__init__(str(path), dim=dim, dtype=dtype, run_fingerprint=run_fingerprint)
        self._target = path
        self._overwrite = overwrite
        self._files = files
        check_writable(path)
        self._refuse_existing()

    def _refuse_existing(self) -> None:
        path = self._target
        if not os.path.lexists(path):
            return
        if not self._overwrite:
            raise StoreExistsError(
                f"'{path}' exists; choose another path, or overwrite it on purpose.", path=path
            )
        if not is_hdf5_file(path):
            raise StoreExistsError(
                f"'{path}' exists and is no HDF5 file, so it is not overwritten; "
                "remove it by hand or choose another path.",
                path=path,
            )

    def _publish(self, arrays: dict[str, npt.NDArray[Any]], info: StoreInfo) -> None:
        self._refuse_existing()
        skeleton = make_skeleton(shapes_of(arrays), info)
        blocks = file_blocks(skeleton, lambda path: [arrays[path]])
        publish(self._target, blocks, skeleton.size_bytes, self._files)


def is_hdf5_file(path: Path) -> bool:
    """Tell by its first bytes."""
    if not path.is_file():
        return False
    with open_regular(path) as stream, read_errors(path):
        return stream.read(len(SIGNATURE)) == SIGNATURE
