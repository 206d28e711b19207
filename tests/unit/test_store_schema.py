"""The one table of the format, and what is made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import store
from datumaro_embed.exports import convert_store
from datumaro_embed.imports import import_vectors
from datumaro_embed.maintenance import compact_store
from datumaro_embed.records import ItemKey, ItemRecord
from datumaro_embed.store import open_store
from datumaro_embed.store.schema import SCHEMA, Column, array_specs
from store_support import create_store

SPECIFICATION = Path(__file__).parents[2] / "docs" / "store-format.md"


def test_offsets_cut_something_that_exists() -> None:
    for spec in array_specs().values():
        if spec.role in ("offsets", "names_offsets"):
            assert spec.cuts in {*array_specs(), *SCHEMA}, spec.path


def markdown_table() -> str:
    lines = ["| path | type | shape | holds |", "|---|---|---|---|"]
    for array in array_specs().values():
        types = " or ".join(np.dtype(name).name for name in array.dtypes)
        shape = ", ".join(str(size) for size in array.shape)
        meaning = f"{array.meaning}; optional" if array.optional else array.meaning
        lines.append(f"| `/{array.path}` | {types} | ({shape}) | {meaning} |")
    return "\n".join(lines)


def test_the_specification_holds_the_table() -> None:
    assert markdown_table() in SPECIFICATION.read_text(encoding="utf-8")


def test_public_names_are_sorted_and_resolve() -> None:
    assert len(store.__all__) == len(set(store.__all__))
    for name in set(store.__all__) - {"COMMIT_ROWS"}:
        assert getattr(store, name).__name__ == name


@dataclass(frozen=True, slots=True, repr=False)
class Rated(ItemRecord):
    """An item with two fields more."""

    sharpness: float | None = None
    note: str = ""


@pytest.mark.parametrize("rated", [True, False])
@pytest.mark.parametrize("name", ["s.h5", "s"])
def test_a_new_column_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, rated: bool
) -> None:
    """Written, read, verified, exported and imported without another change; or absent."""
    items = SCHEMA["items"]
    columns = (
        *items.columns,
        Column("sharpness", "number", "of the image", dtype="<f4", optional=True),
        Column("note", "text", "what a person wrote"),
    )
    monkeypatch.setitem(SCHEMA, "items", replace(items, columns=columns, record=Rated))
    records = [
        Rated(ItemKey("a", f"{n}"), sharpness=n / 4 if rated else None, note=f"note {n}")
        for n in range(5)
    ]
    with create_store(tmp_path / name, dim=2, commit_rows=2) as run:
        for record in records:
            run.append(record, np.array([0, 1], np.float32))
        run.seal({})
    with open_store(tmp_path / name) as there:
        convert_store(there, tmp_path / "p.parquet", to="parquet")
    import_vectors(tmp_path / "p.parquet", tmp_path / "again.h5")
    for path in (tmp_path / name, tmp_path / "again.h5"):
        with open_store(path) as there:
            assert [there.item(row) for row in range(5)] == records
            assert there.verify() == []
            assert there.has("items/sharpness") == rated
    if name == "s":
        compact_store(tmp_path / name)
        with open_store(tmp_path / name) as there:
            assert len(there.parts) == 1
            assert [there.item(row) for row in range(5)] == records
    if rated and name == "s.h5":
        data = bytearray((tmp_path / name).read_bytes())
        data[data.index(np.array([0, 0.25, 0.5], "<f4").tobytes()) + 5] ^= 1
        (tmp_path / name).write_bytes(data)
        with open_store(tmp_path / name) as there:
            assert "items/sharpness: rows 0 to 4 differ from their checksum" in there.verify()


@dataclass(frozen=True, slots=True, repr=False)
class Told(ItemRecord):
    """An item with a value of every kind that may be absent."""

    note: str | None = None
    facts: dict | None = None
    scores: tuple[float, ...] | None = None
    flags: tuple[int, ...] | None = None
    camera: str | None = None
    seen: int | None = None


@pytest.mark.parametrize("name", ["s.h5", "s"])
@pytest.mark.parametrize("told", [range(6), range(0), range(3)], ids=["all", "none", "some"])
def test_a_column_of_any_kind_may_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: range
) -> None:
    items = SCHEMA["items"]
    columns = (
        *items.columns,
        Column("note", "text", "words", optional=True),
        Column("facts", "json", "JSON object", optional=True),
        Column("scores", "floats", "numbers", dtype="<f8", optional=True),
        Column("flags", "bytes", "bytes", optional=True),
        Column("camera", "code", "camera", optional=True),
        Column("seen", "number", "times", dtype="<i4", optional=True),
    )
    monkeypatch.setitem(SCHEMA, "items", replace(items, columns=columns, record=Told))
    values = {
        "note": "n",
        "facts": {"a": 1},
        "scores": (0.5,),
        "flags": (1, 2),
        "camera": "left",
        "seen": -3,
    }
    records = [Told(ItemKey("a", f"{n}"), **(values if n in told else {})) for n in range(6)]
    with create_store(tmp_path / name, dim=2, commit_rows=3) as run:
        for record in records:
            run.append(record, np.array([0, 1], np.float32))
        run.seal({})
    whole = len(told) == 6
    with open_store(tmp_path / name) as there:
        assert there.verify() == []
        assert [there.has(f"items/{column}") for column in values] == [whole] * 6
        # Of a directory each segment keeps what all of its rows have.
        kept = records if whole or name == "s" else [Told(record.key) for record in records]
        assert [there.item(row) for row in range(6)] == kept
    if name == "s":
        compact_store(tmp_path / name)
        with open_store(tmp_path / name) as there:
            assert [there.item(row) for row in range(6)] == records
            assert there.verify() == []
