"""The findings of a store and what was decided about them: on disk before `decide` returns."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import (
    OutputFolderError,
    StoreLockedError,
    StoreReplacedError,
    StoreWriteError,
    UsageError,
)
from ..files import StoreLock, identity_at
from ..findings import Finding, Findings, act, contradict, finding, refuse_contradictions
from ..findings.columns import COLUMNS, COPY_KINDS, PICKED
from ..listing import csv_line, publish_csv
from ..records import ItemKey
from ..store import EmbeddingStore
from ..tally import counted
from .places import Place, findings_of, places_of

__all__ = ["Decisions"]


class _Entry(msgspec.Struct):
    """What the page sends of one decision; `index`: the finding, unless the row was picked."""

    of: Literal["items", "objects"]
    row: int
    action: str
    index: int | None = None


class Decisions:
    """The rows of one findings file; a row's place in `rows` is its index for the page.

    Raises
    ------
    UsageError
        There is no such folder; the file is no findings file, or that of another store.

    Attributes
    ----------
    has_audit : bool
        The file is there, and not only of what was picked before an audit ended.
    rows : list of Finding
    places : list of Place or None
        Of each finding; None where the store does not have it.
    read_only : str
        Why nothing can be decided; empty where it can.
    """

    def __init__(self, store: EmbeddingStore, path: Path) -> None:
        if not path.absolute().parent.is_dir():
            raise OutputFolderError(
                f"The folder '{path.parent}' does not exist. Create it, or choose another path for "
                "``findings``.",
                path=str(path),
            )
        # Of a link, the file that it names: saving replaces a file, and one lock is for both names.
        self.path, self._store = (path.resolve() if path.is_symlink() else path), store
        self.rows: list[Finding] = []
        self.places: list[Place | None] = []
        self.read_only = ""
        self._of_item: dict[int, list[int]] = defaultdict(list)
        self._of_place: dict[Place, list[int]] = defaultdict(list)
        self._lines: list[bytes | None] = []  # of each row; None until it is saved
        self._saved = identity_at(self.path)
        self._changing = threading.RLock()
        self._lock: StoreLock | None = None
        found = findings_of(store, self.path) if self._saved is not None else Findings()
        is_picked = len(found) > 0 and all(row.kind == PICKED for row in found)
        self.has_audit = self._saved is not None and not is_picked
        if found.others:
            self.read_only = (
                f"'{self.path}' has columns that saving would not keep ({', '.join(found.others)}),"
                " so nothing can be decided here. Remove them, or copy the file and remove them "
                "there."
            )
        self._add(found)
        try:
            self._lock = StoreLock(self._lock_path, path)
        except StoreLockedError:
            self.read_only = (
                f"Another explorer has '{path}' open, so nothing can be decided here. Close it, "
                "or name another file with --findings."
            )
        except StoreWriteError as error:
            self.read_only = f"Nothing can be decided here: {error}"

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.lock")

    def publish(self, rows: Iterable[Finding]) -> None:
        """Take over the findings of an audit, and save them; raises `StoreError`."""
        with self._changing:
            self._add(rows)
            self._save()

    def _add(self, rows: Iterable[Finding]) -> None:
        rows = [*rows]
        for row, place in zip(rows, places_of(self._store, rows), strict=True):
            self._append(row, place)

    def _append(self, row: Finding, place: Place | None) -> int:
        index = len(self.rows)
        self.places.append(place)
        self._lines.append(None)
        self.rows.append(row)  # last: other threads read what `rows` has
        if place is not None:
            self._of_item[place.item].append(index)
            self._of_place[place].append(index)
        return index

    def of_row(self, of: str, row: int, item: int) -> list[int]:
        """Give the findings of a row: of an item, those of its objects too."""
        if of == "items":
            known = self._of_item.get(item, [])
        else:
            known = self._of_place.get(Place(of, row, item), [])
        return [index for index in known if self._is_kept(self.rows[index])]

    def _is_kept(self, row: Finding) -> bool:
        """Tell whether a row is in the file: what was picked is, while it is decided."""
        return row.kind != PICKED or bool(row.action)

    def chosen(
        self, *, kinds: Iterable[str] = (), actions: Iterable[str] = (), decided: bool | None = None
    ) -> Iterator[int]:
        """Yield the findings in the store of some kinds and actions, by rank."""
        kinds, actions = {*kinds}, {*actions}
        for index, row in enumerate(self.rows):
            if (
                self.places[index] is not None
                and self._is_kept(row)
                and (not kinds or row.kind in kinds)
                and (not actions or row.action.partition(" ")[0] in actions)
                and (decided is None or decided == self.is_decided(index))
            ):
                yield index

    def is_decided(self, index: int) -> bool:
        """Tell whether a finding has an action, or another decision settles it."""
        return bool(self.rows[index].action or self.covering(index))

    def covering(self, index: int) -> str:
        """Give the action that settles a finding from elsewhere; empty where there is none.

        What is dropped needs no other decision, and what was picked was decided as a whole.
        """
        place = self.places[index]
        if place is None:
            return ""
        for other in self._of_place.get(place, ()):
            row = self.rows[other]
            if other != index and (row.kind == PICKED or row.action == "drop") and row.action:
                return row.action
        whole = self._of_place.get(Place("items", place.item, place.item), ())
        return "drop" if any(self.rows[other].action == "drop" for other in whole) else ""

    def kinds(self) -> list[dict[str, Any]]:
        """Count the findings of each kind, its groups, and those that are decided as a whole."""
        counts = Counter[str]()
        groups, open_groups = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
        for index in self.chosen():
            row = self.rows[index]
            counts[row.kind] += 1
            group = -1 - index if row.group is None else row.group
            groups[row.kind].add(group)
            if not self.is_decided(index):
                open_groups[row.kind].add(group)
        return [
            {
                "kind": kind,
                "findings": count,
                "groups": len(groups[kind]),
                "reviewed": len(groups[kind]) - len(open_groups[kind]),
            }
            for kind, count in counts.items()
        ]

    @property
    def n_decided(self) -> int:
        """Findings with an action."""
        return sum(bool(row.action) for row in self.rows)

    def problems(self) -> list[str]:
        """Say what is wrong with the decisions together, a sentence each."""
        found: list[str] = []
        decided = defaultdict[ItemKey, list[Finding]](list)
        for row in self.rows:
            if row.action:
                decided[row.key].append(row)
        try:  # `apply` refuses those of a file that was edited elsewhere
            for rows in decided.values():
                refuse_contradictions(rows)
        except UsageError as error:
            found.append(f"`apply` refuses these decisions: {error}")

        # Pictures of which every copy is dropped, by whatever findings.
        groups = defaultdict[tuple[str, int | None], list[Finding]](list)
        dropped = set()
        for row in self.rows:
            if row.object is None:
                if row.kind in COPY_KINDS:
                    groups[row.kind, row.group].append(row)
                if row.action == "drop":
                    dropped.add(row.key)
        lost = [rows[0] for rows in groups.values() if all(row.key in dropped for row in rows)]
        if lost:
            n_others = len(lost) - 1
            others = f", and of {counted(n_others, 'other pictures')}" if n_others else ""
            found.append(
                f"Every copy of '{lost[0].name}' is dropped{others}. To keep one, undo, or decide "
                "keep for it."
            )
        return found

    def decide(self, entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Set actions, clear what they contradict, and save; return what was there before.

        Raises `UsageError`: there is no such row or action; `StoreLockedError`: read only;
        `StoreReplacedError`: another program has changed the file.
        """
        if self.read_only:
            raise StoreLockedError(self.read_only)
        with self._changing:
            before: dict[int, str] = {}
            try:
                for entry in entries:
                    self._set(entry, before)
                self._save()
            except BaseException:
                for index, action in before.items():
                    self._change(index, action)
                raise
            told = []
            for index, action in before.items():
                place = self.places[index]
                of, row = (place.of, place.row) if place is not None else ("", -1)
                told.append({"index": index, "of": of, "row": row, "action": action})
            return told

    def _set(self, entry: Mapping[str, Any], before: dict[int, str]) -> None:
        """Set the action of a finding, or of a row that was picked."""
        try:
            wanted = msgspec.convert(entry, _Entry)
        except msgspec.ValidationError as error:
            needed = "A decision needs a table (items or objects), a row and an action"
            raise UsageError(f"{needed}. {error}.") from error
        index, of, row = wanted.index, wanted.of, wanted.row
        if index is not None:
            place = self.places[index] if 0 <= index < len(self.rows) else None
            if place is None or (place.of, place.row) != (of, row):
                raise UsageError(f"Finding {index} is not of row {row} of the {of}. Load the page.")
        else:
            table = self._store.table(of)
            if not 0 <= row < len(table):
                raise UsageError(f"There is no row {row} in the {of}. Load the page again.")
            place = Place(of, row, table.item_row(row))
            about = self._of_place.get(place, ())
            picked = [known for known in about if self.rows[known].kind == PICKED]
            if not picked:
                picked = [self._append(finding(self._store, table, row, kind=PICKED), place)]
            index = picked[0]

        act(new := replace(self.rows[index], action=wanted.action, line=0))
        for other in self._of_place[place] if wanted.action else ():
            if other != index and contradict(new, self.rows[other]):
                before.setdefault(other, self.rows[other].action)
                self._change(other, "")
        before.setdefault(index, self.rows[index].action)
        self._change(index, wanted.action)

    def _change(self, index: int, action: str) -> None:
        self.rows[index] = replace(self.rows[index], action=action)
        self._lines[index] = None

    def _save(self) -> None:
        """Put the whole file in place, unless another program has."""
        if identity_at(self.path) != self._saved:
            raise StoreReplacedError(
                f"Another program has changed '{self.path}'. Nothing was saved. Start "
                "`datumaro-embed explore` again to see what it says now."
            )
        kept = [index for index, row in enumerate(self.rows) if self._is_kept(row)]
        if self.path.suffix == ".parquet":
            Findings(self.rows[i] for i in kept).replace_parquet(self.path)
        else:
            lines = [csv_line(COLUMNS, for_sheets=True)]
            for index in kept:
                line = self._lines[index]
                if line is None:
                    line = self._lines[index] = csv_line(self.rows[index].cells(), for_sheets=True)
                lines.append(line)
            publish_csv(self.path, lines, for_sheets=True)
        self._saved = identity_at(self.path)

    def close(self) -> None:
        """Let another explorer decide."""
        if self._lock is not None:
            self._lock_path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None
