"""One row of a findings file, and the columns of the file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..records import ItemKey, RowKey, ShortRepr


@dataclass(frozen=True, slots=True, repr=False)
class Finding(ShortRepr):
    """One row; the fields but the last are the columns of the file, in their order.

    Attributes
    ----------
    kind : str
        ``failed``, ``duplicate``, ``mislabel``, ``quality``, …
    group : int or None
        The same number in rows that belong together.
    subset, id : str
        The item.
    object : int or None
        Number of the object in its item; None for the item itself.
    label, box
        The object's, when the finding was made: its label's name, and x, y, w, h in upright pixels.
    measure, value
        What was measured, by name, and its value.
    rank : int or None
        1 is the most suspicious of its kind.
    suggestion, action : str
        ``drop``, ``keep``, ``label NAME``, ``subset NAME``, ``attribute NAME=VALUE`` or ``review``.
        Only the action is carried out, and only where it is not empty.
    reason : str
        One sentence.
    content_sha256 : str
        Of the image file when the finding was made, hexadecimal.
    store, model : str
        The store's uuid and the model's fingerprint.
    line : int
        Of the file that the row was read from; 0 of no file.
    """

    kind: str = ""
    group: int | None = None
    subset: str = ""
    id: str = ""
    object: int | None = None
    label: str = ""
    box: tuple[float, ...] = ()
    measure: str = ""
    value: float | None = None
    rank: int | None = None
    suggestion: str = ""
    action: str = ""
    reason: str = ""
    content_sha256: str = ""
    store: str = ""
    model: str = ""
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", tuple(round(float(value), 2) for value in self.box))

    @property
    def key(self) -> ItemKey:
        """The item."""
        return ItemKey(self.subset, self.id)

    @property
    def name(self) -> str:
        """The item, or the object, as a message calls it."""
        return f"{self.key}" if self.object is None else f"{self.key}#{self.object}"

    @classmethod
    def of(cls, kind: str, key: RowKey, **values: Any) -> Finding:
        """Make a row of an item or an object."""
        return cls(
            kind, subset=key.subset, id=key.id, object=getattr(key, "number", None), **values
        )

    def cells(self) -> tuple[Any, ...]:
        """Give the row as the file has it: None is an empty cell."""
        box = " ".join(f"{value:.12g}" for value in self.box)
        return tuple(box if name == "box" else getattr(self, name) for name in COLUMNS)


PICKED = "picked"
"""Kind of what a person chose, and no audit."""

COPY_KINDS = ("leak", "duplicate", "conflict")
"""Kinds whose groups of items are copies of each other."""

COLUMNS = tuple(entry.name for entry in fields(Finding))[:-1]
