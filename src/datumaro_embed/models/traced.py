"""What reading a checkpoint gives, whoever reads it; and what its readers share."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import ModelInvalidError
from .graph import Half
from .manifest import ImageSpec, TextSpec

__all__ = ["Traced", "not_exportable", "quiet"]


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
    """

    family: str
    images: Half
    texts: Half
    preprocessor: Mapping[str, Any]
    image: ImageSpec
    text: TextSpec
    logit_scale: float
    logit_bias: float


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


def not_exportable(source: str, reason: str) -> ModelInvalidError:
    """Return the error that says why a checkpoint cannot be exported."""
    return ModelInvalidError(
        f"Cannot export {source}: {reason}. Pass a checkpoint directory of CLIP, SigLIP or "
        "OpenCLIP (configuration, weights, tokenizer) or its hub id.",
        source=source,
        reason=reason,
    )
