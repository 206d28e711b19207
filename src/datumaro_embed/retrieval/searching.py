"""Search a store, by comparing every row or with the index."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from ..display import Displayed, Origin
from ..encoders import ImageEncoder
from ..errors import UsageError
from ..flags import DEFAULT_K, DEFAULT_TABLE
from ..records import Hit, ItemKey, ObjectKey, Split
from ..similarity import RowGraph, graph_path, nearest_rows, open_graph
from ..store import EmbeddingStore, using_store
from ..tally import counted
from .filters import ALL, Filters, matching_rows
from .query import SINGLE_QUERY, QueryEmbedder, QueryInput, compose

Float64Array = npt.NDArray[np.float64]
Texts = str | Sequence[str]

_MAX_GRAPH_K = 1000
_INDEXED = "items"
_graphs: WeakKeyDictionary[EmbeddingStore, tuple[tuple[int, int, int], RowGraph]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options of a search, the same for the transform, Python and the command line.

    Attributes
    ----------
    k : int
        Maximum number of hits.
    minus : sequence of QueryInput
        Queries that hits should be unlike; their mean is subtracted from the mean of the others.
    model : str, optional
        Name or directory of the model for texts and images; the default is the store's model.
    exact : bool
        Compare with every row even if there is an index.
    of : {"items", "objects", "captions"}
        The table to search.
    min_relevance : float, optional
        Leave out hits with a lower relevance (see `background.Relevance`); only for texts.
    """

    k: int = DEFAULT_K
    minus: Sequence[QueryInput] = ()
    filters: Filters = ALL
    model: str | None = None
    exact: bool = False
    of: str = DEFAULT_TABLE
    min_relevance: float | None = None

    def items(self, queries: Sequence[QueryInput]) -> list[ItemKey]:
        """Return the items in the queries and in `minus`."""
        each = (*queries, *self.minus)
        return [query.item for query in each if isinstance(query, ItemKey | ObjectKey)]

    def __post_init__(self) -> None:
        if isinstance(self.minus, SINGLE_QUERY):  # a single query
            object.__setattr__(self, "minus", (self.minus,))
        if self.k < 1:
            raise UsageError(f"``k`` must be at least 1, not {self.k}. Ask for one hit or more.")


class Hits(list[Hit], Displayed):
    """Hits, in order; a notebook displays them with pictures of the store."""

    origin: Origin | None = None


@dataclass(frozen=True, slots=True, repr=False)
class SearchResult:
    """Hits, and whether every row was compared (an index may miss some)."""

    hits: Hits
    exact: bool
    of: str = DEFAULT_TABLE

    def __repr__(self) -> str:
        first = f", first {self.hits[0].key!r}" if self.hits else ""
        return f"<SearchResult: {counted(len(self.hits), 'hits')}{first}, exact={self.exact}>"


def search_request(
    queries: Texts,
    *,
    image: Texts = (),
    item: Texts = (),
    object: Texts = (),  # noqa: A002 - named like its flag
    minus: Texts = (),
    not_image: Texts = (),
    not_item: Texts = (),
    not_object: Texts = (),
    k: int = DEFAULT_K,
    subset: Texts = (),
    split: Texts = (),
    label: Texts = (),
    model: str | None = None,
    exact: bool = False,
    of: str = DEFAULT_TABLE,
    min_relevance: float | None = None,
) -> tuple[list[QueryInput], SearchOptions]:
    """Convert the flags of `flags.add_search_arguments` to queries and options.

    Raises `UsageError`: no query, an empty one, a k below 1, or an item that is not SUBSET/ID.
    """
    sides = [
        [[given] if isinstance(given, str) else given for given in side]
        for side in ((queries, image, item, object), (minus, not_image, not_item, not_object))
    ]
    if not any(sides[0]):
        raise UsageError("There is no query. Give a text, an ``image``, an ``item`` or ``object``.")
    if any(isinstance(text, str) and not text.strip() for texts, *_ in sides for text in texts):
        raise UsageError("A query is empty. Enter the text to search for.")
    combined: list[list[QueryInput]] = []
    for texts, images, items, objects in sides:
        # With one item, an object may be only its number N.
        if len(items) == len(objects) == 1 and objects[0].isascii() and objects[0].isdigit():
            items, objects = [], [f"{items[0]}#{objects[0]}"]
        keys: list[ItemKey | ObjectKey] = []
        for kind, what, names in (
            (ItemKey, "an item key. Write SUBSET/ID, as in train/1", items),
            (ObjectKey, "an object key. Write SUBSET/ID#N, as in train/1#0", objects),
        ):
            for name in names:
                try:
                    keys.append(kind.parse(name))
                except ValueError as error:
                    raise UsageError(f"'{name}' is not {what}.") from error
        combined.append([*texts, *map(Path, images), *keys])
    options = SearchOptions(
        k=k,
        minus=combined[1],
        filters=Filters(subset, split, label),
        model=model,
        exact=exact,
        of=of,
        min_relevance=min_relevance,
    )
    return combined[0], options


def search(
    store: EmbeddingStore | str | PathLike[str],
    *queries: QueryInput,
    k: int = DEFAULT_K,
    minus: Sequence[QueryInput] = (),
    subsets: Sequence[str] = (),
    splits: Sequence[str] = (),
    labels: Sequence[str] = (),
    encoder: ImageEncoder | None = None,
    model: str | None = None,
    exact: bool = False,
    of: str = DEFAULT_TABLE,
    min_relevance: float | None = None,
) -> Hits:
    """Find the items, objects or captions nearest to a query.

    Parameters
    ----------
    store : EmbeddingStore or path
    *queries : str, Path, Image.Image, ItemKey, ObjectKey or array of shape (dim,)
        A text (embedded as typed, without a prompt), an image file, an upright image, an item of
        the store, an object (with `of="captions"`, a caption) or a vector. Several queries are
        combined by the mean of their unit vectors.
    k : int
        Maximum number of hits.
    minus : sequence of the same kinds
        Queries that hits should be unlike; their mean is subtracted.
    subsets, splits, labels : sequence of str
        See `Filters`.
    encoder : ImageEncoder, optional
        For texts and images; load it once for many searches. The default is to load `model`.
    model : str, optional
        Name or directory; the default is the store's model.
    exact : bool
        Compare with every row even if there is an index (see docs/search.md).
    of : {"items", "objects", "captions"}
        What to find. Objects and captions have no index, so all are compared.
    min_relevance : float, optional
        Leave out less relevant hits; with 3 to 4, most meaningless texts have no hits
        (docs/search.md). Only for texts.

    Returns
    -------
    Hits
        A list of `Hit`, by descending similarity, ties in row order; without rows that have no
        vector.

    Raises
    ------
    UsageError
        A query has another type or length, is empty or cancels out; a filter has an unknown name;
        the store has no such table.
    ItemNotFoundError, ItemFailedError
        An item of the query is not in the store, or has no vector.
    ModelNotFoundError, ModelMismatchError
        The model is not on this machine, or did not make the store.

    Notes
    -----
    Takes less than 0.1 s for a million rows of length 512 on two cores; with an index, once it is
    open for this store, a few ms.
    """
    filters = Filters(subsets, splits, labels)
    options = SearchOptions(
        k=k,
        minus=minus,
        filters=filters,
        model=model,
        exact=exact,
        of=of,
        min_relevance=min_relevance,
    )
    with using_store(store) as opened:
        return run_search(opened, queries, options, encoder=encoder).hits


def run_search(
    store: EmbeddingStore,
    queries: Sequence[QueryInput],
    options: SearchOptions,
    *,
    encoder: ImageEncoder | None = None,
    keep: Callable[[Hit], bool] | None = None,
) -> SearchResult:
    """Like `search`, and also tell whether an index was used.

    Hits for which `keep` is false are skipped and replaced by the next ones. `keep` is called in
    the order of hits until there are k, and may be called again for the same hit.
    """
    if not queries:
        raise UsageError("There is no query. Give a text, an image, an item or a vector.")
    allowed = matching_rows(store, options.filters, options.of)
    embed = QueryEmbedder(store, options.of, options.model, encoder)
    plus = [embed(query) for query in queries]
    vector = compose(plus, [embed(query) for query in options.minus])
    vectors = store.table(options.of).embeddings()
    if options.min_relevance is not None:
        if not math.isfinite(options.min_relevance):
            raise UsageError("``min_relevance`` must be a finite number.")
        if not all(isinstance(query, str) for query in queries):
            raise UsageError(
                "``min_relevance`` requires queries of texts only. Remove it or the other queries."
            )
        from .background import Relevance  # few searches need it

        relevance = Relevance(embed.fixed_texts, vectors, np.flatnonzero(allowed)).of(compose(plus))
        allowed &= relevance >= options.min_relevance

    # The index is of items, and answers without filters, for not too many hits. Opening it for a
    # million rows takes 70 ms, a search about 2 ms: it is opened once per open store.
    has_index = options.filters == ALL and options.min_relevance is None and options.of == _INDEXED
    k, exact, path = options.k, options.exact, graph_path(store.path)
    while True:
        has_index = has_index and not exact and k <= _MAX_GRAPH_K and path.is_file()
        if has_index:
            facts = path.stat()
            state = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if store not in _graphs or _graphs[store][0] != state:
                graph = open_graph(path, uuid=store.uuid, n_rows=store.n_rows, dim=store.dim)
                _graphs[store] = (state, graph)
            found = _graphs[store][1].nearest_rows(vectors, vector[None], k)[0]
            hits = _hits(store, options.of, *found)
        else:
            rows, similarities = nearest_rows(vectors, vector[None], k, allowed=allowed)
            hits = _hits(store, options.of, rows[0], similarities[0])
        n_found = len(hits)
        if keep is not None:
            hits[:] = islice(filter(keep, hits), options.k)
        if keep is None or len(hits) == options.k or (not has_index and n_found < k):
            return SearchResult(hits, not has_index, options.of)
        k, exact = 2 * k, True


def search_vectors(
    store: EmbeddingStore,
    vectors: npt.ArrayLike,
    *,
    k: int = DEFAULT_K,
    filters: Filters = ALL,
    of: str = DEFAULT_TABLE,
) -> list[list[Hit]]:
    """Find the exact nearest rows of many vectors, in one pass over a table.

    Parameters
    ----------
    vectors : array of shape (n_queries, dim)
        Of any norm except zero.
    """
    allowed = matching_rows(store, filters, of)
    rows, similarities = nearest_rows(store.table(of).embeddings(), vectors, k, allowed=allowed)
    return [_hits(store, of, *found) for found in zip(rows, similarities, strict=True)]


def _hits(
    store: EmbeddingStore, of: str, rows: npt.NDArray[np.int64], similarities: Float64Array
) -> Hits:
    hits, table = Hits(), store.table(of)
    hits.origin = store.origin()
    for row, similarity in zip(rows.tolist(), similarities.tolist(), strict=True):
        item_row = table.item_row(row)
        split, path = Split(store.splits[item_row]), store.text("items/path", item_row)
        shown = split, path, table.labels_of(row)
        hits.append(Hit(table.key(row), row, similarity, *shown, **table.facts(row)))
    return hits
