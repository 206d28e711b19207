"""The Datumaro transform `clip_duplicates`: tags, drops or moves items that show the same."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import DatasetItem, IDataset
from datumaro.components.transformer import Transform

from ..duplicates import ACTIONS, Change, check_threshold, find_duplicates, plan_changes
from ..flags import DEFAULT_THRESHOLD, add_duplicate_arguments
from ..logs import log
from ..records import ItemKey
from ..store import open_store
from .errors import datum_errors
from .numbers import Numbers
from .parsing import plain_help

__all__ = ["ClipDuplicates"]


class ClipDuplicates(Transform):  # type: ignore[misc]
    r"""Tag, drop or move items that show the same, by the vectors of a store.

    One item of each group stays: one that was embedded before one that failed;
    then of train before val before test before other subsets; then the one with
    most annotations, then most pixels, then the first by name. The others are
    tagged (attributes `duplicate_group` and `duplicate_of`), dropped, or moved to
    its subset, so that no group is in two splits.

    Drop all near-duplicates but one of each group:

        datum transform -t clip_duplicates -o OUT DATA -- \
            --store embeddings.h5 --action drop

    End leakage between train, val and test:

        datum transform -t clip_duplicates -o OUT DATA -- \
            --store embeddings.h5 --action move --across-splits
    """

    NAME = "clip_duplicates"

    @classmethod
    def build_cmdline_parser(cls, **kwargs: Any) -> argparse.ArgumentParser:
        """Return the parser of what follows ``--``."""
        parser: argparse.ArgumentParser = super().build_cmdline_parser(**plain_help(cls) | kwargs)
        parser.add_argument("--store", required=True, metavar="STORE", help="store of this data")
        parser.add_argument(
            "--action", default="tag", choices=ACTIONS, help="(default: %(default)s)"
        )
        add_duplicate_arguments(parser)
        return parser

    @classmethod
    def parse_cmdline(cls, args: list[str] | None = None) -> dict[str, Any]:
        """Parse and check, so that a wrong argument ends `datum` before it does anything."""
        parsed: dict[str, Any] = super().parse_cmdline(args)
        with datum_errors(True):
            check_threshold(parsed["threshold"])
            open_store(parsed["store"]).close()
        return {**parsed, "from_datum": True}

    def __init__(
        self,
        extractor: IDataset,
        *,
        store: str | Path,
        action: str = "tag",
        threshold: float = DEFAULT_THRESHOLD,
        across_splits: bool = False,
        exact: bool | None = None,
        from_datum: bool = False,
    ) -> None:
        super().__init__(extractor)
        self._store = store
        self._action = action
        self._find: dict[str, Any] = {
            "threshold": threshold,
            "across_splits": across_splits,
            "exact": exact,
        }
        self._from_datum = from_datum
        self._changes: dict[ItemKey, Change] | None = None

    def __iter__(self) -> Iterator[DatasetItem]:
        if self._changes is None:
            with datum_errors(self._from_datum):
                self._changes = self._plan()
        numbers = Numbers(self._extractor if self._action == "move" else ())
        for item in self._extractor:
            change = self._changes.get(ItemKey(item.subset, item.id))
            if change is None:
                yield item
            elif not change.dropped:
                yield _changed(item, change, numbers)

    def _plan(self) -> dict[ItemKey, Change]:
        report = find_duplicates(self._store, progress=True, **self._find)
        keys = (ItemKey(item.subset, item.id) for item in self._extractor)
        changes = plan_changes(report.groups, self._action, keys)
        log.info("clip_duplicates: %d groups, %d items changed", len(report.groups), len(changes))
        return changes

    def subsets(self) -> Any:
        """Give the subsets that are left; counted, for `drop` and `move` may empty one."""
        return super(Transform, self).subsets()


def _changed(item: DatasetItem, change: Change, numbers: Numbers) -> DatasetItem:
    if change.key.subset != item.subset:
        return item.wrap(
            id=change.key.id, subset=change.key.subset, **numbers.fit(item, change.key.subset)
        )
    return item.wrap(attributes={**item.attributes, **change.attributes})
