"""Where `merge`, `repair` and `import` write: nothing is lost, and no half of a store stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
    it is None where the caller cannot.
    """
    place = StorePlace.of(output)
    place.check()
    if replace and os.path.lexists(place.target):
        return place
    has_file = not place.keeps_segments and os.path.lexists(place.target)
    uuid = Hdf5Part(place.target).uuid if has_file and place.directory.is_dir() else None
    if place.directory.is_dir() and _holds_only_leftovers(place.directory, uuid):
        return place
    if os.path.lexists(place.target):
        _remove_empty(place)
    check_output(place.target, remedy="" if replace is None else "``replace``")
    if replace:
        return place
    if os.path.lexists(place.directory):
        raise StoreExistsError(
            f"'{place.directory}' holds an unfinished run for '{output}'. Finish it, remove it, or "
            "choose another path.",
            path=str(place.directory),
        )
    return place


def _holds_only_leftovers(directory: Path, published_uuid: str | None = None) -> bool:
    """Tell whether nothing is lost with a directory: what a killed merge, repair or import leaves.

    `published_uuid` is of the store that lies where the run was to publish; it must be the run's
    own. Raises `StoreReadError`; `StoreCorruptError`, `StoreForeignError`: a manifest that is
    damaged, or of another format.
    """
    manifests = manifest_files(directory)
    if any(path.name == "manifest.json" for path in manifests):
        return False
    found = [read_manifest(path) for path in manifests]
    if not all(manifest.purpose for manifest in found):
        return False
    if published_uuid and [manifest.uuid for manifest in found] != [published_uuid]:
        return False
    known = {LOCK_NAME, SEGMENT_FOLDER, *(path.name for path in manifests)}
    others = {path.name for path in directory.iterdir()} - known
    return all(TEMPORARY_NAME.fullmatch(name) for name in others) and (
        bool(manifests) or len(list((directory / SEGMENT_FOLDER).glob("*.h5"))) <= MAX_ORPHANS
    )


def _remove_empty(place: StorePlace) -> None:
    """Remove what a run left that had published its file and was killed a moment later."""
    entries = {path.name for path in place.directory.glob("**/*")}
    if not place.keeps_segments and entries <= {LOCK_NAME, SEGMENT_FOLDER}:
        with suppress(OSError):
            for entry in place.directory.iterdir():
                entry.rmdir() if entry.is_dir() else entry.unlink()
            place.directory.rmdir()


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
