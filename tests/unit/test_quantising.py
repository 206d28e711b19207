"""Fidelity of an INT8 model: what is measured, and what is refused before anything is done."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datumaro_embed import quantising
from datumaro_embed.errors import MissingExtraError, UsageError
from datumaro_embed.quantising import Fidelity, export_int8, fidelity_of
from datumaro_embed.vectors import unit_rows
from support import SAMPLE


def test_a_model_is_like_itself() -> None:
    rows = unit_rows(np.random.default_rng(0).standard_normal((50, 8)))
    lowest, mean, recall = fidelity_of(rows, rows)
    assert (lowest, mean) == (pytest.approx(1), pytest.approx(1))
    assert recall == 1.0


def test_recall_counts_neighbours_that_are_kept() -> None:
    """Of twelve points in two far groups of six, one moves over: worked out by hand."""
    angles = np.array([0.00, 0.01, 0.02, 0.03, 0.04, 0.05, 1.00, 1.01, 1.02, 1.03, 1.04, 1.05])
    rows = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    angles[0] = 1.06
    moved = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    # Ten nearest of eleven others: each point leaves out one, the furthest. That was item 11 for
    # items 1 to 5 and is item 0 now; item 0 for items 6 to 11 and is item 1 now; item 0 itself left
    # out item 11 and leaves out item 1 now. So every item keeps nine of ten.
    assert fidelity_of(rows, moved)[2] == pytest.approx(0.9)


def test_few_items_have_few_neighbours() -> None:
    rows = unit_rows(np.random.default_rng(0).standard_normal((4, 8)))
    assert fidelity_of(rows, rows)[2] == 1.0


def test_the_table() -> None:
    lines = Fidelity(300, 200, 0.99, 0.999, 0.97, None, 2.5).lines()
    assert "200 held-out items (calibrated on 300)" in lines[0]
    assert lines[3].endswith("0.9700")
    assert lines[4].endswith("no labels")
    assert lines[5].endswith("2.50")


def test_int8_needs_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="calibrate DATASET"):
        export_int8("demo", tmp_path / "out", calibrate=None)


def test_int8_without_nncf_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'datumaro-embed\[quantise\]'"):
        export_int8("demo", tmp_path / "out", calibrate=str(SAMPLE / "coco"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration_items": 0}, "^calibration_items must be at least 1, not 0"),
        ({"min_recall": 1.5}, r"^min_recall must be between 0 and 1, not 1\.5"),
    ],
)
def test_options_that_mean_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(quantising, "need_extra", lambda *names: None)
    with pytest.raises(UsageError, match=message):
        export_int8("demo", tmp_path / "out", calibrate=str(SAMPLE / "coco"), **options)
    assert list(tmp_path.iterdir()) == []
