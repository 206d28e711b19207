"""CLIP and its relatives on OpenVINO: embed images and texts with a model directory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
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
_LENGTH_STEP = 8
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
        self._varies = False
        self._text_lock = threading.Lock()

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Embed texts; long ones are truncated to the model's context length, with the end token.

        Notes
        -----
        Texts of similar length are computed together, without padding to the full context if the
        model allows it (see `_shorter_texts`): captions cost a fifth of a full context.
        """
        self._files.check()
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            engine = self._texts()
            ids, mask = self._tokenize(texts[start : start + _TEXTS_AT_ONCE])
            lengths = self._padded_lengths(mask)
            groups = [
                alike[i : i + self._text_batch_size]
                for length in np.unique(lengths)
                for alike in [np.flatnonzero(lengths == length)]
                for i in range(0, len(alike), self._text_batch_size)
            ]
            batches = (self._text_batch(ids[g], mask[g], lengths[g[0]]) for g in groups)
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

    def _padded_lengths(self, mask: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the padded length of each text in tokens, found only from the text's length."""
        whole = self._spec.context_length
        if not self._varies:
            return np.full(len(mask), whole)
        n_steps = -(-mask.sum(axis=1) // _LENGTH_STEP)
        lengths: npt.NDArray[np.int64] = np.minimum(n_steps * _LENGTH_STEP, whole)
        return lengths

    def engines(self) -> Iterable[Engine]:
        return filter(None, (self._image_engine, self._text_engine))

    def label_prompt(self, name: str) -> str:
        """Return the model's prompt template with a label's name; ``_`` becomes a space."""
        return self.manifest.prompt_template.replace("{}", " ".join(name.replace("_", " ").split()))

    def provenance(self) -> dict[str, Any]:
        return {**super().provenance(), "prompt_template": self.manifest.prompt_template}

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
                check_golden(self._model_dir, self.manifest, expected, engine, rows)
                self._text_engine = engine
            return self._text_engine

    def _text_batch(self, ids: _Tokens, mask: _Tokens, length: int) -> Arrays:
        arrays = {"input_ids": ids, "attention_mask": mask}
        return {name: arrays[name][:, :length] for name in self._spec.inputs}

    def _shorter_texts(self) -> Engine | None:
        """Return an engine for texts without padding, if that gives the same vectors; else None.

        In these families padding has no effect. But a graph may have its length built in, and then
        fails or gives other vectors. One or two texts show which. Where the rows of a batch change
        each other's vectors, so does padding.
        """
        ignores = self.manifest.family in _IGNORES_PADDING and not self.manifest.one_by_one
        if not ignores or self._runtime.device != "CPU":
            return None
        ids, mask = self._tokenize(["a photo of a cat", ""][: self._text_batch_size])
        length = -(-int(mask.sum(axis=1).max()) // _LENGTH_STEP) * _LENGTH_STEP
        whole = self._text_batch(ids, mask, self._spec.context_length)
        short = self._text_batch(ids, mask, length)
        try:
            engine = self._compile_texts(shorter=True)
            ours, theirs = engine.run([short, whole])
        except (InferenceError, ModelInvalidError):
            return None
        return engine if np.einsum("ij,ij->i", ours, theirs).min() >= _SAME_COSINE else None

    def _compile_texts(self, *, shorter: bool) -> Engine:
        spec = self._spec
        return Engine(
            self._model_dir / "text_encoder.xml",
            self._runtime,
            dict.fromkeys(spec.inputs, (self._text_batch_size, spec.context_length)),
            dim=self.dim,
            shorter=shorter,
            identity=self.fingerprint,
            read=self._files.read,
        )


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
