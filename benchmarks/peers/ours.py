"""datumaro-embed: a COCO dataset to a sealed store, with everything a run of it does."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datumaro_embed import open_store
from datumaro_embed.adapter import import_dataset
from datumaro_embed.encoders import resizing_library
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.sharding import Shard
from serving import N_WARM, Embed, serve


class Pipeline:
    """Embeds the dataset that the folder of images belongs to; the encoder is loaded once."""

    def __init__(self, options: argparse.Namespace) -> None:
        chosen: dict[str, Any] = {"model": str(options.model), "restart": True}
        if options.precision != "auto":
            chosen["precision"] = options.precision
        if options.decode != "exact":
            chosen["decode"] = options.decode
        self._options = EmbedOptions(**chosen)
        self._encoder = self._options.load_encoder()
        self._shard = Shard.parse(options.shard) if options.shard else None
        self._root = options.images.parents[1]
        self._folder = tempfile.TemporaryDirectory(dir=options.work, prefix="store-")
        self._store = Path(self._folder.name) / "store.h5"
        provenance = self._encoder.provenance()
        names = ("precision", "streams", "batch_size")
        self.facts = {name: provenance.get(name) for name in names}
        self.facts["resizing"] = resizing_library()

    def __call__(self, files: Sequence[Path]) -> np.ndarray:
        """Embed the whole dataset, or its first items to warm up."""
        source = import_dataset(f"{self._root}:coco").source
        if len(files) == N_WARM:
            wanted = {path.stem for path in files}
            source = source.only(lambda key: key.id in wanted)
        summary = embed_source(
            source,
            self._store,
            self._options,
            shard=self._shard,
            progress=False,
            encoder=self._encoder,
        )
        with open_store(summary.store) as store:
            return np.asarray(store.embeddings(), np.float32)


def load(options: argparse.Namespace) -> Embed:
    """Return the pipeline."""
    return Pipeline(options)


if __name__ == "__main__":
    serve(load, ("datumaro-embed", "datumaro", "openvino", "h5py", "pillow", "numpy"))
