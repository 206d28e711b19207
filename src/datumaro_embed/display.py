"""What a notebook displays: results that know their store show its pictures."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from .errors import DatumaroEmbedError

__all__ = ["Displayed", "Origin", "html_of"]


class Origin(NamedTuple):
    """The store that a result is about.

    Attributes
    ----------
    path : str
    uuid : str
        A store of another uuid has taken its place: nothing is shown then.
    media_root : str or None
        Folder of the images, if it is not where the store says.
    """

    path: str
    uuid: str
    media_root: str | None = None


class Displayed:
    """Base of what a notebook displays as pictures, if it has an `origin`; else as its repr."""

    __slots__ = ()
    origin: Origin | None

    def _repr_html_(self) -> str | None:
        return None if self.origin is None else html_of(self, self.origin)


def html_of(what: Any, origin: Origin) -> str | None:
    """Give what `show` displays; None if the store or its table is no longer there."""
    package = import_module(__package__)  # `show` is in a room below this one
    try:
        with package.open_store(origin.path) as store:
            if store.uuid != origin.uuid:
                return None
            html: str = package.show(what, store, media_root=origin.media_root)._repr_html_()
            return html
    except (DatumaroEmbedError, OSError):
        return None
