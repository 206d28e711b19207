"""The image of each Pascal VOC item: the one of its own name, where there is one.

Datumaro opens the file that the XML names, be it another item's or none, as annotations do that
were copied or whose images were renamed; and without an XML file any image of the stem.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from datumaro.components import media as dm
from datumaro.components.dataset_base import DatasetItem

from ..tally import Tally
from .same_stem import images_by_stem

__all__ = ["with_own_images"]

_IMAGES = os.sep + "JPEGImages" + os.sep


def with_own_images(items: Iterable[DatasetItem], losses: Tally) -> Iterator[DatasetItem]:
    """Yield items with the image of their stem, the first by name of several without an XML file.

    Parameters
    ----------
    losses : Tally
        Where items are counted whose XML file names another image.
    """
    by_folder: dict[str, dict[str, list[str]]] = {}
    for item in items:
        if not isinstance(item.media, dm.ImageFromFile):
            yield item
            continue
        path = os.path.abspath(item.media.path)
        base, annotations = _folders(path)
        folder, stem = os.path.split(os.path.join(base, item.id))
        if folder not in by_folder:
            by_folder[folder] = images_by_stem(folder)
        own = [os.path.join(folder, name) for name in by_folder[folder].get(stem, ())]
        is_named_by_xml = os.path.isfile(os.path.join(annotations, f"{item.id}.xml"))
        if not own or (path in own and is_named_by_xml) or path == own[0]:
            yield item
            continue
        if path not in own:
            example = f"{item.subset}/{item.id}: {os.path.basename(path)}"
            losses.add("items whose XML file names another image, not read", example)
        size = item.media.size if item.media.has_size else None
        yield item.wrap(media=dm.Image.from_file(path=own[0], size=size))


def _folders(image: str) -> tuple[str, str]:
    """Return the folders of images and of XML files; in Roboflow's layout they are one."""
    root, images, _ = image.rpartition(_IMAGES)
    if not images:
        return os.path.dirname(image), os.path.dirname(image)
    return root + _IMAGES, os.path.join(root, "Annotations")
