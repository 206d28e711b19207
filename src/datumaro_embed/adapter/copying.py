"""Image files that Datumaro's exporters copy byte for byte, whatever the capitals of their names.

Datumaro itself encodes ``DSC1.JPG`` anew: it compares ``.JPG`` with ``.jpg``.
"""

from __future__ import annotations

import os
from copy import copy
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import ImageFromFile
from datumaro.util.image import copyto_image
from PIL import Image

from ..formats import identify


def with_copied_image(item: DatasetItem) -> DatasetItem:
    """Return an item whose image file is saved as it is; an item without one is returned itself."""
    if type(item.media) is not ImageFromFile:
        return item
    medium = copy(item.media)
    medium.__class__ = CopiedImage  # its path, size, extension and label file stay
    return item.wrap(media=medium)


class CopiedImage(ImageFromFile):  # type: ignore[misc]
    """An image file that is encoded anew only if it gets the extension of another format."""

    def save(self, fp: Any, ext: str | None = None) -> None:
        """Copy the file to a path or an open file, or encode it in the format of `ext`."""
        wanted = self._get_ext_to_save(fp, ext)
        is_same = os.path.isfile(self.path)
        if is_same and wanted != (self.ext or "").lower():
            Image.init()
            try:
                real = identify(Path(self.path).read_bytes()).format
                is_same = Image.EXTENSION.get(wanted) == real
            except Exception:  # it is no image, or damaged
                is_same = False
        if not is_same:
            super().save(fp, ext)
            return
        if isinstance(fp, str):
            os.makedirs(os.path.dirname(fp), exist_ok=True)
        copyto_image(src=os.path.abspath(self.path), dst=fp)
