"""The reference: torch and transformers on the checkpoint, torchvision's transforms on pixels."""

from __future__ import annotations

import json
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
    """CLIPModel in float32, with OpenAI's preprocessing and the checkpoint's own tokenizer.

    Images become RGB before they are resized, as in transformers: OpenAI's order cannot filter a
    palette.
    """

    def __init__(self, checkpoint: Path) -> None:
        image = json.loads((checkpoint / "preprocessor_config.json").read_text(encoding="utf-8"))
        self.model = CLIPModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.size = self.model.config.vision_config.image_size
        self.normalize = transforms.Normalize(image["image_mean"], image["image_std"])

    def images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        to_tensor = transforms.ToTensor()
        colour = [openai_pixels(image.convert("RGB"), self.size) for image in images]
        pixels = [self.normalize(to_tensor(image)) for image in colour]
        with torch.no_grad():
            return _unit(self.model.get_image_features(pixel_values=torch.stack(pixels)))

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        with torch.no_grad():
            return _unit(self.model.get_text_features(**tokens))


class TorchSiglip:
    """SiglipModel in float32 with transformers' own image processor and tokenizer.

    SigLIP 2 has no ``spiece.model``.
    """

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import Siglip2Tokenizer, SiglipModel
        from transformers.models.siglip import image_processing_pil_siglip as processing
        from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

        self.torch = torch
        self.model = SiglipModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.processor = processing.SiglipImageProcessorPil.from_pretrained(checkpoint)
        has_pieces = (checkpoint / "spiece.model").is_file()
        kind = SiglipTokenizer if has_pieces else Siglip2Tokenizer
        self.tokenizer = kind.from_pretrained(checkpoint)
        self.context = self.model.config.text_config.max_position_embeddings

    def tokens(self, texts: list[str]) -> Any:
        options = {"padding": "max_length", "truncation": True, "max_length": self.context}
        return self.tokenizer(texts, **options, return_tensors="pt")["input_ids"]

    def images(self, images: list[Image.Image]) -> Any:
        colour = [image.convert("RGB") for image in images]
        pixels = self.processor(colour, return_tensors="pt")["pixel_values"]
        with self.torch.no_grad():
            return self.model.get_image_features(pixel_values=pixels).pooler_output.numpy()

    def texts(self, texts: list[str]) -> Any:
        with self.torch.no_grad():
            return self.model.get_text_features(input_ids=self.tokens(texts)).pooler_output.numpy()


class TorchOpenClip:
    """open_clip's model, transforms and tokenizer."""

    def __init__(self, checkpoint: Path) -> None:
        import open_clip
        import torch

        self.torch = torch
        name = f"local-dir:{checkpoint}"
        self.model, self.transform = open_clip.create_model_from_pretrained(name)
        self.model.eval()
        self.tokens = open_clip.get_tokenizer(name)

    def images(self, images: list[Image.Image]) -> Any:
        # open_clip resizes before it converts; the modes are compared elsewhere.
        pixels = self.torch.stack([self.transform(image.convert("RGB")) for image in images])
        with self.torch.no_grad():
            return self.model.encode_image(pixels).numpy()

    def texts(self, texts: list[str]) -> Any:
        with self.torch.no_grad():
            return self.model.encode_text(self.tokens(texts)).numpy()


def _unit(features: Any) -> npt.NDArray[np.float32]:
    # transformers 5 returns an output object whose pooler_output is the projection.
    rows = getattr(features, "pooler_output", features)
    found: npt.NDArray[np.float32] = (rows / rows.norm(dim=-1, keepdim=True)).numpy()
    return found
