"""Transformers on torch: its own image processor and CLIPVisionModelWithProjection."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from serving import Embed, prepared_ahead, serve


def load(options: argparse.Namespace) -> Embed:
    """Return the fastest loop of those tried: a pool of threads that prepares single images."""
    torch.set_num_threads(options.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[options.precision]
    processor = CLIPImageProcessor.from_pretrained(options.model)
    model = CLIPVisionModelWithProjection.from_pretrained(options.model, dtype=dtype).eval()

    def prepare(path: Path) -> torch.Tensor:
        return processor(images=decoded(path), return_tensors="pt")["pixel_values"][0].to(dtype)

    def embed(files: Sequence[Path]) -> np.ndarray:
        batches = prepared_ahead(
            prepare,
            files,
            batch_size=options.batch_size,
            threads=options.threads,
            in_each_thread=one_thread,
        )
        with torch.inference_mode():
            rows = [model(pixel_values=torch.stack(batch)).image_embeds for batch in batches]
            return torch.nn.functional.normalize(torch.cat(rows).float()).numpy()

    return embed


def one_thread() -> None:
    """Keep torch's own threads out of those that prepare images."""
    torch.set_num_threads(1)


def decoded(path: Path) -> Image.Image:
    """Read an image file whole."""
    with Image.open(path) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    serve(load, ("torch", "transformers", "pillow", "numpy"))
