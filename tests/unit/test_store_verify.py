"""`verify` names every value that was changed after sealing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datumaro_embed.records import AnnotationRecord, Categories, ItemKey, ItemRecord, Status
from datumaro_embed.store import EmbeddingStore, MemoryStores
from datumaro_embed.store.schema import SCHEMA

BOX = AnnotationRecord("bbox", label=0, coords=(1.0, 2.0, 3.0, 4.0), text="t", rle="r", extra="e")
POINT = AnnotationRecord("points", coords=(1.0, 2.0), visibility=(2,))


def make() -> tuple[EmbeddingStore, dict[str, Any]]:
    """A store of three rows, and its arrays, writable."""
    stores = MemoryStores()
    vector = np.array([0.6, 0.8], dtype=np.float32)
    with stores.create("x", dim=2) as writer:
        for name in "abc":
            failed = name == "c"
            record = ItemRecord(
                ItemKey("train", name),
                path=f"{name}.jpg",
                width=4,
                height=3,
                status=Status.MISSING if failed else Status.OK,
                error="gone" if failed else "",
                content_sha256=bytes(range(32)),
                annotations=(BOX, POINT),
            )
            writer.append(record, None if failed else vector)
        writer.set_categories(Categories(("cat",), {"label": {}}), vector[None])
        writer.seal({"model": "demo"})
    store = stores.open("x")
    arrays = store._arrays  # type: ignore[attr-defined]
    arrays.update({name: array.copy() for name, array in arrays.items()})
    return store, arrays


def test_a_sound_store() -> None:
    assert make()[0].verify() == []


@pytest.mark.parametrize("path", [c.path for c in SCHEMA if not c.path.endswith("offsets")])
def test_any_changed_value_is_found(path: str) -> None:
    store, arrays = make()
    flat = arrays[path].reshape(-1).view(np.uint8)
    flat[0] ^= 1
    arrays[path] = flat.view(arrays[path].dtype).reshape(arrays[path].shape)
    with_problem = _problems_or_error(store)
    assert with_problem != []


def _problems_or_error(store: EmbeddingStore) -> list[str]:
    # A store in memory has no guard: values that a file's guard refuses surface as errors.
    try:
        return store.verify()
    except IndexError as error:
        return [str(error)]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda a: a["items/width"].__setitem__(1, 5), r"row 1 \(train/b\): row_crc32"),
        (lambda a: a["items/key_hash"].__setitem__(0, 5), r"row 0 \(train/a\): key_hash"),
        (lambda a: a["items/embedding"].__setitem__((1, 0), 0), r"row 1 .*norm is 0\.79"),
        (lambda a: a["items/embedding"].__setitem__((2, 0), 1), r"row 2 .*should be 0"),
        (lambda a: a["items/embedding"].__setitem__((0, 0), np.nan), r"row 0 .*norm is nan"),
        (lambda a: a["annotations/coords"].__setitem__(7, 0), r"row 1 \(train/b\): row_crc32"),
        (lambda a: a["items/id_bytes"].__setitem__(1, ord("a")), r"row 1 .*not above"),
        (lambda a: a["categories/embedding"].__setitem__((0, 0), 0), "categories: the checksum"),
        (lambda a: a["provenance"].__setitem__(2, ord("M")), "provenance: the checksum"),
        (lambda a: a["subsets/names_bytes"].__setitem__(0, ord("T")), "row_crc32"),
        (lambda a: a["annotation_types/names_bytes"].__setitem__(0, ord("B")), "row_crc32"),
    ],
)
def test_the_place_is_named(change: Callable[[dict[str, Any]], None], place: str) -> None:
    store, arrays = make()
    change(arrays)
    assert re.search(place, "\n".join(store.verify()))


def test_the_list_is_limited() -> None:
    stores = MemoryStores()
    with stores.create("x", dim=1) as writer:
        for row in range(300):
            record = ItemRecord(ItemKey("", f"{row:03d}"))
            writer.append(record, np.ones(1, dtype=np.float32))
        writer.seal({})
    store = stores.open("x")
    store._arrays["items/embedding"] = np.zeros((300, 1), np.float16)  # type: ignore[attr-defined]
    problems = store.verify()
    assert len(problems) == 101
    assert "first 100" in problems[-1]
