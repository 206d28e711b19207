"""The categories of all files of a COCO dataset, as one list of labels."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from datumaro.components.annotation import (
    AnnotationType,
    Categories,
    LabelCategories,
    PointsCategories,
)
from datumaro.plugins.data_formats.coco.format import CocoTask
from datumaro.util.meta_file_util import has_meta_file, parse_meta_file

from ..tally import Tally
from .coco_document import Document, as_id

__all__ = ["CocoCategories"]

_UNLABELLED = {CocoTask.captions, CocoTask.image_info}


class CocoCategories:
    """Labels by name: ids may differ between files, names mean the same in all of them.

    Parameters
    ----------
    root : Path
        Where a ``dataset_meta.json`` of Datumaro's may lie, which then says the order of labels.
        Else the order is that of the ids, as in Datumaro.

    Attributes
    ----------
    all : dict
        As a Datumaro dataset has it; grows with `labels_of`.
    """

    def __init__(self, root: Path) -> None:
        self.all: dict[AnnotationType, Categories] = {}
        self._by_meta_file: dict[int | str, int | None] = {}
        if has_meta_file(str(root)):
            names = parse_meta_file(str(root))
            self.all[AnnotationType.label] = LabelCategories.from_iterable(names)
            self._by_meta_file = {index + 1: index for index in range(len(names))}

    def labels_of(
        self, entries: list[Any], task: CocoTask, where: str, losses: Tally
    ) -> dict[int | str, int | None]:
        """Add one file's categories.

        Returns
        -------
        mapping of id to label
            None where two categories have one id.
        """
        if task in _UNLABELLED:
            return {}
        labels = self.all.setdefault(AnnotationType.label, LabelCategories())
        label_of: dict[int | str, int | None] = {}
        id_of: dict[str, int | str] = {}
        for category_id, entry in _by_id(entries, where, losses):
            name = _name(category_id, entry, where, losses)
            if id_of.setdefault(name, category_id) != category_id:
                example = f"{where}: {name}, {id_of[name]} and {category_id}"
                losses.add("categories of one name, read as one", example)
            label = labels.find(name)[0]
            if label is None:
                label = labels.add(name, parent=_supercategory(entry))
            label_of[category_id] = label if label_of.get(category_id, label) == label else None
            if task is CocoTask.person_keypoints:
                self._add_keypoints(label, entry)
        return label_of or dict(self._by_meta_file)

    def _add_keypoints(self, label: int, entry: Document) -> None:
        points = self.all.setdefault(AnnotationType.points, PointsCategories())
        if isinstance(entry.get("keypoints"), list):
            with suppress(TypeError):  # a skeleton that is none
                joints = entry.get("skeleton") or ()
                points.add(label, labels=entry["keypoints"], joints=joints)


def _by_id(entries: list[Any], where: str, losses: Tally) -> list[tuple[int | str, Document]]:
    found = []
    for entry in entries:
        category_id = as_id(entry.get("id")) if isinstance(entry, dict) else None
        if category_id is None:
            losses.add("categories without an id", f"{where}: {str(entry)[:80]}")
        else:
            found.append((category_id, entry))
    return sorted(found, key=lambda pair: (isinstance(pair[0], str), pair[0]))


def _name(category_id: int | str, entry: Document, where: str, losses: Tally) -> str:
    name = entry.get("name")
    if name is None or name == "":
        losses.add("categories without a name, called by their id", f"{where}: {category_id}")
        return str(category_id)
    return str(name)


def _supercategory(entry: Document) -> str | None:
    parent = entry.get("supercategory")
    return parent if isinstance(parent, str) else None
