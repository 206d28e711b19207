"""Images of one stem: ``a.jpg`` beside ``a.png``, which Datumaro would give one id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import groupby

from datumaro.components import media as dm
from datumaro.components.dataset_base import DatasetItem

from ..kinds import is_image_name
from ..tally import Tally

__all__ = ["can_be_id", "images_by_stem", "split_by_image", "with_distinct_ids"]


def can_be_id(name: str) -> bool:
    """Tell whether Datumaro takes a name for an id: one that leads nowhere else, and no drive."""
    try:
        return bool(DatasetItem(name).id == name)  # a backslash would become a slash
    except ValueError:
        return False


def with_distinct_ids(items: Iterable[DatasetItem], losses: Tally) -> list[DatasetItem]:
    """Give the second item of an id its file's extension, so that each image has a row.

    Parameters
    ----------
    items : iterable of DatasetItem
        Their order does not matter: the first is the one whose path sorts first.
    losses : Tally
        Where items are counted that have one image, or none, and one id.
    """
    ordered = sorted(items, key=lambda item: (item.subset, item.id, _path(item)))
    taken = {(item.subset, item.id) for item in ordered}
    distinct = []
    for (subset, item_id), same in groupby(ordered, key=lambda item: (item.subset, item.id)):
        images: set[str] = set()
        for item in same:
            path = _path(item)
            if images and (path in images or not path):
                losses.add("items whose id another item has", f"{subset}/{item_id}: {path}")
                continue
            new_id = item_id
            while images and (subset, new_id) in taken:
                new_id += os.path.splitext(path)[1] or "~"
            images.add(path)
            taken.add((subset, new_id))
            distinct.append(item if new_id == item_id else item.wrap(id=new_id))
    return distinct


def split_by_image(items: Iterable[DatasetItem]) -> Iterator[DatasetItem]:
    """Undo what ImageNet's importer makes of ``cat/a.jpg`` and ``cat/a.png``.

    It gives one item with two equal labels and either image; here each image has its own item, all
    of one id (`with_distinct_ids` tells them apart).

    Notes
    -----
    Lists each folder once.
    """
    by_folder: dict[str, dict[str, list[str]]] = {}
    for item in items:
        folder, name = os.path.split(_path(item))
        if folder not in by_folder:
            by_folder[folder] = images_by_stem(folder)
        images = by_folder[folder].get(os.path.splitext(name)[0], ())
        if len(images) < 2:
            yield item
            continue
        for image in images:
            media = dm.Image.from_file(path=os.path.join(folder, image))
            yield item.wrap(media=media, annotations=item.annotations[:1])


def images_by_stem(folder: str) -> dict[str, list[str]]:
    """Return the names of a folder's image files by their stem, each list sorted."""
    by_stem: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if is_image_name(name):
            by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
    return by_stem


def _path(item: DatasetItem) -> str:
    return str(item.media.path) if isinstance(item.media, dm.ImageFromFile) else ""
