"""The one table of the format, and what is made from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import store
from datumaro_embed.exports import convert_store
from datumaro_embed.imports import import_vectors
from datumaro_embed.records import ItemKey, ItemRecord
from datumaro_embed.store import open_store
from datumaro_embed.store.schema import SCHEMA, Column, array_specs, markdown_table
from store_support import create_store

SPECIFICATION = Path(__file__).parents[2] / "docs" / "store-format.md"


def test_offsets_cut_something_that_exists() -> None:
    for spec in array_specs().values():
        if spec.role in ("offsets", "names_offsets"):
            assert spec.cuts in {*array_specs(), *SCHEMA}, spec.path


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
    if rated and name == "s.h5":
        data = bytearray((tmp_path / name).read_bytes())
        data[data.index(np.array([0, 0.25, 0.5], "<f4").tobytes()) + 5] ^= 1
        (tmp_path / name).write_bytes(data)
        with open_store(tmp_path / name) as there:
            assert "items/sharpness: rows 0 to 4 differ from their checksum" in there.verify()
