"""Captions → text vectors, in a store of their own beside that of the images.

A caption is an item there: id ``IMAGE_ID#N``, the N-th caption of its image, from 0. So the store
is searched, merged, resumed and re-used as any other, and a reader needs to know nothing new.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..adapter import SourceDataset, split_of
from ..encoders import Encoder, ImageEncoder, texts_of
from ..interrupts import DeferredInterrupts
from ..place import SUFFIXES
from ..records import ItemKey, ItemRecord
from ..sharding import Shard, part_path
from ..store import Hdf5Stores, StoreBackend
from ..store.codec import encode_text
from .keeping import keeping
from .options import EmbedOptions
from .progress import Progress
from .reuse import KnownVectors

__all__ = ["captions_path", "embed_captions"]

Vector = npt.NDArray[np.float32]

_AT_ONCE = 2048


def captions_path(store: str | os.PathLike[str]) -> Path:
    """Return where the captions of a store are: ``X.captions.h5`` for ``X.h5`` and ``X/``.

    ``X.hdf5`` has ``X.captions.hdf5``.
    """
    path = Path(store)
    if path.suffix.lower() in SUFFIXES:
        return path.with_name(f"{path.stem}.captions{path.suffix}")
    return path.with_name(f"{path.name}.captions.h5")


def embed_captions(
    source: SourceDataset,
    store: str | os.PathLike[str],
    encoder: ImageEncoder,
    options: EmbedOptions,
    *,
    provenance: Mapping[str, Any],
    shard: Shard | None = None,
    progress: bool = True,
    backend: StoreBackend | None = None,
) -> tuple[Path, int] | None:
    """Embed every Caption annotation; texts that an earlier run embedded are re-used.

    Parameters
    ----------
    source : SourceDataset
        Of this shard, where there is one.
    store : path
        Of the images.

    Returns
    -------
    (path, number of captions) or None
        None where the dataset has no captions; nothing is written then. A shard without captions
        has an empty part, so that the parts can be joined.

    Notes
    -----
    Holds the captions, not their vectors, in memory.
    """
    texts = texts_of(encoder)
    captions = sorted(_captions(source), key=lambda record: record.key)
    if not captions and shard is None:
        return None
    place = captions_path(store)
    target = part_path(place, shard) if shard else place
    backend = backend or Hdf5Stores()
    with (
        DeferredInterrupts() as interrupts,
        backend.begin(
            target,
            options.vector_kind(encoder),
            restart=options.restart,
            n_expected=len(captions),
            commit_rows=options.commit_rows,
        ) as run,
        Progress(len(captions), show=progress) as bar,
        keeping(run, lambda _: None),
    ):
        known = KnownVectors(run.earlier)
        remaining = iter(captions)
        while block := list(islice(remaining, _AT_ONCE)):
            for record, vector, reused in _embedded(block, texts, known):
                run.append(record, vector, reused=reused)
                bar.note(record)
            interrupts.raise_received()
        run.set_categories(source.categories, None)
        encoder.confirm()
        run.seal({**provenance, "content": "captions"})
    return Path(target), len(captions)


def _captions(source: SourceDataset) -> Iterator[ItemRecord]:
    for item in source:
        for number, annotation in enumerate(item.captions()):
            yield ItemRecord(
                key=ItemKey(item.key.subset, f"{item.key.id}#{number}"),
                split=split_of(item.key.subset),
                path=item.path,
                content_sha256=hashlib.sha256(encode_text(annotation.text)).digest(),
                attributes={"image": item.key.id, "caption": annotation.text},
                annotations=(annotation,),
            )


def _embedded(
    records: Sequence[ItemRecord], encoder: Encoder, known_vectors: KnownVectors
) -> Iterator[tuple[ItemRecord, Vector, bool]]:
    """Give each record its vector; equal texts of a block are embedded once."""
    known = {record.content_sha256: known_vectors.find(record) for record in records}
    new = {
        record.content_sha256: record.annotations[0].text
        for record in records
        if known[record.content_sha256] is None
    }
    fresh = dict(zip(new, encoder.embed_texts(list(new.values())), strict=True))
    for record in records:
        vector = known[record.content_sha256]
        reused = vector is not None
        yield record, fresh[record.content_sha256] if vector is None else vector, reused
