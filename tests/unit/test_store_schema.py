"""The one table of the format, and the two things made from it."""

from __future__ import annotations

from pathlib import Path

from datumaro_embed import store
from datumaro_embed.store.schema import COLUMNS, SCHEMA, markdown_table

SPECIFICATION = Path(__file__).parents[2] / "docs" / "store-format.md"


def test_paths_are_unique() -> None:
    assert len(COLUMNS) == len(SCHEMA)


def test_offsets_cut_something_that_exists() -> None:
    for column in SCHEMA:
        if column.indexes:
            assert column.path.endswith("offsets")
            assert column.indexes in {*COLUMNS, "annotations"}


def test_the_specification_holds_the_table() -> None:
    assert markdown_table() in SPECIFICATION.read_text(encoding="utf-8")


def test_public_names_are_sorted_and_resolve() -> None:
    assert store.__all__ == sorted(store.__all__)
    for name in store.__all__:
        assert getattr(store, name).__name__ == name
