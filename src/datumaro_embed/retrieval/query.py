"""Convert queries (texts, images, rows of the store, vectors) to one vector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import encoders
from ..encoders import ImageEncoder, texts_of
from ..errors import ItemFailedError, ModelMismatchError, UsageError
from ..models import ModelManifest, load_manifest, resolve_model
from ..records import ItemKey, ObjectKey, RowKey
from ..similarity import unit_queries
from ..store import EmbeddingStore

QueryInput = str | Path | Image.Image | RowKey | npt.NDArray[np.floating[Any]]
SINGLE_QUERY = (str, Path, Image.Image, ItemKey, ObjectKey)
Float64Array = npt.NDArray[np.float64]

_NO_DIRECTION = 1e-6


def compose(plus: Sequence[npt.ArrayLike], minus: Sequence[npt.ArrayLike] = ()) -> Float64Array:
    """Combine query vectors into a unit vector: the mean of `plus` minus the mean of `minus`.

    Raises `UsageError` if there is no query, or if the queries cancel each other out.
    """
    if not len(plus):
        raise UsageError("There is no query. Pass a text, an image, an item or a vector.")
    dim = len(np.atleast_1d(plus[0]))
    combined: Float64Array = unit_queries(np.stack([np.asarray(v) for v in plus]), dim).mean(axis=0)
    if len(minus):
        combined -= unit_queries(np.stack([np.asarray(v) for v in minus]), dim).mean(axis=0)
    if np.linalg.norm(combined) < _NO_DIRECTION:
        raise UsageError("The queries cancel each other out. Leave one of them out.")
    unit: Float64Array = unit_queries(combined[None], dim)[0]
    return unit


class QueryEmbedder:
    """Converts a query to a vector; loads the model, which must be the store's, when needed."""

    def __init__(
        self, store: EmbeddingStore, of: str, model: str | None, encoder: ImageEncoder | None
    ) -> None:
        self._store = store
        self._numbered = "captions" if of == "captions" else "objects"  # table of ObjectKeys
        self._model = model
        self._encoder = encoder

    def __call__(self, query: QueryInput) -> npt.NDArray[Any]:
        vector: npt.NDArray[Any]
        if isinstance(query, ItemKey | ObjectKey):
            is_item = isinstance(query, ItemKey)
            table = self._store.items if is_item else self._store.table(self._numbered)
            row = table.row(query)
            found = table.record(row)
            if not found.has_vector:
                facts = found.status.name.lower(), getattr(found, "error", "")
                raise ItemFailedError(
                    f"{query} has no vector ({': '.join(filter(None, facts))}). Query with another "
                    f"one of the {table.name}.",
                    key=query,
                    status=found.status,
                )
            (vector,) = table.embeddings([row])
        elif isinstance(query, str):
            if not query.strip():
                raise UsageError("A query is empty. Enter the text to search for.")
            (vector,) = texts_of(self.load()).embed_texts([query])
        elif isinstance(query, Path):
            if not query.is_file():
                raise UsageError(
                    f"There is no image file '{query}'. Check the path.", path=str(query)
                )
            try:
                (vector,) = self.load().embed_images([query], self._store.depth_range)
            except ItemFailedError as error:
                reason = error.facts.get("reason", error)
                raise ItemFailedError(
                    f"'{query}' cannot be embedded: {reason}. Give another image.", path=str(query)
                ) from error
        elif isinstance(query, Image.Image):
            (vector,) = self.load().embed_images([query], self._store.depth_range)
        else:
            vector = self._of_vector(query)
        return vector

    def load(self) -> ImageEncoder:
        """Return the encoder, which is loaded once.

        Raises `ModelError`, `UsageError`; `ModelMismatchError`: it did not make the store.
        """
        if self._encoder is None:
            # Check the manifest before reading and compiling the model.
            model_dir, _ = model_of(self._store, self._model)
            # batch_size=1, as a partial batch costs as much as a full one.
            self._encoder = encoders.load_encoder(model_dir, batch_size=1, lazily=True)
        if self._encoder.fingerprint != self._store.kind.fingerprint:
            raise _other_model(self._store, self._encoder.name, self._encoder.fingerprint)
        return self._encoder

    def fixed_texts(self, texts: list[str]) -> npt.NDArray[Any]:
        """Embed texts that are the same in every process: (n, dim), of norm 1."""
        return texts_of(self.load()).embed_fixed_texts(texts)

    def labels(self, names: list[str]) -> npt.NDArray[Any]:
        """Embed label names with the model's prompt template: (n, dim), of norm 1."""
        return texts_of(self.load()).embed_labels(names)

    def _of_vector(self, query: object) -> npt.NDArray[Any]:
        try:
            vector = np.asarray(query)
        except ValueError:  # a ragged list
            vector = np.empty(0, object)
        if vector.dtype.kind not in "fiu" or vector.ndim == 0:
            raise UsageError(
                f"A query cannot be of type {type(query).__name__}. Give a str (a text, as typed), "
                "a Path or PIL.Image (an image), an ItemKey or ObjectKey (an item or object of the "
                f"store) or a vector of length {self._store.dim}; several queries as several "
                "arguments."
            )
        if vector.shape != (self._store.dim,):
            raise UsageError(
                f"A query of shape {vector.shape} does not fit the store. "
                f"Give a vector of length {self._store.dim}."
            )
        return vector


def model_of(store: EmbeddingStore, model: str | None = None) -> tuple[Path, ModelManifest]:
    """Return the directory of the model that made a store, and its manifest; loads no weights.

    `model`: its name or directory; by default the name in the store.

    Raises `UsageError` if the store has no name, `ModelNotFoundError`, `ModelInvalidError`, and
    `ModelMismatchError` if another model made the store.
    """
    name = model or store.model_fact("name")
    if not name:
        raise UsageError(
            f"'{store.path}' does not record its model. Give the ``model``, or query with items."
        )
    model_dir = resolve_model(name)
    manifest = load_manifest(model_dir, verify_hashes=False)
    if manifest.fingerprint != store.kind.fingerprint:
        raise _other_model(store, manifest.name, manifest.fingerprint)
    return model_dir, manifest


def _other_model(store: EmbeddingStore, name: str, fingerprint: str) -> ModelMismatchError:
    made_by = store.model_fact("name") or "unknown"
    first, second = (
        f"fingerprint {text[:12]}…" if text else "no fingerprint"
        for text in (store.kind.fingerprint, fingerprint)
    )
    return ModelMismatchError(
        f"The vectors in '{store.path}' are of model {made_by} ({first}), not of {name} "
        f"({second}), and cannot be compared. Search with that ``model``, or embed again with "
        "this one.",
        store_fingerprint=store.kind.fingerprint,
        model_fingerprint=fingerprint,
    )
