"""The Datumaro transform `clip_embed`: arguments in, pipeline run, items out unchanged."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import DatasetItem, IDataset
from datumaro.components.transformer import Transform

from ..adapter import SourceDataset, unused_images
from ..flags import add_embed_arguments
from ..models import resolve_model
from ..pipeline import EmbedOptions, check_place, embed_source
from ..place import misdetection
from .errors import datum_errors

__all__ = ["ClipEmbed"]

_log = logging.getLogger("datumaro_embed")


class ClipEmbed(Transform):  # type: ignore[misc]
    """Embed every image with CLIP into an HDF5 store.

    |n|n
    Vectors, sizes and normalised annotations are written to the file that --store names. Items
    pass through unchanged and in order.|n
    |n
    Examples:|n
    - Embed with the small model that comes with the package:|n
    |s|s%(prog)s -- --store embeddings.h5 --model demo|n
    |n
    From Python, transforms are lazy: `dataset.transform("clip_embed", store=...)` embeds when the
    dataset is next iterated or saved. `datumaro_embed.embed_dataset(dataset, ...)` embeds at once.
    """

    NAME = "clip_embed"

    @classmethod
    def build_cmdline_parser(cls, **kwargs: Any) -> argparse.ArgumentParser:
        """Return the parser of what follows ``--``."""
        parser: argparse.ArgumentParser = super().build_cmdline_parser(**kwargs)
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
        output = _output_folder() if self._from_datum else None
        if output and (warning := misdetection(self._store, output)):
            _log.warning(warning)
        source = SourceDataset(self._extractor, follow_symlinks=options.follow_symlinks)
        if unused := unused_images(source):
            _log.warning(
                "Datumaro has imported no item for %d image files:\n%s\n"
                "Run `datumaro-embed embed` to embed those that belong to the dataset.",
                unused.total,
                "\n".join(unused.lines()),
            )
        for line in embed_source(source, self._store, options).lines():
            _log.info(line)


def _output_folder() -> str | None:
    """Return where `datum transform` will save the dataset, which it does not tell a transform."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-o", "--output-dir")
    known, _ = parser.parse_known_args(sys.argv[1:])
    output: str | None = known.output_dir
    return output
