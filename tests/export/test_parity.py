"""Vectors are the model's own: against torch, transformers and torchvision on the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import TEXTS, cosines, drawn_images, mixed_images

from datumaro_embed import embed_dataset
from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.models import load_manifest

DEMO_CHECKPOINT = Path(__file__).parents[2] / "models" / "demo-checkpoint"
DEMO = DEMO_CHECKPOINT.with_name("demo")


def differences(model_dir: Path, checkpoint: Path, precision: str) -> tuple[Any, Any]:
    """Return pairs (ours, reference) of image and of text vectors."""
    from reference import TorchClip

    encoder = ClipEncoder.load(model_dir, precision=precision)
    reference = TorchClip(checkpoint)
    images = drawn_images(24)
    return (encoder.embed_images(images), reference.images(images)), (
        encoder.embed_texts(TEXTS),
        reference.texts(TEXTS),
    )


@pytest.mark.parametrize(("precision", "limit"), [("f32", 1e-4), ("bf16", 0.05)])
def test_tiny_model(model_dir: Path, checkpoint: Path, precision: str, limit: float) -> None:
    for ours, theirs in differences(model_dir, checkpoint, precision):
        print(precision, "max |Δ|", np.abs(ours - theirs).max())
        assert np.abs(ours - theirs).max() <= limit


def test_demo_model() -> None:
    if not (DEMO_CHECKPOINT / "config.json").is_file():
        pytest.skip("models/demo-checkpoint is not here: train it with scripts/demo_model/train.py")
    for ours, theirs in differences(DEMO, DEMO_CHECKPOINT, "f32"):
        print("demo max |Δ|", np.abs(ours - theirs).max())
        assert np.abs(ours - theirs).max() <= 1e-4


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

    from datumaro_embed.models.tokenizers import TextTokenizer

    spec = load_manifest(model_dir).text
    ours = TextTokenizer(model_dir / "tokenizer.json", spec)(TEXTS)
    theirs = AutoTokenizer.from_pretrained(checkpoint)(
        TEXTS, padding="max_length", truncation=True, max_length=spec.context_length
    )
    assert np.array_equal(ours[0], np.array(theirs["input_ids"]))
    assert np.array_equal(ours[1], np.array(theirs["attention_mask"]))


@pytest.mark.parametrize(("precision", "limit"), [("f32", 0.99999), ("bf16", 0.999)])
def test_what_a_run_stores_is_the_models_own(
    model_dir: Path, checkpoint: Path, tmp_path: Path, precision: str, limit: float
) -> None:
    """From image files and captions through the whole pipeline to a float16 store."""
    from datumaro.components.annotation import AnnotationType, LabelCategories
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image as Medium
    from PIL import Image
    from reference import TorchClip

    names = ["cat", "traffic_light", "a very long name of a thing " * 3]
    paths = []
    for i, image in enumerate(mixed_images(64)):
        rgb = image.convert("RGB")
        paths.append(tmp_path / f"{i:02}.{'jpg' if i % 2 else 'png'}")
        rgb.save(paths[-1])
    items = [
        DatasetItem(path.stem, subset="train", media=Medium.from_file(str(path))) for path in paths
    ]
    labels = LabelCategories.from_iterable(names)
    dataset = Dataset.from_iterable(items, categories={AnnotationType.label: labels})
    reference = TorchClip(checkpoint)
    decoded = [Image.open(path).convert("RGB") for path in paths]
    expected = reference.images(decoded)
    encoder = ClipEncoder.load(model_dir, precision=precision)
    prompts = reference.texts([encoder.label_prompt(name) for name in names])

    options = {"model": str(model_dir), "precision": precision, "batch_size": 5, "workers": 3}
    with embed_dataset(dataset, tmp_path / "e.h5", progress=False, **options) as store:
        assert [key.id for key in store.keys()] == [path.stem for path in paths]
        found = np.array(store.embeddings()), np.array(store.label_embeddings)
    for ours, theirs in zip(found, (expected, prompts), strict=True):
        assert float(cosines((ours, theirs)).min()) >= limit
