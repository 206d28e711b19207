"""What a run may keep of earlier ones: of the same model, type and settings, and of equal rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ModelMismatchError, UsageError
from .base import EmbeddingStore
from .columns import Arrays
from .directory import RunDirectory
from .manifest import Manifest, Part, fit_together
from .settings import fits
from .shards import is_sound, open_part

__all__ = [
    "Earlier",
    "earlier_runs",
    "model_mismatch",
    "refuse_other_model",
    "refuse_other_writers",
    "same_rows",
]

_COMPARED = ("items/", "annotations/", "subsets/", "annotation_types/")


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier runs left in a directory that fits a new one.

    Attributes
    ----------
    sources : tuple of Part
        Verified shards whose vectors may be taken.
    rows : tuple of Part
        Those of them whose rows may come out the same, in key order.
    spare : tuple of Part
        Those of them that are vectors and no rows already.
    damaged : tuple of str
        Shards whose SHA-256 is wrong.
    """

    sources: tuple[Part, ...]
    rows: tuple[Part, ...]
    spare: tuple[Part, ...]
    damaged: tuple[str, ...]


def earlier_runs(directory: RunDirectory, new: Manifest, *, restart: bool) -> Earlier:
    """Hash every shard in the directory that a new run may use."""
    unfinished, finished = directory.unfinished, directory.finished
    if restart or (finished and not _same_vectors(directory.path, finished, new)):
        finished = None
    manifests = [manifest for manifest in (unfinished, finished) if manifest]
    parts = tuple(dict.fromkeys(part for m in manifests for part in (*m.shards, *m.spare)))
    damaged = {part.name for part in parts if not is_sound(directory.path, part)}
    sources = tuple(part for part in parts if part.name not in damaged)
    return Earlier(
        sources=sources,
        rows=tuple(part for m in manifests[:1] for part in m.shards if part in sources),
        spare=tuple(part for part in unfinished.spare if part in sources) if unfinished else (),
        damaged=tuple(part.name for part in parts if part.name in damaged),
    )


def _same_vectors(directory: Path, finished: Manifest, new: Manifest) -> bool:
    """Tell whether vectors of a finished store may be taken; old manifests leave the settings out.

    Then the store's own provenance may have them.
    """
    settings = finished.vector_settings
    if not settings and finished.head:
        with open_part(directory, finished.head, finished) as head:
            settings = head.vector_settings
    return finished.dtype == new.dtype and fits(settings, new.vector_settings)


def same_rows(arrays: Arrays, store: EmbeddingStore) -> bool:
    """Compare every value of every row, so that no chance of a checksum is taken."""
    return all(
        np.array_equal(array, store.column(path))
        for path, array in arrays.items()
        if path.startswith(_COMPARED)
    )


def refuse_other_model(
    place: Path, new: Manifest, finished: Manifest | None, unfinished: Manifest | None
) -> None:
    """Refuse a run that would mix vectors of two models, or drop those of an unfinished run.

    Raises
    ------
    ModelMismatchError
    UsageError
        The unfinished run has another type of vectors, or computed them with other settings.
    """
    for old in (unfinished, finished):
        if old and (old.run_fingerprint, old.dim) != (new.run_fingerprint, new.dim):
            raise model_mismatch(
                place, (old.model, old.run_fingerprint), (new.model, new.run_fingerprint)
            )
    if unfinished and unfinished.dtype != new.dtype:
        raise UsageError(
            f"The unfinished run of '{place}' stores {unfinished.dtype}, and this one {new.dtype}; "
            "finish it first, or --restart."
        )
    if unfinished and not fits(unfinished.vector_settings, new.vector_settings):
        raise UsageError(
            f"The unfinished run of '{place}' computes vectors with {unfinished.vector_settings}, "
            f"and this one with {new.vector_settings}; finish it with the same options first, or "
            "--restart."
        )


def refuse_other_writers(place: Path, new: Manifest, others: Iterable[Manifest]) -> None:
    """Refuse a run whose vectors would stand beside those of other writers that do not fit.

    Raises
    ------
    ModelMismatchError
    """
    for other in others:
        if not fit_together(new, other):
            raise ModelMismatchError(
                f"Another writer of '{place}' stores vectors of {other.kind}, and this run would "
                f"store {new.kind}; use the same options, or another path.",
                path=str(place),
            )


def model_mismatch(place: Path, old: tuple[str, str], new: tuple[str, str]) -> ModelMismatchError:
    """Word the error for a store and a run of two models: name and fingerprint of each."""
    return ModelMismatchError(
        f"'{place}' was made by the model {old[0] or 'unknown'} ({old[1][:12]}) and this run uses "
        f"{new[0] or 'unknown'} ({new[1][:12]}); choose another path, or --restart to replace it.",
        path=str(place),
        stored=old[1],
        wanted=new[1],
    )
