"""The Datumaro transform `clip_embed`: arguments in, pipeline run, items out unchanged."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import DatasetItem, IDataset

from ..adapter import SourceDataset, refuse_stand_ins, unused_images, with_copied_image
from ..flags import add_embed_arguments
from ..logs import log
from ..models import resolve_model
from ..pipeline import EmbedOptions, check_place, embed_source
from ..place import misdetection
from ..tally import counted
from .transform import DatumTransform, datum_folders


class ClipEmbed(DatumTransform):
    r"""Embed every image with CLIP into an HDF5 store.

    The file that --store names gets vectors, sizes and normalized annotations.
    Items pass through unchanged and in order.

    Embed with the small model that comes with the package:

        datum transform -t clip_embed -o OUT DATA -- \
            --store embeddings.h5 --model demo

    From Python, transforms are lazy: `dataset.transform("clip_embed", store=...)`
    embeds when the dataset is next iterated or saved.
    `datumaro_embed.embed_dataset(dataset, ...)` embeds at once.
    """

    NAME = "clip_embed"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe the fields of `EmbedOptions`."""
        add_embed_arguments(parser)

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse a wrong option, model or place."""
        chosen = EmbedOptions(**{name: parsed[name] for name in parsed if name != "store"})
        resolve_model(chosen.model)
        check_place(parsed["store"])

    def __init__(
        self, extractor: IDataset, *, store: str | Path, from_datum: bool = False, **options: Any
    ) -> None:
        super().__init__(extractor, from_datum)
        self._store = os.fspath(store)
        self._length = "parent"
        self._options = options

    def __iter__(self) -> Iterator[DatasetItem]:
        with self._errors():
            options = EmbedOptions(**self._options)
            folders = datum_folders() if self._from_datum else None
            if folders and (warning := misdetection(self._store, folders[1])):
                log.warning(warning)
            source = SourceDataset(
                self._extractor, follow_symlinks=options.follow_symlinks, every=options.every
            )
            refuse_stand_ins(source)
            if unused := unused_images(source):
                log.warning(
                    "Datumaro imported no item for %s (%s). Run `datumaro-embed embed` "
                    "to embed those that belong to the dataset.",
                    counted(unused.total, "image files"),
                    "; ".join(unused.lines("")),
                )
            for line in embed_source(source, self._store, options).lines():
                log.info(line)
            del source  # the items that follow need their memory
        yield from map(with_copied_image, self._extractor)
