"""What reading a checkpoint gives, whoever reads it; and what its readers share."""

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ModelInvalidError
from ..models.graph import Half
from ..models.manifest import ImageSpec, TextSpec
from ..vectors import unit_rows

__all__ = ["Traced", "check_half", "example_inputs", "not_exportable", "quiet"]

_LEAST_COSINE = 0.9999  # torch's f32 and OpenVINO's differ in the seventh digit


@dataclass(frozen=True, slots=True)
class Traced:
    """Both encoders of a checkpoint and everything that ``model.json`` says of them.

    Attributes
    ----------
    family : str
    images, texts : Half
    preprocessor : mapping
        Content of ``preprocessor_config.json``.
    image, text : ImageSpec, TextSpec
    logit_scale, logit_bias : float
    reference_tokens : callable
        Texts → ``input_ids`` (and ``attention_mask``) as the checkpoint's own library makes them,
        of shape (n_texts, context_length).
    reference_pixels : callable
        An RGB image → what the image encoder takes, of shape (3, size_px, size_px).
    """

    family: str
    images: Half
    texts: Half
    preprocessor: Mapping[str, Any]
    image: ImageSpec
    text: TextSpec
    logit_scale: float
    logit_bias: float
    reference_tokens: Callable[[Sequence[str]], Mapping[str, Any]]
    reference_pixels: Callable[[Image.Image], Any]


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the tracers' warnings and loading bars, which say nothing that a user can act on."""
    from transformers.utils import logging as transformers_logging

    verbosity, disabled = transformers_logging.get_verbosity(), logging.root.manager.disable
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(verbosity)


def example_inputs(
    shapes: Mapping[str, Sequence[int]], vocab_size: int
) -> dict[str, npt.NDArray[Any]]:
    """Return two rows of every input that `shapes` names: noise, random tokens, no padding."""
    rng = np.random.default_rng(0)
    found: dict[str, npt.NDArray[Any]] = {}
    for name, (_, *shape) in shapes.items():
        if name == "pixel_values":
            found[name] = rng.standard_normal((2, *shape)).astype(np.float32)
        elif name == "input_ids":
            found[name] = rng.integers(0, vocab_size, (2, *shape))
        else:
            found[name] = np.ones((2, *shape), np.int64)
    return found


def check_half(
    half: Half,
    arrays: Mapping[str, npt.NDArray[Any]],
    expected: npt.NDArray[np.float32],
    source: str,
) -> None:
    """Check an encoder's graph against what torch gives for the same arrays.

    Raises
    ------
    ModelInvalidError
        Other vectors: the tracer went wrong, and a search would too, without a word.
    """
    found = unit_rows(half.run(arrays))
    cosine = float(np.einsum("ij,ij->i", found, unit_rows(expected)).min())
    if not cosine >= _LEAST_COSINE:
        raise not_exportable(
            source,
            f"its traced {'/'.join(half.inputs)} encoder gives other vectors than torch (cosine "
            f"{cosine:.4f}); try once more, and other versions of torch and optimum-intel",
        )


def not_exportable(source: str, reason: str) -> ModelInvalidError:
    """Return the error that says why a checkpoint cannot be exported, in one line."""
    reason = textwrap.shorten(reason, 600, placeholder=" …")
    return ModelInvalidError(
        f"Cannot export {source}: {reason}. Pass a checkpoint directory of CLIP, SigLIP or "
        "OpenCLIP (configuration, weights, tokenizer) or its hub id.",
        source=source,
        reason=reason,
    )
