"""What a run may keep of earlier ones: of the same model only, and of equal rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import ModelMismatchError, UsageError
from .base import EmbeddingStore
from .columns import Arrays
from .manifest import Manifest

__all__ = ["model_mismatch", "refuse_other_model", "same_rows"]

_COMPARED = ("items/", "annotations/", "subsets/", "annotation_types/")


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
        The unfinished run has another type of vectors.
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


def model_mismatch(place: Path, old: tuple[str, str], new: tuple[str, str]) -> ModelMismatchError:
    """Word the error for a store and a run of two models: name and fingerprint of each."""
    return ModelMismatchError(
        f"'{place}' was made by the model {old[0] or 'unknown'} ({old[1][:12]}) and this run uses "
        f"{new[0] or 'unknown'} ({new[1][:12]}); choose another path, or --restart to replace it.",
        path=str(place),
        stored=old[1],
        wanted=new[1],
    )
