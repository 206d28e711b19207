"""What is embedded to compare an encoder with its reference, and how near they must be."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from PIL import Image
from strings import strings

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.models import load_manifest, openvino_core
from datumaro_embed.models.tokenizers import TextTokenizer
from datumaro_embed.versions import installed_versions

MODES = ("RGB", "L", "RGBA", "P", "LA", "CMYK", "1", "YCbCr")
SIDES = ((0, "images"), (1, "texts"))
TEXTS = [*strings(63, seed=3), "a text that is far longer than the context " * 20]


def drawn_images(n_images: int, seed: int = 0) -> list[Image.Image]:
    """Smooth and noisy images of many sizes: they show a wrong filter and a wrong offset."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(n_images):
        height, width = (int(v) for v in rng.integers(9, 400, 2))
        coarse = rng.integers(0, 256, (5, 7, 3) if i % 2 else (height, width, 3), dtype=np.uint8)
        images.append(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return images


def mixed_images(n_images: int) -> list[Image.Image]:
    """Images of mixed modes and sizes."""
    drawn = drawn_images(n_images, seed=4)
    return [image.convert(MODES[i % len(MODES)]) for i, image in enumerate(drawn)]


def cosines(pair: tuple[Any, Any]) -> Any:
    ours, theirs = (side.astype(np.float64) for side in pair)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(axis=1) / norms


def check_f32_parity(kind: str, model_dir: Path, reference: Any, more: Sequence[str] = ()) -> None:
    """Vectors of 16 images and 32 texts or more in f32, and tokens of 500 texts."""
    encoder, images = ClipEncoder.load(model_dir, precision="f32"), mixed_images(16)
    texts = [*TEXTS[::2], *more, TEXTS[-1]]
    pairs = (
        (encoder.embed_images(images), reference.images(images)),
        (encoder.embed_texts(texts), reference.texts(texts)),
    )
    lowest = [float(cosines(pair).min()) for pair in pairs]
    print(kind, "lowest cosines, images and texts:", *lowest)
    assert min(lowest) >= 0.99999
    texts = strings(500)
    found = TextTokenizer(model_dir / "tokenizer.json", load_manifest(model_dir).text)(texts)[0]
    np.testing.assert_array_equal(found, np.asarray(reference.tokens(texts)))


def check_parity(model_dir: Path, make_reference: Callable[[], Any]) -> None:
    """Cosines of 64 images and 64 texts with the reference, in f32 and in bf16."""
    images, texts = mixed_images(64), TEXTS
    reference = make_reference()
    expected = reference.images(images), reference.texts(texts)
    for precision, limit in (("f32", 0.99999), ("bf16", 0.999)):
        encoder = ClipEncoder.load(model_dir, precision=precision)
        found = encoder.embed_images(images), encoder.embed_texts(texts)
        lowest = [float(cosines(pair).min()) for pair in zip(found, expected, strict=True)]
        print(model_dir.name, precision, "lowest cosine, images and texts:", lowest)
        if min(lowest) < limit:
            kept = keep_evidence(encoder, make_reference, found, expected)
            raise AssertionError(f"{precision}: lowest cosines {lowest}; all is kept in {kept}")
        for ours, theirs in zip(found, expected, strict=True):  # a wrong row would be noticed
            assert np.median(cosines((np.roll(ours, 1, axis=0), theirs))) < limit


def keep_evidence(
    encoder: ClipEncoder, make_reference: Callable[[], Any], found: Any, expected: Any
) -> Path:
    """Keep what tells who was wrong, once: the encoder, one stream, the graphs, or the reference.

    One image vector of SigLIP had a cosine of 0.34 with the reference, in one run of many.

    Returns
    -------
    Path
        A folder with the model directory, the graphs as they were compiled, ``pixels.npz``,
        ``vectors.npz`` and ``facts.json``.
    """
    images, texts = mixed_images(64), TEXTS
    model_dir = encoder._model_dir
    precision = encoder._runtime.precision
    folder = Path(tempfile.mkdtemp(prefix=f"parity-{model_dir.name}-"))
    shutil.copytree(model_dir, folder / "model")
    for engine in (encoder._images, encoder._texts()):
        runs = engine._compiled.get_runtime_model()
        ov.serialize(runs, folder / f"{engine.name}, compiled.xml")

    def both(made: Any) -> Any:
        if isinstance(made, ClipEncoder):
            return made.embed_images(images), made.embed_texts(texts)
        return made.images(images), made.texts(texts)

    rows = {
        "found": found,
        "expected": expected,
        "found again": both(encoder),
        "loaded again": both(ClipEncoder.load(model_dir, precision=precision)),
        "one stream": both(ClipEncoder.load(model_dir, precision=precision, streams=1)),
        "a fresh reference": both(make_reference()),
    }
    arrays = {f"{name}, {side}": pair[i] for name, pair in rows.items() for i, side in SIDES}
    np.savez(folder / "vectors.npz", **arrays)
    np.savez(folder / "pixels.npz", *[np.asarray(image.convert("RGB")) for image in images])
    facts = {
        "encoder": encoder.provenance(),
        "versions": installed_versions(),
        "processor": str(openvino_core().get_property("CPU", "FULL_DEVICE_NAME")),
        "lowest cosine with expected, and its row": {
            f"{name}, {side}": [float(values.min()), int(values.argmin())]
            for name, pair in rows.items()
            for i, side in SIDES
            for values in [cosines((pair[i], expected[i]))]
        },
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return folder
