"""CLIP on OpenVINO: a model directory becomes an encoder of images and texts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from ..errors import InferenceError, ModelInvalidError, UsageError
from ..models import (
    ModelFiles,
    ModelManifest,
    TextTokenizer,
    golden_pixels,
    golden_vector,
    load_manifest,
    resolve_model,
)
from ..vectors import unit_rows
from .base import Encoder, Float32Array, UInt8Array
from .engine import Arrays, Engine
from .preprocess import preprocess
from .runtime import Runtime

__all__ = ["BATCH_SIZE", "ClipEncoder"]

BATCH_SIZE = 16
_TEXT_BATCH_SIZE = 16
_TEXTS_AT_ONCE = 4096
_LENGTH_STEP = 8
_SAME_COSINE = 0.999  # bf16 alone gives above 0.9999
_GOLDEN_COSINES = {"f32": 0.9999, "bf16": 0.999, "f16": 0.999}  # measured: 0.9999999, 0.99994
_GOLDEN_COSINE_INT8 = 0.98

_Tokens = npt.NDArray[np.int64]


class ClipEncoder(Encoder):
    """An encoder made by `ClipEncoder.load`; safe to use from many threads.

    The image graph has one fixed batch size and a last batch is padded, so a vector does not depend
    on its neighbours: permuted, split and padded batches give equal bits. The text graph is
    compiled at its first use, from files that are verified again.
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
        self.batch_size = batch_size
        self.fingerprint = manifest.fingerprint
        self.manifest = manifest
        self._model_dir = model_dir
        self._files = files
        self._runtime = runtime
        side = manifest.image.size_px
        self._images = Engine(
            model_dir / "image_encoder.xml",
            runtime,
            {"pixel_values": (batch_size, side, side, 3)},
            dim=manifest.dim,
            image=manifest.image,
            golden=(
                {"pixel_values": golden_pixels(side)[None]},
                partial(_check_golden, model_dir, manifest, manifest.golden.image_vector),
            ),
            identity=manifest.fingerprint,
            read=files.read,
        )
        assert manifest.text is not None
        self._text = manifest.text
        self._tokenize = TextTokenizer(model_dir / "tokenizer.json", self._text, files.read)
        files.verify_unread()
        self._text_batch_size = min(batch_size, _TEXT_BATCH_SIZE)
        self._text_engine: Engine | None = None
        self._varies = False
        self._text_lock = threading.Lock()

    @classmethod
    def load(
        cls,
        name_or_dir: str | Path,
        *,
        device: str = "CPU",
        batch_size: int = BATCH_SIZE,
        precision: str = "auto",
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
            Images in one batch, and at most so many texts; every batch costs as much as a full one.
        precision : {"auto", "f32", "bf16", "f16"}
            Of arithmetic. By default the device chooses: bf16 where a CPU has it, twice as fast,
            cosine above 0.999 with f32. ``"f32"`` gives nearly the same vectors on every machine.
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
        manifest = load_manifest(model_dir, verify_hashes=False)
        files = ModelFiles(model_dir, manifest.files, verify=verify_hashes)
        return cls(model_dir, manifest, files, runtime, batch_size)

    @property
    def least_side_px(self) -> int:
        """The side that images are resized to; a crop of it may be smaller."""
        return self.manifest.image.resize_px

    @property
    def first_batch_size(self) -> int:
        """One row less than a batch: the golden vector's."""
        return max(1, self.batch_size - 1)

    def preprocess(self, image: Image.Image) -> UInt8Array:
        """Resize and crop as the model's own ``preprocessor_config.json`` says."""
        upright = image if image.mode == "RGB" else image.convert("RGB")
        return preprocess(upright, self.manifest.image)

    def embed_pixels(self, batches: Iterable[UInt8Array]) -> Iterator[Float32Array]:
        """Embed batches of pixels, several in flight, lazily and in order (see `Encoder`)."""
        self._files.check()
        checked = ({"pixel_values": self._checked(batch)} for batch in batches)
        return (unit_rows(rows) for rows in self._images.run(checked))

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Embed texts; long ones are cut at the model's context length, keeping the end token.

        Notes
        -----
        Texts of like length are computed together, and no longer than they are where the model
        allows it (see `_shorter_texts`): captions cost a fifth of a full context.
        """
        self._files.check()
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            block = texts[start : start + _TEXTS_AT_ONCE]
            found[start : start + len(block)] = self._embed_block(block)
        return unit_rows(found)

    def _embed_block(self, texts: Sequence[str]) -> Float32Array:
        engine = self._texts()
        ids, mask = self._tokenize(texts)
        lengths = self._padded_lengths(mask)
        rows = np.empty((len(texts), self.dim), np.float32)
        groups = [
            alike[i : i + self._text_batch_size]
            for length in np.unique(lengths)
            for alike in [np.flatnonzero(lengths == length)]
            for i in range(0, len(alike), self._text_batch_size)
        ]
        batches = (self._text_batch(ids[group], mask[group], lengths[group[0]]) for group in groups)
        for group, found in zip(groups, engine.run(batches), strict=True):
            rows[group] = found
        return rows

    def _padded_lengths(self, mask: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how many tokens each text is computed with, from its own length alone."""
        whole = self._text.context_length
        if not self._varies:
            return np.full(len(mask), whole)
        n_steps = -(-mask.sum(axis=1) // _LENGTH_STEP)
        lengths: npt.NDArray[np.int64] = np.minimum(n_steps * _LENGTH_STEP, whole)
        return lengths

    def confirm(self) -> None:
        """Check the model's files, and that the first batches still give the same vectors."""
        self._files.check()
        for engine in filter(None, (self._images, self._text_engine)):
            engine.confirm()

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

    def _texts(self) -> Engine:
        with self._text_lock:
            if self._text_engine is None:
                shorter = self._shorter_texts()
                self._varies = shorter is not None
                engine = shorter or self._compile_texts(shorter=False)
                ids, mask = self._tokenize([self.manifest.golden.text])
                golden = self._text_batch(ids, mask, self._padded_lengths(mask)[0])
                expected = self.manifest.golden.text_vector
                rows = engine.run_alone(golden)
                _check_golden(self._model_dir, self.manifest, expected, engine, rows)
                self._text_engine = engine
            return self._text_engine

    def _text_batch(self, ids: _Tokens, mask: _Tokens, length: int) -> Arrays:
        arrays = {"input_ids": ids, "attention_mask": mask}
        return {name: arrays[name][:, :length] for name in self._text.inputs}

    def _shorter_texts(self) -> Engine | None:
        """Return an engine for texts without their padding, if that gives the same vectors.

        CLIP attends backwards only and pools the end token, so padding changes nothing; but a
        graph may have its length built in, and then fails or gives others. A text or two tell.
        """
        if self.manifest.family != "clip" or self._runtime.device != "CPU":
            return None
        ids, mask = self._tokenize(["a photo of a cat", ""][: self._text_batch_size])
        length = -(-int(mask.sum(axis=1).max()) // _LENGTH_STEP) * _LENGTH_STEP
        whole = self._text_batch(ids, mask, self._text.context_length)
        short = self._text_batch(ids, mask, length)
        try:
            engine = self._compile_texts(shorter=True)
            ours, theirs = (unit_rows(rows) for rows in engine.run([short, whole]))
        except (InferenceError, ModelInvalidError):
            return None
        return engine if np.einsum("ij,ij->i", ours, theirs).min() >= _SAME_COSINE else None

    def _compile_texts(self, *, shorter: bool) -> Engine:
        spec = self._text
        return Engine(
            self._model_dir / "text_encoder.xml",
            self._runtime,
            dict.fromkeys(spec.inputs, (self._text_batch_size, spec.context_length)),
            dim=self.dim,
            shorter=shorter,
            identity=self.fingerprint,
            read=self._files.read,
        )


def _check_golden(
    model_dir: Path, manifest: ModelManifest, expected: str, engine: Engine, rows: Float32Array
) -> None:
    """Check that an encoder gives the vector of model.json, whatever it was compiled to."""
    cosine = float(unit_rows(rows)[0] @ golden_vector(expected))
    facts = engine.describe()
    limit = _GOLDEN_COSINES.get(facts["precision"], min(_GOLDEN_COSINES.values()))
    if manifest.precision == "int8":
        limit = _GOLDEN_COSINE_INT8
    if not cosine >= limit:
        raise ModelInvalidError(
            f"The {engine.name} of model {model_dir} does not give its golden vector in "
            f"model.json: cosine {cosine:.4f}, expected {limit} or more (OpenVINO "
            f"{facts['openvino']}, {facts['device_name']}, {facts['precision']}). Make the "
            "model directory again, or try `--precision f32` or another `--device`.",
            path=model_dir,
            cosine=cosine,
        )


_MODEL_FACTS = (
    *("name", "source", "revision", "licence", "family", "dim", "fingerprint", "files"),
    *("precision", "logit_scale", "logit_bias"),
)
