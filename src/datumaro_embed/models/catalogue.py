"""Short names of the usual models: which repository, at which revision, under which licence."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ..errors import ModelNotFoundError

__all__ = ["CATALOGUE", "CatalogueEntry", "entry_of"]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """Where `pull` finds a model, and what its files do not say.

    Attributes
    ----------
    revision : str or None
        The commit that is downloaded; None is whatever ``main`` is.
    licence : str
        Of the weights, as their authors published them.
    """

    repo_id: str
    revision: str | None
    licence: str
    logit_scale: float | None = None
    logit_bias: float | None = None


def _openai(name: str, revision: str | None = None) -> CatalogueEntry:
    # Source of 100: the CLIP paper (arXiv:2103.00020, section 2.5) clips the scale there, and all
    # four published models reached it.
    return CatalogueEntry(f"Xenova/{name}", revision, "MIT", logit_scale=100.0, logit_bias=0.0)


CATALOGUE = {
    "clip-vit-base-patch32": _openai(
        "clip-vit-base-patch32", "d15189d7028b43f1d3e65039190477f6af591c2a"
    ),
    "clip-vit-base-patch16": _openai("clip-vit-base-patch16"),
    "clip-vit-large-patch14": _openai("clip-vit-large-patch14"),
    "clip-vit-large-patch14-336": _openai("clip-vit-large-patch14-336"),
    "siglip-base-patch16-224": CatalogueEntry("Xenova/siglip-base-patch16-224", None, "Apache-2.0"),
    "siglip2-base-patch16-224": CatalogueEntry(
        "onnx-community/siglip2-base-patch16-224-ONNX",
        "ba1f3b0843f24bc5417d38e19c37b287d719b2f4",
        "Apache-2.0",
    ),
}


def entry_of(name: str) -> CatalogueEntry:
    """Return what `pull` downloads for a short name, or for a repository's id, OWNER/NAME.

    Raises
    ------
    ModelNotFoundError
        It is neither; without asking the hub.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name.count("/") == 1 and not name.startswith("/") and not name.endswith("/"):
        return CatalogueEntry(name, None, "")
    near = [known for known in CATALOGUE if name and known.startswith(name.lower())]
    near = near or difflib.get_close_matches(name.lower(), CATALOGUE, n=1, cutoff=0.5)
    nearest = f" The nearest is {near[0]}." if near else ""
    raise ModelNotFoundError(
        f"{name!r} is no model that `pull` knows.{nearest} Give one of {', '.join(CATALOGUE)}, or "
        "the id of a hub repository, OWNER/NAME.",
        name=name,
    )
