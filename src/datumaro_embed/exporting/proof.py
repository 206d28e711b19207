"""Prove a new model directory before it is installed: embed two photographs and four texts.

The photographs, a cat and a cup of coffee, are those of ``sample_data`` (CC0-1.0), smaller. This
runs the code that embeds later, so that it also finds what golden vectors cannot: pixels or tokens
that are prepared for another model, and weights without sense.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..encoders import Encoder, load_encoder
from ..encoders.base import Float32Array
from ..errors import ModelInvalidError, StreamDisagreementError
from ..models import TextTokenizer, load_manifest

IMAGES = ("cat.jpg", "coffee.jpg")
TEXTS = (
    "a photo of a cat",
    "a photo of a cup of coffee",
    "a photo of a rocket",
    "a photo of a car",
)
_BATCH_SIZE = 4  # three images and the golden one
_LEAST_DIFFERENCE = 1e-5  # of a component; a graph that ignores its input gives equal vectors


def prove_model(
    model_dir: Path,
    *,
    texts: Sequence[str] = TEXTS,
    tokens: Sequence[int] = (),
    with_meaning: bool = True,
) -> bool:
    """Check a model directory in f32 on the CPU; takes as long as twelve inferences.

    Raises `ModelInvalidError`: vectors are not finite, do not have unit length, are equal for
    different inputs, or change with the rest of their batch, the tokens of a known text are others,
    or, `with_meaning`, the meaning is wrong. A network of random weights passes all but the last.

    Parameters
    ----------
    texts : sequence of str
        `TEXTS`, or the same in the model's language.
    tokens : sequence of int
        Token ids that the first of `texts` must have; empty: unknown.
    with_meaning : bool
        Require that each photograph is nearest to its own text, and each of these texts to its own
        photograph. In an image-only model, the mirrored cat must be nearer to the cat than to the
        coffee.

    Returns
    -------
    bool
        Whether the meaning is right.
    """
    encoder = load_encoder(model_dir, precision="f32", batch_size=_BATCH_SIZE, verify_hashes=False)
    found = []
    for name in IMAGES:
        with as_file(files(__package__) / "pictures" / name) as path:
            found.append(Image.open(path).convert("RGB"))
    found.append(ImageOps.mirror(found[0]))
    images = encoder.embed_images(found)
    _check_vectors(model_dir, images[:2], "photographs")
    _check_alone(model_dir, encoder.embed_images, found[0], images[0])
    if isinstance(encoder, Encoder):
        spec = encoder.manifest.text
        if tokens and spec is not None:
            ids, mask = TextTokenizer(model_dir / "tokenizer.json", spec)(texts[:1])
            known = ids[0][mask[0] == 1].tolist()
            if known != list(tokens):
                wrong = f"the tokens of {texts[0]!r} are {known}, and should be {list(tokens)}"
                raise _unproven(model_dir, wrong)
        described = encoder.embed_texts(texts)
        _check_vectors(model_dir, described, "texts")
        _check_alone(model_dir, encoder.embed_texts, texts[0], described[0])
        near = images[:2] @ described.T
        own = [0, 1]
        right = near.argmax(axis=1).tolist(), near[:, :2].argmax(axis=0).tolist()
        is_right = right == (own, own)
        wrong = "a photograph of a cat, or of a cup of coffee, is not nearest to its own text"
    else:
        is_right = bool(images[2] @ images[0] > images[2] @ images[1])
        wrong = "a mirrored cat is nearer to a cup of coffee than to the cat"
    if with_meaning and not is_right:
        raise _unproven(model_dir, wrong)
    return is_right


def _check_vectors(model_dir: Path, rows: Float32Array, what: str) -> None:
    norms = np.linalg.norm(rows, axis=1)
    if not np.isfinite(rows).all() or np.abs(norms - 1).max() > 1e-3:
        raise _unproven(model_dir, f"vectors of {what} are not finite or not of unit length")
    for i, row in enumerate(rows):
        if i and np.abs(rows[:i] - row).max(axis=1).min() < _LEAST_DIFFERENCE:
            raise _unproven(model_dir, f"different {what} have equal vectors")


def _check_alone(
    model_dir: Path, embed: Callable[[list[Any]], Float32Array], one: Any, in_batch: Float32Array
) -> None:
    """Compare the vector of an image or text with that which it had in a batch."""
    try:
        is_same = np.array_equal(embed([one])[0], in_batch)
    except StreamDisagreementError:  # the engine has compared other rows of that batch
        is_same = False
    if not is_same:
        raise _unproven(model_dir, "a vector changes with the other rows of its batch")


def _unproven(model_dir: Path, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"The model made from {load_manifest(model_dir, verify_hashes=False).source} fails its "
        f"check: {reason}. Nothing was installed. Check the settings that were given, or try "
        "another revision or repository, and report it if the model has a short name.",
        path=model_dir,
        reason=reason,
    )
