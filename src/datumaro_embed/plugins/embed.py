"""The Datumaro transform `clip_embed`: arguments in, pipeline run, items out unchanged."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import DatasetItem, IDataset
from datumaro.components.transformer import Transform

from ..adapter import SourceDataset, refuse_stand_ins, unused_images
from ..flags import add_embed_arguments
from ..logs import log
from ..models import resolve_model
from ..pipeline import EmbedOptions, check_place, embed_source
from ..place import misdetection
from ..tally import counted
from .errors import datum_errors
from .parsing import datum_folders, plain_help

__all__ = ["ClipEmbed"]


class ClipEmbed(Transform):  # type: ignore[misc]
    r"""Embed every image with CLIP into an HDF5 store.

    Vectors, sizes and normalised annotations are written to the file that --store
    names. Items pass through unchanged and in order.

    Embed with the small model that comes with the package:

        datum transform -t clip_embed -o OUT DATA -- \
            --store embeddings.h5 --model demo

    From Python, transforms are lazy: `dataset.transform("clip_embed", store=...)`
    embeds when the dataset is next iterated or saved.
    `datumaro_embed.embed_dataset(dataset, ...)` embeds at once.
    """

    NAME = "clip_embed"

    @classmethod
    def build_cmdline_parser(cls, **kwargs: Any) -> argparse.ArgumentParser:
        """Return the parser of what follows ``--``."""
        parser: argparse.ArgumentParser = super().build_cmdline_parser(**plain_help(cls) | kwargs)
        add_embed_arguments(parser)
        return parser

    @classmethod
    def parse_cmdline(cls, args: list[str] | None = None) -> dict[str, Any]:
        """Parse and check, so that a wrong name or path ends `datum` before it does anything."""
        parsed: dict[str, Any] = super().parse_cmdline(args)
        options = {name: value for name, value in parsed.items() if name != "store"}
        with datum_errors(True):
            chosen = EmbedOptions(**options)
            resolve_model(chosen.model)
            check_place(parsed["store"], captions=parsed["captions"])
        return {**parsed, "from_datum": True}

    def __init__(
        self,
        extractor: IDataset,
        *,
        store: str | Path,
        from_datum: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(extractor)
        self._length = "parent"
        self._store = os.fspath(store)
        self._options = options
        self._from_datum = from_datum

    def __iter__(self) -> Iterator[DatasetItem]:
        with datum_errors(self._from_datum):
            self._embed()
        yield from self._extractor

    def _embed(self) -> None:
        options = EmbedOptions(**self._options)
        folders = datum_folders() if self._from_datum else None
        if folders and (warning := misdetection(self._store, folders[1])):
            log.warning(warning)
        source = SourceDataset(self._extractor, follow_symlinks=options.follow_symlinks)
        refuse_stand_ins(source)
        if unused := unused_images(source):
            log.warning(
                "Datumaro has imported no item for %s (%s). Run `datumaro-embed embed` "
                "to embed those that belong to the dataset.",
                counted(unused.total, "image files"),
                "; ".join(unused.lines("")),
            )
        for line in embed_source(source, self._store, options).lines():
            log.info(line)
