#!/usr/bin/env python3
"""What `--decode fast` does to the vectors of real photographs.

    python benchmarks/decode_fast.py MODEL [--work FOLDER] [--images 512]

The photographs are 640 x 480 JPEGs (benchmarks/materials.py), or `--dataset
PATH[:FORMAT]`. Vectors are computed in f32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.quantising import fidelity_of
from datumaro_embed.store import open_store
from machine import WORK
from materials import photographs_folder


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--dataset", default=None)
    chosen = parser.parse_args()
    dataset = chosen.dataset or f"{photographs_folder(chosen.work, chosen.images)}:image_dir"
    source = import_dataset(dataset).source
    encoder = ClipEncoder.load(chosen.model, precision="f32")
    found = {decode: vectors(source, encoder, decode) for decode in ("exact", "fast")}
    lowest, mean, recall = fidelity_of(found["exact"], found["fast"])
    facts = {"n_images": len(found["exact"]), "cosine_min": lowest, "cosine_mean": mean}
    print(json.dumps({**facts, "recall_at_10": recall}))
    return 0


def vectors(
    source: SourceDataset, encoder: ClipEncoder, decode: Literal["exact", "fast"]
) -> np.ndarray:
    """Embed with one way of decoding."""
    with tempfile.TemporaryDirectory(prefix="decode-") as scratch:
        target = Path(scratch) / "e.h5"
        options = EmbedOptions(decode=decode, dtype="float32")
        embed_source(source, target, options, encoder=encoder, progress=False)
        with open_store(target) as store:
            return np.array(store.embeddings()[store.statuses == 0])


if __name__ == "__main__":
    raise SystemExit(main())
