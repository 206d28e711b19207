"""Bytes of the format, against values worked out apart from the code under test."""

from __future__ import annotations

import hashlib
import math
import struct
import zlib

import numpy as np
import pytest

from datumaro_embed.errors import UsageError
from datumaro_embed.records import AnnotationRecord, ItemKey, ItemRecord, Split
from datumaro_embed.store import MemoryStores
from datumaro_embed.store.encoding import decode_json, encode_json, key_hash


def test_key_hash_is_blake2b_of_length_prefixed_strings() -> None:
    framed = struct.pack("<Q", 5) + b"train" + struct.pack("<Q", 3) + "né".encode()
    digest = hashlib.blake2b(framed, digest_size=8).digest()
    assert key_hash(b"train", "né".encode()) == int.from_bytes(digest, "little")


def test_key_hash_of_the_empty_key_is_fixed_for_ever() -> None:
    assert key_hash(b"", b"") == 0x0E74_94F9_07A5_5052


def test_key_hash_tells_where_the_subset_ends() -> None:
    assert key_hash(b"ab", b"c") != key_hash(b"a", b"bc")


def test_row_crc32_is_as_specified() -> None:
    box = AnnotationRecord(
        "bbox", label=1, ann_id=2, group=3, object_id=4, z_order=5, coords=(0.5, 1.5)
    )
    points = AnnotationRecord("points", visibility=(0, 2), text="t", rle="r", extra="e")
    record = ItemRecord(
        ItemKey("val", "id"),
        split=Split.VAL,
        path="p",
        width=6,
        height=7,
        content_sha256=bytes(range(32)),
        attributes={"b": 1, "a": None},
        annotations=(box, points),
    )
    row = [
        struct.pack("<7Q", 3, 2, 1, 0, 16, 4, 2),
        b"validp",
        b'{"a":null,"b":1}',
        struct.pack("<BBII", 2, 0, 6, 7),
        bytes(range(32)),
        np.array([0, 1], dtype="<f2").tobytes(),
        struct.pack("<7Q", 4, 16, 0, 0, 0, 2, 0),
        b"bbox",
        struct.pack("<iqqqi", 1, 2, 3, 4, 5),
        struct.pack("<2d", 0.5, 1.5),
        b"{}",
        struct.pack("<7Q", 6, 0, 1, 1, 2, 2, 1),
        b"points",
        struct.pack("<iqqqi", -1, 0, 0, -1, 0),
        b"rt\x00\x02{}e",
    ]
    stores = MemoryStores()
    with stores.create("crc", dim=2) as writer:
        writer.append(record, np.array([0, 1], dtype=np.float32))
        writer.seal({})
    assert stores.open("crc").row_crc32.tolist() == [zlib.crc32(b"".join(row))]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({}, b"{}"),
        ({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}'),
        ({"ü": 0.1}, b'{"\xc3\xbc":0.1}'),
        ({"a": math.nan, "b": -math.inf}, b'{"a":{"$float":"nan"},"b":{"$float":"-inf"}}'),
        ({"$float": "nan"}, b'{"$$float":"nan"}'),
        ({"a": "\udc80"}, b'{"a":"\\udc80"}'),
        ({"a": (1, 2)}, b'{"a":[1,2]}'),
        ({"a": np.int64(3), "b": np.float32(0.5)}, b'{"a":3,"b":0.5}'),
    ],
)
def test_json_is_canonical(value: dict[str, object], data: bytes) -> None:
    assert encode_json(value) == data


def test_json_refuses_what_it_would_change() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    for value in ({"a": {1: 2}}, {"a": b"x"}, {"a": {1, 2}}, {"a": nested}, {"a": 10**5000}):
        with pytest.raises(UsageError):
            encode_json(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1]",
        b"{",
        b"\xff",
        b'{"a":NaN}',
        b'{"a":{"$float":[]}}',
        b'{"a":{"$float":"one"}}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"1" * 5000 + b"}",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_bad_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_json(data)
