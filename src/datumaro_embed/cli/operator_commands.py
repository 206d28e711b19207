"""`datumaro-embed merge`, `repair`, `compact`, `index` and `import`."""

from __future__ import annotations

from functools import partial as bound
from pathlib import Path
from typing import Any

from ..flags import add_output_argument, add_partial_argument
from ..paths import path_given, text_given
from .commands import STORE, Commands, argument, command
from .console import say

_STORE = "FILE.h5|FOLDER/"

COMMANDS: Commands = {}


@command(
    COMMANDS,
    "merge",
    "join stores of the same model",
    "Join stores of the same model into a new one, in the order of their keys.",
    argument(
        "stores",
        type=path_given,
        nargs="+",
        metavar="STORE",
        help="a store, or a folder STORE.parts that runs with --shard have written",
    ),
    bound(
        add_output_argument, metavar=_STORE, type=text_given, help="store to write; see --replace"
    ),
    argument(
        "--replace",
        action="store_true",
        help="replace an existing store once all rows are written (default: it must not exist)",
    ),
    argument(
        "--on-duplicate",
        choices=("error", "first", "last"),
        default="error",
        help="which store wins if several contain the same item (default: %(default)s)",
    ),
)
def _merge(stores: list[Path], output: str, **options: Any) -> int:
    from ..maintenance import merge_stores

    return say(merge_stores(stores, output, **options).lines())


@command(
    COMMANDS,
    "repair",
    "write the intact rows of a damaged store to a new store",
    "Write a new store with every block of 1,024 rows whose checksums are right, and mark the "
    "other rows for `embed` to compute again. The damaged store is not changed.",
    argument("store", type=path_given, metavar="STORE", help="damaged store file or folder"),
    bound(add_output_argument, metavar=_STORE, type=text_given),
    add_partial_argument,
)
def _repair(store: Path, output: str, partial: bool) -> int:
    from ..maintenance import repair_store

    return say(repair_store(store, output, partial=partial).lines())


@command(
    COMMANDS,
    "compact",
    "join the small segments of a store directory",
    "Join neighboring small segments into larger ones. No row changes.",
    argument("store", type=path_given, metavar="STORE", help="store folder"),
)
def _compact(store: Path) -> int:
    from ..maintenance import compact_store
    from ..store import open_store

    open_store(store).close()  # raises an error if it is not a store
    return say(compact_store(store).lines())


@command(
    COMMANDS,
    "index",
    "speed up searches of a large store",
    "Write an approximate index (HNSW) next to the store, as STORE.usearch. If it exists, "
    "`search` uses it for queries without filters and up to 1,000 hits. Useful from a few "
    "hundred thousand items.",
    STORE,
    argument(
        "--rebuild", action="store_true", help="build the index again even if it is up to date"
    ),
)
def _index(store: Path, rebuild: bool) -> int:
    from ..retrieval import build_index

    return say([build_index(store, rebuild=rebuild, progress=True)])


@command(
    COMMANDS,
    "import",
    "make a store from existing vectors",
    "Make a store from vectors and ids, or from a `convert` output.",
    argument(
        "vectors",
        type=path_given,
        metavar="VECTORS",
        help="FILE.npy, FILE.parquet with a column `embedding`, or a folder that "
        "`convert --to npy` or clip-retrieval wrote",
    ),
    argument(
        "--ids",
        type=path_given,
        metavar="FILE",
        help="ids in the order of the vectors: .txt (one per line), or .csv or .parquet with a "
        "column `id` and optionally subset, split, path, width, height",
    ),
    bound(add_output_argument, metavar="STORE"),
    argument(
        "--subset",
        default="default",
        metavar="NAME",
        help="subset of items without one (default: %(default)s)",
    ),
    argument(
        "--dtype",
        choices=("float16", "float32"),
        help="type of the vectors in the store (default: that of the input)",
    ),
    argument("--normalize", action="store_true", help="scale vectors to norm 1"),
)
def _import(vectors: Path, output: Path, **options: Any) -> int:
    from ..imports import import_vectors

    return say(import_vectors(vectors, output, **options).lines())
