"""Items in store order: as Datumaro has them, or packed, where no one else holds them."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from datumaro.components import media as dm
from datumaro.components.dataset_base import DatasetItem

from ..records import ItemKey

__all__ = ["HeldItems", "PackedItems"]

_BLOCK = 256
_PACKED_MEDIA = {type(None), dm.ImageFromFile}


class HeldItems:
    """Items, ascending by key, that somebody holds anyway."""

    def __init__(self, items: Iterable[DatasetItem]) -> None:
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[DatasetItem]:
        return iter(self._items)

    def keys(self) -> Iterator[ItemKey]:
        """Every item's key."""
        return map(_key, self._items)

    def only(self, wanted: Callable[[ItemKey], bool]) -> HeldItems:
        """Return those whose key is wanted."""
        return type(self)(item for item in self if wanted(_key(item)))


class PackedItems(HeldItems):
    """Items pickled and compressed by the hundred: some 100 bytes each instead of 2,000.

    What cannot be pickled, or has its pixels in memory, stays as it is with its block. An item is
    another object each time; it costs some 30 microseconds to pack and as many to unpack.
    """

    def __init__(self, items: Iterable[DatasetItem]) -> None:
        self._blocks: list[bytes | list[DatasetItem]] = []
        self._keys: list[bytes] = []
        self._n_items = 0
        rest = iter(items)
        while block := list(islice(rest, _BLOCK)):
            self._n_items += len(block)
            self._keys.append(_packed([(item.subset, item.id) for item in block]))
            self._blocks.append(_packed_or_held(block))

    def __len__(self) -> int:
        return self._n_items

    def __iter__(self) -> Iterator[DatasetItem]:
        for block in self._blocks:
            yield from _unpacked(block) if isinstance(block, bytes) else block

    def keys(self) -> Iterator[ItemKey]:
        """Every item's key."""
        for keys in self._keys:
            yield from (ItemKey(subset, item_id) for subset, item_id in _unpacked(keys))


def _key(item: DatasetItem) -> ItemKey:
    return ItemKey(item.subset, item.id)


def _packed_or_held(block: list[DatasetItem]) -> bytes | list[DatasetItem]:
    if not all(type(item.media) in _PACKED_MEDIA for item in block):
        return block
    try:
        return _packed(block)
    except Exception:  # an annotation may hold anything, a function that loads a mask for one
        return block


def _packed(value: object) -> bytes:
    return zlib.compress(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), 1)


def _unpacked(block: bytes) -> list[Any]:
    """Unpickle what this process has pickled, and nothing else ever wrote."""
    found: list[Any] = pickle.loads(zlib.decompress(block))  # noqa: S301
    return found
