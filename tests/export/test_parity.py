"""Vectors are the model's own: against torch, transformers and torchvision on the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.models import export_model, load_manifest

DEMO_CHECKPOINT = Path(__file__).parents[2] / "models" / "demo-checkpoint"
DEMO = DEMO_CHECKPOINT.with_name("demo")
TEXTS = [
    "",
    "a photo of a cat",
    "A PHOTO OF A CAT",
    "two  words,\n and\ttabs",
    "naïve café Ærøskøbing",
    "猫の写真 🐈‍⬛ emoji",
    "x",
    "1234567890 !@#$%^&*()",
    "a long text " * 60,
    "don't you've we'll",
]


def drawn_images(n_images: int, seed: int = 0) -> list[Image.Image]:
    """Smooth and noisy images of many sizes: they show a wrong filter and a wrong offset."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(n_images):
        height, width = (int(v) for v in rng.integers(9, 400, 2))
        coarse = rng.integers(0, 256, (5, 7, 3) if i % 2 else (height, width, 3), dtype=np.uint8)
        images.append(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return images


def differences(model_dir: Path, checkpoint: Path, precision: str) -> tuple[Any, Any]:
    """Return pairs (ours, reference) of image and of text vectors."""
    from reference import TorchClip

    encoder = ClipEncoder.load(model_dir, precision=precision)
    config = json.loads((checkpoint / "preprocessor_config.json").read_text(encoding="utf-8"))
    reference = TorchClip(checkpoint, config)
    images = drawn_images(24)
    return (encoder.embed_images(images), reference.images(images)), (
        encoder.embed_texts(TEXTS),
        reference.texts(TEXTS),
    )


def cosines(pair: tuple[Any, Any]) -> Any:
    ours, theirs = (side.astype(np.float64) for side in pair)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(axis=1) / norms


@pytest.mark.parametrize(("precision", "limit"), [("f32", 1e-4), ("bf16", 0.05)])
def test_tiny_model(model_dir: Path, checkpoint: Path, precision: str, limit: float) -> None:
    for ours, theirs in differences(model_dir, checkpoint, precision):
        print(precision, "max |Δ|", np.abs(ours - theirs).max())
        assert np.abs(ours - theirs).max() <= limit


def test_demo_model() -> None:
    if not (DEMO_CHECKPOINT / "config.json").is_file():
        pytest.skip("models/demo-checkpoint is not here: train it with scripts/train_demo_model.py")
    for ours, theirs in differences(DEMO, DEMO_CHECKPOINT, "f32"):
        print("demo max |Δ|", np.abs(ours - theirs).max())
        assert np.abs(ours - theirs).max() <= 1e-4


@pytest.mark.slow
def test_vit_b_32(tmp_path: Path) -> None:
    """ViT-B/32's own configuration, random weights, the vocabulary at its own size."""
    from checkpoints import write_clip

    checkpoint = write_clip(
        tmp_path / "vit-b-32",
        image_size=224,
        patch=32,
        width=768,
        layers=12,
        dim=512,
        text_width=512,
        text_layers=12,
        context=77,
        vocab_size=49408,
    )
    model_dir = export_model(checkpoint, tmp_path / "model")
    for pair in differences(model_dir, checkpoint, "f32"):
        print("ViT-B/32 f32: max |Δ|", np.abs(pair[0] - pair[1]).max(), cosines(pair).min())
        assert cosines(pair).min() >= 0.99999
    for pair in differences(model_dir, checkpoint, "bf16"):
        print("ViT-B/32 bf16: max |Δ|", np.abs(pair[0] - pair[1]).max(), cosines(pair).min())
        assert cosines(pair).min() >= 0.999


def test_pixels_equal_openais_pipeline(model_dir: Path) -> None:
    from reference import openai_pixels

    encoder = ClipEncoder.load(model_dir)
    for image in drawn_images(60, seed=1):
        expected = np.asarray(openai_pixels(image, 80))
        assert np.array_equal(encoder.preprocess(image), expected)


def test_pixels_equal_transformers_where_its_crop_is_torchvisions(model_dir: Path) -> None:
    """transformers cuts at (h - n) // 2, torchvision at round((h - n) / 2): 3 modulo 4 differs."""
    from transformers.models.clip import image_processing_pil_clip as module

    size = load_manifest(model_dir).image.size_px
    config = json.loads((model_dir / "preprocessor_config.json").read_text(encoding="utf-8"))
    as_pixels = {**config, "do_rescale": False, "do_normalize": False}
    processor = module.CLIPImageProcessorPil(**as_pixels)
    encoder = ClipEncoder.load(model_dir)
    n_equal = 0
    for image in drawn_images(60, seed=2):
        short, long = sorted(image.size)
        if (int(size * long / short) - size) % 4 != 3:
            theirs = processor(image, return_tensors="np")["pixel_values"][0]
            assert np.array_equal(encoder.preprocess(image), theirs.transpose(1, 2, 0))
            n_equal += 1
    assert n_equal > 30


def test_tokens_equal_transformers(model_dir: Path, checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    from datumaro_embed.encoders.tokenizer import TextTokenizer

    spec = load_manifest(model_dir).text
    ours = TextTokenizer(model_dir / "tokenizer.json", spec)(TEXTS)
    theirs = AutoTokenizer.from_pretrained(checkpoint)(
        TEXTS, padding="max_length", truncation=True, max_length=spec.context_length
    )
    assert np.array_equal(ours[0], np.array(theirs["input_ids"]))
    assert np.array_equal(ours[1], np.array(theirs["attention_mask"]))
