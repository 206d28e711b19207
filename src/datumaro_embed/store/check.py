"""Recompute everything in a store that can be recomputed, and list what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import Any

import msgspec
import numpy as np

from ..errors import StoreCorruptError
from ..parallel import usable_processors
from ..records import ObjectKey
from .codec import STORED_NORM_TOLERANCE, Array, Part, corrupt
from .hdf5 import Hdf5Part, checksum_order, crc32, cuts, row_block
from .rows import StoredRows
from .schema import (
    BLOCK_ROWS,
    SCHEMA,
    array_specs,
    child_tables,
    optional_tables,
    status_has_vector,
)

MAX_PROBLEMS = 100


def problems(store: StoredRows) -> list[str]:
    """At most `MAX_PROBLEMS` lines; empty where the store is sound."""
    found = list(islice(_problems(store), MAX_PROBLEMS + 1))
    if len(found) > MAX_PROBLEMS:
        found[-1] = f"… and more: only the first {MAX_PROBLEMS} problems are listed"
    return found


def refuse_damage(store: StoredRows, remedy: str) -> None:
    """Raise `StoreCorruptError` where a store does not verify, before its rows are acted on."""
    if found := problems(store):
        raise StoreCorruptError(
            f"'{store.path}' is damaged ({found[0]}). {remedy}", path=store.path, place=found[0]
        )


def _problems(store: StoredRows) -> Iterator[str]:
    damaged = False
    parts = [*store.parts, *([store.head] if store.head is not None else [])]
    with ThreadPoolExecutor(usable_processors()) as pool:
        yield from filter(None, pool.map(lambda part: part.problem(), parts))
    for part in parts:
        for line in _caught(part_problems, part):
            damaged = True
            yield line
    if not damaged:
        for check in (_head, _order, _vectors, _references):
            yield from _caught(check, store)


def _caught(check: Callable[..., Iterator[str]], *arguments: Any) -> Iterator[str]:
    """Run one check; damage that stops it is its last line."""
    try:
        yield from check(*arguments)
    except StoreCorruptError as error:
        yield error.with_flags()


# Checksums -------------------------------------------------------------------------------------


def part_problems(part: Part) -> Iterator[str]:
    """Read every array, and compare every block with its checksum."""
    file, unreadable = part.file, []  # a file that cannot be opened is one problem
    for path in array_specs():
        try:
            part.array(path)
        except StoreCorruptError as error:
            unreadable.append(error.with_flags())
    yield from unreadable
    if unreadable or part.is_trusted or file is None:
        return
    folder, _, name = part.path.rpartition("/")
    names = f"{name}: " if folder.endswith("segments") else ""  # the file of a part of many
    for path, table, first, stop in bad_blocks(file):
        rows = f"rows {first:,} to {stop - 1:,} differ from their checksum"
        yield f"{names}{path}: {rows if table else 'differs from its checksum'}"


def bad_blocks(part: Hdf5Part) -> Iterator[tuple[str, str, int, int]]:
    """Yield path, table and rows that differ from their checksum, and arrays without one.

    The table is empty, and there are no rows, where a whole array differs. Which checksums cover
    which arrays a file of a higher minor version says itself.
    """
    covered = checksum_order(part.layouts)
    if part.is_newer:
        try:
            covered = msgspec.convert(part.json("meta/arrays"), dict[str, list[str]])
        except msgspec.ValidationError as error:
            raise corrupt(part.path, "meta/arrays", error) from error
    known = {path for paths in covered.values() for path in paths}
    specs = array_specs()
    for path in part.layouts:
        if path not in known and not path.startswith("checksums/"):
            yield path, "", 0, 0
    tasks = [
        (path, table, number)
        for table, paths in covered.items()
        for number, path in enumerate(paths)
        if path in specs and path in part.layouts and (table in SCHEMA or table == "whole")
    ]
    with ThreadPoolExecutor(usable_processors()) as pool:
        for found in pool.map(lambda task: list(_bad_blocks_of(part, *task)), tasks):
            yield from found


def _bad_blocks_of(
    part: Hdf5Part, path: str, table: str, number: int
) -> Iterator[tuple[str, str, int, int]]:
    sums = part.required(f"checksums/{table}")
    blocks = list(cuts(part.n_rows(table))) if table in SCHEMA else []
    try:
        if table == "whole":
            is_right = number < len(sums) and crc32(part.required(path)) == int(sums[number])
        else:
            is_right = sums.shape[0] == len(blocks) and number < sums.shape[1]
        if not is_right:
            yield path, "", 0, 0
            return
        for block, rows in enumerate(blocks):
            if crc32(row_block(part.required, path, *rows)) != int(sums[block, number]):
                yield path, table, *rows
    except StoreCorruptError:  # values that cannot be right
        yield path, "", 0, 0


def sound_rows(part: Hdf5Part) -> tuple[Array, Array, Array]:
    """Tell which rows are undamaged, by their checksums; three arrays of shape (n_rows,), bool.

    The first is of the whole row, the second without its rows of optional tables, the third of its
    key alone.
    """
    n_rows, specs = part.n_rows("items"), array_specs()
    rows, keys = np.ones(n_rows, bool), np.ones(n_rows, bool)
    found = ((table, part.array(f"items/{table}_offsets")) for table in child_tables())
    cuts_of = {table: offsets for table, offsets in found if offsets is not None}
    children = {table: np.ones(part.n_rows(table), bool) for table in cuts_of}
    for path, table, first, stop in bad_blocks(part):
        is_key = path.startswith(("items/id", "items/subset"))
        if table in children:
            children[table][first:stop] = False
        elif table == "items":
            rows[first:stop] = False
            keys[first:stop] &= not is_key
        elif specs[path].table == "items":
            rows[:] = False
            keys[:] &= not is_key
        elif specs[path].table in children:
            children[specs[path].table][:] = False
    bodies = rows.copy()
    for table, offsets in cuts_of.items():
        n_bad = np.concatenate([[0], np.cumsum(~children[table])])
        sound = n_bad[offsets[1:]] == n_bad[offsets[:-1]]
        rows &= sound
        bodies &= sound | (table in optional_tables())
    return rows, bodies, keys


# Values ----------------------------------------------------------------------------------------


def _head(store: StoredRows) -> Iterator[str]:
    _ = store.categories, store.provenance  # that they decode
    if list(names := store.names("items/subset")) != sorted(set(names)):
        yield "items/subset_names: the names are not in ascending order"
    vectors = store.label_embeddings
    if vectors is not None:
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        for label in np.flatnonzero(~(np.abs(norms - 1) <= STORED_NORM_TOLERANCE[4])).tolist():
            yield f"label {label}: the vector's norm is {norms[label]:.6g} and should be 1"


def _order(store: StoredRows) -> Iterator[str]:
    """Compare each key with the one before; as bytes, which sort as the texts do."""
    previous: tuple[int, bytes] | None = None
    for first, stop in cuts(store.n_rows, 64 * BLOCK_ROWS):
        lengths = store.lengths("items/id_offsets", first, stop)
        data = store.rows("items/id", first, stop).tobytes()
        ends = np.cumsum(lengths).tolist()
        ids = [data[a:b] for a, b in pairwise([0, *ends])]
        keys = list(zip(store.rows("items/subset", first, stop).tolist(), ids, strict=True))
        for row, key in enumerate(keys, first):
            if previous is not None and not previous < key:
                yield f"row {row} ({store.key(row)}): its key is not above the previous row's"
            previous = key


def _vectors(store: StoredRows) -> Iterator[str]:
    spans = [
        (table, *rows)
        for table in ("items", "objects", "captions")
        for rows in cuts(store.count(table), 4 * BLOCK_ROWS)
    ]
    with ThreadPoolExecutor(usable_processors()) as pool:
        for found in pool.map(lambda span: _bad_norms(store, *span), spans):
            yield from found


def _named(store: StoredRows, table: str, row: int) -> str:
    if table == "items":
        return f"row {row} ({store.key(row)})"
    item_row, number = store.owner(table, row)
    return f"{table} row {row} ({ObjectKey(store.key(item_row), number)})"


def _references(store: StoredRows) -> Iterator[str]:
    """Compare the annotations that objects and captions name with those that their items have."""
    n_annotations = store.lengths("items/annotations_offsets", 0, store.n_rows)
    for table, path in (("objects", "objects/annotations"), ("captions", "captions/annotation")):
        if not store.has_table(table):
            continue
        n_rows = store.count(table)
        sizes = store.lengths(f"items/{table}_offsets", 0, store.n_rows).astype(np.int64)
        limits = np.repeat(n_annotations, sizes)
        rows = np.arange(n_rows)
        if table == "objects":
            rows = np.repeat(rows, store.lengths(f"{path}_offsets", 0, n_rows).astype(np.int64))
        numbers = store.rows(path, 0, n_rows)
        for at in np.flatnonzero(numbers >= limits[rows]).tolist():
            yield (
                f"{_named(store, table, rows[at])}: names annotation {numbers[at]} of "
                f"{limits[rows[at]]}"
            )


def _bad_norms(store: StoredRows, table: str, first: int, stop: int) -> list[str]:
    block = store.rows(f"{table}/vector", first, stop).astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", block, block))
    wanted = np.ones(stop - first, np.float32)
    if f"{table}/status" in array_specs():
        wanted[~status_has_vector(table)[store.rows(f"{table}/status", first, stop)]] = 0
    allowed = np.where(wanted > 0, STORED_NORM_TOLERANCE[store.dtype.itemsize], 0)
    bad = np.flatnonzero(~(np.abs(norms - wanted) <= allowed)).tolist()
    return [
        f"{_named(store, table, first + row)}: the vector's norm is {norms[row]:.6g} and should be "
        f"{wanted[row]:.0f}"
        for row in bad
    ]
