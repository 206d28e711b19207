"""Images with the same stem, such as ``a.jpg`` and ``a.png``, which Datumaro gives the same id."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

from datumaro.components import media as dm
from datumaro.components.dataset_base import DatasetItem

from ..kinds import is_image_name
from ..tally import Tally


def can_be_id(name: str) -> bool:
    """Tell whether Datumaro accepts a name as an id: no ``..``, no absolute path, no drive."""
    try:
        return bool(DatasetItem(name).id == name)  # a backslash would become a slash
    except ValueError:
        return False


def with_distinct_ids(items: Iterable[DatasetItem], losses: Tally) -> list[DatasetItem]:
    """Add the file's extension to the id of a second item, so that each image has a row.

    The first item of an id is the one whose path sorts first. Losses are items that have the id of
    another item, and its image or none.
    """
    entries = []
    for item in items:
        path = str(item.media.path) if isinstance(item.media, dm.ImageFromFile) else ""
        entries.append((item.subset, item.id, path, item))
    entries.sort(key=itemgetter(0, 1, 2))
    taken = {(subset, item_id) for subset, item_id, *_ in entries}
    distinct = []
    for (subset, item_id), same in groupby(entries, key=itemgetter(0, 1)):
        images: set[str] = set()
        for _, _, path, item in same:
            if images and (path in images or not path):
                losses.add("items with the id of another item", f"{subset}/{item_id}: {path}")
                continue
            new_id = item_id
            while images and (subset, new_id) in taken:
                new_id += os.path.splitext(path)[1] or "~"
            images.add(path)
            taken.add((subset, new_id))
            distinct.append(item if new_id == item_id else item.wrap(id=new_id))
    return distinct


def images_by_stem(folder: str) -> dict[str, list[str]]:
    """Return the names of a folder's image files, sorted, by stem."""
    by_stem: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if is_image_name(name):
            by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
    return by_stem
