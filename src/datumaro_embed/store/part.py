"""What a store consists of: parts, in memory or mapped from a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..records import Categories, ItemKey, ItemRecord
from ..vectors import VectorKind
from .codec import Array, Arrays
from .schema import array_specs

__all__ = ["ArrayPart", "Part", "StoredRows"]


class Part(ABC):
    """Some rows of a store, in memory or mapped from a file.

    Attributes
    ----------
    path : str
        For errors.
    kind : VectorKind
    uuid : str
        32 hexadecimal digits.
    is_trusted : bool
        Its bytes were compared with a SHA-256, so that its checksums need not be.
    """

    path: str
    kind: VectorKind
    uuid: str
    is_trusted = False

    @abstractmethod
    def array(self, path: str) -> Array | None:
        """Return one array of the schema; None where it is absent.

        Raises
        ------
        StoreCorruptError
            It cannot be read, or its values cannot be right.
        """

    @abstractmethod
    def n_rows(self, table: str) -> int:
        """Return the number of rows of a table, without reading a column."""

    def close(self) -> None:  # noqa: B027 - memory has nothing to close
        """Release files; arrays that were handed out stay valid."""


class ArrayPart(Part):
    """A part whose arrays are in memory."""

    def __init__(self, arrays: Arrays, kind: VectorKind, uuid: str, path: str = "memory") -> None:
        self.path, self.kind, self.uuid = path, kind, uuid
        self._arrays = arrays

    def array(self, path: str) -> Array | None:
        """See `Part.array`."""
        return self._arrays.get(path)

    def n_rows(self, table: str) -> int:
        """See `Part.n_rows`."""
        for path, array in self._arrays.items():
            spec = array_specs()[path]
            if spec.table == table and spec.role in ("rows", "offsets"):
                return len(array) - (spec.role == "offsets")
        return 0


class StoredRows(Protocol):
    """The rows of a store, as those ask for them who write, check or export them.

    See `EmbeddingStore`.
    """

    path: str
    kind: VectorKind
    n_rows: int

    @property
    def parts(self) -> Sequence[Part]: ...
    @property
    def head(self) -> Part | None: ...
    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[np.floating[Any]]: ...
    @property
    def categories(self) -> Categories: ...
    @property
    def label_embeddings(self) -> Array | None: ...
    @property
    def provenance(self) -> dict[str, Any]: ...
    def names(self, stem: str) -> Sequence[str]: ...
    def has(self, path: str) -> bool: ...
    def has_table(self, name: str) -> bool: ...
    def column(self, path: str) -> Array: ...
    def rows(self, path: str, first: int, stop: int) -> Array: ...
    def lengths(self, path: str, first: int, stop: int) -> npt.NDArray[np.uint64]: ...
    def child_rows(self, table: str, first: int, stop: int) -> tuple[int, int]: ...
    def count(self, table: str) -> int: ...
    def owner(self, table: str, row: int) -> tuple[int, int]: ...
    def gather(self, path: str, rows: npt.ArrayLike | slice | None) -> Array: ...
    def record(self, table: str, row: int) -> Any: ...
    def key(self, row: int) -> ItemKey: ...
    def row(self, key: ItemKey | str) -> int: ...
    def item(self, row: int) -> ItemRecord: ...
    def labels_of(self, row: int) -> tuple[str, ...]: ...
