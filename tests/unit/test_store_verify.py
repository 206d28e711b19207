"""`verify` names every value that was changed after sealing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from datumaro_embed.errors import StoreCorruptError
from datumaro_embed.records import (
    AnnotationRecord,
    CaptionRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    ObjectStatus,
    Status,
)
from datumaro_embed.signatures import SIGNATURE_BYTES, STATISTICS
from datumaro_embed.store import ArrayPart, EmbeddingStore, open_store
from datumaro_embed.store.schema import array_specs
from datumaro_embed.vectors import VectorKind
from store_support import create_store

BOX = AnnotationRecord("bbox", label=0, coords=(1.0, 2.0, 3.0, 4.0), text="t", rle="r", extra="e")
POINT = AnnotationRecord("points", coords=(1.0, 2.0), visibility=(2,))
N_ROWS = 2050  # three blocks


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "s.h5"
    vector = np.array([0.6, 0.8], dtype=np.float32)
    with create_store(path, dim=2) as run:
        for number in range(N_ROWS):
            failed = number % 100 == 99
            record = ItemRecord(
                ItemKey("train", f"{number:04}"),
                path=f"{number}.jpg",
                width=4,
                height=3,
                status=Status.MISSING if failed else Status.OK,
                error="gone" if failed else "",
                content_sha256=bytes(range(32)),
                annotations=(BOX, POINT) if number % 2 else (),
                objects=(
                    ObjectRecord(0, (1.0, 2.0, 3.0, 4.0), 12.0, annotations=(0,), vector=vector),
                    ObjectRecord(status=ObjectStatus.NO_BOX, annotations=(1,)),
                )[: 2 * (number % 2)],
                captions=(CaptionRecord(1, vector),) if number % 2 else (),
                signature=bytes([number % 255 + 1]) * SIGNATURE_BYTES,
                statistics=(0.5,) * len(STATISTICS),
            )
            run.append(record, None if failed else vector)
        run.set_categories(Categories(("cat",), {"label": {}}), vector[None])
        run.seal({"model": "demo"})
    return path


def test_a_sound_store(path: Path) -> None:
    with open_store(path) as store:
        assert store.verify() == []
        assert all(store.is_sound(row) for row in range(N_ROWS))


def flipped(path: Path, tmp_path: Path, array: str, element: int) -> Path:
    """Change one bit of one element."""
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        dataset = file[array]
        itemsize = dataset.dtype.itemsize
        offset = dataset.id.get_offset() + element % dataset.size * itemsize
    data[offset] ^= 1
    copy = tmp_path / "flipped.h5"
    copy.write_bytes(data)
    return copy


@pytest.mark.parametrize("element", [0, -1])
@pytest.mark.parametrize("array", array_specs())
def test_any_changed_value_is_found(path: Path, tmp_path: Path, array: str, element: int) -> None:
    try:
        with open_store(flipped(path, tmp_path, array, element)) as store:
            problems = store.verify()
    except StoreCorruptError as error:  # what is read when it is opened
        problems = [str(error)]
    assert problems != []
    assert array.startswith("checksums/") or any(array in line for line in problems), problems


@pytest.mark.parametrize(
    ("array", "element", "rows", "sound"),
    [
        ("items/width", 1500, "rows 1,024 to 2,047", [0, 2049]),
        ("items/width", 2049, "rows 2,048 to 2,049", [0, 1500]),
        ("items/path", -1, "rows 2,048 to 2,049", [0, 1500]),
        ("annotations/label", 100, "rows 0 to 1,023", [0, 1300]),
        ("objects/box", 400, "rows 0 to 1,023", [0, 1300]),
        ("captions/vector", -1, "rows 1,024 to 1,024", [0, 2048]),
    ],
)
def test_damage_is_located_to_a_block(
    path: Path, tmp_path: Path, array: str, element: int, rows: str, sound: list[int]
) -> None:
    with open_store(flipped(path, tmp_path, array, element)) as store:
        assert store.verify() == [f"{array}: {rows} differ from their checksum"]
        assert all(store.is_sound(row) for row in sound)
        assert not all(store.is_sound(row) for row in range(N_ROWS))


def in_memory(path: Path) -> tuple[EmbeddingStore, dict[str, Any]]:
    """The same rows without checksums, and their arrays, writable."""
    with open_store(path) as store:
        arrays = {
            name: store.column(name).copy()
            for name in array_specs()
            if not name.startswith("checksums/")
        }
    part = ArrayPart(arrays, VectorKind(2), "0" * 32)
    return EmbeddingStore([part], path="x", kind=part.kind, uuid=part.uuid), arrays


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda a: a["items/vector"].__setitem__((1, 0), 0), r"row 1 .*norm is 0\.79"),
        (lambda a: a["items/vector"].__setitem__((99, 0), 1), r"row 99 .*should be 0"),
        (lambda a: a["items/vector"].__setitem__((0, 0), np.nan), r"row 0 .*norm is nan"),
        (lambda a: a["items/id"].__setitem__(7, ord("0")), r"row 1 .*not above"),
        (lambda a: a["labels/vector"].__setitem__((0, 0), 0), r"label 0: .*norm"),
        (lambda a: a["objects/vector"].__setitem__((2, 0), 0), r"train/0003#0.*norm is 0\.79"),
        (lambda a: a["objects/vector"].__setitem__((1, 0), 1), r"train/0001#1.*should be 0"),
        (lambda a: a["captions/vector"].__setitem__((1, 0), 0), r"train/0003#0.*norm"),
        (lambda a: a["objects/annotations"].__setitem__(1, 2), r"train/0001#1.*annotation 2"),
        (lambda a: a["captions/annotation"].__setitem__(1, 9), r"train/0003#0.*annotation 9"),
    ],
)
def test_what_a_writer_must_not_write_is_found_without_checksums(
    path: Path, change: Callable[[dict[str, Any]], None], place: str
) -> None:
    store, arrays = in_memory(path)
    assert store.verify() == []
    change(arrays)
    assert re.search(place, "\n".join(store.verify()))


def test_the_list_is_limited(path: Path) -> None:
    store, arrays = in_memory(path)
    arrays["items/vector"][:300] = 0
    problems = store.verify()
    assert len(problems) == 101
    assert "first 100" in problems[-1]
