"""Attribute values of every kind become JSON that keeps them apart."""

from __future__ import annotations

import base64
import json
from enum import IntEnum

import numpy as np
from datumaro.components.annotation import GroupType, LabelCategories

from datumaro_embed.adapter.annotations import jsonable


class Colour(IntEnum):
    RED = 1


def test_plain_values_are_kept() -> None:
    value = {"a": [1, 2.5, None, True, "é"], "b": (1, 2)}
    assert jsonable(value) == {"a": [1, 2.5, None, True, "é"], "b": [1, 2]}


def test_numpy_enums_sets_bytes_and_arrays() -> None:
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    plain = jsonable(
        {1: np.float32(0.5), "e": Colour.RED, "s": {3, 1}, "x": b"\x00\xff", "a": array}
    )

    assert json.loads(json.dumps(plain)) == plain
    assert plain["1"] == 0.5
    assert plain["e"] == "RED"
    assert plain["s"] == [1, 3]
    assert base64.b64decode(plain["x"]["base64"]) == b"\x00\xff"
    raw = np.frombuffer(base64.b64decode(plain["a"]["base64"]), dtype=plain["a"]["dtype"])
    np.testing.assert_array_equal(raw.reshape(plain["a"]["shape"]), array)


def test_datumaro_classes_become_their_public_fields() -> None:
    categories = LabelCategories()
    categories.add("cat", parent="animal", attributes={"fluffy"})
    categories.add_label_group("pets", ["cat"], GroupType.INCLUSIVE)

    plain = jsonable(categories)

    assert plain["items"] == [{"name": "cat", "parent": "animal", "attributes": ["fluffy"]}]
    assert plain["label_groups"] == [{"name": "pets", "labels": ["cat"], "group_type": "INCLUSIVE"}]
    assert "_indices" not in plain
