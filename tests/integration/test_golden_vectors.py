"""The golden vectors in model.json: what both encoders must give, whatever they were made into."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.errors import ModelInvalidError
from datumaro_embed.models import (
    golden_pixels,
    golden_vector,
    load_manifest,
    resolve_model,
)
from datumaro_embed.models.making import make_golden
from model_support import other_weights, sign

pytestmark = pytest.mark.slow

VECTORS = ("image_vector", "text_vector")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resolve_model("demo"), tmp_path / "model"))


def embed_image(model: Path, **options: Any) -> Any:
    return ClipEncoder.load(model, batch_size=2, **options).embed_images([golden_pixels(9)])


def golden_of(model: Path) -> dict[str, str]:
    body = json.loads((model / "model.json").read_text(encoding="utf-8"))
    return dict(body["golden"])


def encoded(vector: Any) -> str:
    return base64.b64encode(np.asarray(vector, "<f2").tobytes()).decode()


def test_the_drawn_image() -> None:
    drawn = golden_pixels(300)
    assert (drawn.shape, drawn.dtype) == ((300, 300, 3), np.uint8)
    for y, x, channel in ((0, 0, 0), (3, 5, 0), (3, 5, 1), (255, 0, 2), (299, 256, 1)):
        assert drawn[y, x, channel] == (x ^ y) * (channel + 1) % 256


@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
def test_the_demo_model_gives_its_golden_vectors(precision: str) -> None:
    encoder = ClipEncoder.load("demo", batch_size=2, precision=precision)
    golden = encoder.manifest.golden
    (image,) = encoder.embed_pixels([golden_pixels(encoder.image_size_px)[None]])
    text = encoder.embed_texts([golden.text])
    for found, expected in ((image, golden.image_vector), (text, golden.text_vector)):
        assert found[0] @ golden_vector(expected) > (0.9999 if precision == "f32" else 0.999)


def test_making_it_again_gives_the_same_and_no_other_fingerprint(model: Path) -> None:
    manifest = load_manifest(model)
    again = make_golden(model, manifest.image, manifest.text)
    for name in VECTORS:
        ours, theirs = (golden_vector(getattr(one, name)) for one in (again, manifest.golden))
        assert ours @ theirs > 0.99999
    sign(model, golden={**golden_of(model), "text": "another"})
    assert load_manifest(model).fingerprint == manifest.fingerprint


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda vector: np.roll(vector, 1), r"image encoder .* cosine .*expected 0\.9999"),
        (lambda vector: np.full_like(vector, np.nan), "golden vector"),
    ],
)
def test_other_vectors_are_refused(model: Path, other: Any, match: str) -> None:
    golden = golden_of(model)
    changed = {name: encoded(other(golden_vector(golden[name]))) for name in VECTORS}
    sign(model, golden={**golden, "image_vector": changed["image_vector"]})
    encoder = ClipEncoder.load(model, batch_size=2, precision="f32")
    for n_images in (1, 2, 3):  # beside the first batch, or before a full one; it is not forgotten
        with pytest.raises(ModelInvalidError, match=match):
            encoder.embed_images([golden_pixels(9)] * n_images)
    sign(model, golden={**golden, "text_vector": changed["text_vector"]})
    encoder = ClipEncoder.load(model, batch_size=2, precision="f32")
    for _ in range(2):  # it is not forgotten
        with pytest.raises(ModelInvalidError, match=match.replace("image", "text")):
            encoder.embed_texts(["a cat"])


def test_other_weights_of_true_hashes_are_refused(model: Path) -> None:
    """A graph that was made wrong, or mixed up, and signed all the same."""
    original = (model / "image_encoder.bin").read_bytes()
    other_weights(model / "image_encoder.bin")
    sign(model)
    with pytest.raises(ModelInvalidError, match=r"image encoder .* golden vector"):
        embed_image(model)
    (model / "image_encoder.bin").write_bytes(original)
    other_weights(model / "text_encoder.bin")
    sign(model)
    with pytest.raises(ModelInvalidError, match=r"text encoder .* golden vector"):
        ClipEncoder.load(model, batch_size=2).embed_texts(["a cat"])


def test_another_tokenizer_or_preprocessing_is_refused(model: Path) -> None:
    """Both are part of what a vector is made by."""
    body = json.loads((model / "model.json").read_text(encoding="utf-8"))
    sign(model, image={**body["image"], "mean": [0.1, 0.9, 0.1]})
    with pytest.raises(ModelInvalidError, match=r"image encoder .* golden vector"):
        embed_image(model, precision="f32")
    sign(model, image=body["image"])
    tokens = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = tokens["model"]["vocab"]
    vocab["cat</w>"], vocab["dog</w>"] = vocab["dog</w>"], vocab["cat</w>"]
    (model / "tokenizer.json").write_text(json.dumps(tokens), encoding="utf-8")
    sign(model)
    with pytest.raises(ModelInvalidError, match=r"text encoder .* golden vector"):
        ClipEncoder.load(model, batch_size=2, precision="f32").embed_texts(["a cat"])


@pytest.mark.parametrize(
    "golden",
    [
        None,
        [],
        "x",
        1,
        {},
        {"text": "a"},
        {"text": "a", "image_vector": "?", "text_vector": "?"},
        {"text": "a", "image_vector": "AAAA", "text_vector": "AAAA"},
        {"text": "a", "image_vector": 5, "text_vector": None},
        {"text": "a", "image_vector": "é" * 684, "text_vector": ""},
    ],
)
def test_what_is_no_golden_vector_is_refused(model: Path, golden: Any) -> None:
    sign(model, golden=golden)
    with pytest.raises(ModelInvalidError, match=r"model\.json cannot be used"):
        load_manifest(model, verify_hashes=False)
