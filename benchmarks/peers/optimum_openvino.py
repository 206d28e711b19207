"""optimum-intel: the same checkpoint as an OpenVINO model behind transformers' interface.

`OVModelForZeroShotImageClassification` is what it has for CLIP: the graph takes a text too, so one
short text goes with every batch of images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from optimum.intel import OVModelForZeroShotImageClassification
from transformers import CLIPImageProcessor

from serving import Embed, prepared_ahead, serve
from transformers_torch import decoded, one_thread


def load(options: argparse.Namespace) -> Embed:
    """Return the loop of the torch peer with its model exchanged."""
    torch.set_num_threads(options.threads)
    config = {} if options.precision == "auto" else {"INFERENCE_PRECISION_HINT": options.precision}
    exported = options.work / "optimum-vit-b-32"
    if not exported.is_dir():
        made = OVModelForZeroShotImageClassification.from_pretrained(
            options.model, export=True, compile=False, load_in_8bit=False
        )
        made.save_pretrained(exported)
    model = OVModelForZeroShotImageClassification.from_pretrained(exported, ov_config=config)
    processor = CLIPImageProcessor.from_pretrained(options.model)
    text = {
        "input_ids": torch.tensor([[49406, 320, 49407]]),
        "attention_mask": torch.ones((1, 3), dtype=torch.int64),
    }

    def prepare(path: Path) -> torch.Tensor:
        return processor(images=decoded(path), return_tensors="pt")["pixel_values"][0]

    def embed(files: Sequence[Path]) -> np.ndarray:
        batches = prepared_ahead(
            prepare,
            files,
            batch_size=options.batch_size,
            threads=options.threads,
            in_each_thread=one_thread,
        )
        rows = [
            np.asarray(model(pixel_values=torch.stack(batch), **text).image_embeds)
            for batch in batches
        ]
        joined = np.concatenate(rows)
        return joined / np.linalg.norm(joined, axis=1, keepdims=True)

    return embed


if __name__ == "__main__":
    serve(load, ("optimum-intel", "openvino", "torch", "transformers", "pillow", "numpy"))
