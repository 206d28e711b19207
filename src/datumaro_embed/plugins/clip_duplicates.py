"""The Datumaro transform `clip_duplicates`: sets apart, drops, moves or tags near-duplicates."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import DatasetItem, IDataset

from ..adapter import format_of
from ..duplicates import (
    ACTIONS,
    Change,
    check_action,
    check_finding,
    find_duplicates,
    plan_changes,
    plan_summary,
)
from ..errors import UsageError
from ..files import check_output
from ..flags import DEFAULT_TABLE, add_duplicate_arguments
from ..freshness import fresh_items
from ..listing import changes_lines, write_changes_csv
from ..logs import log
from ..records import ItemKey
from ..store import open_store
from .transform import StoreTransform

_MOVES = {"move", "separate"}
_KEEP_ATTRIBUTES = {"arrow", "datumaro", "datumaro_binary"}
_ONE_SUBSET = {"image_dir", "image_zip", "imagenet", "segment_anything"}
_ONLY = {"default"}  # the subset of a dataset that has none; ImageNet has a layout with subsets too


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
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="print what would change, but write no dataset; --csv still writes its file",
        )
        parser.add_argument(
            "--csv", type=Path, metavar="FILE", help="write one line per item that changes"
        )

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse a wrong threshold, split or file."""
        check_finding(**parsed)
        if parsed["csv"] is not None:
            check_output(parsed["csv"])
        super().check_arguments(parsed)

    def __init__(
        self,
        extractor: IDataset,
        *,
        store: str | Path,
        action: str = ACTIONS[0],
        skip_stale: bool = False,
        dry_run: bool = False,
        csv: str | Path | None = None,
        from_datum: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(extractor, store, skip_stale, from_datum)
        self._action = action
        self._options = options  # those of `find_duplicates`
        self._dry_run = dry_run
        self._csv = csv
        self._changes: Mapping[ItemKey, Change] | None = None

    def __iter__(self) -> Iterator[DatasetItem]:
        if self._changes is None:
            with self._errors():
                self._changes = self._planned()
        numbers = _Numbers(self._extractor if self._action in _MOVES else ())
        for item in self._extractor:
            change = self._changes.get(ItemKey(item.subset, item.id))
            if change is None:
                yield item
            elif not change.dropped:
                yield _changed(item, change, numbers)

    def _planned(self) -> Mapping[ItemKey, Change]:
        """Decide everything, tell it, and only then let the first item go."""
        self._refuse_impossible()
        keys = [ItemKey(item.subset, item.id) for item in self._extractor]
        if not keys:
            return {}
        with open_store(self._store) as store:
            fresh = fresh_items(store, self._extractor, skip_stale=self._skip_stale)
            groups = find_duplicates(store, progress=True, **self._options).groups
        changes = plan_changes(groups, self._action, fresh, taken=keys)
        summary = plan_summary(changes, self._action, len(keys))
        if self._csv is not None:
            write_changes_csv(changes, self._action, Path(self._csv))
        if not self._dry_run:
            log.info("clip_duplicates: %s", summary)
            return changes
        print("\n".join(changes_lines(changes, f"{summary} (a dry run: no dataset is written)")))
        if self._from_datum:
            raise SystemExit(0)  # `datum` writes what it gets, unless it gets to no end
        return {}

    def _refuse_impossible(self) -> None:
        """Refuse wrong arguments, and what `datum` would lose as it saves in the source's format.

        Before any image is compared, as no store makes these right.
        """
        check_action(self._action)
        if self._options.get("of", DEFAULT_TABLE) != DEFAULT_TABLE:
            raise UsageError(
                f"clip_duplicates changes items, not {self._options['of']}. Leave out ``of``, or "
                "print their duplicates with `datumaro-embed duplicates`."
            )
        check_finding(**self._options)
        if self._csv is not None:
            check_output(self._csv)
        name = format_of(self._extractor) if self._from_datum else None
        if self._action == "tag" and name and name not in _KEEP_ATTRIBUTES:
            raise UsageError(
                f"The format {name} does not keep attributes of items, so tags would be lost. "
                f"Choose another ``action``, or a dataset in {', '.join(sorted(_KEEP_ATTRIBUTES))}."
            )
        if (
            self._action in _MOVES
            and name in _ONE_SUBSET
            and set(self._extractor.subsets()) <= _ONLY
        ):
            raise UsageError(
                f"The format {name} does not keep subsets, so ``action`` {self._action} "
                "would do nothing. Choose ``action`` drop, or a dataset in a format with subsets."
            )


def _changed(item: DatasetItem, change: Change, numbers: _Numbers) -> DatasetItem:
    if change.key.subset != item.subset:
        return item.wrap(
            id=change.key.id, subset=change.key.subset, **numbers.fit(item, change.key.subset)
        )
    return item.wrap(attributes={**item.attributes, **change.attributes})


class _Numbers:
    """Numbers that are unique in a subset (COCO's image and annotation ids), kept so by a move.

    Datumaro's COCO exporter writes them as they are, twice if they are.
    """

    def __init__(self, items: Iterable[DatasetItem]) -> None:
        self._images: dict[str, set[int]] = defaultdict(set)
        self._annotations: dict[str, set[int]] = defaultdict(set)
        for item in items:
            if isinstance(number := item.attributes.get("id"), int):
                self._images[item.subset].add(number)
            self._annotations[item.subset].update(ann.id for ann in item.annotations)
        self._next_image = 1 + max((max(used) for used in self._images.values() if used), default=0)
        self._next_annotation = 1 + max(
            (max(used) for used in self._annotations.values() if used), default=0
        )

    def fit(self, item: DatasetItem, subset: str) -> dict[str, Any]:
        """Give attributes and annotations with which the item can be put into another subset."""
        attributes = dict(item.attributes)
        if attributes.get("id") in self._images[subset]:
            attributes["id"] = self._next_image
            self._next_image += 1
        if isinstance(number := attributes.get("id"), int):
            self._images[subset].add(number)
        return {"attributes": attributes, "annotations": self._fit_annotations(item, subset)}

    def _fit_annotations(self, item: DatasetItem, subset: str) -> list[Any]:
        """Renumber all annotations of an item together, so that its groups stay together."""
        used = self._annotations[subset]
        numbers = {ann.id for ann in item.annotations if ann.id}
        renumbered = {}
        if numbers & used:
            renumbered = {old: self._next_annotation + n for n, old in enumerate(sorted(numbers))}
            self._next_annotation += len(numbers)
        used.update(renumbered.get(number, number) for number in numbers)
        return [
            ann.wrap(id=renumbered.get(ann.id, ann.id), group=renumbered.get(ann.group, ann.group))
            for ann in item.annotations
        ]
