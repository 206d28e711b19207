"""Any value that Datumaro keeps in attributes or annotations, as JSON-able Python, losslessly."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from enum import Enum
from typing import Any

import attr
import numpy as np

__all__ = ["jsonable"]


def jsonable(value: Any) -> Any:
    """Return ``value`` made of dict, list, str, int, float, bool and None only.

    Sets become sorted lists, attrs classes dicts of their public fields, arrays
    ``{"dtype", "shape", "base64"}``, bytes ``{"base64"}``; anything else becomes its ``repr``.
    """
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": list(value.shape), **_base64(value.tobytes())}
    if isinstance(value, bytes):
        return _base64(value)
    if isinstance(value, Mapping):
        return {_key(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if attr.has(type(value)):
        return _fields(value)
    return value.__name__ if isinstance(value, type) else repr(value)


def _fields(value: Any) -> dict[str, Any]:
    """Public fields of an attrs class; Datumaro's private ones are caches of these."""
    return {
        field.name: jsonable(getattr(value, field.name))
        for field in attr.fields(type(value))
        if not field.name.startswith("_")
    }


def _key(key: Any) -> str:
    return key.name if isinstance(key, Enum) else str(key)


def _base64(raw: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(raw).decode("ascii")}
