"""Carry out a plan: write the changed dataset beside the output, read it back, put it in place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adapter import (
    BY_FOLDER,
    LINKED_FOLDERS,
    LINKED_OUT,
    ImportedDataset,
    SourceDataset,
    as_dataset,
    changed_samples,
    check_format,
    import_dataset,
    split_pathspec,
    write_dataset,
)
from ..errors import (
    DatasetReadError,
    DatasetWriteError,
    EmptyDatasetError,
    OutputFolderError,
    UsageError,
)
from ..experimental import is_experimental
from ..files import check_output, new_path, workspace
from ..logs import without_warnings
from ..objects import ObjectOptions, box_of, objects_of
from ..parallel import map_ahead
from ..pipeline import read_item_info
from ..records import ItemKey, ItemRecord
from ..tally import counted
from ..verify import differences
from .actions import act
from .plan import Plan, plan_changes
from .table import Findings

if TYPE_CHECKING:
    from datumaro.components.dataset_base import DatasetItem

_FORMATS = ("coco", "datumaro", "imagenet_with_subset_dirs", "voc", "yolo_ultralytics")
_ROUNDING_PX = 0.025  # as formats round
_SHOWN = 3
_NOT_THERE = "not in the output"
_MAX_PROBED = 500
_KEPT_BY_NONE = {"exif_boxes", "id"}  # a note of ours, and COCO's own number


@dataclass(frozen=True, slots=True)
class ApplySummary:
    """What `apply_to_path` did.

    Attributes
    ----------
    plan : Plan
    verified : str
        What of the written dataset was read back and compared; empty after a dry run.
    planned : tuple of str
        The plan, for people.
    """

    plan: Plan
    verified: str
    planned: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the plan, and what was verified."""
        yield from self.planned
        yield self.verified or "a dry run: no dataset is written"


def apply_findings(
    dataset: Any,
    findings: Findings | str | os.PathLike[str],
    *,
    skip_stale: bool = False,
    new_labels: bool = False,
) -> Any:
    """Carry out the actions of a findings file on a Datumaro dataset.

    Parameters
    ----------
    dataset : datumaro Dataset, legacy or experimental
        It is not changed.
    findings : Findings or path
        Only rows with an action act, if the item's image has the bytes of ``content_sha256``, and
        the object its number, label and box.
    skip_stale : bool
        Leave out rows that do not match the dataset; without it they are an error.
    new_labels : bool
        Allow ``label NAME`` with a label that the dataset does not declare.

    Returns
    -------
    datumaro Dataset, of the same kind
        Without what was dropped, with what was changed. Export it to a new folder.

    Raises
    ------
    UsageError
        No such file; an action that is none; rows that contradict each other.
    StaleStoreError
        Rows do not match the dataset.
    DatasetWriteError
        The fields of an experimental dataset cannot hold a change, such as a new label.
    """
    rows = findings if isinstance(findings, Findings) else Findings.read(findings)
    source = SourceDataset(dataset, follow_symlinks=True)
    plan = plan_changes(rows, source, skip_stale=skip_stale, new_labels=new_labels)
    if is_experimental(dataset):
        return changed_samples(dataset, plan.changes)
    return as_dataset(changed(source, plan))


def apply_to_path(
    pathspec: str,
    findings: Path,
    out: Path,
    *,
    form: str | None = None,
    dry_run: bool = False,
    plan_file: Path | None = None,
    follow_symlinks: bool = False,
    **options: Any,
) -> ApplySummary:
    """Read a dataset from disk, carry out findings and write it to a new folder.

    Raises as `apply_findings`; `DatasetReadError`: also if a link leads to an image outside the
    dataset, unless `follow_symlinks`; `DatasetWriteError`: the format cannot hold the
    dataset, or what was read back is not the same, and nothing is at `out`; `StoreExistsError`,
    `OutputFolderError`, `StoreWriteError`: the output cannot be made.

    Parameters
    ----------
    pathspec : str
        ``PATH`` or ``PATH:FORMAT``.
    form : str, optional
        Format to write; by default that of the dataset.
    plan_file : Path, optional
        File for one line per change.
    options
        As in `plan_changes`.
    """
    rows = Findings.read(findings)
    _refuse_inside(out, split_pathspec(pathspec)[0])
    check_output(out)
    if plan_file is not None:
        check_output(plan_file)
    imported = import_dataset(pathspec, follow_symlinks=follow_symlinks)
    source = imported.source
    _refuse_inside(out, source.root)
    form = form or imported.form
    check_format(form)
    _refuse_hidden(imported, rows)
    plan = plan_changes(rows, source, form=form, **options)
    target = changed(source, plan)
    if not len(target):
        raise UsageError("The findings drop every item, so there is no dataset to write.")
    refuse_lost(target, form, beside=out)
    refuse_uneven(target, form, before=source if form == imported.form else None)
    planned = [*plan.lines(source)]
    if not any(row.action.strip() for row in rows):
        planned.append("no finding has an action: fill in the column `action` of the findings file")
    if form in BY_FOLDER:
        used = set().union(*_folders(target).values())
        names = ", ".join(repr(name) for name in target.categories.labels if name not in used)
        if names:
            planned.append(f"labels that OUT will not have, as no image has them: {names}")
    if imported.losses:
        planned.append(
            "Not everything in the dataset was read, so the output will lack or change this:"
        )
        planned += imported.losses.lines()
    if plan_file is not None:
        plan.write_csv(plan_file)
    if dry_run:
        return ApplySummary(plan, "", tuple(planned))
    with new_path(out, directory=True) as folder:
        write_dataset(target, form, folder)
        counts: Counter[str] = Counter()
        if wrong := [*_differences(target, folder, form, counts)]:
            raise _not_held(form, wrong)
    done = ", ".join(counted(counts[what], what) for what in ("items", "objects", "labels"))
    verified = f"'{out}' ({form}) is written, read back by Datumaro and equal to the plan: {done}"
    return ApplySummary(plan, verified, tuple(planned))


def _folders(dataset: SourceDataset) -> dict[str, set[str]]:
    """Give the labels that each subset has a folder for in ImageNet's layout."""
    names = dataset.categories.labels
    found: dict[str, set[str]] = {}
    for item in dataset.items():
        numbers = {getattr(each, "label", None) for each in item.annotations}
        used = {names[number] for number in numbers if number is not None}
        above = {str(folder) for name in used for folder in PurePosixPath(name).parents}
        found.setdefault(item.subset, set()).update(used, above - {"."})
    return found


def refuse_uneven(target: SourceDataset, form: str, *, before: SourceDataset | None) -> None:
    """Refuse ImageNet's layout if a subset has no image of a label that another subset has.

    Datumaro cannot read such a dataset, with an empty folder neither, and programs that number
    labels by their folders number them differently in each subset. With `before`, the dataset in
    the same format, only if that was not so already.

    Raises `DatasetWriteError`, which names subsets, labels and formats that can.
    """
    if form not in BY_FOLDER or (before is not None and _uneven(before)):
        return
    if missing := _uneven(target):
        able = [
            name for name in _FORMATS if name not in BY_FOLDER and not _lost(target, name, None)
        ]
        shown = "; ".join(missing[:_SHOWN])
        more = f" … and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DatasetWriteError(
            f"The format {form} has a folder for each label in every subset, but {shown}{more}. "
            "Datumaro could not read the output, and training would number the labels of each "
            "subset differently. Nothing was written. Leave an image of the label in the subset, "
            f"or choose another ``format``: {', '.join(able) or 'datumaro'}."
        )


def _uneven(dataset: SourceDataset) -> list[str]:
    folders = _folders(dataset)
    every = sorted(set().union(*folders.values()))
    return [
        f"{subset} would have no image of {name!r}"
        for subset, own in sorted(folders.items())
        for name in every
        if name not in own
    ]


def changed(source: SourceDataset, plan: Plan) -> SourceDataset:
    """Give a dataset as a plan leaves it."""
    labels = (*source.categories.labels, *plan.new_labels)
    return source.changed(plan.items(list(source.items()), labels), plan.new_labels)


def refuse_lost(
    target: SourceDataset,
    form: str,
    *,
    before: SourceDataset | None = None,
    relabeled: Collection[ItemKey] = (),
    beside: Path | None = None,
) -> None:
    """Refuse a format that cannot hold a dataset: a few items of each sort are written and read.

    With `before`, the same items unchanged, `datum` writes them itself, and only what these do not
    lose either counts; but items of
    `relabeled` must be read back. The few are written beside a path, else where the system has
    temporary files.

    Raises `DatasetWriteError`, which names formats that can.
    """
    as_datum = before is not None
    wrong = _lost(target, form, beside, as_datum=as_datum)
    if before is not None and wrong:
        names = {*target.categories.labels}
        anyway = _lost(before, form, beside, as_datum=as_datum)
        lost_anyway = {_sort_of_loss(line, names) for line in anyway}
        lost = {f"{key}: {_NOT_THERE}" for key in relabeled}
        wrong = [
            line for line in wrong if line in lost or _sort_of_loss(line, names) not in lost_anyway
        ]
    if wrong:
        able = [name for name in _FORMATS if name != form and not _lost(target, name, beside)]
        raise _not_held(form, wrong, able)


def _sort_of_loss(line: str, labels: set[str]) -> str:
    """Give what two items have in common that lose the same: neither key nor label."""
    for name in labels:
        line = line.replace(repr(name), "")
    return line.partition(": ")[2]


def _not_held(form: str, wrong: list[str], able: Iterable[str] = ()) -> DatasetWriteError:
    shown = "; ".join(wrong[:_SHOWN])
    more = f" … and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    names = ", ".join(able)
    ways = f"Formats that can: {names}" if names else "Another ``format``, such as datumaro, may"
    ways = "Drop these items" if form == "datumaro" else f"{ways}. Or drop these items"
    return DatasetWriteError(
        f"The format {form} cannot hold this dataset as planned: {shown}{more}. Nothing was "
        f"written. {ways}, or clear their actions."
    )


def _lost(
    target: SourceDataset, form: str, beside: Path | None, *, as_datum: bool = False
) -> list[str]:
    """Say what a format loses of one item of each sort: a format loses the same of all of them."""
    chosen: dict[object, DatasetItem] = {}
    for item in target.items():
        if len(chosen) == _MAX_PROBED:
            break
        groups: dict[object, set[object]] = {}
        for number, each in enumerate(item.annotations):
            names = tuple(sorted(name for name, value in each.attributes.items() if value))
            has_label = getattr(each, "label", None) is not None
            groups.setdefault(each.group or -number, set()).add((each.type, has_label, names))
        sort = item.subset, type(item.media), frozenset(map(frozenset, groups.values()))
        chosen.setdefault((*sort, frozenset(item.attributes), "/" in item.id), item)
    few = target.changed(chosen.values())
    try:
        place = (
            TemporaryDirectory(prefix="datumaro-embed-") if beside is None else workspace(beside)
        )
        with place as folder, without_warnings():
            write_dataset(few, form, Path(folder), as_datum=as_datum)
            return [*_differences(few, Path(folder), form)]
    except DatasetWriteError as error:
        return [error.message]


def _differences(
    expected: SourceDataset, folder: Path, form: str, counts: Counter[str] | None = None
) -> Iterator[str]:
    """Read a written dataset back, and yield what is not as expected; count what was compared."""
    try:
        found = import_dataset(f"{folder}:{form}").source
    except (DatasetReadError, EmptyDatasetError) as error:
        yield str(error)
        return
    here, there = set(expected.keys()), set(found.keys())
    yield from (f"{key}: {_NOT_THERE}" for key in sorted(here - there))
    yield from (f"{key}: in the output, not in the plan" for key in sorted(there - here))
    common = here & there
    both = (map_ahead(read_item_info, each.only(common.__contains__)) for each in (expected, found))
    labels = expected.categories.labels, found.categories.labels
    for one, other in zip(*both, strict=True):
        first, second = map(_plain, (one, other))
        words = "in the plan", "in the output"
        for line in differences(first, second, *labels, *words, tolerance_px=_ROUNDING_PX):
            yield f"{one.key}: {line}"
        yield from (f"{one.key}: {line}" for line in _lost_attributes(one, other, labels))
        if counts is not None:
            counts["items"] += 1
            counts["objects"] += len(first.objects or ())
    if counts is not None:
        counts["labels"] = len({*labels[0]} & {*labels[1]})


def _plain(record: ItemRecord) -> ItemRecord:
    """Give a record with its objects, without boxes that only say what an outline says too."""
    derived = set()
    for entry in objects_of(record, ObjectOptions()):
        parts = {place: record.annotations[place] for place in entry.annotations}
        outlines = [one for one in parts.values() if one.type in ("polygon", "mask")]
        if outlines:
            derived |= {
                place
                for place, one in parts.items()
                if one.type == "bbox"
                and np.allclose(one.coords, box_of(outlines), rtol=0, atol=2 * _ROUNDING_PX)
            }
    kept = (one for place, one in enumerate(record.annotations) if place not in derived)
    plain = replace(record, annotations=tuple(kept))
    return replace(plain, objects=objects_of(plain, ObjectOptions()))


def _lost_attributes(
    one: ItemRecord, other: ItemRecord, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> Iterator[str]:
    """Yield attributes that are not there; of others, formats have their own defaults."""
    for name, value in one.attributes.items():
        if name not in _KEPT_BY_NONE and value and other.attributes.get(name) != value:
            yield f"the attribute {name!r} of the item is lost"
    names = {name for each in one.annotations for name in each.attributes} | {"is_crowd"}

    def shown(record: ItemRecord, known: tuple[str, ...]) -> Counter[tuple[str, ...]]:
        return Counter(
            (each.type, known[each.label] if 0 <= each.label < len(known) else "", name, str(value))
            for each in record.annotations
            for name, value in each.attributes.items()
            if value and name in names
        )

    for kind, label, name, _ in shown(one, labels[0]) - shown(other, labels[1]):
        yield f"the attribute {name!r} of a {kind} {label!r} is lost"
    for kind, label, name, _ in shown(other, labels[1]) - shown(one, labels[0]):
        yield f"a {kind} {label!r} gets the attribute {name!r}"


def _refuse_hidden(imported: ImportedDataset, rows: Findings) -> None:
    """Refuse a dataset if images outside its folder are of items that stay, or that have rows."""
    source = imported.source
    dropped = {row.key for row in rows if act(row)[0] == "drop" and not row.content_sha256}
    hidden = {each.key: each.unsafe for each in source if each.unsafe and each.key not in dropped}
    if any(loss.text == LINKED_FOLDERS for loss in imported.losses):
        hidden |= dict.fromkeys({row.key for row in rows} - {*source.keys()}, LINKED_OUT)
    if hidden:
        key, reason = next(iter(hidden.items()))
        raise DatasetReadError(
            f"{counted(len(hidden), 'images are not read')}, such as that of '{key}': {reason}. "
            "Nothing was written.",
            path=str(source.root),
        )


def _refuse_inside(out: Path, root: Path) -> None:
    real, real_root = Path(os.path.realpath(out)), Path(os.path.realpath(root))
    if real.is_relative_to(real_root):
        what = "is the dataset itself" if real == real_root else f"is inside the dataset '{root}'"
        raise OutputFolderError(f"'{out}' {what}. Choose a folder outside it.", path=str(out))
