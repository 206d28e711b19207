"""The Datumaro transform `clip_search`: keeps the items that a search finds."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import IDataset

from ..flags import add_search_arguments
from ..logs import log
from ..records import ItemKey
from ..retrieval import run_search, search_request, stale_query
from ..store import EmbeddingStore
from ..tally import counted
from .transform import StoreTransform


class ClipSearch(StoreTransform):
    r"""Keep the items nearest to a query, by the vectors of a store.

    Several queries are averaged. Every image is compared with the one that was
    embedded: if an item is not in the store or its image has changed, nothing is
    written. OUT must be a new or empty folder outside DATA.

    With --of objects or captions, an item stays if one of its objects or captions
    is found; -k counts these.

    Keep the 100 items nearest to a text:

        datum transform -t clip_search -o OUT DATA -- \
            --store embeddings.h5 --query "a red car" -k 100

    Keep what looks like one item, but less like a cat:

        datum transform -t clip_search -o OUT DATA -- \
            --store embeddings.h5 --item train/0001 --not "a cat"

    Keep the items that hold the 100 objects nearest to a text:

        datum transform -t clip_search -o OUT DATA -- \
            --store embeddings.h5 --of objects --query "a red car" -k 100
    """

    NAME = "clip_search"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe a search."""
        super().add_arguments(parser)
        parser.add_argument(
            "--query", action="append", default=[], metavar="TEXT", help="text to search for"
        )
        add_search_arguments(parser)

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse queries that cannot be."""
        flags = {name: parsed[name] for name in parsed if name not in ("store", "skip_stale")}
        search_request(flags.pop("query"), **flags)
        super().check_arguments(parsed)

    def __init__(
        self,
        extractor: IDataset,
        *,
        store: str | Path,
        query: str | Sequence[str] = (),
        skip_stale: bool = False,
        from_datum: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(extractor, store, skip_stale=skip_stale, from_datum=from_datum)
        self._query = query
        self._options = options  # those of `search_request`

    def _actions(
        self, store: EmbeddingStore, keys: Collection[ItemKey], fresh: set[ItemKey]
    ) -> Iterator[tuple[ItemKey, None, str]]:
        """Keep the hits and drop the rest; stale items are no hits."""
        queries, options = search_request(self._query, **self._options)
        for key in options.items(queries):
            if key in store and key in keys and key not in fresh:
                raise stale_query(key)
        found = run_search(store, queries, options, keep=lambda hit: hit.key.item in fresh)
        kept = {hit.key.item for hit in found.hits}
        hits = counted(len(found.hits), found.of)
        log.info(
            "clip_search: %s found, %d of %s kept", hits, len(kept), counted(len(keys), "items")
        )
        for key in keys:
            yield key, None, "keep" if key in kept else "drop"
