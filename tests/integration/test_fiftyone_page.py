"""The loader of docs/fiftyone.md, as printed, on a real store; FiftyOne itself is a stand-in."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from datumaro_embed import ItemKey, open_store
from support import REPO


class Sample(dict[str, Any]):
    """Fields by name; ``filepath`` and ``tags`` are arguments, as in FiftyOne."""


class Dataset(list[Sample]):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add_samples(self, samples: list[Sample]) -> None:
        self.extend(samples)


@pytest.fixture
def brain_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, dict[str, Any]]]:
    """Install the stand-in and return what is asked of its brain."""
    calls: list[tuple[str, int, dict[str, Any]]] = []

    def recorder(name: str) -> Any:
        return lambda dataset, **options: calls.append((name, len(dataset), options))

    fiftyone: Any = ModuleType("fiftyone")
    fiftyone.Dataset, fiftyone.Sample = Dataset, Sample
    fiftyone.Detection = fiftyone.Detections = dict
    brain: Any = ModuleType("fiftyone.brain")
    brain.compute_visualization = recorder("visualization")
    brain.compute_similarity = recorder("similarity")
    fiftyone.brain = brain
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    monkeypatch.setitem(sys.modules, "fiftyone.brain", brain)
    return calls


def test_the_loader(
    coco_store: Path,
    brain_calls: list[tuple[str, int, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (REPO / "docs" / "fiftyone.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    monkeypatch.setattr(sys, "argv", ["load.py", str(coco_store)])
    names: dict[str, Any] = {}
    exec(compile(source, "load.py", "exec"), names)
    assert capsys.readouterr().out == "69 samples\n"
    with open_store(coco_store) as store:
        for sample in names["dataset"]:
            row = store.row(ItemKey(sample["subset"], sample["item_id"]))
            item = store.item(row)
            assert Path(sample["filepath"]).is_file()
            assert sample["tags"] == [item.split.name.lower()]
            np.testing.assert_array_equal(sample["embedding"], store.embeddings([row])[0])
            boxes = [d["bounding_box"] for d in sample["ground_truth"]["detections"]]
            assert len(boxes) == len(item.annotations)
            assert all(0 <= value <= 1.001 for box in boxes for value in box)
    assert brain_calls == [
        ("visualization", 69, {"embeddings": "embedding", "method": "pca", "brain_key": "map"}),
        ("similarity", 69, {"embeddings": "embedding", "brain_key": "similar"}),
    ]
