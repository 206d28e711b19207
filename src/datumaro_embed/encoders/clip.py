"""CLIP on OpenVINO: a model directory becomes an encoder of images and texts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from ..errors import UsageError
from ..models import ModelManifest, load_manifest, resolve_model
from ..vectors import unit_rows
from .base import Encoder, Float32Array, UInt8Array
from .engine import Engine, Runtime
from .preprocess import preprocess
from .tokenizer import TextTokenizer

__all__ = ["BATCH_SIZE", "ClipEncoder"]

BATCH_SIZE = 16
_TEXT_BATCH_SIZE = 16


class ClipEncoder(Encoder):
    """An encoder made by `ClipEncoder.load`; safe to use from many threads.

    The image graph has one fixed batch size and a last batch is padded, so a vector does not depend
    on its neighbours: permuted, split and padded batches give equal bits. The text graph is
    compiled at its first use.
    """

    def __init__(
        self, model_dir: Path, manifest: ModelManifest, runtime: Runtime, batch_size: int
    ) -> None:
        self.name = manifest.name
        self.dim = manifest.dim
        self.image_size_px = manifest.image.size_px
        self.batch_size = batch_size
        self.fingerprint = manifest.fingerprint
        self.manifest = manifest
        self._model_dir = model_dir
        self._runtime = runtime
        side = manifest.image.size_px
        self._images = Engine(
            model_dir / "image_encoder.xml",
            runtime,
            {"pixel_values": (batch_size, side, side, 3)},
            dim=manifest.dim,
            image=manifest.image,
            identity=manifest.fingerprint,
        )
        self._tokenize = TextTokenizer(model_dir / "tokenizer.json", manifest.text)
        self._text_engine: Engine | None = None
        self._text_lock = threading.Lock()

    @classmethod
    def load(
        cls,
        name_or_dir: str | Path,
        *,
        device: str = "CPU",
        batch_size: int = BATCH_SIZE,
        precision: str = "f32",
        streams: int | None = None,
        verify_hashes: bool = True,
    ) -> ClipEncoder:
        """Load a model directory and compile its image encoder.

        Parameters
        ----------
        name_or_dir : str or Path
            A directory, or a name (see `models.resolve_model`).
        device : str
            OpenVINO's name: ``"CPU"``, ``"GPU"``, ``"NPU"``, ``"AUTO"``, …
        batch_size : int
            Images in one batch; every batch costs as much as a full one.
        precision : {"f32", "auto", "bf16", "f16"}
            Of arithmetic. The default gives nearly the same vectors on every machine; ``"auto"``
            lets the device choose (bf16 where a CPU has it: faster, about three digits).
        streams : int, optional
            Batches computed at the same time; by default the device's choice.
        verify_hashes : bool
            Check every file against ``model.json``: about 1 s per 2 GB.

        Raises
        ------
        ModelNotFoundError, ModelInvalidError, DeviceNotFoundError, UsageError, InferenceError
        """
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size} is below 1. Give at least 1.")
        runtime = Runtime(device, precision, streams)
        model_dir = resolve_model(name_or_dir)
        manifest = load_manifest(model_dir, verify_hashes=verify_hashes)
        return cls(model_dir, manifest, runtime, batch_size)

    def preprocess(self, image: Image.Image) -> UInt8Array:
        """Resize and crop as the model's own ``preprocessor_config.json`` says."""
        upright = image if image.mode == "RGB" else image.convert("RGB")
        return preprocess(upright, self.manifest.image)

    def embed_pixels(self, batches: Iterable[UInt8Array]) -> Iterator[Float32Array]:
        """Embed batches of pixels, several in flight, lazily and in order (see `Encoder`)."""
        checked = ({"pixel_values": self._checked(batch)} for batch in batches)
        return (unit_rows(rows) for rows in self._images.run(checked))

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Embed texts; long ones are cut at the model's context length, keeping the end token."""
        blocks = (texts[i : i + _TEXT_BATCH_SIZE] for i in range(0, len(texts), _TEXT_BATCH_SIZE))
        tokens = (self._text_inputs(block) for block in blocks)
        rows = list(self._texts().run(tokens)) if len(texts) else []
        return unit_rows(np.concatenate([np.empty((0, self.dim), np.float32), *rows]))

    def label_prompt(self, name: str) -> str:
        """Return a label's name in the model's prompt template, with ``_`` read as a space."""
        return self.manifest.prompt_template.replace("{}", " ".join(name.replace("_", " ").split()))

    def provenance(self) -> dict[str, Any]:
        """Return model, files, device, the precision that runs, preprocessing and versions."""
        model = self.manifest.to_json()
        return {
            "model": {key: model[key] for key in _MODEL_FACTS},
            "preprocessing": {**asdict(self.manifest.image), "pillow": PIL.__version__},
            "prompt_template": self.manifest.prompt_template,
            "requested_precision": self._runtime.precision,
            **self._images.describe(),
        }

    def _checked(self, batch: UInt8Array) -> UInt8Array:
        side = self.image_size_px
        fits = batch.ndim == 4 and batch.shape[1:] == (side, side, 3)
        if not fits or batch.dtype != np.uint8 or not 1 <= len(batch) <= self.batch_size:
            raise UsageError(
                f"A batch of {batch.dtype} {batch.shape} is not (1 to {self.batch_size}, {side}, "
                f"{side}, 3) uint8. Use `preprocess` to make batches."
            )
        return batch

    def _text_inputs(self, texts: Sequence[str]) -> dict[str, Any]:
        ids, mask = self._tokenize(texts)
        arrays = {"input_ids": ids, "attention_mask": mask}
        return {name: arrays[name] for name in self.manifest.text.inputs}

    def _texts(self) -> Engine:
        spec = self.manifest.text
        with self._text_lock:
            if self._text_engine is None:
                self._text_engine = Engine(
                    self._model_dir / "text_encoder.xml",
                    self._runtime,
                    dict.fromkeys(spec.inputs, (_TEXT_BATCH_SIZE, spec.context_length)),
                    dim=self.dim,
                    identity=self.fingerprint,
                )
            return self._text_engine


_MODEL_FACTS = (
    *("name", "source", "revision", "licence", "family", "dim", "fingerprint", "files"),
    *("precision", "logit_scale", "logit_bias"),
)
