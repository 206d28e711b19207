"""Parse one COCO JSON file, or report its fault in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ..errors import DatasetReadError
from .fence import read_error

Document = dict[str, Any]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_LARGEST = 2**63 - 1


def read_document(path: Path) -> Document:
    """Parse a file; ``images``, ``annotations`` and ``categories`` are lists afterwards.

    Raises `DatasetReadError`: not JSON, or not COCO.

    Accepts NaN, infinity, a byte order mark and UTF-16, although JSON allows none of them: MATLAB,
    Excel and Python's json module write them.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(path, f"{error.strerror}") from error
    if not content.strip():
        raise _refused(path, "the file is empty")
    document: object
    problem: Exception
    for load in (orjson.loads, json.loads):
        try:
            document = load(content)
            break
        except (RecursionError, ValueError) as error:  # including bytes that are not text
            problem = error
            if "recursion" in str(error).lower():
                raise _refused(path, "nested too deeply") from error
    else:
        raise _refused(path, f"not JSON: {problem}") from problem

    if not isinstance(document, dict) or "images" not in document:
        kind = f"a JSON {_kind(document)}" if not isinstance(document, dict) else "JSON"
        raise _refused(path, f"{kind} without a list of images, so not COCO")
    for name in ("images", "annotations", "categories"):
        if document.get(name) is None:
            document[name] = []
        if not isinstance(document[name], list):
            raise _refused(path, f"{name!r} is a {_kind(document[name])}, not a list")
    return document


def as_id(value: object) -> int | str | None:
    """Normalize an id, so that 1, 1.0 and "1" are equal; None if it is not an id."""
    if type(value) is int:
        return value if -_LARGEST <= value <= _LARGEST else None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and value:
        return int(value) if _INTEGER.fullmatch(value) and abs(int(value)) <= _LARGEST else value
    return None


def as_number(value: object) -> float:
    """Return a number, which may be given as text; raises TypeError or ValueError."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return float(value)
    raise TypeError(f"{value!r} is not a number")


def objects(entries: list[Any]) -> Iterator[Document]:
    """Yield the JSON objects of a list, skipping other values."""
    return (entry for entry in entries if isinstance(entry, dict))


def marks(document: Document, subset: str) -> Iterator[int]:
    """Yield a hash for each image and object, by which another file's are recognized.

    Two objects are the same if image, category, box, area and keypoints are equal, and both or
    neither have a shape (a panoptic segment has one).
    """
    names, labels = (
        {as_id(each.get("id")): str(each.get(field)) for each in objects(document[entries])}
        for entries, field in (("images", "file_name"), ("categories", "name"))
    )
    for name in names.values():
        yield hash((subset, name))
    for annotation in objects(document["annotations"]):
        segments = annotation.get("segments_info")
        image = names.get(as_id(annotation.get("image_id")))
        for part in segments if isinstance(segments, list) else [annotation]:
            if not isinstance(part, dict):
                yield hash(repr(part))
                continue
            label = labels.get(as_id(part.get("category_id")))
            shape = part.get("segmentation")
            box = part.get("bbox") or shape
            numbers = (
                round(number, 2) if isinstance(number, int | float) else repr(number)
                for number in (*(box if isinstance(box, list) else [box]), part.get("area"))
            )
            facts = (label, bool(shape or part is not annotation), repr(part.get("keypoints")))
            yield hash((subset, image, *facts, *numbers))


def _refused(path: Path, what: str) -> DatasetReadError:
    return read_error(
        path, f"cannot be read as COCO annotations ({what}). Fix, replace or remove the file."
    )


def _kind(value: object) -> str:
    return {list: "list", dict: "object", str: "text", int: "number", float: "number"}.get(
        type(value), type(value).__name__
    )
