"""The Datumaro transform `clip_label`: labels the items that have no label."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import IDataset

from ..auditing.zero_shot import label_findings
from ..flags import add_label_arguments
from ..records import ItemKey
from ..store import EmbeddingStore
from .transform import StoreTransform


class ClipLabel(StoreTransform):
    r"""Label items that have no label by the label name nearest to their vector.

    An item gets a label only if it is clearly nearer to its name than to the others
    and than to meaningless texts (--min-relevance). Items that have a label
    stay as they are. `datumaro-embed label` writes the same as findings to review,
    and labels objects too.

    Every image is compared with the one that was embedded: if an item is not in the
    store or its image has changed, nothing is written. OUT must be a new or empty
    folder outside DATA.

        datum transform -t clip_label -o OUT DATA -- \
            --store embeddings.h5 --labels "cat,dog,car"
    """

    NAME = "clip_label"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe which labels."""
        super().add_arguments(parser)
        add_label_arguments(parser)

    def __init__(
        self,
        extractor: IDataset,
        *,
        store: str | Path,
        labels: str = "",
        labels_file: str | Path | None = None,
        skip_stale: bool = False,
        from_datum: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            extractor, store, skip_stale=skip_stale, new_labels=True, from_datum=from_datum
        )
        self._labels = Path(labels_file) if labels_file else labels.split(",")
        self._options = options  # those of `label_findings`

    def _actions(
        self,
        store: EmbeddingStore,
        keys: Collection[ItemKey],  # noqa: ARG002
        fresh: set[ItemKey],
    ) -> Iterator[tuple[ItemKey, None, str]]:
        """Label what is sure."""
        for row in label_findings(store, self._labels, **self._options):
            if row.suggestion != "review" and row.key in fresh:
                yield row.key, None, row.suggestion
