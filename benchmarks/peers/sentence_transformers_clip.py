"""sentence-transformers on the same checkpoint: `SentenceTransformer.encode` of decoded images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from serving import Embed, prepared_ahead, serve
from transformers_torch import decoded


def load(options: argparse.Namespace) -> Embed:
    """Return `encode` over batches that threads decode ahead."""
    torch.set_num_threads(options.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    module = Transformer(str(options.model), model_kwargs={"dtype": dtype})
    model = SentenceTransformer(modules=[module], device="cpu")

    def embed(files: Sequence[Path]) -> np.ndarray:
        batches = prepared_ahead(
            decoded, files, batch_size=options.batch_size, threads=options.threads
        )
        rows = [
            model.encode(
                images,
                batch_size=options.batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            for images in batches
        ]
        return np.concatenate(rows)

    return embed


if __name__ == "__main__":
    serve(load, ("sentence-transformers", "torch", "transformers", "pillow", "numpy"))
