"""Numbers that are unique in a subset (COCO's image and annotation ids), kept so by a move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from datumaro.components.dataset_base import DatasetItem

__all__ = ["Numbers"]


class Numbers:
    """The numbers in use; Datumaro's COCO exporter writes them as they are, twice if they are."""

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
