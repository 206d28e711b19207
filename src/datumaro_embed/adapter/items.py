"""Items in store order: as Datumaro has them, or packed, where no one else holds them."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, starmap
from typing import Any

from datumaro.components import media as dm
from datumaro.components.dataset_base import DatasetItem

from ..records import ItemKey

_BLOCK = 256
_PACKED_MEDIA = {type(None), dm.ImageFromFile, dm.VideoFrame}


class Items:
    """Items, ascending by key, in blocks; packed: some 100 bytes each instead of 2,000.

    A packed block is pickled and compressed. What cannot be pickled, or has its pixels in memory,
    stays as it is with its block. A packed item is another object each time; it costs some 30
    microseconds to pack and as many to unpack.
    """

    def __init__(self, items: Iterable[DatasetItem], *, packed: bool) -> None:
        self.packed = packed
        self._blocks: list[bytes | list[DatasetItem]] = []
        self._keys: list[bytes | list[tuple[str, str]]] = []
        self._n_items = 0
        rest = iter(items)
        while block := list(islice(rest, _BLOCK)):
            self._n_items += len(block)
            keys = [(item.subset, item.id) for item in block]
            self._keys.append(_packed(keys) if packed else keys)
            self._blocks.append(_packed_or_held(block) if packed else block)

    def __len__(self) -> int:
        return self._n_items

    def __iter__(self) -> Iterator[DatasetItem]:
        return chain.from_iterable(map(_unpacked, self._blocks))

    def keys(self) -> Iterator[ItemKey]:
        """Every item's key."""
        return starmap(ItemKey, chain.from_iterable(map(_unpacked, self._keys)))

    def only(self, wanted: Callable[[ItemKey], bool]) -> Items:
        """Return those whose key is wanted."""
        chosen = (item for item in self if wanted(ItemKey(item.subset, item.id)))
        return Items(chosen, packed=self.packed)


def _packed_or_held(block: list[DatasetItem]) -> bytes | list[DatasetItem]:
    if not all(type(item.media) in _PACKED_MEDIA for item in block):
        return block
    try:
        return _packed(block)
    except Exception:  # an annotation may hold anything, a function that loads a mask for one
        return block


def _packed(value: object) -> bytes:
    return zlib.compress(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), 1)


def _unpacked(block: bytes | list[Any]) -> list[Any]:
    """Unpickle what this process has pickled, and nothing else ever wrote."""
    if isinstance(block, list):
        return block
    found: list[Any] = pickle.loads(zlib.decompress(block))  # noqa: S301
    return found
