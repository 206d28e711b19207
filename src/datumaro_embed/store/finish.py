"""Rows of many files → one sealed file, streamed: no more of it is in memory than a few blocks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .columns import Arrays
from .files import FileSystem, publish
from .skeleton import file_blocks, make_skeleton, shapes_of
from .union import Union
from .writer import new_info

__all__ = ["publish_sealed"]

Array = npt.NDArray[Any]
_HEAD = ("categories/", "provenance")


def publish_sealed(
    target: Path,
    union: Union,
    head: Arrays,
    run_fingerprint: str,
    files: FileSystem,
    *,
    store_uuid: str,
    workspace: Path | None = None,
) -> None:
    """Write a sealed file at `target` in one step.

    Parameters
    ----------
    union : Union
        The rows.
    head : mapping
        Its arrays under ``categories/`` and ``provenance``.
    store_uuid : str
        That of the run: the directory that it leaves behind when it is killed now tells by it that
        the file is its own.
    workspace : Path, optional
        As for `publish`.

    Raises
    ------
    StoreWriteError
        No room for the file (asked for first), or the system refused; nothing was changed.

    Notes
    -----
    Takes room for one copy. Memory: the largest column of one shard; shards are mapped.
    """
    heading = {path: array for path, array in head.items() if path.startswith(_HEAD)}
    shapes = {**union.shapes(), **shapes_of(heading)}
    stand_ins = {path: _stand_in(*shapes[path]) for path in shapes} | heading
    info = new_info(str(target), stand_ins, run_fingerprint, store_uuid=store_uuid)
    skeleton = make_skeleton(shapes, info)

    def pieces(path: str) -> Iterable[Array]:
        return [heading[path]] if path in heading else union.pieces(path)

    blocks = file_blocks(skeleton, pieces)
    publish(target, blocks, skeleton.size_bytes, files, workspace=workspace)


def _stand_in(dtype: str, shape: tuple[int, ...]) -> Array:
    """An array of this shape that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype=dtype), shape)
