"""Small segments of a store directory put together, without a change of any row."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from ..errors import UsageError
from ..files import FileSystem
from ..place import SEGMENT_FOLDER
from ..store import COMMIT_ROWS
from ..store.codec import corrupt
from ..store.journal import (
    MAX_PASSED_BYTES,
    Journal,
    Manifest,
    Segment,
    SegmentFolder,
    segment_is_sound,
)
from ..store.schema import array_specs
from ..tally import counted
from .output import refuse_newer


@dataclass(frozen=True, slots=True)
class CompactSummary:
    """How many segments there were and are."""

    n_before: int
    n_after: int

    def lines(self) -> list[str]:
        return [f"{counted(self.n_before, 'segments')} before, {self.n_after} now"]


def compact_store(directory: Path, *, commit_rows: int = COMMIT_ROWS) -> CompactSummary:
    """Rewrite neighbouring segments that together have at most `commit_rows` rows as one.

    Readers see the store before or the one after; a crash leaves one of them.

    Raises `UsageError`: the store is not finished, or is not a directory; `StoreCorruptError`: also
    where a segment that would be rewritten has another SHA-256 than the manifest says: its rows
    would get a right one; `StoreLockedError`, `StoreWriteError`.

    Takes room for a copy of what is rewritten, and memory for one segment.
    """
    if not directory.is_dir():
        raise UsageError(
            f"'{directory}' is already a single file. Only store directories can be compacted."
        )
    journal = Journal(directory, FileSystem(), store=directory)
    try:
        manifest = journal.finished
        if journal.unfinished and journal.unfinished.purpose:  # of a compaction that was killed
            journal.forget_unfinished()
        if manifest is None or journal.unfinished is not None:
            raise UsageError(f"'{directory}' is not finished. Finish its run first.")
        folder = SegmentFolder(directory, manifest.kind, max_mapped_bytes=MAX_PASSED_BYTES)
        groups = _groups(folder, manifest, commit_rows)
        journal.clean()
        if len(groups) < len(manifest.segments):
            segments: list[Segment] = []
            for group in groups:
                if len(group) == 1:
                    segments += group
                    continue
                for segment in group:
                    if not segment_is_sound(directory, segment):
                        raise corrupt(
                            str(directory),
                            f"{SEGMENT_FOLDER}/{segment.name}",
                            "its SHA-256 differs from the manifest (`datumaro-embed repair` saves "
                            "intact rows)",
                        )
                with folder.store(group) as rows:
                    segments.append(journal.commit_file(rows))
            new = replace(
                manifest, uuid=uuid.uuid4().hex, segments=tuple(segments), purpose="compact"
            )
            journal.save(new)
            journal.finish()
        return CompactSummary(len(manifest.segments), len(groups))
    finally:
        journal.leave()


def _groups(folder: SegmentFolder, manifest: Manifest, commit_rows: int) -> list[list[Segment]]:
    """Cut the list so that no group can take the next segment, which has the same columns."""
    with folder.store(manifest.segments) as store:
        refuse_newer(store)
        columns = [
            tuple(spec.path for spec in array_specs().values() if part.array(spec.path) is None)
            for part in store.parts
        ]
    groups: list[list[Segment]] = []
    for number, segment in enumerate(manifest.segments):
        total = segment.n_rows + sum(other.n_rows for other in groups[-1]) if groups else 0
        if not groups or total > commit_rows or columns[number] != columns[number - 1]:
            groups.append([])
        groups[-1].append(segment)
    return groups
