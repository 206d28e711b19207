"""The Datumaro transform `clip_select`: moves representative items to a subset."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.dataset_base import IDataset

from ..adapter import SourceDataset
from ..auditing.selection import SAMPLE, check_selection, select
from ..flags import add_plan_arguments, add_select_arguments
from ..records import ItemKey
from ..store import EmbeddingStore
from .transform import StoreTransform


class ClipSelect(StoreTransform):
    r"""Move representative items, chosen by their vectors, to the subset `sample`.

    The others that could have been chosen move to the subset `unsampled`, those
    without a vector too. Items of --given, and of subsets that --subset does not
    name, stay where they are.

    Every image is compared with the one that was embedded: if an item is not in the
    store or its image has changed, nothing is written. OUT must be a new or empty
    folder outside DATA.

    Choose 100 items that differ as much as possible:

        datum transform -t clip_select -o OUT DATA -- \
            --store embeddings.h5 -k 100

    Choose a tenth of `pool` to label, unlike what is in `train` already:

        datum transform -t clip_select -o OUT DATA -- \
            --store embeddings.h5 --fraction 0.1 --subset pool --given train
    """

    NAME = "clip_select"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe a selection."""
        super().add_arguments(parser)
        add_select_arguments(parser)
        add_plan_arguments(parser)

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse an impossible selection."""
        check_selection(**parsed)
        super().check_arguments(parsed)

    def __init__(self, extractor: IDataset, *, store: str | Path, **options: Any) -> None:
        acting = ("skip_stale", "dry_run", "plan", "from_datum")
        own = {name: options.pop(name) for name in acting if name in options}
        super().__init__(extractor, store, **own)
        self._options = options  # those of `select`

    def _check(self) -> None:
        check_selection(**self._options)

    def _example(self, source: SourceDataset) -> str:  # noqa: ARG002
        return f"subset {SAMPLE}"

    def _actions(
        self,
        store: EmbeddingStore,
        keys: Collection[ItemKey],  # noqa: ARG002
        fresh: set[ItemKey],
    ) -> Iterator[tuple[ItemKey, None, str]]:
        """Say where each item goes that could be chosen; stale ones are left alone."""
        allowed = np.zeros(store.n_rows, bool)
        allowed[[store.row(key) for key in fresh]] = True
        chosen = {*select(store, allowed=allowed, progress=True, **self._options).keys}
        given, wanted = (self._options.get(name, ()) for name in ("given", "subsets"))
        for key in fresh:
            if key.subset not in given and (not wanted or key.subset in wanted):
                yield key, None, f"subset {SAMPLE if key in chosen else 'unsampled'}"
