"""The trained demo model: torch's own vectors, and a cat where a cat is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import ClipEncoder, open_store
from golden.demo.make_reference import TEXTS

REFERENCE = Path(__file__).parents[1] / "golden" / "demo" / "reference.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    """Return pixels and vectors that torch made of the checkpoint of the same weights."""
    with np.load(REFERENCE) as file:
        return dict(file)


def test_image_vectors_are_torchs(demo_encoder: ClipEncoder, reference: dict) -> None:
    pixels, size = reference["pixels"], demo_encoder.batch_size
    batches = (pixels[start : start + size] for start in range(0, len(pixels), size))
    ours = np.concatenate(list(demo_encoder.embed_pixels(batches)))
    assert np.abs(ours - reference["image_vectors"]).max() <= 1e-4


def test_text_vectors_are_torchs(demo_encoder: ClipEncoder, reference: dict) -> None:
    ours = demo_encoder.embed_texts(TEXTS)
    assert np.abs(ours - reference["text_vectors"]).max() <= 1e-4


def test_a_photo_of_a_cat_finds_an_image_with_a_cat(coco_store: Path, demo_encoder) -> None:
    query = demo_encoder.embed_texts(["a photo of a cat"])[0]
    with open_store(coco_store) as store:
        cosines = store.embeddings().astype(np.float32) @ query
        names = store.categories.labels
        best = store.item(int(cosines.argmax()))
        assert "cat" in {names[annotation.label] for annotation in best.annotations}, best.key
