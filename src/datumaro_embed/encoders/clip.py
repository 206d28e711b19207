"""CLIP and its relatives on OpenVINO: embed images and texts with a model directory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InferenceError, ModelInvalidError
from ..models import ModelFiles, ModelManifest, TextTokenizer, load_manifest, resolve_model
from .base import Encoder, Float32Array
from .engine import Arrays, Engine
from .images import OpenVinoImageEncoder, check_golden
from .runtime import Runtime, cache_folder

_TEXT_BATCH_SIZE = 16
_TEXTS_AT_ONCE = 4096
_LENGTH_STEP = 8  # tokens
_SAME_COSINE = 0.999  # bf16 rounding alone stays above 0.9999
# CLIP's attention only looks backward and the end token is pooled; the others mask padding.
_IGNORES_PADDING = {"clip", "metaclip_2", "chinese_clip", "altclip", "jina_clip"}

_Tokens = npt.NDArray[np.int64]


class ClipEncoder(OpenVinoImageEncoder, Encoder):
    """Embeds images and texts with a model directory; thread-safe.

    The text encoder is compiled on first use, after its files are verified again.
    """

    def __init__(
        self,
        model_dir: Path,
        manifest: ModelManifest,
        files: ModelFiles,
        runtime: Runtime,
        batch_size: int,
    ) -> None:
        super().__init__(model_dir, manifest, files, runtime, batch_size)
        if manifest.text is None:
            raise ModelInvalidError(
                f"Model {model_dir} has no text encoder. Load it with `load_encoder`.",
                path=model_dir,
            )
        self._spec = manifest.text
        self._tokenize = TextTokenizer(model_dir / "tokenizer.json", self._spec, files.read)
        self._text_batch_size = min(self.batch_size, _TEXT_BATCH_SIZE)
        self._text_engine: Engine | None = None
        self._length_step = self._spec.context_length  # lengths of batches are multiples of this
        self._text_lock = threading.Lock()

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Embed texts; long ones are truncated to the model's context length, with the end token.

        Notes
        -----
        Texts of similar length are computed together, without padding to the full context if the
        model allows it (see `_texts`): captions cost a fifth of a full context.
        """
        self._files.check()
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            engine = self._texts()
            ids, mask = self._tokenize(texts[start : start + _TEXTS_AT_ONCE])
            n_steps = -(-mask.sum(axis=1) // self._length_step)
            groups = [
                alike[i : i + self._text_batch_size]
                for n in np.unique(n_steps)
                for alike in [np.flatnonzero(n_steps == n)]
                for i in range(0, len(alike), self._text_batch_size)
            ]
            batches = (self._text_batch(ids[g], mask[g], self._length_step) for g in groups)
            for group, rows in zip(groups, engine.run(batches), strict=True):
                found[start + group] = rows
        return found

    def embed_fixed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Like `embed_texts`, and keep the vectors in the user's cache, by model and precision.

        A text costs up to a quarter of a second, as SigLIP's encoders compute their full context.
        """
        facts = {"model": self.fingerprint, "texts": [*texts], **self._texts().describe()}
        with cache_folder(facts) as folder:
            kept = None if folder is None else folder / "vectors.npy"
            if kept is not None and kept.is_file():
                found: Float32Array = np.load(kept, allow_pickle=False)
                return found
            rows = self.embed_texts(texts)
            if kept is not None:
                try:
                    np.save(kept, rows, allow_pickle=False)
                except OSError:  # a part of a file must not be kept
                    kept.unlink(missing_ok=True)
            return rows

    def engines(self) -> Iterable[Engine]:
        return filter(None, (self._image_engine, self._text_engine))

    def label_prompt(self, name: str) -> str:
        """Return the model's prompt template with a label's name; ``_`` becomes a space."""
        return self.manifest.prompt_template.replace("{}", " ".join(name.replace("_", " ").split()))

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "prompt_template": self.manifest.prompt_template}

    def _texts(self) -> Engine:
        """Return the text encoder, compiled at its first use.

        It takes texts without padding if that gives the same vectors. In some families padding has
        no effect. But a graph may have its length built in, and then fails or gives other vectors.
        One or two texts show which. Where the rows of a batch change each other's vectors, so does
        padding.
        """
        with self._text_lock:
            if self._text_engine is not None:
                return self._text_engine
            manifest, whole = self.manifest, self._spec.context_length
            compiled = partial(
                Engine,
                self._model_dir / "text_encoder.xml",
                self._runtime,
                dict.fromkeys(self._spec.inputs, (self._text_batch_size, whole)),
                dim=self.dim,
                identity=self.fingerprint,
                read=self._files.read,
            )
            engine: Engine | None = None
            ignores = manifest.family in _IGNORES_PADDING and not manifest.one_by_one
            if ignores and self._runtime.device == "CPU":
                ids, mask = self._tokenize(["a photo of a cat", ""][: self._text_batch_size])
                pair = [self._text_batch(ids, mask, step) for step in (_LENGTH_STEP, whole)]
                try:
                    engine = compiled(shorter=True)
                    ours, theirs = engine.run(pair)
                    if not np.einsum("ij,ij->i", ours, theirs).min() >= _SAME_COSINE:
                        engine = None
                except (InferenceError, ModelInvalidError):
                    engine = None
            self._length_step = whole if engine is None else _LENGTH_STEP
            if engine is None:
                engine = compiled(shorter=False)

            golden = self._text_batch(*self._tokenize([manifest.golden.text]), self._length_step)
            expected = manifest.golden.text_vector
            check_golden(self._model_dir, manifest, expected, engine, engine.run_alone(golden))
            self._text_engine = engine
            return engine

    def _text_batch(self, ids: _Tokens, mask: _Tokens, step: int) -> Arrays:
        """Return texts padded to a multiple of `step` tokens, at most to the context length."""
        length = max(1, -(-int(mask.sum(axis=1).max()) // step)) * step
        arrays = {"input_ids": ids, "attention_mask": mask}
        return {name: arrays[name][:, :length] for name in self._spec.inputs}


FAMILIES: dict[str, type[OpenVinoImageEncoder]] = {
    "clip": ClipEncoder,
    "siglip": ClipEncoder,
    "open_clip": ClipEncoder,
    "metaclip_2": ClipEncoder,
    "chinese_clip": ClipEncoder,
    "altclip": ClipEncoder,
    "jina_clip": ClipEncoder,
    "image": OpenVinoImageEncoder,
}
"""Family in model.json → encoder class; without a text encoder, only images are embedded."""


def load_encoder(name_or_dir: str | Path, **options: Any) -> OpenVinoImageEncoder:
    """Load a model directory with the class of its family.

    Raises `ModelNotFoundError`, `ModelInvalidError`, `DeviceNotFoundError`, `UsageError`,
    `InferenceError`.

    Parameters
    ----------
    name_or_dir : str or Path
        A directory, or a name (see `models.resolve_model`).
    **options
        Options of `OpenVinoImageEncoder.load`.

    Returns
    -------
    OpenVinoImageEncoder
        Also a `TextEncoder` if the model has a text encoder.
    """
    manifest = load_manifest(resolve_model(name_or_dir), verify_hashes=False)
    family = FAMILIES[manifest.family] if manifest.text is not None else OpenVinoImageEncoder
    return family.load(name_or_dir, **options)
