"""Findings and a dataset → what becomes of each item, or why a row does not act; writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..adapter import BY_FOLDER, SourceDataset, id_in_folder, with_label
from ..errors import StaleStoreError, UsageError
from ..escaping import printable
from ..listing import table_lines, write_csv
from ..logs import log
from ..objects import ObjectOptions, objects_of
from ..parallel import map_ahead
from ..pipeline import read_item_info
from ..records import ItemKey, ItemRecord, Status
from ..store import EmbeddingStore
from ..store.check import refuse_damage
from ..tally import Tally, counted
from .actions import act, refuse_contradictions, where
from .columns import COLUMNS, COPY_KINDS, Finding
from .table import Findings

if TYPE_CHECKING:
    from datumaro.components.dataset_base import DatasetItem

_BOX_TOLERANCE_PX = 0.025  # COCO and YOLO of one dataset differ by 0.01
_SHOWN_ROWS = 20
_READ = (Status.OK, Status.INFERENCE_FAILED)  # the latter may have objects with vectors


@dataclass(slots=True)
class Change:
    """What becomes of one item.

    Attributes
    ----------
    key : ItemKey
        Its new key.
    mark : str
        Appended to its id if another item has its new key: what is not in the key any more.
    labels : dict of int to str or None
        New label of an annotation, by its place; None drops the annotation.
    added : list of str
        Labels of the whole image that it gets.
    rows : list of Finding
        Those that are carried out.
    """

    key: ItemKey
    mark: str = ""
    dropped: bool = False
    labels: dict[int, str | None] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    rows: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """What becomes of the items of a dataset.

    Attributes
    ----------
    changes : dict of ItemKey to Change
        By the key that the item has now.
    refused : Tally
        Rows that are not applied, by reason.
    emptied : Tally
        Groups of copies of which no listed copy stays.
    new_labels : tuple of str
        Labels that the dataset does not declare yet.
    subsets : frozenset of str
        Those that the dataset has.
    """

    n_items: int
    changes: dict[ItemKey, Change] = field(default_factory=dict)
    refused: Tally = field(default_factory=Tally)
    emptied: Tally = field(default_factory=Tally)
    new_labels: tuple[str, ...] = ()
    subsets: frozenset[str] = frozenset()

    def summary(self) -> str:
        """Say what changes: ``2 of 5 items dropped (train 1, val 1)``."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for key, change in self.changes.items():
            for number, verb, name in {(row.object, *act(row)) for row in change.rows}:
                if verb == "label":
                    done = "relabeled"
                elif verb == "attribute":
                    done = f"tagged {name.partition('=')[0]!r}"
                elif verb == "drop":
                    done = "dropped"
                else:
                    done = f"moved to the {'' if name in self.subsets else 'new '}subset '{name}'"
                things = "items" if number is None else "objects"
                found[f"{things} {done}"][key.subset] += 1
        parts = []
        for done, subsets in sorted(found.items()):
            things, _, what = done.partition(" ")
            where = ", ".join(f"{name} {count}" for name, count in sorted(subsets.items()))
            total = subsets.total()
            many = f"{total:,} of {counted(self.n_items, things)}"
            parts.append(
                f"{many if things == 'items' else counted(total, things)} {what} ({where})"
            )
        return "; ".join(parts) or f"0 of {counted(self.n_items, 'items')} change"

    def lines(self, source: SourceDataset) -> Iterator[str]:
        """Yield the summary, and what there is before and after, by subset and by label."""
        yield self.summary()
        before, after = _census(source, None), _census(source, self)
        for n, what in enumerate(("subset", "label")):
            names = sorted({*before[n], *after[n]})
            changed = [name for name in names if before[n][name] != after[n][name]]
            rows = [(name, before[n][name], after[n][name]) for name in changed[:_SHOWN_ROWS]]
            things = ("items", "annotations")[n]
            yield from table_lines((what, f"{things} before", "after"), rows, right=(1, 2))
            if len(changed) > _SHOWN_ROWS:
                yield f"… and {len(changed) - _SHOWN_ROWS} more"
        yield from self.emptied.lines(indent="")
        if self.refused:
            yield f"{counted(self.refused.total, 'findings')} not applied:"
            yield from self.refused.lines()

    def write_csv(self, path: Path) -> None:
        """Write one line for each row that is carried out."""
        titles = ("line", "action", "group", "subset", "id", "object", "label", "box")
        rows = []
        for _, change in sorted(self.changes.items()):
            new = ("", "") if change.dropped else (change.key.subset, change.key.id)
            for row in change.rows:
                cells = dict(zip(COLUMNS, row.cells(), strict=True)) | {"line": row.line or ""}
                rows.append((*(cells[title] for title in titles), *new, row.reason))
        write_csv(path, (*titles, "new_subset", "new_id", "reason"), rows, for_sheets=True)

    def items(self, items: Iterable[DatasetItem], labels: Sequence[str]) -> Iterator[DatasetItem]:
        """Yield what becomes of Datumaro's items, of which `items` is iterated twice.

        `labels`: those that the dataset will have.
        """
        indices = {name: index for index, name in enumerate(labels)}
        moves = any(key.subset != change.key.subset for key, change in self.changes.items())
        numbers = _Numbers(items if moves else ())
        for item in items:
            change = self.changes.get(ItemKey(item.subset, item.id))
            if change is None:
                yield item
                continue
            if change.dropped:
                continue
            annotations = [
                annotation if place not in change.labels else annotation.wrap(label=indices[name])
                for place, annotation in enumerate(item.annotations)
                if (name := change.labels.get(place, "")) is not None
            ]
            new = item.wrap(
                annotations=annotations, attributes={**item.attributes, **change.attributes}
            )
            for name in change.added:
                new = with_label(new, indices[name])
            if change.key.id != item.id:
                new = new.wrap(id=change.key.id)
            if change.key.subset != item.subset:
                new = new.wrap(subset=change.key.subset, **numbers.fit(new, change.key.subset))
            yield new


def plan_changes(
    findings: Findings,
    source: SourceDataset,
    *,
    skip_stale: bool = False,
    new_labels: bool = False,
    contents: Mapping[ItemKey, bytes] | None = None,
    form: str | None = None,
) -> Plan:
    """Decide what becomes of each item of a dataset.

    Parameters
    ----------
    skip_stale : bool
        Leave out rows that do not match the dataset; without it they are an error. A copy to drop
        does not match if no other copy of its group is there.
    new_labels : bool
        Allow labels that the dataset does not declare.
    contents : mapping, optional
        SHA-256 of the items' images, where the caller has read them.
    form : str, optional
        Format that will be written. In ImageNet's layout ids begin with the label, so an item that
        is relabeled gets another id.

    Raises
    ------
    UsageError
        An unknown action, rows that contradict each other, or a label that the dataset lacks.
    StaleStoreError
        Rows do not match the dataset: the item or object is not there, or not the same.
    """
    acting = _acting(findings)
    added = _new_labels(acting.values(), source.categories.labels, allowed=new_labels)
    used = set(source.keys())
    plan = Plan(len(source), new_labels=added, subsets=frozenset(key.subset for key in used))
    for key in acting.keys() - used:
        for row in acting[key]:
            plan.refused.add("rows whose item is not in the dataset", where(row))
    bereft = _bereft(findings, source, contents)
    for key, sha, record in _facts(source, acting, contents):
        change = Change(key)
        for row in acting[key]:
            reason = _stale(row, sha)
            if not reason and act(row)[0] == "drop" and (row.kind, row.group) in bereft:
                reason = "copies to drop whose kept copy is gone, has changed or is dropped too"
            reason = reason or _carry_out(row, change, record, source, form)
            if reason:
                plan.refused.add(reason, where(row))
        if change.dropped:  # and its objects with it
            change.rows = [
                row for row in change.rows if act(row)[0] == "drop" and row.object is None
            ]
        if change.rows:
            plan.changes[key] = change
    _tell_apart(plan.changes, used)
    plan.emptied = _emptied(findings, plan.changes)
    if plan.refused and not (skip_stale and plan.changes):
        found = "; ".join(line.strip() for line in plan.refused.lines())
        n_acting = counted(sum(map(len, acting.values())), "findings")
        ways = "" if skip_stale else ", or use ``skip_stale`` to leave these rows out"
        raise StaleStoreError(
            f"The dataset does not match {plan.refused.total:,} of {n_acting}: {found}. Nothing "
            f"was written. Run the command that wrote the findings again{ways}.",
            n_stale=plan.refused.total,
        )
    return plan


def fresh_items(
    store: EmbeddingStore, contents: Mapping[ItemKey, bytes], *, skip_stale: bool
) -> set[ItemKey]:
    """Return the items whose images are, byte for byte, those that a store embedded.

    With `skip_stale`, others are left out, with a warning that counts and names them.

    Raises `StaleStoreError`: there are such items and `skip_stale` is false; or no item is left;
    `StoreCorruptError`: the store does not verify.
    """
    refuse_damage(store, "Embed the dataset again to replace the damaged rows.")
    stale, fresh = Tally(), set()
    for key, sha in contents.items():
        if key not in store:
            stale.add("items that are not in the store", str(key))
            continue
        row = store.row(key)
        # Of an image that could not be read there is no vector, and nothing is done by it.
        if store.content_sha256[row].tobytes() != sha and store.statuses[row] in _READ:
            stale.add("images whose bytes have changed since embedding", str(key))
        else:
            fresh.add(key)
    if not stale:
        return fresh
    found = "; ".join(line.strip() for line in stale.lines())
    name = printable(store.path)
    if not fresh:
        raise StaleStoreError(
            f"The store '{name}' has none of this dataset's {counted(len(contents), 'images')}: "
            f"{found}. Name the store that was made from this dataset, or embed the dataset.",
            n_stale=stale.total,
        )
    differ = (
        f"The store '{name}' does not match {stale.total:,} of "
        f"{counted(len(contents), 'items')}: {found}."
    )
    if not skip_stale:
        raise StaleStoreError(
            f"{differ} Nothing was written. Embed the dataset again, or use ``skip_stale`` to "
            "leave these items alone.",
            n_stale=stale.total,
        )
    log.warning("%s They are skipped.", differ)
    return fresh


def _acting(findings: Findings) -> dict[ItemKey, list[Finding]]:
    """Give the rows that change something, by item; raises `UsageError`."""
    found: dict[ItemKey, list[Finding]] = defaultdict(list)
    for row in findings:
        if act(row)[0] not in ("", "review"):
            if row.box and row.object is None:
                raise UsageError(
                    f"{where(row)} has a box and no number in the column 'object', so it is not "
                    "clear what it acts on. Fill in the number, or empty the box."
                )
            found[row.key].append(row)
    for rows in found.values():
        refuse_contradictions(rows)
        rows[:] = [row for row in rows if act(row)[0] != "keep"]
    return {key: rows for key, rows in found.items() if rows}


def _groups_of_copies(findings: Findings) -> dict[tuple[str, int | None], list[Finding]]:
    groups: dict[tuple[str, int | None], list[Finding]] = defaultdict(list)
    for row in findings:
        if row.kind in COPY_KINDS and row.group is not None and row.object is None:
            groups[row.kind, row.group].append(row)
    return groups


def _emptied(findings: Findings, changes: Mapping[ItemKey, Change]) -> Tally:
    """Count the groups of copies of which every member that the findings list is dropped."""
    found, dropped = Tally(), {key for key, change in changes.items() if change.dropped}
    for rows in _groups_of_copies(findings).values():
        if len(rows) > 1 and dropped.issuperset(row.key for row in rows):
            found.add("groups of copies of which every listed copy is dropped", rows[0].name)
    return found


def _bereft(
    findings: Findings, source: SourceDataset, contents: Mapping[ItemKey, bytes] | None
) -> set[tuple[str, int | None]]:
    """Return the groups of copies of which some are dropped and none of the others stays.

    Others do not stay where their image is gone or has changed, or where a row of another finding
    drops them. A group of which a person drops every member is not among them.
    """
    dropped = {row.key for row in findings if act(row)[0] == "drop" and row.object is None}
    kept = {
        group: [row for row in rows if act(row)[0] != "drop"]
        for group, rows in _groups_of_copies(findings).items()
        if any(act(row)[0] == "drop" for row in rows)
    }
    wanted = dict.fromkeys((row.key for rows in kept.values() for row in rows), ())
    shas = {key: sha for key, sha, _ in _facts(source, wanted, contents)}
    return {
        group
        for group, rows in kept.items()
        if rows
        and not any(
            any(sha := shas.get(row.key, b"")) and not _stale(row, sha)
            for row in rows
            if row.key not in dropped
        )
    }


def _new_labels(
    acting: Collection[Sequence[Finding]], labels: Sequence[str], *, allowed: bool
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for row in (row for rows in acting for row in rows):
        verb, name = act(row)
        if verb != "label" or (name := _known(name, labels)) in labels:
            continue
        if not allowed:
            near = get_close_matches(name, labels, 3)
            nearest = f" Nearest: {', '.join(map(repr, near))}." if near else ""
            raise UsageError(
                f"{where(row)}: the dataset has no label {name!r}.{nearest} Correct the action, or "
                "use ``new_labels`` to add the label."
            )
        found[name] = None
    return tuple(sorted(found))


def _known(label: str, labels: Sequence[str]) -> str:
    """Give a label as the dataset has it; spaces that are not part of its name are left out."""
    return label if label in labels else label.strip()


def _facts(
    source: SourceDataset,
    acting: Mapping[ItemKey, Sequence[Finding]],
    contents: Mapping[ItemKey, bytes] | None,
) -> Iterator[tuple[ItemKey, bytes, ItemRecord | None]]:
    """Yield the contents of each item that has rows, and its record where it was read."""
    known = {
        key
        for key, rows in acting.items()
        if contents is not None
        and key in contents
        and all(row.object is None and act(row)[0] != "label" for row in rows)
    }
    for key in sorted(known):
        assert contents is not None
        yield key, contents[key], None
    unread = source.only(lambda key: key in acting and key not in known)
    for record in map_ahead(read_item_info, unread):
        yield record.key, record.content_sha256, record


def _stale(row: Finding, sha: bytes) -> str:
    """Say why a row's item or object is not the one that the row was made of; else nothing."""
    if not row.content_sha256 and any(sha):
        return "rows without a content_sha256"
    if row.content_sha256.strip().lower() != (sha.hex() if any(sha) else ""):
        return "rows whose image has changed since the finding was made"
    return ""


def _carry_out(
    row: Finding,
    change: Change,
    record: ItemRecord | None,
    source: SourceDataset,
    form: str | None,
) -> str:
    """Write a row into the change of its item; or say why it cannot be, and write nothing."""
    verb, name = act(row)
    if row.object is not None or verb == "label":
        assert record is not None
        name = _known(name, source.categories.labels)
        places = _places(row, record, source.categories.labels)
        if isinstance(places, str):
            return places
        if verb == "label" and row.object is None and not places:
            change.added.append(name)
        change.labels |= dict.fromkeys(places, None if verb == "drop" else name)
        start = id_in_folder(row.label, "") if form in BY_FOLDER and row.object is None else None
        if start is not None and change.key.id.startswith(start):
            # It gets the id that it has in the folder of its new label.
            stem = change.key.id.removeprefix(start)
            change.key = ItemKey(change.key.subset, id_in_folder(name, stem))
            change.mark = start[:-1].replace("/", "_")
    elif verb == "drop":
        change.dropped = True
    elif verb == "attribute":
        attribute, _, value = name.partition("=")
        number = int(value) if value.isdecimal() else -1
        change.attributes[attribute] = number if str(number) == value else value
    elif name != change.key.subset:
        change.mark = change.key.subset
        change.key = ItemKey(name, change.key.id)
    else:
        return ""  # it is there already
    change.rows.append(row)
    return ""


def _places(row: Finding, record: ItemRecord, labels: Sequence[str]) -> list[int] | str:
    """Give the places of the annotations that a row is about, or say why there are none such."""

    def named(label: int) -> str:
        return labels[label] if 0 <= label < len(labels) else ""

    if row.object is None:
        own = [n for n, one in enumerate(record.annotations) if one.type == "label"]
        found = [n for n in own if named(record.annotations[n].label) == row.label]
        if (row.label and not found) or (own and not row.label):
            return "rows whose column label is not a label of the item"
    else:
        changed = "rows whose object is not there, or has another label or box now"
        objects = objects_of(record, ObjectOptions())
        if row.object not in range(len(objects)):
            return changed
        one = objects[row.object]
        sides = zip(row.box or (0.0,) * 4, one.box, strict=True)
        near = (abs(a - b) <= _BOX_TOLERANCE_PX for a, b in sides)
        if row.label != named(one.label) or not all(near):
            return changed
        found = list(one.annotations)
    return [record.places[n] for n in found]


def _tell_apart(changes: Mapping[ItemKey, Change], keys: set[ItemKey]) -> None:
    """Append its mark to the id of an item that gets the key of an item that stays."""
    gone = {key for key, change in changes.items() if change.dropped or change.key != key}
    used = keys - gone
    for key in sorted(key for key in gone if not changes[key].dropped):
        change = changes[key]
        while change.key in used:
            change.key = ItemKey(change.key.subset, f"{change.key.id}_{change.mark}")
        used.add(change.key)


def _census(source: SourceDataset, plan: Plan | None) -> tuple[Counter[str], Counter[str]]:
    """Count items by subset and annotations by label, as they are or as they will be."""
    names = source.categories.labels
    items: Iterable[DatasetItem] = source.items()
    if plan is not None:
        names = (*names, *plan.new_labels)
        items = plan.items(list(items), names)
    subsets: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for item in items:
        subsets[item.subset] += 1
        numbers = (getattr(each, "label", None) for each in item.annotations)
        labels.update(names[n] for n in numbers if n is not None and 0 <= n < len(names))
    return subsets, labels


class _Numbers:
    """Numbers that are unique in a subset (COCO's image and annotation ids), kept so by a move.

    Datumaro's COCO exporter writes them as they are, twice if they are.
    """

    def __init__(self, items: Iterable[DatasetItem]) -> None:
        self._images: dict[str, set[int]] = defaultdict(set)
        self._annotations: dict[str, set[int]] = defaultdict(set)
        for item in items:
            if isinstance(number := item.attributes.get("id"), int):
                self._images[item.subset].add(number)
            self._annotations[item.subset].update(ann.id for ann in item.annotations)
        self._next_image = 1 + max((max(used) for used in self._images.values() if used), default=0)
        self._next_annotation = 1 + max(
            (max(used) for used in self._annotations.values() if used), default=0
        )

    def fit(self, item: DatasetItem, subset: str) -> dict[str, Any]:
        """Give attributes and annotations with which the item can be put into another subset."""
        attributes = dict(item.attributes)
        if attributes.get("id") in self._images[subset]:
            attributes["id"] = self._next_image
            self._next_image += 1
        if isinstance(number := attributes.get("id"), int):
            self._images[subset].add(number)
        if "id" not in item.attributes:  # not of COCO
            return {"attributes": attributes, "annotations": list(item.annotations)}
        # All annotations are renumbered together, so that groups stay together.
        used = self._annotations[subset]
        numbers = {ann.id for ann in item.annotations if ann.id}
        renumbered = {}
        if numbers & used:
            renumbered = {old: self._next_annotation + n for n, old in enumerate(sorted(numbers))}
            self._next_annotation += len(numbers)
        used.update(renumbered.get(number, number) for number in numbers)
        annotations = [
            ann.wrap(id=renumbered.get(ann.id, ann.id), group=renumbered.get(ann.group, ann.group))
            for ann in item.annotations
        ]
        return {"attributes": attributes, "annotations": annotations}
