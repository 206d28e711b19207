"""Vectors in the order of a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datumaro import Dataset

from datumaro_embed import ItemKey, open_store
from datumaro_embed.errors import ItemNotFoundError, UsageError
from support import SAMPLE


def test_vectors_line_up_with_a_filtered_dataset(coco_store: Path) -> None:
    dataset = Dataset.import_from(str(SAMPLE / "coco"), "coco")
    dataset.select(lambda item: item.id.endswith("1"))
    with open_store(coco_store) as store:
        rows = store.rows_for(dataset)
        vectors = store.for_dataset(dataset)
        assert len(rows) == len(vectors) == len(dataset)
        for item, row, vector in zip(dataset, rows, vectors, strict=True):
            assert store.key(row) == ItemKey(item.subset, item.id)
            np.testing.assert_array_equal(vector, store.embeddings([row])[0])


def test_items_that_are_not_in_the_store(coco_store: Path) -> None:
    keys = [ItemKey("train", "photo_01"), ItemKey("train", "other"), ItemKey("", "x")]
    with open_store(coco_store) as store:
        assert store.rows_for(keys).tolist() == [0, -1, -1]
        with pytest.raises(ItemNotFoundError, match=r"2 items .* such as 'train/other'") as caught:
            store.for_dataset(keys)
        assert caught.value.count == 2
        vectors = store.for_dataset(keys, missing="zero")
        assert vectors.any(axis=1).tolist() == [True, False, False]
        with pytest.raises(UsageError, match="missing is 'skip'; choose"):
            store.for_dataset(keys, missing="skip")
        assert store.for_dataset([]).shape == (0, store.dim)
