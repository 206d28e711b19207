"""INT8 of an encoder's graph, by NNCF's post-training quantisation; no torch.

The only module that imports nncf, and only inside functions: it comes with the ``quantise`` extra.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtraError
from .core import openvino_core
from .graph import number_nodes
from .manifest import ImageSpec

__all__ = ["check_nncf", "quantise_image_encoder"]


def check_nncf() -> None:
    """Check that NNCF is installed.

    Raises
    ------
    MissingExtraError
    """
    if importlib.util.find_spec("nncf") is None:
        raise MissingExtraError(
            "Making an INT8 model needs nncf, which is not installed. "
            "Run: pip install 'datumaro-embed[quantise]'",
            name="nncf",
        )


def quantise_image_encoder(
    source: Path, target: Path, pixels: Sequence[npt.NDArray[np.uint8]], spec: ImageSpec
) -> None:
    """Write an image encoder with INT8 weights and activations.

    Parameters
    ----------
    source, target : Path
        Of the ``.xml``; the weights lie beside it.
    pixels : sequence of arrays of shape (size_px, size_px, 3), uint8
        What activations are measured on.
    spec : ImageSpec

    Notes
    -----
    The first layer (patches) and the last (projection) stay as they are: they are a small part of
    the time and most of the loss (recall@10 of one small CLIP 0.945 → 0.964).
    Each image is run once through the full graph, alone: about 20 ms each for ViT-B/32.
    Equal inputs give equal files.
    """
    import nncf
    import openvino as ov

    nncf.set_log_level(logging.ERROR)
    model = openvino_core().read_model(source)
    name = model.input(0).any_name

    with redirect_stdout(io.StringIO()):  # its progress bars
        quantised = nncf.quantize(
            model,
            nncf.Dataset(pixels, lambda image: {name: spec.network_input(image)}),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(pixels),
            ignored_scope=nncf.IgnoredScope(names=_sensitive(model)),
        )
    number_nodes(quantised)
    ov.save_model(quantised, target, compress_to_fp16=False)


def _sensitive(model: Any) -> list[str]:
    nodes = model.get_ordered_ops()
    first = [n.get_friendly_name() for n in nodes if n.get_type_name() == "Convolution"]
    last = [n.get_friendly_name() for n in nodes if n.get_type_name() == "MatMul"][-1:]
    return [*first, *last]
