"""A store's facts, and names for its columns: `store.widths` for `store.column("items/width")`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .rows import RowReader

__all__ = ["ColumnViews", "StoreInfo"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """The facts of a store that are known without reading its columns.

    Attributes
    ----------
    path : str
        As given to the opener.
    n_rows, n_annotations, dim : int
    dtype : numpy.dtype
        float16 or float32.
    uuid : str
        32 hexadecimal digits, new for every sealed store.
    run_fingerprint : str
        As given to the writer; equal where two runs must give equal vectors.
    format_version : int
        Major version of the format.
    categories_crc32, provenance_crc32 : int
        Checksums of the parts that no row covers.
    """

    path: str
    n_rows: int
    n_annotations: int
    dim: int
    dtype: np.dtype[np.floating[Any]]
    uuid: str
    run_fingerprint: str
    format_version: int
    categories_crc32: int
    provenance_crc32: int


class ColumnViews(ABC):
    """Names for the facts and columns of a store; every array is read-only and in row order."""

    @property
    @abstractmethod
    def info(self) -> StoreInfo:
        """What is known without reading a column."""

    @abstractmethod
    def column(self, path: str) -> Array:
        """Read one array by its path in the schema."""

    @property
    @abstractmethod
    def _row_reader(self) -> RowReader: ...

    @property
    def path(self) -> str:
        """As given to the opener."""
        return self.info.path

    @property
    def n_rows(self) -> int:
        """Number of items."""
        return self.info.n_rows

    @property
    def n_annotations(self) -> int:
        """Number of annotations of all items."""
        return self.info.n_annotations

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self.info.dim

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """Stored type of the vectors: float16 or float32."""
        return self.info.dtype

    @property
    def uuid(self) -> str:
        """32 hexadecimal digits, new for every sealed store."""
        return self.info.uuid

    @property
    def run_fingerprint(self) -> str:
        """As given to the writer."""
        return self.info.run_fingerprint

    @property
    def format_version(self) -> int:
        """Major version of the format."""
        return self.info.format_version

    @property
    def subset_names(self) -> tuple[str, ...]:
        """Names of the subsets, ascending; `subset_codes` index them."""
        return self._row_reader.names("subsets")

    @property
    def subset_codes(self) -> Array:
        """(n_rows,) uint16: index into `subset_names`."""
        return self.column("items/subset_code")

    @property
    def splits(self) -> Array:
        """(n_rows,) uint8: values of `Split`."""
        return self.column("items/split")

    @property
    def statuses(self) -> Array:
        """(n_rows,) uint8: values of `Status`."""
        return self.column("items/status")

    @property
    def widths(self) -> Array:
        """(n_rows,) uint32: upright pixels, 0 unknown."""
        return self.column("items/width")

    @property
    def heights(self) -> Array:
        """(n_rows,) uint32: upright pixels, 0 unknown."""
        return self.column("items/height")

    @property
    def content_sha256(self) -> Array:
        """(n_rows, 32) uint8: of the image; zeros where it was not read."""
        return self.column("items/content_sha256")

    @property
    def row_crc32(self) -> Array:
        """(n_rows,) uint32: CRC-32 of everything in the row."""
        return self.column("items/row_crc32")

    @property
    def ann_offsets(self) -> Array:
        """(n_rows + 1,) uint64: row i has annotations ``ann_offsets[i]`` to below the next."""
        return self.column("items/ann_offsets")

    @property
    def ann_rows(self) -> npt.NDArray[np.int64]:
        """(n_annotations,) int64: the row of each annotation's item; made anew at each call."""
        offsets = self.ann_offsets.astype(np.int64)
        return np.repeat(np.arange(self.n_rows), offsets[1:] - offsets[:-1])

    @property
    def ann_type_names(self) -> tuple[str, ...]:
        """Datumaro's names of the annotation types; `ann_types` index them."""
        return self._row_reader.names("annotation_types")

    @property
    def ann_types(self) -> Array:
        """(n_annotations,) uint8: index into `ann_type_names`."""
        return self.column("annotations/type")

    @property
    def ann_labels(self) -> Array:
        """(n_annotations,) int32: index into ``categories.labels``; -1 none."""
        return self.column("annotations/label")

    @property
    def ann_ids(self) -> Array:
        """(n_annotations,) int64: as in Datumaro."""
        return self.column("annotations/ann_id")

    @property
    def ann_groups(self) -> Array:
        """(n_annotations,) int64: as in Datumaro, 0 none."""
        return self.column("annotations/group")

    @property
    def ann_object_ids(self) -> Array:
        """(n_annotations,) int64: as in Datumaro, -1 none."""
        return self.column("annotations/object_id")

    @property
    def ann_z_orders(self) -> Array:
        """(n_annotations,) int32: as in Datumaro."""
        return self.column("annotations/z_order")

    @property
    def ann_coords(self) -> Array:
        """(n_coords,) float64: upright pixels, end to end; cut by `ann_coords_offsets`."""
        return self.column("annotations/coords")

    @property
    def ann_coords_offsets(self) -> Array:
        """(n_annotations + 1,) uint64: where each annotation's numbers begin in `ann_coords`."""
        return self.column("annotations/coords_offsets")
