"""What a folder or file lacks to be a dataset of one of the common formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..kinds import is_image_name
from ..store import is_part_of_store
from ..tally import counted
from .image_folders import walk_own

__all__ = ["explain_unrecognised", "found_files"]

_MAX_FOLDERS = 10_000
_KINDS_NAMED = 4


def explain_unrecognised(path: Path) -> str:
    """Say which file each common format was recognised by, what was found, and what to do."""
    if not path.is_dir():
        return _explain_file(path)
    folder = _folder_of_images(path)
    ways = [f"{path}:coco"]
    if folder is not None:
        ways = [f"{folder}:image_dir for the images of one folder"]
        if folder != path:
            ways.insert(0, f"{path}:imagenet where folders name labels")
    return (
        f"{path}: no dataset format is recognised here. Found: {found_files(path)}. Looked for: "
        f"{'; '.join(_lacking(path))}. Check the path, or name the format, as {' or '.join(ways)}."
    )


def found_files(path: Path) -> str:
    """Say how many files of which kind lie where, the most frequent first."""
    kinds: Counter[tuple[str, str]] = Counter()
    for parent, _, files in islice(walk_own(path), _MAX_FOLDERS):
        folder = parent.relative_to(path).as_posix()
        kinds.update((Path(name).suffix or "other", folder) for name in files)
    if not kinds:
        return "no files"
    named = [
        counted(count, f"{suffix} files") + (f" in {folder}/" if folder != "." else "")
        for (suffix, folder), count in kinds.most_common(_KINDS_NAMED)
    ]
    rest = sum(kinds.values()) - sum(count for _, count in kinds.most_common(_KINDS_NAMED))
    return ", ".join([*named, *([f"{rest} more"] if rest else [])])


def _lacking(path: Path) -> Iterator[str]:
    json_file = next(path.rglob("*.json"), None)
    if json_file is None:
        yield "coco: no annotations/*.json"
    else:
        name = json_file.relative_to(path).as_posix()
        yield f"coco: no JSON file with images and annotations (as {name} is none)"
    yaml = next(path.glob("*.y*ml"), None)
    names = f" (as {yaml.name} names no classes)" if yaml else ""
    yield f"yolo: no data.yaml, and no obj.data{names}"
    xml = next(path.glob("Annotations/**/*.xml"), None)
    yield f"voc: {'Annotations/*.xml, but ' if xml else ''}no ImageSets/*/*.txt"
    others = next(_other_files(path), None)
    no_images = "no CLASS/*.jpg, and no train/CLASS/*.jpg"
    yield f"imagenet: {f'not only images, as {others} is none' if others else no_images}"
    yield f"image_dir: {'not images alone in one folder' if others else 'no images'}"
    yield 'datumaro: no annotations/*.json with "items" and "categories"'


def _other_files(path: Path) -> Iterator[str]:
    for parent, _, files in islice(walk_own(path), _MAX_FOLDERS):
        for name in files:
            if not is_image_name(name):
                yield (parent / name).relative_to(path).as_posix()


def _folder_of_images(path: Path) -> Path | None:
    """Return the first folder with images."""
    for parent, _, files in islice(walk_own(path), _MAX_FOLDERS):
        if any(map(is_image_name, files)):
            return parent
    return None


def _explain_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if is_part_of_store(path):
        return f"{path}: is an embedding store. Name the dataset that it was made from."
    if is_image_name(path.name):
        return f"{path}: is one image. Name its folder, as {path.parent}:image_dir."
    if suffix == ".zip":
        return (
            f"{path}: is an archive. Unpack it and name the folder, or {path}:image_zip to embed "
            "the images in it without annotations."
        )
    if suffix == ".json":
        return (
            f"{path}: has no COCO annotations (images, annotations, categories). Name the "
            "dataset's folder, or the format of the file after a colon."
        )
    return f"{path}: is a file. Name the folder of a dataset."
