"""How vectors were computed, beside the model: those of other settings never stand in one store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["depth_range_of", "fits", "stated", "vector_settings"]

_DEPTH = ", depth range "


def vector_settings(provenance: Mapping[str, Any]) -> str:
    """Word the settings that change the bits of a vector, from the provenance of a store or run.

    Parameters
    ----------
    provenance : mapping
        ``vector_settings`` is taken as it is; else made of ``precision``, ``device``, ``decode``
        and ``depth_range``.

    Returns
    -------
    str
        Such as ``"f32 on CPU"``; compared as a whole. Empty where the provenance does not say.
    """
    found = provenance.get("vector_settings")
    if isinstance(found, str):
        return found
    precision, device = provenance.get("precision"), provenance.get("device")
    if not isinstance(precision, str) or not isinstance(device, str):
        return ""
    families = sorted(set(re.findall(r"[A-Za-z]+", device)))  # "GPU.0" and "GPU.1" are one
    decoding = ", fast decoding" if provenance.get("decode") == "fast" else ""
    depth_range = provenance.get("depth_range", "auto")
    depth = "" if depth_range == "auto" else f"{_DEPTH}{depth_range}"
    return f"{precision} on {'+'.join(families)}{decoding}{depth}"


def depth_range_of(settings: str) -> str:
    """Return the depth range that `vector_settings` words."""
    return settings.partition(_DEPTH)[2] or "auto"


def stated(settings: str) -> dict[str, str]:
    """What a provenance says of settings that are known."""
    return {"vector_settings": settings} if settings else {}


def fits(one: str, other: str) -> bool:
    """Tell whether vectors of these settings may stand side by side; unknown ones are trusted."""
    return not one or not other or one == other
