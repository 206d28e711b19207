"""The image encoder of a model directory, on OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import PIL
from PIL import Image

from ..errors import ModelInvalidError, UsageError
from ..models import (
    ModelFiles,
    ModelManifest,
    golden_pixels,
    golden_vector,
    load_manifest,
    resolve_model,
)
from ..vectors import unit_rows
from .base import Float32Array, ImageEncoder, Session, UInt8Array
from .engine import Engine, Flight
from .preprocess import preprocess
from .runtime import Runtime

BATCH_SIZE = 16
Self = TypeVar("Self", bound="OpenVinoImageEncoder")

_GOLDEN_COSINES = {"f32": 0.9999, "bf16": 0.999, "f16": 0.999}  # measured: 0.9999999, 0.99994
_GOLDEN_COSINE_INT8 = 0.98


class OpenVinoImageEncoder(ImageEncoder):
    """Embeds images with a model directory; thread-safe.

    The batch size is fixed and the last batch is padded, so a vector does not depend on the other
    rows: permuted, split and padded batches give equal bits.
    """

    def __init__(
        self,
        model_dir: Path,
        manifest: ModelManifest,
        files: ModelFiles,
        runtime: Runtime,
        batch_size: int,
    ) -> None:
        self.name = manifest.name
        self.dim = manifest.dim
        self.image_size_px = manifest.image.size_px
        self.least_side_px = manifest.image.resize_px  # before images are cropped
        self.batch_size = 1 if manifest.one_by_one else batch_size
        self.first_batch_size = max(1, self.batch_size - 1)  # the golden vector takes the last row
        self.fingerprint = manifest.fingerprint
        self.manifest = manifest
        self._model_dir = model_dir
        self._files = files
        self._runtime = runtime
        self._image_engine: Engine | None = None
        self._image_lock = threading.Lock()

    @property
    def _images(self) -> Engine:
        """The image encoder, compiled at its first use."""
        with self._image_lock:
            if self._image_engine is None:
                side = self.image_size_px
                expected = self.manifest.golden.image_vector
                self._image_engine = Engine(
                    self._model_dir / "image_encoder.xml",
                    self._runtime,
                    {"pixel_values": (self.batch_size, side, side, 3)},
                    dim=self.dim,
                    image=self.manifest.image,
                    golden=(
                        {"pixel_values": golden_pixels(side)[None]},
                        partial(check_golden, self._model_dir, self.manifest, expected),
                    ),
                    identity=self.fingerprint,
                    read=self._files.read,
                )
            return self._image_engine

    @classmethod
    def load(
        cls: type[Self],
        name_or_dir: str | Path,
        *,
        device: str = "CPU",
        batch_size: int = BATCH_SIZE,
        precision: str = "auto",
        streams: int | None = None,
        verify_hashes: bool = True,
        lazily: bool = False,
    ) -> Self:
        """Load a model directory and compile its image encoder.

        Raises `ModelNotFoundError`, `ModelInvalidError`, `DeviceNotFoundError`, `UsageError`,
        `InferenceError`.

        Parameters
        ----------
        name_or_dir : str or Path
            A directory, or a name (see `models.resolve_model`).
        device : str
            OpenVINO's name: ``"CPU"``, ``"GPU"``, ``"NPU"``, ``"AUTO"``, …
        batch_size : int
            Images per batch, and maximum number of texts; a partial batch costs as much as a full
            one. A model that is computed `one_by_one` (see `ModelManifest`) has 1.
        precision : {"auto", "f32", "bf16", "f16"}
            Inference precision. By default the device chooses: bf16 on CPUs that have it, twice as
            fast, with a cosine above 0.999 to f32. ``"f32"`` gives nearly the same vectors on every
            machine.
        streams : int, optional
            Batches computed at the same time; by default the device's choice.
        verify_hashes : bool
            Check every file against ``model.json``: about 1 s per 2 GB.
        lazily : bool
            Compile the image encoder at its first use: for those who may only embed texts.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}. Give at least 1.")
        runtime = Runtime(device, precision, streams)
        model_dir = resolve_model(name_or_dir)
        manifest = load_manifest(model_dir, verify_hashes=False)
        files = ModelFiles(model_dir, manifest.files, verify=verify_hashes)
        encoder = cls(model_dir, manifest, files, runtime, batch_size)
        if not lazily:
            _ = encoder._images
        files.check()
        return encoder

    def preprocess(self, image: Image.Image) -> UInt8Array:
        """Resize and crop by the model's ``preprocessor_config.json``."""
        upright = image if image.mode == "RGB" else image.convert("RGB")
        return preprocess(upright, self.manifest.image)

    def embed(self, batch: UInt8Array) -> Float32Array:
        (rows,) = self.embed_pixels([batch])
        return rows

    def session(self) -> Session:
        """Start embedding many batches, with as many in progress as the device takes."""
        self._files.check()
        return Flight(self._images, lambda pixels: {"pixel_values": self._checked(pixels)})

    def engines(self) -> Iterable[Engine]:
        """Return the graphs that are compiled."""
        return filter(None, [self._image_engine])

    def confirm(self) -> None:
        """Check the model's files, and that the first batches still give the same vectors."""
        self._files.check()
        for engine in self.engines():
            engine.confirm()

    def provenance(self) -> dict[str, Any]:
        """Return model, files, device, the precision that runs, preprocessing and versions."""
        model = self.manifest.to_json()
        return {
            "model": {key: model[key] for key in _MODEL_FACTS},
            "preprocessing": {**asdict(self.manifest.image), "pillow": PIL.__version__},
            "requested_precision": self._runtime.precision,
            **self._images.describe(),
        }


def check_golden(
    model_dir: Path, manifest: ModelManifest, expected: str, engine: Engine, rows: Float32Array
) -> None:
    """Check that a compiled encoder reproduces the golden vector in model.json."""
    cosine = float(unit_rows(rows)[0] @ golden_vector(expected))
    facts = engine.describe()
    limit = _GOLDEN_COSINES.get(facts["precision"], min(_GOLDEN_COSINES.values()))
    if manifest.precision == "int8":
        limit = _GOLDEN_COSINE_INT8
    if not cosine >= limit:
        raise ModelInvalidError(
            f"The {engine.name} of model {model_dir} does not reproduce the golden vector in "
            f"model.json: cosine {cosine:.4f}, expected {limit} or more (OpenVINO "
            f"{facts['openvino']}, {facts['device_name']}, {facts['precision']}). "
            "Recreate the model directory, or try ``precision`` f32 or another ``device``.",
            path=model_dir,
            cosine=cosine,
        )


_MODEL_FACTS = (
    *("name", "source", "revision", "licence", "family", "dim", "fingerprint", "files"),
    *("precision", "logit_scale", "logit_bias"),
)
