"""Golden vectors: what both encoders give for a drawn image and a text, kept in ``model.json``.

They are computed from the files as they are, in f32 on the CPU, by nothing of what embeds later:
not its graph transformations, and not its way through OpenVINO.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..vectors import unit_rows
from .core import openvino_core
from .manifest import Golden, ImageSpec, TextSpec
from .texts import TextTokenizer

__all__ = ["golden_pixels", "golden_vector", "make_golden"]

_TEXT = "a photo of a cat"


def golden_pixels(size_px: int) -> npt.NDArray[np.uint8]:
    """Return the drawn image: pixel (y, x) of channel c is ((x XOR y) · (c + 1)) mod 256.

    Returns
    -------
    array of shape (size_px, size_px, 3), uint8
    """
    y, x, channel = np.ogrid[:size_px, :size_px, :3]
    drawn: npt.NDArray[np.uint8] = (((x ^ y) * (channel + 1)) % 256).astype(np.uint8)
    return drawn


def golden_vector(encoded: str) -> npt.NDArray[np.float32]:
    """Return a vector of `Golden` as a unit array of shape (dim,)."""
    vector: npt.NDArray[np.float32] = unit_rows(
        np.frombuffer(base64.b64decode(encoded), "<f2")[None]
    )[0]
    return vector


def make_golden(model_dir: Path, image: ImageSpec, text: TextSpec) -> Golden:
    """Compute the golden vectors of a model directory's files.

    Raises
    ------
    RuntimeError
        OpenVINO's own.

    Notes
    -----
    It compiles both graphs: about 2 s for ViT-B/32.
    """
    pixels = image.network_input(golden_pixels(image.size_px))
    ids, mask = TextTokenizer(model_dir / "tokenizer.json", text)([_TEXT])
    tokens = {"input_ids": ids, "attention_mask": mask}
    return Golden(
        text=_TEXT,
        image_vector=_run(model_dir / "image_encoder.xml", {"pixel_values": pixels}),
        text_vector=_run(
            model_dir / "text_encoder.xml", {name: tokens[name] for name in text.inputs}
        ),
    )


def _run(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    model = openvino_core().read_model(path)
    model.reshape({name: list(array.shape) for name, array in arrays.items()})
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    rows = openvino_core().compile_model(model, "CPU", options)(dict(arrays))[0]
    return base64.b64encode(unit_rows(rows)[0].astype("<f2").tobytes()).decode("ascii")
