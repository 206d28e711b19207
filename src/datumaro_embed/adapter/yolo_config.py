"""Read a YOLO dataset's description: ``data.yaml`` (Ultralytics), ``obj.data`` or ``obj.names``.

All values are read as text: a class ``no`` is not False, and ``007`` is not 7.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from datumaro.util.meta_file_util import has_meta_file, parse_meta_file
from yaml.constructor import ConstructorError

from ..tally import Tally
from .fence import read_error

_MAX_BYTES = 64 * 2**20
_MAX_CLASSES = 100_000
_YAML = (".yaml", ".yml")
_YAML_SPLITS = ("train", "val", "valid", "validation", "test", "minival")
_NOT_SPLITS = frozenset({"backup", "classes", "names"})  # all other keys of obj.data are splits
_NAMES_IN = {  # at the start of a line; an indented key belongs to another setting
    ".data": re.compile(rb"^\s*names\s*=", re.MULTILINE),
    **dict.fromkeys(
        _YAML, re.compile(rb"^(\xef\xbb\xbf)?[\"']?(names|nc)[\"']?\s*:", re.MULTILINE)
    ),
}
_ASSIGNED = re.compile(r"\s*(\w+)\s*=\s*(.+)")


@dataclass(frozen=True, slots=True)
class YoloConfig:
    """Content of a YOLO dataset's description, with paths as written."""

    file: Path
    names: tuple[str, ...]  # by class number
    splits: dict[str, list[str]] = field(default_factory=dict)  # folders and lists of images
    base: str = ""  # folder to which `splits` are relative; empty: the file's own
    keypoints: tuple[int, int] | None = None  # pose datasets: number of keypoints, values per each

    @property
    def is_darknet(self) -> bool:
        """Whether the file is ``obj.data``, whose lists name every image."""
        return self.file.suffix.lower() == ".data"


class _TextLoader(yaml.BaseLoader):  # type: ignore[misc]
    """Reads all values as text, and refuses duplicate keys, as one value would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        counts = Counter(str(key.value) for key, _ in node.value)
        for key, count in counts.most_common(1):
            if count > 1:
                raise ConstructorError(None, None, f"{key} appears twice", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def find_config(path: Path) -> Path | None:
    """Return the file that describes a YOLO dataset; None if there is none.

    `path` is the file, the dataset's folder, or a folder whose only subfolder is the dataset's.
    """
    if path.is_file():
        return path if path.suffix.lower() in {*_YAML, ".data"} else None
    found = next(_descriptions(path), None)
    if found is None:
        with suppress(OSError):
            below = [entry for entry in path.iterdir() if entry.is_dir()]
            if len(below) == 1:
                return next(_descriptions(below[0]), None)
    return found


def names_classes(file: Path) -> bool:
    """Tell without parsing whether a file names classes; `read_config` may still refuse it."""
    pattern = _NAMES_IN.get(file.suffix.lower())
    if pattern is None:
        return True
    try:
        with file.open("rb") as opened:
            return pattern.search(opened.read(_MAX_BYTES)) is not None
    except OSError:
        return False


def other_layout(file: Path) -> Path | None:
    """Return the ``data.yaml`` beside an ``obj.data``, or vice versa; None if there is none."""
    is_darknet = file.suffix.lower() == ".data"
    suffixes = set(_YAML) if is_darknet else {".data"}
    others = _descriptions(file.parent)
    return next((other for other in others if other.suffix.lower() in suffixes), None)


def read_config(file: Path, losses: Tally) -> YoloConfig:
    """Read the file that `find_config` found.

    Raises `DatasetReadError`: it cannot be read, or does not name the classes.
    """
    if file.suffix.lower() not in _YAML:
        return _read_darknet(file, losses)
    try:
        content = yaml.load(file.read_text("utf-8-sig"), _TextLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise read_error(file, f"it cannot be read as YAML ({what}). Correct the file.") from error
    if not isinstance(content, dict):
        raise read_error(file, "it does not describe a dataset. Add names, train and val.")
    content = {str(key): value for key, value in content.items()}
    splits = {}
    for key in filter(content.__contains__, _YAML_SPLITS):
        values = content[key] if isinstance(content[key], list) else [content[key]]
        texts = [text for text in values if isinstance(text, str)]
        splits[key] = [text for text in texts if text not in {"", "~", "null"}]
    keypoints = None
    shape = content.get("kpt_shape")
    match [_whole(text) for text in shape] if isinstance(shape, list) else []:
        case [int(number), 2 | 3 as step] if number > 0:
            keypoints = number, step
    return YoloConfig(
        file,
        _names(content.get("names"), content.get("nc"), file, losses),
        splits,
        content["path"] if isinstance(content.get("path"), str) else "",
        keypoints,
    )


def read_lines(file: str | Path) -> list[str]:
    """Return the stripped lines of a text file, in UTF-8 or UTF-16.

    Invalid bytes become U+FFFD, so that they spoil one line and not the file.
    """
    if os.path.getsize(file) > _MAX_BYTES:
        raise OSError(f"the file has more than {_MAX_BYTES} bytes")
    content = Path(file).read_bytes()
    encoding = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    return [line.strip() for line in content.decode(encoding, errors="replace").splitlines()]


def _descriptions(folder: Path) -> Iterator[Path]:
    """Yield files that may describe a dataset, most likely first, in Datumaro's order."""
    usual = [folder / name for name in ("obj.data", "data.yaml", "obj.names")]
    globs = (sorted(folder.glob(pattern)) for pattern in ("*.data", "*.yaml", "*.yml"))
    for file in chain(usual[:2], chain.from_iterable(globs), usual[2:]):
        if file.is_file() and (file in usual or names_classes(file)):
            yield file


def _read_darknet(file: Path, losses: Tally) -> YoloConfig:
    """Read ``obj.data``, or ``obj.names`` without one."""
    if file.suffix.lower() != ".data":
        return YoloConfig(file, _names(_filled_lines(file), None, file, losses))
    matches = filter(None, map(_ASSIGNED.fullmatch, _filled_lines(file)))
    content = {match[1]: match[2].strip() for match in matches}
    written = content.get("names", "obj.names").replace("\\", "/")
    places = [file.parent / written, file.parent / written.removeprefix("data/")]
    names = next((place for place in places if place.is_file()), None)
    if names is None or not os.path.realpath(names).startswith(os.path.realpath(file.parent)):
        raise read_error(
            file,
            f"the file of class names ({written}) is not in the dataset's folder. "
            "Add it, or correct `names =`.",
        )
    splits = {key: [value] for key, value in content.items() if key not in _NOT_SPLITS}
    return YoloConfig(file, _names(_filled_lines(names), None, names, losses), splits)


def _filled_lines(file: Path) -> list[str]:
    try:
        return [line for line in read_lines(file) if line]
    except OSError as error:
        what = error.strerror or str(error)
        raise read_error(file, f"it cannot be read ({what}). Check the file.") from error


def _names(raw: object, count: object, file: Path, losses: Tally) -> tuple[str, ...]:
    """Return class names by number: a list's order, or a mapping's keys."""
    if has_meta_file(str(file.parent)):  # Datumaro's own file takes precedence
        raw = list(parse_meta_file(str(file.parent)))
    by_number: dict[int, str] = {}
    listed = enumerate(raw if isinstance(raw, list) else ())
    for key, name in raw.items() if isinstance(raw, dict) else listed:
        number = key if isinstance(key, int) else _whole(key)
        is_new = number is not None and number < _MAX_CLASSES and number not in by_number
        if number is None or not is_new or not isinstance(name, str):
            raise read_error(
                file,
                f"names has an entry that is not a class number and its name "
                f"({str(key)[:40]}: {str(name)[:40]}). Write entries as 0: cat, each number once.",
            )
        by_number[number] = name

    n_classes = max(*by_number, min(_whole(count) or 0, _MAX_CLASSES) - 1, -1) + 1
    if not n_classes:
        raise read_error(file, "it does not name the classes. Add them, as in names: [cat, dog].")
    names: dict[str, None] = {}
    taken = set(by_number.values())
    for number in range(n_classes):
        name, reason = by_number.get(number, ""), ""
        if not name:
            reason, name = "classes without a name", f"class_{number}"
        elif name in names:
            reason, name = "classes with the name of another class", f"{name}_{number}"
        while reason and (name in names or name in taken):
            name += "_"
        if reason:
            losses.add(reason, f"{file.name}: class {number} is called {name}")
        names[name] = None
    return tuple(names)


def _whole(text: object) -> int | None:
    is_whole = isinstance(text, str) and text.strip().isdecimal() and len(text) < 10
    return int(str(text)) if is_whole else None
