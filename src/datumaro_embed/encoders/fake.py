"""A deterministic encoder without a model, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .base import Encoder, Float32Array, UInt8Array


class FakeEncoder(Encoder):
    """Vectors are seeded random projections of pixels; a text's depends on its hash.

    Each `seed` is a different model with its own fingerprint.
    """

    name = "fake"

    def __init__(
        self, *, dim: int = 16, image_size_px: int = 8, batch_size: int = 4, seed: int = 0
    ) -> None:
        self.dim = dim
        self.image_size_px = image_size_px
        self.batch_size = batch_size
        self._seed = seed
        self.fingerprint = hashlib.sha256(f"fake {dim} {image_size_px} {seed}".encode()).hexdigest()
        shape = (image_size_px * image_size_px * 3 + 1, dim)
        self._projection = np.random.default_rng(seed).standard_normal(shape)

    def preprocess(self, image: Image.Image) -> UInt8Array:
        """Resize to the square, ignoring the aspect ratio."""
        side = self.image_size_px
        return np.array(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))

    def embed(self, batch: UInt8Array) -> Float32Array:
        """Project each row by itself."""
        # The constant gives a black image a nonzero vector.
        flat = (np.append(pixels.reshape(-1) / 255.0, 1.0) for pixels in self._checked(batch))
        return np.stack([_unit(pixels @ self._projection) for pixels in flat])

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Draw a direction seeded by the text."""
        rows = np.empty((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            digest = hashlib.sha256(f"{self._seed} {text}".encode("utf-8", "replace")).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            row[:] = _unit(rng.standard_normal(self.dim))
        return rows

    def provenance(self) -> dict[str, Any]:
        """Return the parameters."""
        return {
            "model": {"name": self.name, "source": "fake", "fingerprint": self.fingerprint},
            "device": "none",
            "precision": "f32",
            "seed": self._seed,
        }


def _unit(vector: np.ndarray[Any, Any]) -> Float32Array:
    unit: Float32Array = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit
