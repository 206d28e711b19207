"""Samples of a `datumaro.experimental` dataset that are left out, moved or relabeled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset_base import DatasetItem

from ..errors import DatasetWriteError
from ..experimental import field_names, frame
from ..records import ItemKey, Split, split_of
from .experimental import ExperimentalItems

__all__ = ["changed_samples"]

_SUBSETS = {Split.TRAIN: "TRAINING", Split.VAL: "VALIDATION", Split.TEST: "TESTING"}


def changed_samples(dataset: Any, changes: Mapping[ItemKey, Any]) -> Any:
    """Return a dataset as a plan of findings leaves it.

    Raises `DatasetWriteError`: what an experimental dataset of this schema cannot hold.

    Parameters
    ----------
    dataset : datumaro.experimental Dataset
        It is not changed.
    changes : mapping of ItemKey to findings.plan.Change
    """
    from datumaro.experimental import Dataset

    target = _Samples(dataset)
    for item in target.items:
        change = changes.get(ItemKey(item.subset, item.id))
        if change is not None:
            target.change(item, change)
    return Dataset.from_dataframe(target.table(), dataset.dtype, schema=dataset.schema)


class _Samples:
    """Columns that change, as lists; and which samples stay."""

    def __init__(self, dataset: Any) -> None:
        self.items = ExperimentalItems(dataset)
        self._frame = frame(dataset, dataset.schema.attributes)
        self._places: dict[Any, list[int]] = {}
        for place, image in enumerate(self.items.images):
            self._places.setdefault(image, []).append(place)
        self._subset = field_names(dataset, "SubsetField")[:1]
        self._of_objects = self.items.label_fields(of_objects=True)
        self._of_images = self.items.label_fields(of_objects=False)
        self._stays = [True] * len(self._frame)
        self._columns: dict[str, list[Any]] = {}

    def table(self) -> Any:
        """What is left, as a polars data frame."""
        import polars as pl

        table = self._frame.with_columns(
            pl.Series(name, values, dtype=self._frame[name].dtype)
            for name, values in self._columns.items()
        )
        return table.filter(pl.Series(self._stays, dtype=pl.Boolean))

    def change(self, item: DatasetItem, change: Any) -> None:
        """Carry out what becomes of one item."""
        key = ItemKey(item.subset, item.id)
        places = self._places[item.media.path, getattr(item.media, "index", None)]
        if change.dropped:
            for place in places:
                self._stays[place] = False
            return
        if len(places) > 1:
            raise _impossible(key, f"a change of one of {len(places)} samples")
        place = places[0]
        for name in change.attributes:
            raise _impossible(key, f"the attribute {name!r}")
        if change.key.subset != key.subset:
            value = _SUBSETS.get(split_of(change.key.subset))
            if value is None or not self._subset:
                raise _impossible(key, f"the subset '{change.key.subset}'")
            self._column(self._subset[0])[place] = value
        relabeled = {number: label for number, label in change.labels.items() if label is not None}
        for number, label in relabeled.items():
            field, at = self._label_at(place, key, item, number)
            new, column = self._number(key, field, label), self._column(field)
            values = column[place]
            is_list = isinstance(values, list)
            column[place] = [*values[:at], new, *values[at + 1 :]] if is_list else new
        dropped = {
            self._label_at(place, key, item, number)[1]
            for number, label in change.labels.items()
            if label is None
        }
        if dropped:
            self._drop_objects(place, key, dropped)
        for label in change.added:
            self._add(place, key, label)

    def _column(self, name: str) -> list[Any]:
        return self._columns.setdefault(name, self._frame[name].to_list())

    def _label_at(
        self, place: int, key: ItemKey, item: DatasetItem, number: int
    ) -> tuple[str, int]:
        """Give the field of an annotation's label, and its number in the sample's values."""
        annotation = item.annotations[number]
        if annotation.type is AnnotationType.label:
            before = sum(one.type is AnnotationType.label for one in item.annotations[:number])
            for name in self._of_images:
                value = self._frame[name][place]
                length = 1 if isinstance(value, int) else 0 if value is None else len(value)
                if before < length:
                    return name, before
                before -= length
        elif annotation.group and len(self._of_objects) == 1:
            return next(iter(self._of_objects)), annotation.group - 1
        raise _impossible(key, f"a change of its {annotation.type.name} number {number}")

    def _add(self, place: int, key: ItemKey, label: str) -> None:
        field = next(iter(self._of_images), None)
        if field is None:
            raise _impossible(key, "a label of the whole image")
        number, column = self._number(key, field, label), self._column(field)
        is_list = self._frame[field].dtype.is_nested()
        column[place] = [*(column[place] or ()), number] if is_list else number

    def _number(self, key: ItemKey, field: str, label: str) -> int:
        names = {**self._of_objects, **self._of_images}[field]
        if label not in names:
            raise _impossible(key, f"the label '{label}' in the field {field!r}")
        return names.index(label)

    def _drop_objects(self, place: int, key: ItemKey, numbers: set[int]) -> None:
        """Leave out the values of some objects, in each field that has one for each object."""
        n_objects, fields, doubtful = self.items.fields_of_objects(
            self._frame.row(place, named=True)
        )
        if doubtful:
            raise _impossible(key, f"fewer objects beside its field {doubtful[0]!r}")
        for name in fields:
            column = self._column(name)
            size = len(column[place]) // n_objects  # of keypoints, an object has several
            column[place] = [
                value for n, value in enumerate(column[place]) if n // size not in numbers
            ]


def _impossible(key: ItemKey, what: str) -> DatasetWriteError:
    return DatasetWriteError(
        f"A datumaro.experimental dataset of this schema cannot hold {what} of {key}. Leave the "
        "action out, or apply the findings to the dataset on disk (`datumaro-embed apply`)."
    )
