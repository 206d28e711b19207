"""Which vectors of earlier runs fit the dataset now: those of images with the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..adapter import SourceDataset
from ..errors import NoTableError, StoreCorruptError
from ..parallel import map_ahead, usable_processors
from ..records import AnnotationRecord, ItemRecord, ObjectRecord, Status
from ..store import EmbeddingStore
from .reading import read_item_info

if TYPE_CHECKING:
    from ..sharding import Shard

__all__ = ["Changes", "KnownVectors"]

Vector = npt.NDArray[np.float32]
_ITEMS_TO_ASK = 64


class KnownVectors:
    """Vectors by the SHA-256 of their image, from stores of one kind.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
    captions : bool
        Captions are asked for too; 16 bytes for each.

    Attributes
    ----------
    n_damaged : int
        Vectors that were not given, as the checksums of their block are wrong.

    Notes
    -----
    Only vectors are re-used, never a row: names, sizes and annotations are read again, and a row is
    taken only where its checksums are right. A row without a vector is tried again each time. A
    region of an image has its image's hash, but not its size: it is never asked for, and never
    given. 24 bytes for each row.
    """

    def __init__(self, stores: Sequence[EmbeddingStore], *, captions: bool = False) -> None:
        self._stores = stores
        self.n_damaged = 0
        rows = [np.flatnonzero(store.statuses == Status.OK) for store in stores]
        starts = [  # the first 8 bytes of each hash
            np.ascontiguousarray(store.content_sha256[embedded, :8]).view("<u8").reshape(-1)
            for store, embedded in zip(stores, rows, strict=True)
        ]
        hashes = np.concatenate([np.zeros(0, np.uint64), *starts])
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._row = np.concatenate([np.zeros(0, np.int64), *rows])[order]
        self._place = np.repeat(np.arange(len(rows)), list(map(len, rows)))[order]
        texts = [_texts(store) if captions else np.zeros(0, np.int64) for store in stores]
        self._first_caption = np.cumsum([0, *map(len, texts)])
        hashes = np.concatenate([np.zeros(0, np.int64), *texts])
        self._caption = np.argsort(hashes, kind="stable")
        self._texts = hashes[self._caption]

    def __len__(self) -> int:
        return len(self._hashes)

    def has_any_of(self, source: SourceDataset) -> bool:
        """Tell whether one image of a dataset is here, by its SHA-256.

        Notes
        -----
        Asks a few items from all over the dataset first: it hashes every file only where none is.
        """
        every = max(1, len(source) // _ITEMS_TO_ASK)
        for items in (islice(source, 0, None, every), source):
            for record in map_ahead(read_item_info, items, workers=usable_processors(), ahead=64):
                wanted = np.frombuffer(record.content_sha256[:8], dtype="<u8")[0]
                place = int(np.searchsorted(self._hashes, wanted))
                if place < len(self._hashes) and self._hashes[place] == wanted:
                    return True
        return False

    def find(self, record: ItemRecord) -> tuple[ItemRecord, Vector | None]:
        """Look up a whole image by its SHA-256 and size.

        Returns
        -------
        record : ItemRecord
            With the signature and statistics, and the vectors of objects, as far as they are known:
            an object's is where the same pixels of the same image were cut in the same way.
        vector : array of shape (dim,), float32, or None
        """
        vector: Vector | None = None
        crops: dict[object, Vector] = {}
        wanted = np.frombuffer(record.content_sha256[:8], dtype="<u8")[0]
        for place in range(int(np.searchsorted(self._hashes, wanted)), len(self._hashes)):
            if self._hashes[place] != wanted:
                break
            store, row = self._stores[int(self._place[place])], int(self._row[place])
            size = int(store.widths[row]), int(store.heights[row])
            same = store.content_sha256[row].tobytes() == record.content_sha256
            if not same or size != (record.width, record.height):
                continue
            if not store.is_sound(row):
                self.n_damaged += vector is None
                continue
            if vector is None:
                vector = np.asarray(store.embeddings([row])[0], dtype=np.float32)
            old = store.item(row, without=("annotations", "captions"))
            crops |= {_cut_of(o): o.vector for o in old.objects or () if o.vector is not None}
            if record.signature is None:
                record = replace(record, signature=old.signature, statistics=old.statistics)
        if record.objects:
            objects = (replace(one, vector=crops.get(_cut_of(one))) for one in record.objects)
            record = replace(record, objects=tuple(objects))
        return record, vector

    def with_captions(self, record: ItemRecord) -> ItemRecord:
        """Give an item's captions the vectors that are known, of any item with the same text."""
        if not record.captions:
            return record
        found = []
        for one in record.captions:
            text = record.annotations[one.annotation].text
            wanted, vector = hash(text), None
            for place in range(int(np.searchsorted(self._texts, wanted)), len(self._texts)):
                if self._texts[place] != wanted:
                    break
                number = int(self._caption[place])
                index = int(np.searchsorted(self._first_caption, number, side="right")) - 1
                store, row = self._stores[index], number - int(self._first_caption[index])
                captions = store.captions
                if store.is_sound(captions.item_row(row)) and captions.text(row) == text:
                    vector = np.asarray(captions.record(row).vector, np.float32)
                    break
            found.append(replace(one, vector=vector))
        return replace(record, captions=tuple(found))


def _texts(store: EmbeddingStore) -> npt.NDArray[np.int64]:
    """Hash of the text of each caption, for this process; none where they cannot be read."""
    try:
        return np.array([hash(t) for t in store.captions.texts], np.int64)
    except (NoTableError, StoreCorruptError):
        return np.zeros(0, np.int64)


def _cut_of(one: ObjectRecord) -> object:
    """What of an image is embedded; None where nothing is."""
    return (one.crop, one.shape) if one.status.has_vector else None


class Changes:
    """Counts what became of each item, compared with the finished store that is replaced.

    Parameters
    ----------
    before : EmbeddingStore or None
        The finished store.
    whole : sequence of EmbeddingStore
        Those without shards; where there is none before, this shard's share of a finished one.
    shard : Shard or None
    labels : sequence of str
        Names of the dataset's labels, which annotations number.

    Attributes
    ----------
    n_reused, n_relabelled : int
        Rows noted whose vector is re-used; those of them whose annotations have changed.
    n_removed : int
        Items of the finished store that the dataset has no longer; right once all are noted.
    """

    def __init__(
        self,
        before: EmbeddingStore | None,
        whole: Sequence[EmbeddingStore],
        shard: Shard | None,
        labels: Sequence[str],
    ) -> None:
        self._before = before
        self._labels = tuple(labels)
        self._row = self.n_reused = self.n_relabelled = 0
        self.n_removed = 0 if before is None else len(before)
        finished = [store for store in whole if store.complete]
        if before is None and shard is not None and finished:
            self._before = finished[0]
            self.n_removed = sum(map(shard.holds, finished[0].keys()))

    def note(self, record: ItemRecord, *, reused: bool) -> None:
        """Count one row; rows come in ascending order of their keys."""
        self.n_reused += reused
        before = self._before
        if before is None:
            return
        try:
            # Both are in the same order, so the next row is near: no search for each.
            while self._row < len(before) and before.key(self._row) < record.key:
                self._row += 1
            if self._row < len(before) and before.key(self._row) == record.key:
                self.n_removed -= 1
                if reused:
                    # By the labels' names: their numbers may change with the categories alone.
                    old, labels = before.item(self._row).annotations, before.categories.labels
                    new = record.annotations
                    self.n_relabelled += (
                        old != new
                        if labels == self._labels
                        else _named(old, labels) != _named(new, self._labels)
                    )
        except StoreCorruptError:  # nobody knows what it had
            self._before, self.n_removed = None, 0


def _named(
    annotations: Sequence[AnnotationRecord], labels: Sequence[str]
) -> list[tuple[str, AnnotationRecord]]:
    return [
        (labels[a.label] if 0 <= a.label < len(labels) else "", replace(a, label=-1))
        for a in annotations
    ]
