"""What crosses rooms: frozen records of items, annotations and categories, free of any library.

The adapter makes them from Datumaro, the pipeline completes them with what the image says, the
store keeps them. The meaning of each field on disk is in docs/store-format.md.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SHORT = reprlib.Repr()
_SHORT.maxtuple = _SHORT.maxlist = _SHORT.maxdict = 3
_SHORT.maxstring = _SHORT.maxother = 60


class ShortRepr:
    """Gives a dataclass (with ``repr=False``) a bounded repr: fields beside their defaults, cut."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = []
        for entry in fields(self):  # type: ignore[arg-type]
            if not entry.repr:
                continue
            value, factory = getattr(self, entry.name), entry.default_factory
            default = entry.default if factory is MISSING else factory()
            same = value is default or (entry.compare and value == default)
            if default is MISSING or not same:
                shown.append(f"{entry.name}={_SHORT.repr(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


class Status(IntEnum):
    """What became of an item; every value but OK leaves a zero vector and a reason in ``error``."""

    OK = 0
    MISSING = 1
    UNREADABLE = 2
    UNSUPPORTED = 3
    TOO_LARGE = 4
    INFERENCE_FAILED = 5
    UNSAFE_PATH = 6

    @property
    def has_vector(self) -> bool:
        """Whether items of this status have a vector."""
        return self is Status.OK


class Split(IntEnum):
    """The role that a subset's name gives it (``train2017`` → TRAIN, ``valid`` → VAL)."""

    OTHER = 0
    TRAIN = 1
    VAL = 2
    TEST = 3


_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "minival"), Split.VAL),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}


def split_of(subset: str) -> Split:
    """Role of a subset by the first word of its name: ``train2017`` → TRAIN, ``valid`` → VAL."""
    word = re.match(r"[a-z]+", subset.lower())
    return _SPLITS.get(word.group(), Split.OTHER) if word else Split.OTHER


def is_split_name(name: str) -> bool:
    """Tell ``train`` and ``val2017``, not ``test_drive``."""
    return bool(re.fullmatch("[A-Za-z]+[0-9]*", name)) and split_of(name) is not Split.OTHER


class ObjectStatus(IntEnum):
    """What became of an object's crop. OK and WHOLE_IMAGE have a vector, the others none."""

    OK = 0
    WHOLE_IMAGE = 1
    NO_BOX = 2
    OUTSIDE = 3
    TOO_SMALL = 4
    CROWD = 5
    NO_IMAGE = 6
    INFERENCE_FAILED = 7

    @property
    def has_vector(self) -> bool:
        """Whether objects of this status have a vector."""
        return self in (ObjectStatus.OK, ObjectStatus.WHOLE_IMAGE)


class CropShape(IntEnum):
    """What is embedded of an object's box, once its margin is added.

    SQUARE extends the shorter side with what is around the box, STRETCH resizes the box to a
    square, PAD adds gray to the shorter side.
    """

    SQUARE = 0
    STRETCH = 1
    PAD = 2


@dataclass(frozen=True, slots=True, order=True)
class ItemKey:
    """Identity of an item: subset and id, never a row number. Sorts by (subset, id)."""

    subset: str
    id: str

    def __str__(self) -> str:
        return f"{self.subset}/{self.id}"

    @property
    def item(self) -> ItemKey:
        """The key itself: keys of every table have an `item`, a `subset` and an `id`."""
        return self

    @classmethod
    def parse(cls, text: str) -> ItemKey:
        """Read ``SUBSET/ID``, cut at the first slash; raises `ValueError` where there is none.

        An id may have slashes of its own. A subset with one takes ``ItemKey(subset, id)``.
        """
        subset, slash, item_id = text.partition("/")
        if not slash:
            raise ValueError(f"{text!r} is not SUBSET/ID")
        return cls(subset, item_id)


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Identity of an object, or of a caption: its item, and which of the item's it is, from 0."""

    item: ItemKey
    number: int

    def __str__(self) -> str:
        return f"{self.item}#{self.number}"

    @property
    def subset(self) -> str:
        """Subset of its item."""
        return self.item.subset

    @property
    def id(self) -> str:
        """Id of its item."""
        return self.item.id

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """Read ``SUBSET/ID#N``, cut at the last ``#``; raises `ValueError` where it is not that."""
        item, _, number = text.rpartition("#")
        if not ("/" in item and number.isascii() and number.isdigit()):
            raise ValueError(f"{text!r} is not SUBSET/ID#N")
        return cls(ItemKey.parse(item), int(number))


RowKey = ItemKey | ObjectKey
"""What a row is called: an item, or an object or a caption of one."""


@dataclass(frozen=True, slots=True, repr=False)
class AnnotationRecord(ShortRepr):
    """One annotation, normalised: geometry in upright pixels from the top-left corner.

    Attributes
    ----------
    type : str
        Datumaro's type name (``"bbox"``, ``"polygon"``, ``"caption"`` …), never its number.
    label : int
        Index into ``Categories.labels``; -1 where there is none.
    ann_id, group, object_id, z_order : int
        As in Datumaro (group 0: none; object_id -1: none).
    coords : tuple of float
        Pixels. bbox: x, y, w, h. rotated_bbox: cx, cy, w, h, angle in degrees. polygon, polyline,
        points, ellipse, cuboid_2d: x, y, …
    rle : str
        Masks only: COCO's compressed RLE as JSON ``{"size": [h, w], "counts": str}``.
    text : str
        Captions only.
    visibility : tuple of int
        Points only: 0 absent, 1 hidden, 2 visible, one for each point.
    attributes : mapping
        JSON-able; as in Datumaro.
    extra : str
        Any other type, losslessly, as JSON; empty for the types above.
    """

    type: str
    label: int = -1
    ann_id: int = 0
    group: int = 0
    object_id: int = -1
    z_order: int = 0
    coords: tuple[float, ...] = ()
    rle: str = ""
    text: str = ""
    visibility: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    extra: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class ObjectRecord(ShortRepr):
    """One object of an item: the annotations of one group and label, or one alone.

    Attributes
    ----------
    label : int
        Index into ``Categories.labels``; -1 where there is none.
    box : tuple of 4 float
        x, y, w, h in upright pixels: the given bbox, else the hull of what is visible; zeros where
        the annotations have no geometry.
    area : float
        Square pixels: as the dataset gives it, else of the mask, the polygons or the box.
    status : ObjectStatus
    crop : tuple of 4 int
        x1, y1, x2, y2 of the pixels that were cut, x2 and y2 excluded; zeros without a vector.
    shape : CropShape
    annotations : tuple of int
        Its annotations, by their place among those of the item.
    vector : array of shape (dim,) or None
        Unit vector of the crop; None exactly where the status has none. Not compared.
    """

    label: int = -1
    box: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    area: float = 0.0
    status: ObjectStatus = ObjectStatus.OK
    crop: tuple[int, ...] = (0, 0, 0, 0)
    shape: CropShape = CropShape.SQUARE
    annotations: tuple[int, ...] = ()
    vector: npt.NDArray[np.floating[Any]] | None = field(default=None, compare=False, repr=False)

    @property
    def has_vector(self) -> bool:
        """Whether its status has a vector."""
        return self.status.has_vector


@dataclass(frozen=True, slots=True, repr=False)
class CaptionRecord(ShortRepr):
    """One caption of an item.

    Attributes
    ----------
    annotation : int
        The annotation with its text, by its place among those of the item.
    vector : array of shape (dim,)
        Unit vector of the text. Not compared.
    """

    annotation: int
    vector: npt.NDArray[np.floating[Any]] | None = field(default=None, compare=False, repr=False)
    has_vector = True


@dataclass(frozen=True, slots=True, repr=False)
class ItemRecord(ShortRepr):
    """One item, normalised, without its vector.

    Attributes
    ----------
    key : ItemKey
    split : Split
    path : str
        Of the image, relative to the dataset's root, ``/`` between parts; of a frame,
        ``clip.mp4#000120``; empty for media in memory.
    width, height : int
        Upright pixels; 0 where unknown.
    status : Status
    error : str
        Why, in one line, where status is not OK; else empty.
    content_sha256 : bytes
        32 bytes: of the image file's bytes (of pixels, shape and dtype for frames and media in
        memory);
        32 zero bytes where there was nothing to read.
    attributes : mapping
        JSON-able item attributes.
    annotations : tuple of AnnotationRecord
        In canonical order (see adapter).
    objects : tuple of ObjectRecord, or None
        In the order of their first annotations; None where objects are not embedded.
    captions : tuple of CaptionRecord, or None
        In the order of their annotations; None where captions are not embedded.
    signature : bytes or None
        3,072 bytes: what the image looks like (see signatures.py); None where unknown.
    statistics : tuple of float, or None
        Of the image, float32: those that `signatures.STATISTICS` names; None where unknown.
    notes : tuple of str
        What is wrong with the item although it has a row: reasons of a `Tally`. A run counts them
        in its summary; they are not stored and not compared.
    places : tuple of int
        Of each annotation, its place among those of the dataset's item; not stored, not compared.
    """

    key: ItemKey
    split: Split = Split.OTHER
    path: str = ""
    width: int = 0
    height: int = 0
    status: Status = Status.OK
    error: str = ""
    content_sha256: bytes = bytes(32)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    annotations: tuple[AnnotationRecord, ...] = ()
    objects: tuple[ObjectRecord, ...] | None = None
    captions: tuple[CaptionRecord, ...] | None = None
    signature: bytes | None = None
    statistics: tuple[float, ...] | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    places: tuple[int, ...] = field(default=(), compare=False, repr=False)

    @property
    def has_vector(self) -> bool:
        """Whether its status has a vector."""
        return self.status.has_vector


@dataclass(frozen=True, slots=True, repr=False)
class Categories(ShortRepr):
    """The dataset's label names, in its own order, and every Datumaro category type as JSON.

    Attributes
    ----------
    labels : tuple of str
        ``AnnotationRecord.label`` indexes this.
    full : mapping
        JSON-able: category type name → its content, lossless.
    """

    labels: tuple[str, ...] = ()
    full: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Hit(ShortRepr):
    """One item, object or caption that a search found.

    Attributes
    ----------
    key : ItemKey or ObjectKey
        Of an object or a caption: its item is ``key.item``, and which of the item's it is,
        ``key.number``.
    row : int
        In the table that was searched.
    similarity : float
        Cosine with the query, in [-1, 1]; higher is closer.
    split : Split
    path : str
        Of the image, as in `ItemRecord`.
    labels : tuple of str
        Names of the labels of its annotations, ascending, each once; of an object, its own label.
    box : tuple of 4 float, or None
        Of an object: x, y, w, h in upright pixels.
    text : str or None
        Of a caption.
    """

    key: RowKey
    row: int
    similarity: float
    split: Split = Split.OTHER
    path: str = ""
    labels: tuple[str, ...] = ()
    box: tuple[float, ...] | None = None
    text: str | None = None

    @property
    def label(self) -> str:
        """The label of an object or a caption; empty where it has none."""
        return ", ".join(self.labels)


@dataclass(frozen=True, slots=True, repr=False)
class DuplicatePair(ShortRepr):
    """Two items that show the same; or two objects or captions of different items.

    Attributes
    ----------
    first, second : ItemKey or ObjectKey
        In ascending order.
    similarity : float
        Cosine of their vectors, in [-1, 1].
    identical : bool
        Their image files are equal, byte for byte; of objects, the crops too; of captions, the
        texts.
    across_splits : bool
        Both are in train, val or test, and not in the same one.
    """

    first: RowKey
    second: RowKey
    similarity: float
    identical: bool = False
    across_splits: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class DuplicateGroup(ShortRepr):
    """Items, objects or captions that pairs connect, directly or over others.

    Attributes
    ----------
    keep : ItemKey or ObjectKey
        The one that stays where the others are dropped: of the wanted split, else of train before
        val before test before others; then the one with most annotations, then most pixels, then
        the lowest key.
    keys : tuple of ItemKey or ObjectKey
        All of them, ascending.
    splits : tuple of Split
        Of each key.
    labels : tuple of tuple of str
        Of each key: names of the labels of its annotations, ascending, each once.
    min_similarity, max_similarity : float
        Of the pairs that connect them.
    identical : bool
        Each pair of them is identical (see `DuplicatePair`).
    across_splits : bool
        There are members in more than one of train, val and test.
    conflicting_labels : bool
        Members that have labels do not all have the same.
    facts : tuple of mapping
        Of each key: ``{"box": (x, y, w, h)}`` of an object, ``{"text": str}`` of a caption.
    """

    keep: RowKey
    keys: tuple[RowKey, ...]
    splits: tuple[Split, ...]
    labels: tuple[tuple[str, ...], ...]
    min_similarity: float
    max_similarity: float
    identical: bool = False
    across_splits: bool = False
    conflicting_labels: bool = False
    facts: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
