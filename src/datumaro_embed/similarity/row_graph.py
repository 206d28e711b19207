"""An HNSW index of a store's rows: a USearch file beside the store, memory-mapped from disk.

A JSON trailer after USearch's data binds the file to the store. The rows that the index finds are
ranked again with the store's vectors in float64, so similarities are exact; only rows that the
index does not find are missed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import usearch
from tqdm import tqdm
from usearch.index import Index

from ..errors import StoreForeignError, StoreIndexError
from ..files import FileSystem, open_regular, publish, read_errors
from ..parallel import usable_processors
from .cosine import Float64Array, IntArray, VectorArray, best, cosines
from .exact import unit_queries

_FORMAT = "datumaro-embed-index"
_FORMAT_VERSION = 2
_MAGIC = b"DTMEMBIX"
_MAX_TRAILER_BYTES = 65_536
_PAGE_WORDS = 512
_PIECE_BYTES = 32 * 2**20
_BLOCK_ROWS = 8192
_ALONE_ROWS = 1024
_CONNECTIVITY = 16
_EXPANSION_ADD = 128
_EXPANSION_SEARCH = 256


class RowGraph:
    """Finds approximate nearest neighbors in a store; the keys of the index are row numbers."""

    def __init__(self, index: Any) -> None:
        self._index = index
        index.expansion_search = _EXPANSION_SEARCH

    def __len__(self) -> int:
        return len(self._index)

    def nearest_rows(
        self, vectors: VectorArray, queries: npt.ArrayLike, k: int
    ) -> list[tuple[IntArray, Float64Array]]:
        """Like `exact.nearest_rows` without a filter, but may miss some rows."""
        unit = unit_queries(queries, vectors.shape[1])
        count = min(2 * k + 16, len(self))
        if not count or not len(unit):
            return [(np.zeros(0, np.int64), np.zeros(0))] * len(unit)
        matches = self._index.search(np.ascontiguousarray(unit, dtype=np.float32), count)
        keys = np.asarray(matches.keys, dtype=np.int64).reshape(len(unit), -1)
        counts = getattr(matches, "counts", [keys.shape[1]] * len(unit))  # absent for one query
        return [
            best(rows, cosines(vectors, rows, query), k)
            for query, found, n in zip(unit, keys, counts, strict=True)
            for rows in [np.unique(found[: int(n)])]
        ]


def build_graph(vectors: VectorArray, rows: IntArray, *, progress: bool = False) -> RowGraph:
    """Index some rows, in ascending order and none of them zero; can be interrupted.

    Takes minutes for a million rows of length 512. The index holds int8 copies, measured to be as
    good as float16 in half the space and time; memory: dim + 300 bytes per row. One thread adds the
    first rows: several threads in a nearly empty graph left rows that no search found.
    """
    index = Index(
        ndim=vectors.shape[1],
        metric="cos",
        dtype="i8",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        expansion_search=_EXPANSION_SEARCH,
    )
    bar = tqdm(total=len(rows), desc="Indexing", unit="row", disable=None if progress else True)
    with bar:
        first, rest = rows[:_ALONE_ROWS], rows[_ALONE_ROWS:]
        blocks = (rest[i : i + _BLOCK_ROWS] for i in range(0, len(rest), _BLOCK_ROWS))
        for here in (first, *blocks):
            threads = 1 if len(index) < len(first) else 0  # 0: all processors
            index.add(here.astype(np.uint64), vectors[here], threads=threads)
            bar.update(len(here))
    return RowGraph(index)


def graph_path(store_path: str | os.PathLike[str]) -> Path:
    """Return the path of a store's index: ``clip.h5`` → ``clip.h5.usearch``."""
    return Path(f"{Path(store_path)}.usearch")


def write_graph(graph: RowGraph, path: Path, *, uuid: str, n_rows: int) -> int:
    """Publish an index file, whole or not at all, bound to a store; return its size in bytes.

    Raises `StoreWriteError`.
    """
    image: bytearray = graph._index.save()
    facts = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "store_uuid": uuid,
        "n_rows": n_rows,
        "n_indexed": len(graph),
        "index_bytes": len(image),
        "checksum": _checksum(image),
        "usearch": usearch.__version__,
    }
    trailer = json.dumps(facts, sort_keys=True).encode()
    tail = trailer + len(trailer).to_bytes(8, "little") + _MAGIC
    n_bytes = len(image) + len(tail)
    publish(path, [image, tail], n_bytes, FileSystem())
    return n_bytes


def open_graph(path: Path, *, uuid: str, n_rows: int, dim: int) -> RowGraph:
    """Memory-map an index file.

    Raises `StoreIndexError`: damaged, or of another store or an earlier state of this one.

    Reads the whole file once to check it, about 40 ms for a million rows of length 512: with a
    damaged file, USearch would return wrong rows or access invalid memory. The checksum detects
    damage but not forgery: build an index where you use it, and do not take one from others.
    """
    try:
        with open_regular(path) as stream, read_errors(path):
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _MAX_TRAILER_BYTES))
            tail = stream.read()
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except (FileNotFoundError, StoreForeignError) as error:
        raise _refused(path, "is not a file") from error
    length = int.from_bytes(tail[-16:-8], "little")
    if len(tail) < 16 or tail[-8:] != _MAGIC or length > len(tail) - 16:
        raise _refused(path, "is not an index of this version")
    try:
        facts = json.loads(tail[-16 - length : -16])
    except ValueError as error:
        raise _refused(path, "is damaged (its trailer cannot be read)") from error
    known = isinstance(facts, dict) and facts.get("format") == _FORMAT
    if not known or facts.get("format_version") != _FORMAT_VERSION:
        raise _refused(path, "is not an index of this version")
    if facts.get("index_bytes") != size - length - 16:
        raise _refused(path, "is damaged (its size differs from the recorded size)")
    if facts.get("store_uuid") != uuid or facts.get("n_rows") != n_rows:
        raise _refused(path, "belongs to another store, or to an earlier state of this one")
    if _checksum(memoryview(mapped)[: facts["index_bytes"]]) != facts.get("checksum"):
        raise _refused(path, "is damaged (its checksum differs from its content)")
    try:
        index = Index.restore(os.fspath(path), view=True)
    except Exception as error:  # USearch raises RuntimeError and ValueError, from C++
        raise _refused(path, f"is damaged ({error})") from error
    if index is None or index.ndim != dim or len(index) != facts.get("n_indexed"):
        raise _refused(path, "is damaged (its header and trailer disagree)")
    return RowGraph(index)


def _checksum(image: bytes | bytearray | memoryview) -> str:
    """Return the SHA-256 of the sums of 64-bit words in each 4 KiB page, and of the last bytes.

    Ten times as fast as SHA-256 of all bytes, and detects any flipped bit, lost or swapped page.
    """
    n_words = len(image) // 8
    words = np.frombuffer(image, dtype="<u8", count=n_words // _PAGE_WORDS * _PAGE_WORDS)
    pages = words.reshape(-1, _PAGE_WORDS)
    step = _PIECE_BYTES // (8 * _PAGE_WORDS)
    pieces = [pages[i : i + step] for i in range(0, len(pages), step)]
    digest = hashlib.sha256()
    with ThreadPoolExecutor(usable_processors()) as pool:
        for sums in pool.map(lambda piece: np.add.reduce(piece, axis=1), pieces):
            digest.update(sums)
    digest.update(memoryview(image)[pages.nbytes :])
    return digest.hexdigest()


def _refused(path: Path, why: str) -> StoreIndexError:
    return StoreIndexError(
        f"The index '{path}' {why}. Build it again with `datumaro-embed index`, "
        "search with ``exact``, or delete it.",
        path=str(path),
    )
