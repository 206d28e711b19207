"""`datumaro-embed merge`, `repair`, `compact`, `index` and `import`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..flags import add_output_argument, add_partial_argument
from .console import say

_STORE = "FILE.h5|FOLDER/"


def _describe_merge(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = "Join stores of the same model into a new one, in the order of their keys."
    add = parser.add_argument
    add(
        "stores",
        type=Path,
        nargs="+",
        metavar="STORE",
        help="a store, or a folder STORE.parts that runs with --shard have written",
    )
    add_output_argument(parser, _STORE, type=str, help="store to write; see --replace")
    add(
        "--replace",
        action="store_true",
        help="replace an existing store once all rows are written (default: it must not exist)",
    )
    add(
        "--on-duplicate",
        choices=("error", "first", "last"),
        default="error",
        help="which store wins if several contain the same item (default: %(default)s)",
    )
    return _merge


def _merge(stores: list[Path], output: str, **options: Any) -> int:
    from ..maintenance import merge_stores

    return say(merge_stores(stores, output, **options).lines())


def _describe_repair(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "Write a new store with every block of 1,024 rows whose checksums are right, and mark the "
        "other rows for `embed` to compute again. The damaged store is not changed."
    )
    parser.add_argument("store", type=Path, help="damaged store file or folder")
    add_output_argument(parser, _STORE, type=str)
    add_partial_argument(parser)
    return _repair


def _repair(store: Path, output: str, partial: bool) -> int:
    from ..maintenance import repair_store

    return say(repair_store(store, output, partial=partial).lines())


def _describe_compact(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = "Join neighboring small segments into larger ones. No row changes."
    parser.add_argument("store", type=Path, help="store folder")
    return _compact


def _compact(store: Path) -> int:
    from ..maintenance import compact_store
    from ..store import open_store

    open_store(store).close()  # raises an error if it is not a store
    return say(compact_store(store).lines())


def _describe_index(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "Write an approximate index (HNSW) next to the store, as STORE.usearch. If it exists, "
        "`search` uses it for queries without filters and up to 1,000 hits. Useful from a few "
        "hundred thousand items."
    )
    parser.add_argument("store", type=Path, help="store file or folder")
    parser.add_argument(
        "--rebuild", action="store_true", help="build the index again even if it is up to date"
    )
    return _index


def _index(store: Path, rebuild: bool) -> int:
    from ..retrieval import build_index

    return say([build_index(store, rebuild=rebuild, progress=True)])


def _describe_import(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = "Make a store from vectors and ids, or from a `convert` output."
    add = parser.add_argument
    add(
        "vectors",
        type=Path,
        help="FILE.npy, FILE.parquet with a column `embedding`, or a folder that "
        "`convert --to npy` or clip-retrieval wrote",
    )
    add(
        "--ids",
        type=Path,
        metavar="FILE",
        help="ids in the order of the vectors: .txt (one per line), or .csv or .parquet with a "
        "column `id` and optionally subset, split, path, width, height",
    )
    add_output_argument(parser, "STORE")
    add(
        "--subset",
        default="default",
        metavar="NAME",
        help="subset of items without one (default: %(default)s)",
    )
    add(
        "--dtype",
        choices=("float16", "float32"),
        help="type of the vectors in the store (default: that of the input)",
    )
    add("--normalize", action="store_true", help="scale vectors to norm 1")
    return _import


def _import(vectors: Path, output: Path, **options: Any) -> int:
    from ..imports import import_vectors

    return say(import_vectors(vectors, output, **options).lines())


COMMANDS = {
    "merge": ("join stores of the same model", _describe_merge),
    "repair": ("write the intact rows of a damaged store to a new store", _describe_repair),
    "compact": ("join the small segments of a store directory", _describe_compact),
    "index": ("speed up searches of a large store", _describe_index),
    "import": ("make a store from existing vectors", _describe_import),
}
