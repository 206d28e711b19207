"""Build the index file of a store."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import numpy as np

from ..errors import StoreIndexError, UsageError
from ..files import remove_leftovers
from ..similarity import build_graph, graph_path, open_graph, write_graph
from ..store import EmbeddingStore, open_store
from ..tally import counted
from .filters import matching_rows


def build_index(
    store: EmbeddingStore | str | os.PathLike[str], *, rebuild: bool = False, progress: bool = False
) -> str:
    """Write an approximate index beside a store; return one line that says what was done.

    With `rebuild`, it is built again even if it is up to date; `progress` shows a bar on a
    terminal. If it cannot be written, the existing index is unchanged.

    Notes
    -----
    Takes minutes for a million rows of length 512. The file has about two thirds of the size of the
    float16 vectors; building it takes twice that in memory.
    """
    if not isinstance(store, EmbeddingStore):
        with open_store(store) as opened:
            return build_index(opened, rebuild=rebuild, progress=progress)
    path = graph_path(store.path)
    with suppress(StoreIndexError):  # stale or damaged
        if not rebuild and path.is_file():
            open_graph(path, uuid=store.uuid, n_rows=store.n_rows, dim=store.dim)
            remove_leftovers(path)
            return f"{path} is up to date"
    rows = np.flatnonzero(matching_rows(store))
    if not len(rows):
        raise UsageError(f"No item in '{store.path}' has a vector. There is nothing to index.")
    started = time.monotonic()
    graph = build_graph(store.embeddings(), rows, progress=progress)
    n_bytes = write_graph(graph, path, uuid=store.uuid, n_rows=store.n_rows)
    seconds = time.monotonic() - started
    return f"{counted(len(graph), 'rows')} in {path} ({n_bytes / 2**20:.1f} MB, {seconds:.1f} s)"
