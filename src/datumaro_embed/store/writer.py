"""`ColumnWriter`: the checks and life of a writer, for any backend that publishes whole columns."""

from __future__ import annotations

import uuid
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..records import Categories, ItemRecord
from .columns import ColumnBuilder
from .encoding import encode_text
from .schema import FORMAT_VERSION, MAX_ATTRIBUTE_BYTES
from .verify import categories_crc32
from .views import StoreInfo
from .writing import StoreWriter

__all__ = ["ColumnWriter", "check_text", "new_info"]


def check_text(name: str, text: str) -> None:
    """Raise `UsageError` where a text cannot be an attribute of a store."""
    if len(encode_text(text)) > MAX_ATTRIBUTE_BYTES or "\0" in text:
        raise UsageError(f"{name} is over {MAX_ATTRIBUTE_BYTES:,} bytes or holds a NUL; hash it.")


def new_info(
    path: str,
    arrays: Mapping[str, npt.NDArray[Any]],
    run_fingerprint: str,
    *,
    store_uuid: str | None = None,
) -> StoreInfo:
    """Facts of a store to be, from its arrays; its uuid is new unless given."""
    embedding = arrays["items/embedding"]
    return StoreInfo(
        path=path,
        n_rows=embedding.shape[0],
        n_annotations=len(arrays["annotations/type"]),
        dim=embedding.shape[1],
        dtype=embedding.dtype,
        uuid=store_uuid or uuid.uuid4().hex,
        run_fingerprint=run_fingerprint,
        format_version=FORMAT_VERSION,
        categories_crc32=categories_crc32(arrays.get),
        provenance_crc32=zlib.crc32(arrays["provenance"].tobytes()),
    )


class ColumnWriter(StoreWriter):
    """Gathers columns in memory; a backend gives `_publish` and nothing else.

    Parameters
    ----------
    path : str
        Where `_publish` will put the store.
    dim : int
    dtype : {"float16", "float32"}
    run_fingerprint : str
        At most 4,096 bytes.

    Raises
    ------
    UsageError
    """

    def __init__(
        self, path: str, *, dim: int, dtype: str = "float16", run_fingerprint: str = ""
    ) -> None:
        check_text("run_fingerprint", run_fingerprint)
        self._path = path
        self._run_fingerprint = run_fingerprint
        self._builder: ColumnBuilder | None = ColumnBuilder(dim, dtype)

    @abstractmethod
    def _publish(self, arrays: dict[str, npt.NDArray[Any]], info: StoreInfo) -> None:
        """Make the whole store visible under its path, or raise and leave nothing."""

    def append(self, record: ItemRecord, vector: npt.NDArray[np.floating[Any]] | None) -> None:
        """See `StoreWriter.append`."""
        self._open_builder().append(record, vector)

    def set_categories(
        self, categories: Categories, embedding: npt.NDArray[np.floating[Any]] | None = None
    ) -> None:
        """See `StoreWriter.set_categories`."""
        self._open_builder().set_categories(categories, embedding)

    def seal(self, provenance: Mapping[str, Any]) -> None:
        """See `StoreWriter.seal`."""
        builder = self._open_builder()
        arrays = builder.finish(provenance)
        self._publish(arrays, new_info(self._path, arrays, self._run_fingerprint))
        self._builder = None

    def abort(self) -> None:
        """See `StoreWriter.abort`."""
        self._builder = None

    def _open_builder(self) -> ColumnBuilder:
        if self._builder is None:
            raise UsageError(
                f"The writer of '{self._path}' is sealed or aborted; make a new one.",
                path=self._path,
            )
        return self._builder
