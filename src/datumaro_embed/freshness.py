"""Is an item of a dataset the one that a store embedded? Its image's bytes say, not its name.

Whoever drops, moves, tags or picks items by a store asks here first: two datasets have the same
ids easily, and an image may have changed since it was embedded.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .adapter import SourceDataset
from .errors import StaleStoreError
from .escaping import printable
from .parallel import map_ahead
from .pipeline import read_item_info
from .records import ItemKey, Status
from .store import EmbeddingStore
from .store.check import refuse_damage
from .tally import Tally, counted

if TYPE_CHECKING:
    from datumaro.components.dataset_base import IDataset

_READ = (Status.OK, Status.INFERENCE_FAILED)  # the latter may have objects with vectors
_log = logging.getLogger("datumaro_embed")


def fresh_items(store: EmbeddingStore, dataset: IDataset, *, skip_stale: bool) -> set[ItemKey]:
    """Return the items of a dataset that are, byte for byte, those that a store embedded.

    With `skip_stale`, others are left out, with a warning that counts and names them.

    Raises `StaleStoreError`: there are such items and `skip_stale` is false; or no item is left;
    `StoreCorruptError`: the store does not verify.

    Reads the whole store, and reads and hashes every image file in threads; decodes none.
    """
    refuse_damage(store, "Embed the dataset again to replace the damaged rows.")
    source = SourceDataset(dataset, follow_symlinks=True, every=store.every)
    stale, fresh = Tally(), set()
    for record in map_ahead(read_item_info, source):
        if record.key not in store:
            stale.add("items that are not in the store", str(record.key))
            continue
        row = store.row(record.key)
        embedded = store.content_sha256[row].tobytes()
        # Of an image that could not be read there is no vector, and nothing is done by it.
        if embedded != record.content_sha256 and store.statuses[row] in _READ:
            stale.add("images whose bytes have changed since embedding", str(record.key))
        else:
            fresh.add(record.key)
    if not stale:
        return fresh
    found = "; ".join(line.strip() for line in stale.lines())
    name = printable(store.path)
    if not fresh:
        raise StaleStoreError(
            f"The store '{name}' has none of this dataset's {counted(len(source), 'images')}: "
            f"{found}. Name the store that was made from this dataset, or embed the dataset.",
            n_stale=stale.total,
        )
    differ = (
        f"{stale.total:,} of {counted(len(source), 'items')} do not match the store "
        f"'{name}': {found}."
    )
    if not skip_stale:
        raise StaleStoreError(
            f"{differ} Nothing was written. Embed the dataset again, or use ``skip_stale`` to "
            "leave these items alone.",
            n_stale=stale.total,
        )
    _log.warning("%s They are skipped.", differ)
    return fresh
