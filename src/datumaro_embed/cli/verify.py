"""`datumaro-embed verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..flags import add_partial_argument
from ..tally import counted
from .opening import opened_store
from .output import say

__all__ = ["add_parser"]

_MAX_DIFFERENCES = 50


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "verify",
        help="check a store, alone or against its dataset",
        description="Check every row's checksum; with --dataset every item and annotation too. "
        "Exits 1 where something differs.",
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--dataset", metavar="PATH[:FORMAT]", help="compare with this dataset")
    parser.add_argument(
        "--follow-symlinks",
        action="store_true",
        help="read images that are links leading out of the dataset folder",
    )
    add_partial_argument(parser)
    parser.set_defaults(command=_verify)


def _verify(store: Path, dataset: str | None, follow_symlinks: bool, partial: bool) -> int:
    from ..adapter import import_dataset
    from ..verify import compare_with_dataset

    with opened_store(store, partial=partial) as opened:
        problems = opened.verify()
        ways = f"`datumaro-embed repair {store} -o NEW` saves the rows that are sound"
        if not problems:
            ways = "the same `embed` command again takes over what has changed"
        if dataset is not None:
            imported = import_dataset(dataset, follow_symlinks=follow_symlinks)
            problems += compare_with_dataset(opened, imported.source)
        say(problems[:_MAX_DIFFERENCES])
        if len(problems) > _MAX_DIFFERENCES:
            say([f"… and {len(problems) - _MAX_DIFFERENCES} more"])
        found = f"{counted(len(problems), 'differences')}; {ways}" if problems else "sound"
        say([f"{counted(opened.n_rows, 'rows')}: {found}"])
    return 1 if problems else 0
