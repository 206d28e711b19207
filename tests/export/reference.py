"""The reference: torch and transformers on the checkpoint, torchvision's transforms on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torchvision import transforms
from transformers import AutoTokenizer, CLIPModel


def openai_pixels(image: Image.Image, size: int) -> Image.Image:
    """OpenAI's CLIP `_transform` as far as its pixels: clip/clip.py of their repository."""
    return transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            lambda im: im.convert("RGB"),
        ]
    )(image)


class TorchClip:
    """CLIPModel in float32, with OpenAI's preprocessing and the checkpoint's own tokenizer."""

    def __init__(self, checkpoint: Path, image: dict[str, Any]) -> None:
        self.model = CLIPModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.size = self.model.config.vision_config.image_size
        self.normalize = transforms.Normalize(image["image_mean"], image["image_std"])

    def images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        to_tensor = transforms.ToTensor()
        pixels = [self.normalize(to_tensor(openai_pixels(im, self.size))) for im in images]
        with torch.no_grad():
            return _unit(self.model.get_image_features(pixel_values=torch.stack(pixels)))

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        with torch.no_grad():
            return _unit(self.model.get_text_features(**tokens))


def _unit(features: Any) -> npt.NDArray[np.float32]:
    # transformers 5 returns an output object whose pooler_output is the projection.
    rows = getattr(features, "pooler_output", features)
    found: npt.NDArray[np.float32] = (rows / rows.norm(dim=-1, keepdim=True)).numpy()
    return found
