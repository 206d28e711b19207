"""Frozen records of items, annotations, categories, hits and duplicates, shared by all modules.

The adapter makes them from Datumaro's objects, the pipeline adds what it reads from the image, and
the store keeps them. docs/store-format.md describes each field on disk.
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

SIGNATURE_SIDE = 32
SIGNATURE_BYTES = SIGNATURE_SIDE * SIGNATURE_SIDE * 3
STATISTICS = (
    "p01",  # percentiles of the gray levels, 0 to 255
    "p05",
    "p50",
    "p95",
    "p99",
    "mean",  # of the gray levels
    "deviation",
    "entropy",  # of the gray levels' histogram, in bits
    "commonest",  # share of the pixels that have the commonest gray level
    "channel_difference",  # mean of largest less smallest channel of a pixel of the signature
    "sharpness",  # of the strongest edges: step between neighbours by range nearby; 1 is sharp
    "edges",  # share of the pixels with a step of 32 levels or more
    "flat",  # share of the pixels with a step of 3 levels or less
    "noise",  # deviation of the noise, in gray levels, robust to edges
)
"""What `signatures.describe` measures of an image, in order."""


class ShortRepr:
    """Gives a dataclass (``repr=False``) a short repr: only fields that are not the default."""

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
    """Result for an item; with any value but OK, the vector is zero and ``error`` says why."""

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
    """Role of a subset, found from its name (``train2017`` → TRAIN, ``valid`` → VAL)."""

    OTHER = 0
    TRAIN = 1
    VAL = 2
    TEST = 3


_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), Split.TRAIN),
    **dict.fromkeys(
        ("val", "valid", "validation", "eval", "evaluation", "dev", "minival"), Split.VAL
    ),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}


def split_of(subset: str) -> Split:
    """Return a subset's role by the first word of its name: ``train2017`` → TRAIN."""
    word = re.match(r"[a-z]+", subset.lower())
    return _SPLITS.get(word.group(), Split.OTHER) if word else Split.OTHER


def is_split_name(name: str) -> bool:
    """Tell whether a name is a split's, like ``train`` and ``val2017`` but not ``test_drive``."""
    return bool(re.fullmatch("[A-Za-z]+[0-9]*", name)) and split_of(name) is not Split.OTHER


class ObjectStatus(IntEnum):
    """Result for an object's crop. OK and WHOLE_IMAGE have a vector, the others none."""

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
    """How an object's box, with its margin, becomes a square crop.

    SQUARE extends the shorter side with more of the image, STRETCH resizes the box to a square, PAD
    adds gray to the shorter side.
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
        """The key itself; keys of every table have an `item`, a `subset` and an `id`."""
        return self

    @classmethod
    def parse(cls, text: str) -> ItemKey:
        """Parse ``SUBSET/ID``, split at the first slash; raises `ValueError` if there is none.

        The id may contain slashes. If the subset contains one, use ``ItemKey(subset, id)``.
        """
        subset, slash, item_id = text.partition("/")
        if not slash:
            raise ValueError(f"{text!r} is not SUBSET/ID")
        return cls(subset, item_id)


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Identity of an object or caption: its item, and its number within the item, from 0."""

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
        """Parse ``SUBSET/ID#N``, split at the last ``#``; raises `ValueError` for other text."""
        item, _, number = text.rpartition("#")
        if not ("/" in item and number.isascii() and number.isdigit()):
            raise ValueError(f"{text!r} is not SUBSET/ID#N")
        return cls(ItemKey.parse(item), int(number))


RowKey = ItemKey | ObjectKey
"""Key of a row: an item, an object or a caption."""


@dataclass(frozen=True, slots=True, repr=False)
class AnnotationRecord(ShortRepr):
    """One annotation, normalized: geometry in upright pixels from the top-left corner.

    Attributes
    ----------
    type : str
        Datumaro's type name (``"bbox"``, ``"polygon"``, ``"caption"`` …), never its number.
    label : int
        Index into ``Categories.labels``; -1 if there is none.
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
        The whole annotation as JSON if it is of another type; else empty.
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
    """One object of an item: a single annotation, or all annotations of one group and label.

    Attributes
    ----------
    label : int
        Index into ``Categories.labels``; -1 if there is none.
    box : tuple of 4 float
        x, y, w, h in upright pixels: the bbox, else the hull of the visible geometry; zeros if the
        annotations have no geometry.
    area : float
        Square pixels: the area in the dataset, else of the mask, the polygons or the box.
    status : ObjectStatus
    crop : tuple of 4 int
        x1, y1, x2, y2 of the crop in pixels, x2 and y2 excluded; zeros without a vector.
    shape : CropShape
    annotations : tuple of int
        Indices of its annotations in the item.
    vector : array of shape (dim,) or None
        Unit vector of the crop; None if and only if the status has none. Ignored by ``==``.
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
        Index of its annotation in the item.
    vector : array of shape (dim,)
        Unit vector of the text. Ignored by ``==``.
    """

    annotation: int
    vector: npt.NDArray[np.floating[Any]] | None = field(default=None, compare=False, repr=False)
    has_vector = True


@dataclass(frozen=True, slots=True, repr=False)
class ItemRecord(ShortRepr):
    """One item, normalized, without its vector.

    Attributes
    ----------
    key : ItemKey
    split : Split
    path : str
        Image path relative to the dataset's root, with ``/`` between parts; ``clip.mp4#000120`` for
        a frame; empty for media in memory.
    width, height : int
        Upright pixels; 0 if unknown.
    status : Status
    error : str
        Reason in one line if the status is not OK; else empty.
    content_sha256 : bytes
        32 bytes: SHA-256 of the image file, or of pixels, shape and dtype for frames and media in
        memory; all zero if nothing could be read.
    attributes : mapping
        JSON-able item attributes.
    annotations : tuple of AnnotationRecord
        In canonical order (see adapter).
    objects : tuple of ObjectRecord, or None
        In the order of their first annotations; None if objects are not embedded.
    captions : tuple of CaptionRecord, or None
        In the order of their annotations; None if captions are not embedded.
    signature : bytes or None
        `SIGNATURE_BYTES` bytes that describe the image's look (see signatures.py); None if unknown.
    statistics : tuple of float, or None
        The image's values of `STATISTICS`, float32; None if unknown.
    notes : tuple of str
        Faults of the item that do not prevent a row, as reasons for a `Tally`. A run counts them in
        its summary; they are not stored, and ``==`` ignores them.
    places : tuple of int
        Index of each annotation in the dataset's item; not stored, and ``==`` ignores it.
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
    """The dataset's label names in its own order, and all Datumaro categories as JSON.

    Attributes
    ----------
    labels : tuple of str
        Label names; ``AnnotationRecord.label`` is an index into this tuple.
    full : mapping
        Category type name → its lossless content, JSON-able.
    """

    labels: tuple[str, ...] = ()
    full: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Hit(ShortRepr):
    """One item, object or caption that a search found.

    Attributes
    ----------
    key : ItemKey or ObjectKey
        For an object or caption, ``key.item`` is its item and ``key.number`` its number in it.
    row : int
        Row in the table that was searched.
    similarity : float
        Cosine with the query, in [-1, 1]; higher is closer.
    split : Split
    path : str
        Image path, as in `ItemRecord`.
    labels : tuple of str
        Sorted unique label names of an item's annotations, or the label of an object or caption.
    box : tuple of 4 float, or None
        An object's x, y, w, h in upright pixels.
    text : str or None
        A caption's text.
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
        """Label of an object or caption; empty if it has none."""
        return ", ".join(self.labels)


@dataclass(frozen=True, slots=True, repr=False)
class DuplicatePair(ShortRepr):
    """Two duplicate items, or two duplicate objects or captions of different items.

    Attributes
    ----------
    first, second : ItemKey or ObjectKey
        In ascending order.
    similarity : float
        Cosine of their vectors, in [-1, 1].
    identical : bool
        Items: their image files are equal, byte for byte. Objects: the crops are equal too.
        Captions: the texts are equal.
    across_splits : bool
        They are in two different splits of train, val and test.
    """

    first: RowKey
    second: RowKey
    similarity: float
    identical: bool = False
    across_splits: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class DuplicateGroup(ShortRepr):
    """Items, objects or captions connected by pairs, directly or through other members.

    Attributes
    ----------
    keep : ItemKey or ObjectKey
        Member to keep when the others are dropped. Order of preference: the requested split, then
        train, val, test and others; most annotations; most pixels; the lowest key.
    keys : tuple of ItemKey or ObjectKey
        All members, ascending.
    splits : tuple of Split
        Split of each member.
    labels : tuple of tuple of str
        Sorted unique label names of each member.
    min_similarity, max_similarity : float
        Range over the pairs that connect the members.
    identical : bool
        Every pair of members is identical (see `DuplicatePair`).
    across_splits : bool
        Members are in more than one of train, val and test.
    conflicting_labels : bool
        Not all members that have labels have the same ones.
    facts : tuple of mapping
        Facts of each member: ``{"box": (x, y, w, h)}`` of an object, ``{"text": str}`` of a
        caption.
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
