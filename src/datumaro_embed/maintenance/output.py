"""Where `merge`, `repair` and `import` write: nothing is lost, and no half of a store stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import StoreExistsError, StoreForeignError
from ..files import FileSystem, check_output
from ..place import LOCK_NAME, SEGMENT_FOLDER, StorePlace, manifest_files
from ..store import EmbeddingStore
from ..store.hdf5 import Hdf5Part
from ..store.journal import MAX_ORPHANS, TEMPORARY_NAME, read_manifest
from ..store.run import Hdf5Run
from ..vectors import VectorKind


def checked_output(output: str | os.PathLike[str], *, replace: bool | None = None) -> StorePlace:
    """Return the place of a store that may be written.

    What is there (a store, segments of a run towards it) may be replaced where `replace` is true;
    it is None where the caller cannot. A directory with nothing but what a killed merge, repair or
    import leaves is taken over: nothing is lost with it.

    Raises `StoreExistsError`, `StoreReadError`; `StoreCorruptError`, `StoreForeignError`: a
    manifest that is damaged, or of another format.
    """
    place = StorePlace.of(output)
    place.check()
    exists, directory = os.path.lexists(place.target), place.directory
    if replace and exists:
        return place
    if directory.is_dir():
        has_file = not place.keeps_segments and exists
        published_uuid = Hdf5Part(place.target).uuid if has_file else None
        manifests = manifest_files(directory)
        expected = {LOCK_NAME, SEGMENT_FOLDER, *(path.name for path in manifests)}
        is_finished = "manifest.json" in expected
        found = [] if is_finished else [read_manifest(path) for path in manifests]
        if (
            not is_finished
            and all(manifest.purpose for manifest in found)
            # What lies where the run was to publish must be the run's own.
            and (not published_uuid or [manifest.uuid for manifest in found] == [published_uuid])
            and all(
                path.name in expected or TEMPORARY_NAME.fullmatch(path.name)
                for path in directory.iterdir()
            )
            and (manifests or len([*(directory / SEGMENT_FOLDER).glob("*.h5")]) <= MAX_ORPHANS)
        ):
            return place
    if exists and not place.keeps_segments:
        # What a run left that had published its file and was killed a moment later.
        entries = {path.name for path in directory.glob("**/*")}
        if entries <= {LOCK_NAME, SEGMENT_FOLDER}:
            with suppress(OSError):
                for entry in directory.iterdir():
                    entry.rmdir() if entry.is_dir() else entry.unlink()
                directory.rmdir()
    check_output(place.target, remedy="" if replace is None else "``replace``")
    if not replace and os.path.lexists(directory):
        raise StoreExistsError(
            f"'{directory}' holds an unfinished run for '{output}'. Finish it, remove it, or "
            "choose another path.",
            path=str(directory),
        )
    return place


def refuse_newer(store: EmbeddingStore) -> None:
    """Refuse to rewrite what a higher minor version wrote: columns unknown here would be lost.

    Raises `StoreForeignError`.
    """
    if any(part.file is not None and part.file.is_newer for part in store.parts):
        raise StoreForeignError(
            f"'{store.path}' was written by a newer version and has columns that this version "
            "does not know. Update datumaro-embed before you rewrite it.",
            path=store.path,
        )


@contextmanager
def run_for(purpose: str, place: StorePlace, kind: VectorKind) -> Iterator[Hdf5Run]:
    """Begin a store of vectors that are there already; leaves nothing behind where the block fails.

    If the process is killed, `purpose` tells the next run that nothing is lost with the rest.
    """
    with Hdf5Run(place, kind, files=FileSystem(), restart=True, purpose=purpose) as run:
        try:
            yield run
        except BaseException:
            run.discard()
            raise
