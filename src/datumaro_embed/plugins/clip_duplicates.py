"""The Datumaro transform `clip_duplicates`: sets apart, drops, moves or tags near-duplicates."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import IDataset

from ..adapter import SourceDataset
from ..duplicates import check_finding, find_duplicates
from ..errors import UsageError
from ..flags import DEFAULT_TABLE, add_duplicate_arguments, add_plan_arguments
from ..listing import threshold_text
from ..logs import log
from ..records import ItemKey
from ..store import EmbeddingStore
from .transform import StoreTransform

ACTIONS = ("separate", "drop", "move", "tag")


class ClipDuplicates(StoreTransform):
    r"""Set apart, drop, move or tag near-duplicates, by the vectors of a store.

    One item of each group stays. The order of preference is: the split that
    --keep-split names, train, val, test, other subsets; then the most annotations,
    the most pixels, the first name. --action says what happens to the others:

    separate  they move to the subset `duplicated`
    drop      they are dropped
    move      they move to the subset of the item that stays, so that no group is
              in two splits
    tag       they get the attributes `duplicate_group` and `duplicate_of`, in
              formats that keep attributes

    Every image is compared with the one that was embedded: if an item is not in the
    store or its image has changed, nothing is written. OUT must be a new or empty
    folder outside DATA.

    Show what would be dropped:

        datum transform -t clip_duplicates -o OUT DATA -- \
            --store embeddings.h5 --action drop --dry-run

    Remove leakage between train, val and test, and keep test complete:

        datum transform -t clip_duplicates -o OUT DATA -- \
            --store embeddings.h5 --action drop --across-splits --keep-split test
    """

    NAME = "clip_duplicates"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe what to find, and what to do with it."""
        super().add_arguments(parser)
        parser.add_argument(
            "--action",
            default=ACTIONS[0],
            choices=ACTIONS,
            help="what to do with the other copies (default: %(default)s)",
        )
        add_duplicate_arguments(parser)
        add_plan_arguments(parser, "--csv")

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse a wrong threshold, split or file."""
        check_finding(**parsed)
        super().check_arguments(parsed)

    def __init__(
        self,
        extractor: IDataset,
        *,
        store: str | Path,
        action: str = ACTIONS[0],
        skip_stale: bool = False,
        dry_run: bool = False,
        plan: str | Path | None = None,
        from_datum: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            extractor,
            store,
            skip_stale=skip_stale,
            dry_run=dry_run,
            plan=plan,
            from_datum=from_datum,
        )
        self._action = action
        self._options = options  # those of `find_duplicates`

    def _check(self) -> None:
        """Refuse wrong arguments before any image is compared, as no store makes these right."""
        if self._action not in ACTIONS:
            raise UsageError(
                f"There is no ``action`` {self._action!r}. Choose {', '.join(ACTIONS)}."
            )
        if self._options.get("of", DEFAULT_TABLE) != DEFAULT_TABLE:
            raise UsageError(
                f"clip_duplicates changes items, not {self._options['of']}. Leave out ``of``, or "
                "print their duplicates with `datumaro-embed duplicates`."
            )
        check_finding(**self._options)

    def _example(self, source: SourceDataset) -> str:
        if self._action == "drop":
            return ""
        if self._action == "tag":
            return "attribute duplicate_group=1"
        subsets = sorted({key.subset for key in source.keys()})
        return f"subset {subsets[-1] if self._action == 'move' and subsets[1:] else 'duplicated'}"

    def _actions(
        self,
        store: EmbeddingStore,
        keys: Collection[ItemKey],  # noqa: ARG002
        fresh: set[ItemKey],
    ) -> Iterator[tuple[ItemKey, int, str]]:
        """Say what becomes of the members of each group; stale ones are left out of account."""
        report = find_duplicates(store, progress=True, **self._options)
        log.info("%s: %s", self.NAME, threshold_text(report))
        for number, group in enumerate(report.groups, start=1):
            here = [key.item for key in group.keys if key in fresh]
            if len(here) < 2:
                continue
            keep = group.keep.item
            if group.keep not in here:  # another one stays, of its split if possible
                splits = dict(zip(group.keys, group.splits, strict=True))
                own = splits[group.keep]
                keep = min((splits[key] is not own, key) for key in here)[1]
            for key in here:
                if self._action == "tag":
                    yield key, number, f"attribute duplicate_group={number}"
                    if key != keep:
                        yield key, number, f"attribute duplicate_of={keep}"
                elif key == keep:
                    yield key, number, "keep"
                elif self._action == "drop":
                    yield key, number, "drop"
                else:
                    subset = keep.subset if self._action == "move" else "duplicated"
                    yield key, number, f"subset {subset}"
