"""The shards that a manifest names, opened when they are asked for and mapped a few at a time."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

from ..errors import (
    StoreError,
    StoreForeignError,
    StoreNotFoundError,
    StoreReadError,
    StoreReplacedError,
)
from .base import EmbeddingStore
from .files import open_regular, read_errors
from .manifest import SHARD_FOLDER, Manifest, Part
from .reader import SealedStore
from .rows import corrupt

__all__ = ["ShardFiles", "is_sound", "open_part"]

_MAX_MAPPED = 32
_BLOCK_BYTES = 4 * 2**20


def open_part(directory: Path, part: Part, manifest: Manifest) -> SealedStore:
    """Open one file and compare it with what the manifest says of it.

    Raises
    ------
    StoreCorruptError
        It is missing, a link, or another file than the one that was committed.
    StoreForeignError
    """
    path = directory / SHARD_FOLDER / part.name
    place = f"{SHARD_FOLDER}/{part.name}"
    if path.is_symlink():
        raise corrupt(str(directory), place, "is a symbolic link")
    try:
        store = SealedStore(path)
    except StoreNotFoundError as error:
        raise corrupt(str(directory), place, "is missing") from error
    found = (store.n_rows, store.n_annotations, store.dim, store.dtype.name, store.run_fingerprint)
    named = (part.n_rows, part.n_annotations, manifest.dim, manifest.dtype)
    if found != (*named, manifest.run_fingerprint) or path.stat().st_size != part.n_bytes:
        raise corrupt(str(directory), place, "is not the file that the manifest names")
    if part.n_rows and (store.key(0), store.key(part.n_rows - 1)) != (part.first, part.last):
        raise corrupt(str(directory), place, "holds other items than the manifest says")
    return store


def is_sound(directory: Path, part: Part) -> bool:
    """Compare a file's SHA-256 with the manifest's; a file that is missing is not sound.

    Raises
    ------
    StoreReadError
        The system cannot read it now: nobody knows whether it is sound.
    """
    digest = hashlib.sha256()
    path = directory / SHARD_FOLDER / part.name
    if path.is_symlink():
        return False
    try:
        with open_regular(path) as stream, read_errors(path):
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError, StoreForeignError):
        return False
    return digest.hexdigest() == part.sha256


class ShardFiles(Sequence[EmbeddingStore]):
    """Stores by their place in a list; safe to use from several threads.

    Parameters
    ----------
    places : sequence of (directory, Part, Manifest)
    opened : dict, optional
        File name → store: shared by lists of one directory, so that each file is opened once.
    confirm : callable, optional
        Called with a part after its file was opened, or could not be: raises where the directory
        is no longer the one that was read.
    max_mapped : int
        How many stay mapped: few for who goes through them in order, as what is mapped and was
        read counts as the process's memory.
    """

    def __init__(
        self,
        places: Sequence[tuple[Path, Part, Manifest]],
        opened: dict[str, SealedStore] | None = None,
        *,
        confirm: Callable[[Part], None] | None = None,
        max_mapped: int = _MAX_MAPPED,
    ) -> None:
        self._places = places
        self._confirm = confirm
        self._max_mapped = max_mapped
        self._opened = {} if opened is None else opened
        self._mapped: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> SealedStore: ...
    @overload
    def __getitem__(self, index: slice) -> list[SealedStore]: ...
    def __getitem__(self, index: int | slice) -> SealedStore | list[SealedStore]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name = self._places[index][1].name
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._open(index)
            self._mapped[name] = None
            self._mapped.move_to_end(name)
            if len(self._mapped) > self._max_mapped:
                oldest, _ = self._mapped.popitem(last=False)
                self._opened[oldest].release()
            return self._opened[name]

    def _open(self, index: int) -> SealedStore:
        place = self._places[index]
        try:
            store = open_part(*place)
        finally:
            if self._confirm is not None:
                self._confirm(place[1])
        return store

    def __iter__(self) -> Iterator[SealedStore]:
        return (self[i] for i in range(len(self)))

    def close(self) -> None:
        """Release every file."""
        for store in self._opened.values():
            store.close()
        self._opened.clear()
        self._mapped.clear()

    def problems(self) -> Iterator[str]:
        """Hash and verify every file; yield what is wrong, with its name."""
        for index, (directory, part, _) in enumerate(self._places):
            place = f"{SHARD_FOLDER}/{part.name}"
            if not is_sound(directory, part):
                yield f"{place}: the file's SHA-256 is not the manifest's"
            try:
                yield from (f"{place}: {problem}" for problem in self[index].verify())
            except (StoreReadError, StoreReplacedError):
                raise
            except StoreError as error:
                yield f"{place}: {error.message}"
