"""Small shards of a store directory put together, without a change of any row."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ..errors import UsageError
from .columns import Arrays, ColumnBuilder
from .directory import RunDirectory
from .files import FileSystem
from .manifest import SHARD_FOLDER, Manifest, Part
from .rows import corrupt
from .run import SHARD_ROWS
from .schema import SCHEMA
from .settings import stated
from .shards import ShardFiles, is_sound
from .union import Union, whole

__all__ = ["CompactSummary", "compact_store"]


@dataclass(frozen=True, slots=True)
class CompactSummary:
    """What became of the shards.

    Attributes
    ----------
    n_before, n_after : int
        Shards.
    """

    n_before: int
    n_after: int


def compact_store(
    directory: Path, *, shard_rows: int = SHARD_ROWS, files: FileSystem | None = None
) -> CompactSummary:
    """Rewrite neighbouring shards that together have at most `shard_rows` rows as one.

    Readers see the store before or the one after; a crash leaves one of them.

    Raises
    ------
    UsageError
        The store is not finished, or is no directory.
    StoreCorruptError
        Also where a shard that would be rewritten has another SHA-256 than the manifest says: its
        rows would get a right one.
    StoreLockedError, StoreWriteError

    Notes
    -----
    Takes room for a copy of what is rewritten, and memory for one shard.
    """
    if not directory.is_dir():
        raise UsageError(f"'{directory}' is one file already; only a store directory is compacted.")
    run = RunDirectory(directory, files or FileSystem())
    try:
        manifest = run.finished
        if run.unfinished and run.unfinished.purpose:  # of a compaction that was killed
            run.forget_unfinished()
        if manifest is None or run.unfinished is not None:
            raise UsageError(f"'{directory}' is not finished; embed into it until it is.")
        groups = list(_groups(manifest.shards, shard_rows))
        run.clean()
        if len(groups) < len(manifest.shards):
            shards = tuple(_joined(run, manifest, group) for group in groups)
            run.save(replace(manifest, uuid=uuid.uuid4().hex, shards=shards, purpose="compact"))
            run.finish()
        return CompactSummary(len(manifest.shards), len(groups))
    finally:
        run.leave()


def _groups(parts: Sequence[Part], shard_rows: int) -> Iterator[list[Part]]:
    """Cut the list so that no group can take the next part."""
    numbers, total, number = [], 0, 0
    for part in parts:
        total += part.n_rows
        if total > shard_rows and total > part.n_rows:
            total, number = part.n_rows, number + 1
        numbers.append(number)
    for _, group in groupby(zip(numbers, parts, strict=True), key=lambda entry: entry[0]):
        yield [part for _, part in group]


def _joined(run: RunDirectory, manifest: Manifest, group: Sequence[Part]) -> Part:
    if len(group) == 1:
        return group[0]
    for part in group:
        if not is_sound(run.path, part):
            why = "its SHA-256 is not that of the manifest; `datumaro-embed repair` first"
            raise corrupt(str(run.path), f"{SHARD_FOLDER}/{part.name}", why)
    stores = ShardFiles([(run.path, part, manifest) for part in group], max_mapped=1)
    union = Union(stores, whole([part.n_rows for part in group]))
    # A shard's own head says nothing: that of the store is a file of its own.
    builder = ColumnBuilder(manifest.dim, manifest.dtype)
    arrays: Arrays = builder.finish(stated(manifest.vector_settings))
    for column in SCHEMA:
        if column.path.startswith(("items/", "annotations/", "subsets/", "annotation_types/")):
            arrays[column.path] = union.array(column.path)
    part = run.commit_file(arrays, manifest.run_fingerprint)
    stores.close()
    return part
