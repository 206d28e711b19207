"""`datumaro-embed import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "import",
        help="make a store of vectors from elsewhere",
        description="Make a store of vectors and ids, or of what `convert` wrote.",
    )
    parser.add_argument(
        "vectors",
        type=Path,
        help="FILE.npy, FILE.parquet with a column `embedding`, or a folder that "
        "`convert --to npy` or clip-retrieval wrote",
    )
    parser.add_argument(
        "--ids",
        type=Path,
        metavar="FILE",
        help="ids in the vectors' order: .txt (one a line), or .csv or .parquet with a column `id` "
        "and, where known, subset, split, path, width, height",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="STORE", help="must not exist"
    )
    parser.add_argument(
        "--subset",
        default="default",
        metavar="NAME",
        help="subset of items that have none (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        help="type of the vectors in the store (default: that of the input)",
    )
    parser.add_argument("--normalize", action="store_true", help="scale vectors to norm 1")
    parser.set_defaults(command=_import)


def _import(vectors: Path, output: Path, **options: Any) -> int:
    from ..imports import import_vectors

    say(import_vectors(vectors, output, **options).lines())
    return 0
