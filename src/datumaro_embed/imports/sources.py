"""Files of vectors and ids → arrays and one table; nothing here runs code out of a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ..errors import DatasetReadError, UsageError
from ..tally import counted

_TEXTS = (
    *("id", "subset", "split", "path", "status", "error"),
    *("content_sha256", "attributes", "labels"),
)
_ONLY_OURS = {*_TEXTS, "n_annotations"}
_NPY = b"\x93NUMPY"
_VECTOR_NAMES = ("embedding", "embeddings", "vector", "image_embedding")


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Vectors of shape (n, dim), a table of n items, and a hash of the vectors' values."""

    vectors: npt.NDArray[np.floating[Any]]
    items: pa.Table
    digest: str


def read_source(vectors: Path, ids: Path | None) -> VectorSource:
    """Read vectors and ids (see `import_vectors`).

    Raises `DatasetReadError`: a file is missing or cannot be read; `UsageError`: the parts do not
    fit together.
    """
    for path in (vectors, *([ids] if ids else [])):
        if not path.exists():
            raise DatasetReadError(f"'{path}' does not exist. Check the path.", path=str(path))
    try:
        items = None
        if vectors.is_dir():
            arrays = sorted(vectors.glob("img_emb/*.npy"), key=_by_number)
            tables = sorted(vectors.glob("metadata/*.parquet"), key=_by_number)
            if not arrays or len(arrays) != len(tables):
                raise UsageError(
                    f"'{vectors}' has {counted(len(arrays), 'files')} in img_emb and {len(tables)} "
                    "in metadata. It needs one metadata file per vector file.",
                    path=str(vectors),
                )
            items = pa.concat_tables([pq.read_table(path, partitioning=None) for path in tables])
            values = np.concatenate([_load(path) for path in arrays])
        elif vectors.suffix == ".parquet":
            values, items = _split_table(pq.read_table(vectors, partitioning=None))
        else:
            values = _load(vectors)
        items = items if ids is None else _read_ids(ids)
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, UsageError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetReadError(
            f"'{vectors}' or its ids cannot be read ({first}). Use a .npy file saved with "
            "numpy.save, or .parquet.",
            path=str(vectors),
        ) from error
    values = _checked(values, items)
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return VectorSource(values, items, digest)


def _by_number(path: Path) -> tuple[int, str]:
    digits = path.stem.rpartition("_")[2]
    return (int(digits) if digits.isdecimal() else -1, path.name)


def _load(path: Path) -> npt.NDArray[Any]:
    with path.open("rb") as stream:  # of other files, numpy's error recommends to unpickle them
        if stream.read(len(_NPY)) != _NPY:
            raise DatasetReadError(
                f"'{path}' is not an .npy file. Save the vectors with numpy.save, or use .parquet.",
                path=str(path),
            )
    loaded: npt.NDArray[Any] = np.load(path, allow_pickle=False, mmap_mode="r")
    if not isinstance(loaded, np.ndarray):
        raise UsageError(f"'{path}' does not hold a single array. Save it with numpy.save.")
    return loaded


def _split_table(table: pa.Table) -> tuple[npt.NDArray[Any], pa.Table]:
    name = next((name for name in _VECTOR_NAMES if name in table.column_names), None)
    if name is None:
        raise UsageError(
            f"The parquet file has no column {' or '.join(_VECTOR_NAMES)}. "
            "Rename the column with the vectors to embedding."
        )
    column = table[name].combine_chunks()
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not (lists or pa.types.is_fixed_size_list(column.type)) or column.null_count:
        raise UsageError(f"Column {name} must hold a list of numbers in every row. Fill the gaps.")
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1:
        raise UsageError(
            f"The lists in column {name} differ in length. Use the same model for all."
        )
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), *(lengths or [0])), table.drop_columns([name])


def _read_ids(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path, partitioning=None)
    if path.suffix == ".csv":
        texts = dict.fromkeys(_TEXTS, pa.string())
        table = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(column_types=texts),
        )
        if set(table.column_names) >= _ONLY_OURS:
            # `convert` wrote it, and put apostrophes before some texts.
            for name in _TEXTS:
                plain = pc.replace_substring_regex(table[name], "^'", "")
                table = table.set_column(table.schema.get_field_index(name), name, plain)
        elif "subset" in table.column_names:  # an empty cell names no subset
            empty = pc.equal(table["subset"], "")
            named = pc.if_else(empty, pa.scalar(None, pa.string()), table["subset"])
            table = table.set_column(table.schema.get_field_index("subset"), "subset", named)
        return table
    lines = path.read_text(encoding="utf-8").split("\n")
    ids = lines[:-1] if lines[-1] == "" else lines
    if "" in ids:
        raise UsageError(
            f"Line {ids.index('') + 1} of '{path}' is empty. Put one id in each line.",
            path=str(path),
        )
    return pa.table({"id": pa.array(ids, pa.string())})


def _checked(values: npt.NDArray[Any], items: pa.Table | None) -> npt.NDArray[np.floating[Any]]:
    if items is None:
        raise UsageError("An .npy file holds no ids. Name the file with the ids: ``ids``.")
    if values.ndim != 2 or values.dtype.kind != "f":
        raise UsageError(
            f"Vectors are {values.dtype} of shape {values.shape}; they must be floats of shape "
            "(n, dim)."
        )
    if len(values) != items.num_rows:
        raise UsageError(
            f"{counted(len(values), 'vectors')} and {counted(items.num_rows, 'ids')}; each vector "
            "needs one id."
        )
    if not len(values):
        raise UsageError("There are no vectors to import.")
    return values
