"""Search a store: texts, images, items and vectors in, hits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..encoders import ClipEncoder, Encoder
from ..errors import ItemFailedError, ModelMismatchError, UsageError
from ..flags import DEFAULT_K
from ..models import load_manifest, resolve_model
from ..records import Hit, ItemKey, Split, Status
from ..similarity import graph_path, nearest_rows, open_graph, unit_queries
from ..store import EmbeddingStore, open_store
from .filters import ALL, Filters, labels_of_rows, matching_rows

__all__ = [
    "QueryInput",
    "SearchOptions",
    "SearchResult",
    "compose",
    "run_search",
    "search",
    "search_vectors",
]

QueryInput = str | Path | Image.Image | ItemKey | npt.NDArray[np.floating[Any]]
Float64Array = npt.NDArray[np.float64]

_MAX_GRAPH_K = 1000
_NO_DIRECTION = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How to search; each face (transform, Python, command line) fills the same fields.

    Attributes
    ----------
    k : int
        At most this many hits.
    minus : sequence of QueryInput
        What hits should be unlike: the mean of these is subtracted from the mean of the queries.
    filters : Filters
    model : str, optional
        Name or directory of the model for texts and images; that of the store unless given.
    exact : bool
        Compare with every row even where there is an index.
    """

    k: int = DEFAULT_K
    minus: Sequence[QueryInput] = ()
    filters: Filters = ALL
    model: str | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k must be at least 1, not {self.k}. Ask for one item or more.")


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, and whether every row was compared (an index may miss some)."""

    hits: list[Hit]
    exact: bool


def search(
    store: EmbeddingStore | str | PathLike[str],
    *queries: QueryInput,
    k: int = DEFAULT_K,
    minus: Sequence[QueryInput] = (),
    subsets: Sequence[str] = (),
    splits: Sequence[str] = (),
    labels: Sequence[str] = (),
    encoder: Encoder | None = None,
    model: str | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Find the items nearest to a query.

    Parameters
    ----------
    store : EmbeddingStore or path
    *queries : str, Path, Image.Image, ItemKey or array of shape (dim,)
        A text (as typed, no prompt is added), an image file, an upright image, an item of the store
        or a vector. Of several, the mean of their unit vectors is searched for.
    k : int
        At most this many hits.
    minus : sequence of the same kinds
        What hits should be unlike: the mean of these is subtracted.
    subsets, splits, labels : sequence of str
        See `Filters`.
    encoder : Encoder, optional
        For texts and images; loaded once for many searches. `model` is loaded unless given.
    model : str, optional
        Name or directory; the store's own unless given.
    exact : bool
        Compare with every row even where there is an index (see docs/search.md).

    Returns
    -------
    list of Hit
        Descending similarity, ties in row order; items without a vector are never among them.

    Raises
    ------
    UsageError
        A query is empty, of the wrong length or cancels out; a filter names what is not there.
    ItemNotFoundError, ItemFailedError
        An item of the query is not in the store, or has no vector.
    ModelNotFoundError, ModelMismatchError
        The model is not here, or is not the one that made the store.

    Notes
    -----
    About 0.1 s for a million rows of length 512 on two cores; with an index a few ms.
    """
    options = SearchOptions(
        k=k, minus=minus, filters=Filters(subsets, splits, labels), model=model, exact=exact
    )
    if isinstance(store, EmbeddingStore):
        return run_search(store, queries, options, encoder=encoder).hits
    with open_store(store) as opened:
        return run_search(opened, queries, options, encoder=encoder).hits


def run_search(
    store: EmbeddingStore,
    queries: Sequence[QueryInput],
    options: SearchOptions,
    *,
    encoder: Encoder | None = None,
) -> SearchResult:
    """As `search`, and tell whether an index was used."""
    if not queries:
        raise UsageError("There is no query. Give a text, an image, an item or a vector.")
    allowed = matching_rows(store, options.filters)
    embed = _Embedder(store, options.model, encoder)
    plus = [embed(query) for query in queries]
    vector = compose(plus, [embed(query) for query in options.minus])
    return _nearest(store, vector, allowed, options)


def search_vectors(
    store: EmbeddingStore,
    vectors: npt.ArrayLike,
    *,
    k: int = DEFAULT_K,
    filters: Filters = ALL,
) -> list[list[Hit]]:
    """Find the items nearest to each of many vectors, exactly, in one pass over the store.

    Parameters
    ----------
    vectors : array of shape (n_queries, dim)
        Of any norm but zero.

    Returns
    -------
    list of list of Hit
        One list for each vector.
    """
    allowed = matching_rows(store, filters)
    rows, similarities = nearest_rows(store.embeddings(), vectors, k, allowed=allowed)
    return [_hits(store, *found) for found in zip(rows, similarities, strict=True)]


def compose(plus: Sequence[npt.ArrayLike], minus: Sequence[npt.ArrayLike] = ()) -> Float64Array:
    """Combine queries: the mean of unit vectors, less the mean of those to be unlike.

    Parameters
    ----------
    plus, minus : sequence of array of shape (dim,)

    Returns
    -------
    array of shape (dim,), float64, norm 1

    Raises
    ------
    UsageError
        Nothing to search for, or nothing is left.
    """
    if not len(plus):
        raise UsageError("There is no query. Give a text, an image, an item or a vector.")
    dim = len(np.atleast_1d(plus[0]))
    combined: Float64Array = unit_queries(np.stack([np.asarray(v) for v in plus]), dim).mean(axis=0)
    if len(minus):
        combined -= unit_queries(np.stack([np.asarray(v) for v in minus]), dim).mean(axis=0)
    if np.linalg.norm(combined) < _NO_DIRECTION:
        raise UsageError("The queries cancel each other out. Leave one of them out.")
    unit: Float64Array = unit_queries(combined[None], dim)[0]
    return unit


class _Embedder:
    """Query → vector; the model is loaded when a query first needs it, and only the store's own."""

    def __init__(self, store: EmbeddingStore, model: str | None, encoder: Encoder | None) -> None:
        self._store = store
        self._model = model
        self._encoder = encoder
        self._checked = False

    def __call__(self, query: QueryInput) -> npt.NDArray[Any]:
        if isinstance(query, ItemKey):
            return self._of_item(query)
        if isinstance(query, str):
            if not query.strip():
                raise UsageError("A query is empty. Type what to search for.")
            return _first(self._encode().embed_texts([query]))
        if isinstance(query, Path):
            return self._of_file(query)
        if isinstance(query, Image.Image):
            return _first(self._encode().embed_images([query]))
        vector = np.asarray(query)
        if vector.shape != (self._store.dim,):
            raise UsageError(
                f"A query of shape {vector.shape} does not fit the store. "
                f"Give a vector of length {self._store.dim}."
            )
        return vector

    def _of_item(self, key: ItemKey) -> npt.NDArray[Any]:
        row = self._store.row(key)
        status = Status(int(self._store.statuses[row]))
        if status is not Status.OK:
            raise ItemFailedError(
                f"{key} has no vector ({status.name.lower()}: {self._store.item(row).error}). "
                "Query with another item.",
                key=key,
                status=status,
            )
        return _first(self._store.embeddings([row]))

    def _of_file(self, path: Path) -> npt.NDArray[Any]:
        if not path.is_file():
            raise UsageError(f"There is no image file '{path}'. Check the path.", path=str(path))
        try:
            return _first(self._encode().embed_images([path]))
        except ItemFailedError as error:
            reason = error.facts.get("reason", error)
            raise ItemFailedError(
                f"'{path}' cannot be embedded: {reason}. Give another image.", path=str(path)
            ) from error

    def _encode(self) -> Encoder:
        """Return the encoder that made the store, or refuse."""
        if self._encoder is None:
            self._encoder = _load_encoder(self._store, self._model)
        if not self._checked:
            _refuse_other_model(self._store, self._encoder.name, self._encoder.fingerprint)
            self._checked = True
        return self._encoder


def _first(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    vector: npt.NDArray[Any] = vectors[0]
    return vector


def _load_encoder(store: EmbeddingStore, model: str | None) -> Encoder:
    name = model or store.provenance.get("model", {}).get("name")
    if not name:
        raise UsageError(
            f"'{store.path}' does not say which model made it. Name it with --model, or query "
            "with items."
        )
    # The manifest alone tells a wrong model, before a right one is read and compiled.
    manifest = load_manifest(resolve_model(str(name)), verify_hashes=False)
    _refuse_other_model(store, manifest.name, manifest.fingerprint)
    return ClipEncoder.load(str(name))


def _refuse_other_model(store: EmbeddingStore, name: str, fingerprint: str) -> None:
    if fingerprint == store.run_fingerprint:
        return
    made_by = store.provenance.get("model", {}).get("name", "unknown")
    raise ModelMismatchError(
        f"The vectors in '{store.path}' are of model {made_by} ({_short(store.run_fingerprint)}), "
        f"not of {name} ({_short(fingerprint)}), and cannot be compared. Search with that model "
        "(--model DIR), or embed again with this one.",
        store_fingerprint=store.run_fingerprint,
        model_fingerprint=fingerprint,
    )


def _short(fingerprint: str) -> str:
    return f"fingerprint {fingerprint[:12]}…" if fingerprint else "no fingerprint"


def _nearest(
    store: EmbeddingStore,
    vector: Float64Array,
    allowed: npt.NDArray[np.bool_],
    options: SearchOptions,
) -> SearchResult:
    """Ask the index where it can answer: one that exists, no filter, not very many hits."""
    path = graph_path(store.path)
    if not options.exact and path.is_file():
        graph = open_graph(path, uuid=store.uuid, n_rows=store.n_rows, dim=store.dim)
        if options.filters == ALL and options.k <= _MAX_GRAPH_K:
            found = graph.nearest_rows(store.embeddings(), vector[None], options.k)[0]
            return SearchResult(_hits(store, *found), exact=False)
    rows, similarities = nearest_rows(store.embeddings(), vector[None], options.k, allowed=allowed)
    return SearchResult(_hits(store, rows[0], similarities[0]), exact=True)


def _hits(
    store: EmbeddingStore, rows: npt.NDArray[np.int64], similarities: Float64Array
) -> list[Hit]:
    labels = labels_of_rows(store, rows)
    hits = []
    for row, similarity, names in zip(rows.tolist(), similarities.tolist(), labels, strict=True):
        record = store.item(row)
        hits.append(Hit(record.key, row, similarity, Split(record.split), record.path, names))
    return hits
