"""`datumaro-embed merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "merge",
        help="join stores of the same model",
        description="Join stores of the same model into a new one; items keep their order by key.",
    )
    parser.add_argument("stores", type=Path, nargs="+", metavar="STORE")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE.h5|FOLDER/", help="must not exist"
    )
    parser.add_argument(
        "--on-duplicate",
        choices=("error", "first", "last"),
        default="error",
        help="which store wins where several have the same item (default: %(default)s)",
    )
    parser.set_defaults(command=_merge)


def _merge(stores: list[Path], output: str, on_duplicate: str) -> int:
    from ..maintenance import merge_stores

    print("\n".join(merge_stores(stores, output, on_duplicate=on_duplicate).lines()))
    return 0
