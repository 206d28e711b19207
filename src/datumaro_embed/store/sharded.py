"""`ShardedStore` reads a store directory: its manifests first, its shards when they are needed."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import (
    ModelMismatchError,
    StoreCorruptError,
    StoreError,
    StoreForeignError,
    StoreReplacedError,
    StoreUnfinishedError,
)
from ..records import Categories, ItemKey, ItemRecord
from ..tally import progress
from .base import EmbeddingStore
from .columns import category_arrays
from .encoding import encode_json
from .files import Identity, identity_at
from .lookup import find_row
from .manifest import (
    LOCK_NAME,
    Manifest,
    Part,
    fit_together,
    manifest_files,
    manifest_path,
    read_manifest,
)
from .order import merged_runs, row_numbers
from .reader import SealedStore
from .rows import RowReader
from .schema import COLUMNS, FORMAT_VERSION
from .shards import ShardFiles, is_sound, open_part
from .union import Union, whole
from .views import StoreInfo

__all__ = ["ShardedStore", "is_store_directory", "read_manifests"]

Array = npt.NDArray[Any]
_TRIES = 20


def is_store_directory(path: Path) -> bool:
    """Tell whether there is a manifest in a directory; raises `StoreReadError`."""
    return next(_manifest_files(path), None) is not None


def _manifest_files(directory: Path) -> Iterator[Path]:
    """One manifest of each writer: the finished one, else that of the run under way."""
    if not directory.is_dir():
        return
    names = [path.name for path in manifest_files(directory)]
    for name in names:
        kind, _, writer = name.removesuffix(".json").partition("-")
        finished = manifest_path(directory, writer, complete=True)
        if kind == "manifest" or (kind == "next" and finished.name not in names):
            yield directory / name


def read_manifests(directory: Path) -> dict[Path, Manifest]:
    """Every manifest whose rows are part of the store.

    Raises
    ------
    StoreForeignError, StoreCorruptError, ModelMismatchError
        There is none; one is damaged; they are of different models or vector settings.
    StoreUnfinishedError
        A run has begun there and committed nothing.
    """
    found = {path: read_manifest(path) for path in _manifest_files(directory)}
    if not found and (directory / LOCK_NAME).is_file():
        raise StoreUnfinishedError(
            f"'{directory}' is unfinished: no row is committed yet. Run the same command again to "
            "finish it.",
            path=str(directory),
            n_rows=0,
            n_expected=0,
        )
    if not found:
        raise StoreForeignError(
            f"'{directory}' is a directory without a manifest and no embedding store; "
            "name the .h5 file in it, or check the path.",
            path=str(directory),
        )
    for one, other in combinations(found.values(), 2):
        if not fit_together(one, other):
            raise ModelMismatchError(
                f"'{directory}' holds vectors of {one.kind} and of {other.kind}; keep one of "
                "them there.",
                path=str(directory),
            )
    return found


class ShardedStore(EmbeddingStore):
    """A store directory. Rows are in ascending key order whatever shard they are in.

    Parameters
    ----------
    path : str or Path
    partial : bool
        Read the rows that an unfinished run has committed so far.

    Raises
    ------
    StoreForeignError, StoreCorruptError, ModelMismatchError, StoreReadError
    StoreUnfinishedError
        The run has not ended, and `partial` is false.
    StoreReplacedError
        Also from methods: a shard that was not read before belongs to another store by now.

    Notes
    -----
    Opening reads the manifests, about 0.1 ms for each hundred shards; a shard is opened and checked
    when a row of it is read. `column`, and `embeddings` of all rows, copy: a column of a big
    directory costs its size in memory once. `embeddings(rows)` reads only these rows. One that was
    opened while it is being written shows the shards that were committed by then.
    """

    def __init__(self, path: str | Path, *, partial: bool = False) -> None:
        super().__init__()
        self._directory = Path(path)
        for is_last in (*[False] * _TRIES, True):
            try:
                self._open(partial)
                return
            except (FileNotFoundError, StoreReplacedError) as error:
                if is_last:
                    raise StoreReplacedError(
                        f"'{path}' changed {_TRIES} times while it was being opened. Try again.",
                        path=str(path),
                    ) from error

    def _open(self, partial: bool) -> None:
        self._seen = self._manifest_identities()
        found = read_manifests(self._directory)
        self._manifests = list(found.values())
        if not (partial or self.complete):
            raise self._unfinished()
        places = [(self._directory, part, m) for m in self._manifests for part in m.shards]
        self._places = sorted(places, key=lambda place: place[1].first)
        self._shards = ShardFiles(self._places, confirm=self._confirm)
        self._parts = [part for _, part, _ in self._places]
        self._head: SealedStore | None = None
        self._union: Union | None = None
        self._starts = np.cumsum([0, *(part.n_rows for part in self._parts)])
        self._disjoint = all(
            before.last < after.first
            for before, after in zip(self._parts, self._parts[1:], strict=False)
        )
        first = self._manifests[0]
        head = self._open_head()
        self._info = StoreInfo(
            path=str(self._directory),
            n_rows=int(self._starts[-1]),
            n_annotations=sum(part.n_annotations for part in self._parts),
            dim=first.dim,
            dtype=np.dtype(first.dtype).newbyteorder("<"),
            uuid=self._uuid(),
            run_fingerprint=first.run_fingerprint,
            format_version=FORMAT_VERSION,
            categories_crc32=head.info.categories_crc32 if head is not None else 0,
            provenance_crc32=head.info.provenance_crc32 if head is not None else 0,
        )

    @property
    def info(self) -> StoreInfo:
        """See `EmbeddingStore.info`."""
        return self._info

    @property
    def vector_settings(self) -> str:
        """See `EmbeddingStore.vector_settings`; known of a run under way too."""
        stated = (manifest.vector_settings for manifest in self._manifests)
        return next(filter(None, stated), "") or super().vector_settings

    @property
    def complete(self) -> bool:
        """Whether every writer has finished."""
        return all(manifest.head for manifest in self._manifests)

    @property
    def n_expected(self) -> int:
        """Rows that the store will have once its run has ended; 0 where nobody knows."""
        expected = [m.n_rows if m.head else m.n_expected for m in self._manifests]
        return sum(expected) if all(expected) else 0

    def _unfinished(self) -> StoreUnfinishedError:
        n_rows = sum(manifest.n_rows for manifest in self._manifests)
        committed = progress(n_rows, self.n_expected)
        return StoreUnfinishedError(
            f"'{self._directory}' is unfinished: {committed} committed. Run the same "
            "command again to finish it; commands that read take --partial (partial=True "
            "in Python) to read these rows.",
            path=str(self._directory),
            n_rows=n_rows,
            n_expected=self.n_expected,
        )

    def _confirm(self, part: Part) -> None:
        """Refuse a file of another store that has taken this one's place, or grown out of it."""
        found = self._manifest_identities()
        if found == self._seen:
            return
        named: set[str] = set()
        # Gone, begun anew, or renamed just now.
        with suppress(StoreForeignError, StoreUnfinishedError, FileNotFoundError):
            manifests = read_manifests(self._directory).values()
            named = {other.sha256 for manifest in manifests for other in manifest.parts}
        if part.sha256 not in named:
            raise StoreReplacedError(
                f"'{self._directory}' was replaced while it was open. Open it again.",
                path=str(self._directory),
            )
        self._seen = found

    def _manifest_identities(self) -> dict[Path, Identity | None]:
        return {path: identity_at(path) for path in manifest_files(self._directory)}

    @property
    def shards(self) -> Sequence[EmbeddingStore]:
        """The stores that this one consists of, by first key."""
        return self._shards

    def _uuid(self) -> str:
        """That of the run; of several, or one under way, made of what is committed."""
        first, *others = self._manifests
        if self.complete and not others:
            return first.uuid
        digest = hashlib.blake2b(digest_size=16)
        for manifest in self._manifests:
            digest.update(manifest.uuid.encode())
            digest.update("".join(part.sha256 for part in manifest.shards).encode())
        return digest.hexdigest()

    def _open_head(self) -> SealedStore | None:
        heads = [(manifest.head, manifest) for manifest in self._manifests if manifest.head]
        if self._head is None and heads:
            try:
                self._head = open_part(self._directory, *heads[0])
            except StoreCorruptError:
                self._confirm(heads[0][0])
                raise
        return self._head

    @property
    def union(self) -> Union:
        """The columns of all shards."""
        if self._union is None:
            counts = [part.n_rows for part in self._parts]
            runs = whole(counts) if self._disjoint else merged_runs(self._shards)
            self._union = Union(self._shards, runs)
        return self._union

    def _load(self, path: str) -> Array | None:
        if path not in COLUMNS:
            return None
        if path.startswith(("categories/", "provenance")):
            head = self._open_head()
            return head._optional(path) if head is not None else _EMPTY_HEAD.get(path)
        if path == "items/embedding" and not self._parts:
            return np.zeros((0, self._info.dim), dtype=self._info.dtype)
        return self.union.array(path)

    def embeddings(self, rows: npt.ArrayLike | slice | None = None) -> Array:
        """See `EmbeddingStore.embeddings`; always a copy."""
        if rows is None or "items/embedding" in self._cache or not self._parts:
            return super().embeddings(rows)
        self._refuse_closed()
        wanted = row_numbers(rows, self.n_rows)
        vectors = self.union.take(wanted) if len(wanted) else np.zeros((0, self.dim), self.dtype)
        vectors.flags.writeable = False
        return vectors

    def _refuse_closed(self) -> None:
        if self._closed:
            self.column("items/status")  # says so

    def _make_row_reader(self) -> RowReader:
        return _ShardRows(self)

    def _find(self, key: ItemKey) -> int | None:
        if not self._disjoint:
            return super()._find(key)
        self._refuse_closed()
        place = bisect_right(self._parts, key, key=lambda part: part.first) - 1
        if place < 0 or self._parts[place].last < key:
            return None
        row = find_row(self._shards[place].keys(), key)
        return None if row is None else int(self._starts[place]) + row

    def place(self, row: int) -> tuple[EmbeddingStore, int]:
        """Shard of a row, and the row in it."""
        self._refuse_closed()
        source, inner = self.union.locate(row)
        return self._shards[source], inner

    def verify(self) -> list[str]:
        """See `EmbeddingStore.verify`: hashes and verifies each shard, then their order."""
        found = list(self._shards.problems())
        found += [
            f"shards/{manifest.head.name}: the SHA-256 is not the manifest's"
            for manifest in self._manifests
            if manifest.head and not is_sound(self._directory, manifest.head)
        ]
        if found:
            return found
        if (head := self._open_head()) is not None:
            found += [f"head: {problem}" for problem in head.verify()]
        try:
            _ = self.union.n_rows
        except StoreError as error:
            found.append(error.message)
        return found

    def _close(self) -> None:
        self._shards.close()
        if self._head is not None:
            self._head.close()


class _ShardRows(RowReader):
    """Decodes rows where they are, without the columns of the whole."""

    def __init__(self, store: ShardedStore) -> None:
        super().__init__(store.path, store.n_rows, store.column)
        self._store = store

    def key(self, row: int) -> ItemKey:
        shard, inner = self._store.place(self._checked(row))
        return shard.key(inner)

    def item(self, row: int) -> ItemRecord:
        shard, inner = self._store.place(self._checked(row))
        return shard.item(inner)


_EMPTY_HEAD: dict[str, Array] = {
    **category_arrays(Categories()),
    "provenance": np.frombuffer(encode_json({}), dtype=np.uint8),
}
