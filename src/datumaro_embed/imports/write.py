"""`import_vectors`: vectors and ids → a sealed store."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..outputs import check_output
from ..records import Categories, ItemRecord, Status
from ..store import Hdf5Stores
from ..tally import counted
from ..vectors import VectorKind, unit_rows
from ..versions import installed_versions
from .rows import StoreFacts, item_records, store_facts
from .sources import VectorSource, read_source

__all__ = ["ImportSummary", "import_vectors"]

_DTYPES = {"float16": "float16", "float32": "float32", "float64": "float32"}


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import wrote."""

    store: str
    n_items: int
    dim: int
    dtype: str

    def lines(self) -> list[str]:
        """Say it in plain text."""
        shape = f"{self.n_items} × {self.dim} {self.dtype}"
        return [f"{counted(self.n_items, 'items')} in {self.store} ({shape})"]


def import_vectors(
    vectors: str | os.PathLike[str],
    store: str | os.PathLike[str],
    *,
    ids: str | os.PathLike[str] | None = None,
    subset: str = "default",
    dtype: str | None = None,
    normalize: bool = False,
) -> ImportSummary:
    """Make a store of vectors that were made elsewhere, or of an export of ours.

    Parameters
    ----------
    vectors : path
        ``.npy``; ``.parquet`` with a list column ``embedding``; or a folder with ``img_emb/*.npy``
        and ``metadata/*.parquet``.
    store : path of the ``.h5`` file to write
    ids : path, optional
        One id per line (``.txt``), or ``.csv`` / ``.parquet`` with a column ``id``; without it the
        parquet's own columns are used.
    subset : str
        For items whose table names none.
    dtype : {"float16", "float32"}, optional
        The exported store's, or the vectors' own.
    normalize : bool
        Scale rows to norm 1; without it other vectors are refused.

    Raises
    ------
    UsageError, DatasetReadError, StoreExistsError, OutputFolderError, StoreWriteError

    Notes
    -----
    An export of a whole store comes back exactly: vectors, items, annotations and categories, bit
    for bit. Vectors of unknown origin get a run fingerprint of their own, so that no model's text
    queries are compared with them by mistake.
    """
    check_output(store)
    source = read_source(Path(vectors), Path(ids) if ids else None)
    dim = source.vectors.shape[1]
    facts = store_facts(source.items, dim) or _foreign(source, Path(vectors))
    records = item_records(source.items, subset)
    chosen = dtype or facts.dtype
    if normalize:
        source = replace(source, vectors=unit_rows(source.vectors))
    kind = VectorKind(dim, chosen, facts.run_fingerprint, facts.vector_settings, facts.model)
    with Hdf5Stores().begin(store, kind, restart=True, n_expected=len(records)) as writer:
        for row in sorted(range(len(records)), key=lambda row: records[row].key):
            writer.append(records[row], _vector(source.vectors[row], records[row]))
        writer.set_categories(facts.categories, facts.label_vectors)
        imported = {
            "from": Path(vectors).name,
            "vectors_sha256": source.digest,
            "versions": installed_versions(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        writer.seal({**facts.provenance, "source": "imported", "imported": imported})
    return ImportSummary(str(store), len(records), dim, chosen)


def _foreign(source: VectorSource, path: Path) -> StoreFacts:
    """Facts of vectors that somebody else made."""
    fingerprint = f"imported:{source.digest}"
    return StoreFacts(
        dtype=_DTYPES.get(source.vectors.dtype.name, "float32"),
        run_fingerprint=fingerprint,
        model="imported",
        vector_settings="",
        categories=Categories(),
        label_vectors=None,
        provenance={"model": {"name": "imported", "source": path.name, "fingerprint": fingerprint}},
    )


def _vector(
    vector: npt.NDArray[np.floating[Any]], record: ItemRecord
) -> npt.NDArray[np.floating[Any]] | None:
    if record.status is not Status.OK:
        return None
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not abs(norm - 1.0) <= 1e-3:
        advice = (
            "set ``normalize`` to scale vectors to norm 1"
            if np.isfinite(norm) and norm > 0
            else "mend or remove it"
        )
        raise UsageError(
            f"The vector of '{record.key}' has norm {norm:.6g}; {advice}.", key=record.key
        )
    return vector
