"""Bytes of the format, against values worked out apart from the code under test."""

from __future__ import annotations

import math

import numpy as np
import pytest

from datumaro_embed.encoding import decode_json, encode_json
from datumaro_embed.errors import UsageError


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
