"""A HNSW index of a store's rows, one file beside the store: made by USearch, viewed from disk.

The file is USearch's own, followed by a JSON trailer that binds it to the store. What it proposes
is ranked again with the store's vectors in float64, so similarities are exact and only a row that
it does not propose can be missed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import usearch
from tqdm import tqdm
from usearch.index import Index

from ..errors import StoreIndexError
from ..store.files import FileSystem, publish
from .cosine import Float64Array, IntArray, VectorArray, best, cosines, paired_cosines
from .exact import unit_queries
from .pairs import PairBlock

__all__ = ["RowGraph", "build_graph", "graph_path", "open_graph", "write_graph"]

_FORMAT = "datumaro-embed-index"
_FORMAT_VERSION = 1
_MAGIC = b"DTMEMBIX"
_MAX_TRAILER_BYTES = 65_536
_BLOCK_ROWS = 8192
_CONNECTIVITY = 16
_EXPANSION_ADD = 128
_EXPANSION_SEARCH = 128
_ROUGH = 0.005  # float16 rounding of a cosine, with room


class RowGraph:
    """Approximate nearest neighbours of the rows of a store.

    Parameters
    ----------
    index : usearch Index
        Its keys are row numbers.
    vectors : array, optional
        What the index refers to without a copy.
    """

    def __init__(self, index: Any, vectors: VectorArray | None = None) -> None:
        self._index = index
        self._borrowed = vectors  # must outlive the index
        index.expansion_search = _EXPANSION_SEARCH

    def __len__(self) -> int:
        return len(self._index)

    def nearest_rows(
        self, vectors: VectorArray, queries: npt.ArrayLike, k: int
    ) -> list[tuple[IntArray, Float64Array]]:
        """As `exact.nearest_rows` without a filter, but some rows may be missed.

        Returns
        -------
        list of (rows, similarities)
            One for each query; may be shorter than k.
        """
        unit = unit_queries(queries, vectors.shape[1])
        found = []
        for query, (keys, _) in zip(unit, self._propose(unit, 2 * k + 16), strict=True):
            rows = np.unique(keys)
            found.append(best(rows, cosines(vectors, rows, query), k))
        return found

    def similar_pairs(
        self,
        vectors: VectorArray,
        rows: IntArray,
        threshold: float,
        *,
        n_neighbours: int = 32,
        progress: bool = False,
    ) -> Iterator[PairBlock]:
        """As `pairs.similar_pairs`, but only among the nearest neighbours that each row is given.

        Yields
        ------
        PairBlock
            A pair may come twice.
        """
        wanted = np.zeros(len(vectors), dtype=bool)
        wanted[rows] = True
        bar = tqdm(
            total=len(rows), desc="Comparing", unit="row", disable=None if progress else True
        )
        with bar:
            for start in range(0, len(rows), _BLOCK_ROWS):
                here = rows[start : start + _BLOCK_ROWS]
                block = self._pairs_of(vectors, here, threshold, n_neighbours)
                among = wanted[block.first] & wanted[block.second]
                yield PairBlock(block.first[among], block.second[among], block.similarities[among])
                bar.update(len(here))

    def _pairs_of(
        self, vectors: VectorArray, rows: IntArray, threshold: float, n_neighbours: int
    ) -> PairBlock:
        proposals = self._propose(vectors[rows], n_neighbours + 1)
        near = [keys[similarities >= threshold - _ROUGH] for keys, similarities in proposals]
        one = np.repeat(rows, [len(keys) for keys in near])
        other = np.concatenate([*near, np.zeros(0, dtype=np.int64)])
        pairs = np.stack([np.minimum(one, other), np.maximum(one, other)])
        pairs = np.unique(pairs[:, one != other], axis=1)
        similarities = paired_cosines(vectors, pairs[0], pairs[1])
        kept = similarities >= threshold
        return PairBlock(pairs[0, kept], pairs[1, kept], similarities[kept])

    def _propose(
        self, queries: npt.NDArray[Any], count: int
    ) -> Iterator[tuple[IntArray, Float64Array]]:
        """Give rows and rough similarities for each query."""
        count = min(count, len(self))
        if not count or not len(queries):
            return
        dtype = np.float16 if queries.dtype == np.float16 else np.float32
        matches = self._index.search(np.ascontiguousarray(queries, dtype=dtype), count)
        keys = np.asarray(matches.keys, dtype=np.int64).reshape(len(queries), -1)
        distances = np.asarray(matches.distances, dtype=np.float64).reshape(len(queries), -1)
        counts = getattr(matches, "counts", None)
        for place in range(len(queries)):
            n = keys.shape[1] if counts is None else int(counts[place])
            yield keys[place, :n], 1 - distances[place, :n]

    def image(self) -> bytearray:
        """Return the bytes of USearch's own file."""
        saved: bytearray = self._index.save()
        return saved


def build_graph(vectors: VectorArray, rows: IntArray, *, progress: bool = False) -> RowGraph:
    """Index some rows.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Float16 rows are referred to, not copied, where `rows` has no gaps.
    rows : array of shape (n,), int64
        Ascending, none of them zero.
    progress : bool
        Show a bar where stderr is a terminal; can be interrupted.

    Notes
    -----
    Minutes for a million rows of length 512; some 300 bytes of memory for each row.
    """
    index = Index(
        ndim=vectors.shape[1],
        metric="cos",
        dtype="f16",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        expansion_search=_EXPANSION_SEARCH,
    )
    bar = tqdm(total=len(rows), desc="Indexing", unit="row", disable=None if progress else True)
    with bar:
        for start in range(0, len(rows), _BLOCK_ROWS):
            here = rows[start : start + _BLOCK_ROWS]
            whole = here[-1] - here[0] + 1 == len(here)
            block = vectors[here[0] : here[-1] + 1] if whole else vectors[here]
            borrowed = bool(whole) and vectors.dtype == np.float16
            index.add(here.astype(np.uint64), block, copy=not borrowed)
            bar.update(len(here))
    return RowGraph(index, vectors)


def graph_path(store_path: str | os.PathLike[str]) -> Path:
    """Where the index of a store lies: ``clip.h5`` → ``clip.h5.usearch``."""
    return Path(f"{Path(store_path)}.usearch")


def write_graph(
    graph: RowGraph, path: Path, *, uuid: str, n_rows: int, files: FileSystem | None = None
) -> int:
    """Publish an index file, whole or not at all, bound to a store; return its bytes.

    Raises
    ------
    StoreWriteError
    """
    image = graph.image()
    facts = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "store_uuid": uuid,
        "n_rows": n_rows,
        "n_indexed": len(graph),
        "index_bytes": len(image),
        "usearch": usearch.__version__,
    }
    trailer = json.dumps(facts, sort_keys=True).encode()
    tail = trailer + len(trailer).to_bytes(8, "little") + _MAGIC
    n_bytes = len(image) + len(tail)
    publish(path, [image, tail], n_bytes, files or FileSystem())
    return n_bytes


def open_graph(path: Path, *, uuid: str, n_rows: int, dim: int) -> RowGraph:
    """View an index file from disk.

    Raises
    ------
    StoreIndexError
        Damaged, or of another store or an earlier state of this one.

    Notes
    -----
    Only the trailer and USearch's header are checked: an index is a cache to be made where it is
    used, not a file to take from others.
    """
    facts = _trailer(path)
    if facts.get("store_uuid") != uuid or facts.get("n_rows") != n_rows:
        raise _refused(path, "is of another store, or of an earlier state of this one")
    try:
        index = Index.restore(os.fspath(path), view=True)
    except Exception as error:  # USearch raises RuntimeError and ValueError, from C++
        raise _refused(path, f"is damaged ({error})") from error
    if index is None or index.ndim != dim or len(index) != facts.get("n_indexed"):
        raise _refused(path, "is damaged (its header and its trailer do not agree)")
    return RowGraph(index)


def _trailer(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _MAX_TRAILER_BYTES))
            tail = stream.read()
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror or error})") from error
    length = int.from_bytes(tail[-16:-8], "little")
    if len(tail) < 16 or tail[-8:] != _MAGIC or length > len(tail) - 16:
        raise _refused(path, "is no index of this version")
    try:
        facts = json.loads(tail[-16 - length : -16])
    except ValueError as error:
        raise _refused(path, "is damaged (its trailer cannot be read)") from error
    known = isinstance(facts, dict) and facts.get("format") == _FORMAT
    if not known or facts.get("format_version") != _FORMAT_VERSION:
        raise _refused(path, "is no index of this version")
    if facts.get("index_bytes") != size - length - 16:
        raise _refused(path, "is damaged (it has another size than it says)")
    return dict(facts)


def _refused(path: Path, why: str) -> StoreIndexError:
    return StoreIndexError(
        f"The index '{path}' {why}. Make it again with `datumaro-embed index`, "
        "search with --exact, or delete it.",
        path=str(path),
    )
