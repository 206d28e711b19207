"""Texts and JSON as bytes, as docs/store-format.md says: a change here changes the format."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import UsageError

MAX_JSON_BYTES = 64 * 2**20
"""Of one JSON value: an item's or annotation's attributes, the categories, the provenance."""
_FLOAT_KEY = "$float"
Buffer = bytes | bytearray | memoryview


def encode_text(text: str) -> bytes:
    """UTF-8; a lone surrogate (an undecodable file name) is kept, as three bytes."""
    return text.encode("utf-8", "surrogatepass")


def decode_text(data: Buffer) -> str:
    """Inverse of `encode_text`; raises `ValueError` where the bytes are not such text."""
    return bytes(data).decode("utf-8", "surrogatepass")


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, and a lossless rule for NaN and infinities.

    ``nan``, ``inf`` and ``-inf`` become ``{"$float": "nan"}`` and so on; a key that itself begins
    with ``$`` gets one more. Tuples become arrays and NumPy scalars the Python number they hold.

    Raises `UsageError`: a value is not a JSON value, a key is not a string, or the text is over
    64 MiB.
    """
    if not value:
        return b"{}"
    try:
        text = json.dumps(
            _to_plain(value),
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
        )
    except UsageError:
        raise
    except (RecursionError, ValueError) as error:
        raise UsageError(
            f"A value cannot be written as JSON ({error}). Flatten or drop it."
        ) from error
    # The only surrogates stand inside strings, where backslashreplace writes JSON's own \udXXX.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > MAX_JSON_BYTES:
        raise UsageError(
            f"A JSON value has {len(data):,} bytes; the limit is {MAX_JSON_BYTES:,}. "
            "Move the data out of the attributes."
        )
    return data


def _to_plain(value: Any) -> Any:
    """Turn a value into what `json` writes without loss."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT_KEY: repr(value)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UsageError(
                    f"A JSON key must be a string, not {type(key).__name__}. Convert it first."
                )
        return {f"${k}" if k[:1] == "$" else k: _to_plain(entry) for k, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_to_plain(entry) for entry in value]
    raise UsageError(
        f"A value of type {type(value).__name__} is not a JSON value. Convert it first."
    )


def decode_json(data: Buffer) -> dict[str, Any]:
    """Inverse of `encode_json`.

    Raises `ValueError`: the bytes are not a JSON object, or one nested too deeply or over 64 MiB.
    """
    raw = bytes(data)
    if raw == b"{}":
        return {}
    if len(raw) > MAX_JSON_BYTES:
        raise ValueError(f"JSON of {len(raw):,} bytes is over the limit of {MAX_JSON_BYTES:,}")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        value = _from_plain(value) if b'"$' in raw else value
    except (RecursionError, TypeError) as error:
        raise ValueError("JSON is nested too deeply or misuses $float") from error
    if not isinstance(value, dict):
        raise ValueError("JSON value is not an object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON holds the bare word {name}")


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_FLOAT_KEY}:
        return float(value[_FLOAT_KEY])
    return {key.removeprefix("$"): _from_plain(entry) for key, entry in value.items()}
