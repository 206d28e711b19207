"""Values to bytes and back: strings, JSON, key hashes and the bytes that a row's CRC covers.

The definitions are those of docs/store-format.md, sections "Strings", "JSON", "key_hash" and
"row_crc32"; any change here is a change of the format.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UsageError
from .schema import MAX_JSON_BYTES

__all__ = [
    "ANNOTATION_FIXED",
    "ITEM_FIXED",
    "Buffer",
    "annotation_frame",
    "decode_json",
    "decode_text",
    "encode_json",
    "encode_text",
    "key_hash",
    "row_crc32",
]

Buffer = bytes | bytearray | memoryview

ITEM_FIXED = struct.Struct("<BBII32s")
"""split, status, width, height, content_sha256."""
ANNOTATION_FIXED = struct.Struct("<iqqqi")
"""label, ann_id, group, object_id, z_order."""
_SEVEN_LENGTHS = struct.Struct("<7Q")
_FLOAT_KEY = "$float"


def encode_text(text: str) -> bytes:
    """UTF-8; a lone surrogate (an undecodable file name) is kept, as three bytes."""
    return text.encode("utf-8", "surrogatepass")


def decode_text(data: Buffer) -> str:
    """Inverse of `encode_text`.

    Raises
    ------
    ValueError
        Where the bytes are not such text.
    """
    return bytes(data).decode("utf-8", "surrogatepass")


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, and a lossless rule for NaN and infinities.

    ``nan``, ``inf`` and ``-inf`` become ``{"$float": "nan"}`` and so on; a key that itself begins
    with ``$`` gets one more. Tuples become arrays and NumPy scalars the Python number they hold.

    Raises
    ------
    UsageError
        Where a value is no JSON value, a key is no string, or the text is over 64 MiB.
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
            f"A value cannot be written as JSON ({error}); flatten or drop it."
        ) from error
    # The only surrogates stand inside strings, where backslashreplace writes JSON's own \udXXX.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > MAX_JSON_BYTES:
        raise UsageError(
            f"A JSON value has {len(data):,} bytes and the store allows {MAX_JSON_BYTES:,}; "
            "move the data out of the attributes."
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
        return {_escape(key): _to_plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_to_plain(entry) for entry in value]
    raise UsageError(f"A value of type {type(value).__name__} is no JSON value; convert it first.")


def _escape(key: Any) -> str:
    if not isinstance(key, str):
        raise UsageError(
            f"A JSON key must be a string, not {type(key).__name__}; convert it first."
        )
    return "$" + key if key.startswith("$") else key


def decode_json(data: Buffer) -> dict[str, Any]:
    """Inverse of `encode_json`.

    Raises
    ------
    ValueError
        Where the bytes are no JSON object, or one nested too deeply or over 64 MiB.
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


def key_hash(subset: Buffer, item_id: Buffer) -> int:
    """First 8 bytes of BLAKE2b (digest size 8) over length-prefixed subset and id, as an integer.

    Notes
    -----
    Source: RFC 7693. Lengths are 8 bytes, little-endian, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.blake2b(len(subset).to_bytes(8, "little"), digest_size=8)
    digest.update(subset)
    digest.update(len(item_id).to_bytes(8, "little"))
    digest.update(item_id)
    return int.from_bytes(digest.digest(), "little")


def annotation_frame(type_name: Buffer, fixed: Buffer, values: Sequence[Buffer]) -> bytes:
    """Frame one annotation as it enters its row's CRC.

    Parameters
    ----------
    type_name : bytes
        UTF-8: the name and not its code, so that a changed table of names is noticed too.
    fixed : bytes
        Packed by `ANNOTATION_FIXED`.
    values : sequence of 6 bytes
        coords (float64, little-endian), rle, text, visibility, attributes, extra.
    """
    lengths = _SEVEN_LENGTHS.pack(len(type_name), *map(len, values))
    return b"".join((lengths, type_name, fixed, *values))


def row_crc32(
    strings: Sequence[Buffer], fixed: Buffer, vector: Buffer, annotations: Sequence[Buffer]
) -> int:
    """CRC-32 of a whole row: no bit of it can change unnoticed.

    Parameters
    ----------
    strings : sequence of 5 bytes
        subset, id, path, error, attributes.
    fixed : bytes
        Packed by `ITEM_FIXED`.
    vector : bytes
        As stored.
    annotations : sequence of bytes
        Frames of `annotation_frame`, in stored order.
    """
    lengths = _SEVEN_LENGTHS.pack(*map(len, strings), len(vector), len(annotations))
    return zlib.crc32(b"".join((lengths, *strings, fixed, vector, *annotations)))
