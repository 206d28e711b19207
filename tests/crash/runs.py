"""A small run of the real pipeline, fast enough to be repeated a thousand times."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.annotation import Bbox, Caption
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import FakeEncoder, Session
from datumaro_embed.errors import InferenceError
from datumaro_embed.files import FileSystem
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.pipeline.progress import EmbedSummary
from datumaro_embed.records import (
    AnnotationRecord,
    CaptionRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ObjectRecord,
)
from datumaro_embed.store import EmbeddingStore, Hdf5Stores, open_store
from datumaro_embed.vectors import VectorKind, unit_rows
from store_support import row_content

N_ITEMS = 36
FEW = range(11, 29)
"""Of both subsets, some without an image: half as many, for runs that are repeated at each call."""
COMMIT_ROWS = 3


def source(numbers: Iterable[int] = range(N_ITEMS), *, box: float = 1.0) -> SourceDataset:
    """Items with a box each, in two subsets; every seventh has no image."""
    items = [
        DatasetItem(
            f"{number:03}",
            subset="train" if number < 20 else "val",
            media=Image.from_file(f"/nowhere/{number}.png")
            if number % 7 == 6
            else Image.from_numpy(
                np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            ),
            annotations=[
                Bbox(box, 1, 2, 3, label=0, id=number),
                *([Caption(f"number {number}")] if number % 3 else []),
            ],
        )
        for number in numbers
    ]
    return SourceDataset(Dataset.from_iterable(items, categories=["cat"]), root=Path("/nowhere"))


class Counting(FakeEncoder):
    """Counts the images that it embeds; can break, or send a signal, after some batches."""

    def __init__(self, *, stop_after: int = -1, number: int = 0, **options: Any) -> None:
        super().__init__(batch_size=4, **options)
        self.n_images = 0
        self._stop_after, self._number = stop_after, number
        self._n_batches = 0

    def embed(self, batch: np.ndarray) -> np.ndarray:
        if 0 <= self._stop_after <= self._n_batches and not self._number:
            raise InferenceError("the device is gone. Plug it in.")
        if self._n_batches == self._stop_after:
            signal.raise_signal(self._number)
        self._n_batches += 1
        self.n_images += len(batch)
        return super().embed(batch)


class LookingAhead(FakeEncoder):
    """Takes batches three ahead of the one that it answers, as a real encoder does."""

    def session(self) -> Session:
        session = super().session()
        session.capacity = 4
        return session


class QuickFiles(FileSystem):
    """The operating system without its fsync, for runs whose disk is not looked at."""

    def fsync(self, descriptor: int) -> None:
        pass

    def fsync_directory(self, directory: Path) -> None:
        pass


def embed(
    target: Path | str,
    data: SourceDataset,
    files: FileSystem,
    *,
    encoder: FakeEncoder | None = None,
    **options: Any,
) -> EmbedSummary:
    """Embed with small shards through a file system."""
    return embed_source(
        data,
        target,
        EmbedOptions(workers=1, commit_rows=COMMIT_ROWS, **options),
        progress=False,
        notify=lambda line: None,
        encoder=encoder or FakeEncoder(batch_size=5),
        backend=Hdf5Stores(files),
    )


def write_tables(
    target: Path | str, files: FileSystem, *, numbers: Iterable[int] = FEW, box: float = 1.0
) -> None:
    """As a run that embeds an object, but for every fifth item, and a caption of each item."""
    kind = VectorKind(8, fingerprint="tables")
    with Hdf5Stores(files).begin(target, kind, commit_rows=COMMIT_ROWS) as run:
        known = {key for store in run.earlier for key in store.keys()}
        for number in numbers:
            vectors = unit_rows(np.random.default_rng((number, int(box))).normal(size=(2, 8)))
            item = unit_rows(np.random.default_rng(number).normal(size=(1, 8)))[0]
            record = ItemRecord(
                ItemKey("train" if number < 20 else "val", f"{number:03}"),
                annotations=(
                    AnnotationRecord("bbox", 0, coords=(box, 1.0, 2.0, 3.0)),
                    AnnotationRecord("caption", text=f"number {number}"),
                ),
                objects=(
                    ObjectRecord(0, (box, 1.0, 2.0, 3.0), annotations=(0,), vector=vectors[0]),
                )[: number % 5],
                captions=(CaptionRecord(1, vectors[1]),),
            )
            run.append(record, item, reused=record.key in known)
        run.set_categories(Categories(("cat",)))
        run.seal({})


content = row_content
"""Bytes of every array of items, and of the tables of theirs."""


def rows(store: EmbeddingStore) -> dict[str, tuple[ItemRecord, bytes]]:
    """Each item with everything in its row, and the vectors of its objects and captions."""
    names = filter(store.has_table, ("items", "objects", "captions"))
    tables = [store.table(name) for name in names]
    return {
        str(store.key(row)): (
            store.item(row),
            b"".join(table.embeddings(list(table.of(row))).tobytes() for table in tables),
        )
        for row in range(len(store))
    }


def visible(target: Path) -> EmbeddingStore | None:
    """Whatever a reader can open: the store, or the shards of a run under way."""
    for path in (target, Path(f"{target}.work")):
        if path.is_file() or (path.is_dir() and any(path.glob("*.json"))):
            return open_store(path, partial=True)
    return None
