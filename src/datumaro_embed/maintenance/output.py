"""Where `merge` and `repair` write: nothing that is there is lost, and no half of a store stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import StoreExistsError
from ..outputs import check_output
from ..place import StorePlace
from ..store import EmbeddingStore, ShardRun

__all__ = ["checked_output", "run_like"]


def checked_output(output: str | os.PathLike[str], *, replace: bool | None = None) -> StorePlace:
    """Return the place of a store that may be written.

    Parameters
    ----------
    output : path
    replace : bool, optional
        What is there may be replaced; None where the command cannot.

    Raises
    ------
    StoreExistsError
        A store is there, or shards of a run towards it, and they are not to be replaced.
    UsageError, StoreWriteError
    """
    place = StorePlace.of(output)
    place.check()
    if replace and os.path.lexists(place.target):
        return place
    check_output(place.target, remedy="" if replace is None else "--replace")
    if replace:
        return place
    if os.path.lexists(place.directory):
        raise StoreExistsError(
            f"'{place.directory}' holds a run towards '{output}' that did not end; let it end or "
            "remove it, or choose another path.",
            path=str(place.directory),
        )
    return place


@contextmanager
def run_like(store: EmbeddingStore, place: StorePlace, **options: Any) -> Iterator[ShardRun]:
    """Begin a store of the same vectors as another; leaves nothing behind where the block fails."""
    with ShardRun(
        place.directory,
        dim=store.dim,
        dtype=store.dtype.name,
        run_fingerprint=store.run_fingerprint,
        restart=True,
        store=place.target,
        **options,
    ) as run:
        try:
            yield run
        except BaseException:
            run.discard()
            raise
