"""Copy the images that a search found, after checking that they are unchanged."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

from ..errors import StaleStoreError, UsageError
from ..escaping import printable
from ..files import check_output, new_path
from ..images import ImageProblem, open_image, read_image, read_info
from ..models.manifest import sha256_file
from ..objects import cut
from ..records import Hit, ItemKey, RowKey
from ..store import EmbeddingStore
from ..tally import counted
from ..video import Frame, Videos, split_frame_path
from .query import QueryInput
from .searching import SearchOptions, SearchResult, run_search

_MAX_NAME = 50
_PROBLEMS_SHOWN = 20
_CHANGED = "the image's bytes have changed since it was embedded"


def media_root_of(
    store: EmbeddingStore, media_root: str | Path | None = None, parameter: str = "media_root"
) -> Path:
    """Return the folder to which the store's paths are relative: as given, else from the store.

    Raises `UsageError` if it is unknown or does not exist.
    """
    root = media_root or store.media_root
    if not root:
        raise UsageError(
            f"The store '{store.path}' does not record the folder of its images. Give it with "
            f"``{parameter}``."
        )
    if not Path(root).is_dir():
        raise UsageError(
            f"There is no folder '{root}'. Give the folder of the images with ``{parameter}``.",
            path=str(root),
        )
    return Path(root)


def check_folder(directory: Path) -> None:
    """Check that a folder can be created (see `check_output`); an empty one may exist."""
    if not (directory.is_dir() and not any(directory.iterdir())):
        check_output(directory)


def search_files(
    store: EmbeddingStore,
    queries: Sequence[QueryInput],
    options: SearchOptions,
    media_root: Path,
    *,
    skip_stale: bool,
) -> tuple[SearchResult, list[str]]:
    """Like `run_search`, for hits to copy: the query's items must not have changed.

    With `skip_stale`, the next hits replace those that cannot be copied; the second value has one
    line for each of these.

    Raises `StaleStoreError` if an item of the query has changed or no hit is left.
    """

    @cache
    def problem(row: int) -> str:
        found, source = _source(store.text("items/path", row), media_root, videos)
        return found if source is None else _difference(source, store.content_sha256[row].tobytes())

    def is_fresh(hit: Hit) -> bool:
        if found := problem(store.row(hit.key.item)):
            problems[hit.key] = found
        return not found

    problems: dict[RowKey, str] = {}
    videos = Videos()
    for key in options.items(queries):
        if found := problem(store.row(key)):
            raise stale_query(key, found)
    result = run_search(store, queries, options, keep=is_fresh if skip_stale else None)
    if problems and not result.hits:
        raise StaleStoreError(
            f"None of the images found can be copied: {'; '.join(_lines(problems, 3))}. "
            "Nothing was copied. Embed the dataset again, or give the folder of the images with "
            "``media_root``.",
            n_stale=len(problems),
        )
    return result, _lines(problems, _PROBLEMS_SHOWN)


def _lines(problems: Mapping[RowKey, str], shown: int) -> list[str]:
    first = [printable(f"{key}: {found}") for key, found in islice(problems.items(), shown)]
    hidden = len(problems) - len(first)
    return [*first, f"{hidden:,} more"] if hidden else first


def stale_query(key: ItemKey, problem: str = _CHANGED) -> StaleStoreError:
    """Return the error for a query item whose image has changed."""
    return StaleStoreError(
        f"'{printable(str(key))}' cannot be a query: {printable(problem)}. Embed the dataset "
        "again, or query with another item.",
        n_stale=1,
    )


def save_hits(
    store: EmbeddingStore,
    hits: Sequence[Hit],
    directory: Path,
    *,
    media_root: Path,
    skip_stale: bool = False,
) -> list[str]:
    """Copy the image of each hit to ``RANK_SIMILARITY_ID.EXT`` in a new or empty folder.

    For an object, the embedded crop is saved as ``RANK_SIMILARITY_ID_N.png``. Video frames are PNG.
    No path outside `media_root` is read, whatever the store has; links in it are followed, and
    only what was embedded is kept.

    Raises `StaleStoreError` if a hit cannot be copied and `skip_stale` is false (nothing is kept),
    `StoreExistsError`, `OutputFolderError`, `StoreWriteError`.

    Returns
    -------
    list of str
        One line for each hit that was not copied because its file is missing, outside the root, or
        changed since it was embedded.
    """
    check_folder(directory)
    problems, videos = [], Videos()
    for hit in hits:
        name, frame = split_frame_path(hit.path)
        if frame is not None and (video := media_file(name, media_root, is_hashed=True)[1]):
            videos.expect(str(video), frame)
    with new_path(directory, directory=True, replace=True) as folder:
        width = max(3, len(str(len(hits))))
        for rank, hit in enumerate(hits, start=1):
            problem, source = _source(hit.path, media_root, videos)
            if source is not None:
                # Keep letters, digits and ._- of the id.
                name = str(hit.key).removeprefix(f"{hit.key.subset}/")
                safe = re.sub(r"[^\w.-]+", "_", name)[-_MAX_NAME:].lstrip(".") or "item"
                target = folder / f"{rank:0{width}}_{hit.similarity:.4f}_{safe}"
                target = Path(f"{target}{source.suffix if isinstance(source, Path) else '.png'}")
                expected = store.content_sha256[store.row(hit.key.item)].tobytes()
                problem = _copy(source, target, expected)
                if hit.box is not None and not problem:
                    problem = _crop(store, hit, target)
            if problem:
                problems.append(f"{hit.key}: {problem}")
        if problems and not skip_stale:
            raise StaleStoreError(
                f"{len(problems)} of {counted(len(hits), 'images')} cannot be copied: "
                f"{printable('; '.join(problems[:3]))}. Nothing was copied. Embed the "
                "dataset again, or use ``skip_stale`` to copy the others.",
                n_stale=len(problems),
            )
        check_folder(directory)  # another program may have filled the folder
    return problems


def media_file(name: str, media_root: Path, *, is_hashed: bool) -> tuple[str, Path | None]:
    """Return why an item's file is not read, and the file; its path must be in the media root.

    `is_hashed`: the store has the hash of the image, and the caller uses the image only if it has
    that hash. Then links may lead out of the media root, as in datasets of DVC and git-annex:
    nothing is shown or copied but what was embedded.
    """
    if not name:
        return "the item has no image file", None
    root = os.path.abspath(media_root)
    path = os.path.normpath(os.path.join(root, name))
    try:
        real = os.path.realpath(path)  # with all links followed
        is_inside = (
            (is_hashed and Path(path).is_relative_to(root))
            or real.startswith(f"{root}{os.sep}")
            or Path(real).is_relative_to(os.path.realpath(root))
        )
        if not is_inside:
            return "its path leads out of the media root", None
        if not stat.S_ISREG(os.stat(path).st_mode):
            return f"there is no file '{path}'", None
    except (FileNotFoundError, NotADirectoryError):
        what = "the link leads to no file" if os.path.islink(path) else "there is no file"
        return f"{what}: '{path}'", None
    except (OSError, ValueError) as error:  # a loop of links; a NUL
        return f"its path cannot be followed ({error})", None
    return "", Path(path)


def _source(name: str, media_root: Path, videos: Videos) -> tuple[str, Path | Frame | None]:
    """Return why an item's image is not read, and its file or decoded frame; compare its hash."""
    path, frame = split_frame_path(name)
    problem, file = media_file(path, media_root, is_hashed=True)
    if file is None or frame is None:
        return problem, file
    try:
        return "", videos.read(str(file), frame)
    except ImageProblem as error:
        return f"the frame cannot be decoded ({error})", None


def _copy(source: Path | Frame, target: Path, expected_sha256: bytes) -> str:
    """Copy an image if it is unchanged; else return why not, and leave no file."""
    if not isinstance(source, Path):
        problem = _difference(source, expected_sha256)
        if not problem:
            read_image(source, channel_order="bgr")[0].save(target)
        return problem
    try:
        reader = source.open("rb")
    except OSError as error:
        return f"'{source}' cannot be read ({error.strerror})"
    with reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    problem = _difference(target, expected_sha256)
    if problem:
        target.unlink()
    return problem


def _crop(store: EmbeddingStore, hit: Hit, path: Path) -> str:
    """Replace the copy of an image by the crop of one object, as PNG; else return why not."""
    item, found = store[hit.key.item], store.objects.record(hit.row)
    preprocessing = store.provenance.get("preprocessing", {})
    try:
        image = open_image(path, depth_range=store.depth_range).decode()
    except ImageProblem as problem:
        return f"it cannot be decoded ({problem})"
    finally:
        path.unlink()
    if image.size != (item.width, item.height):
        return "the item is a region of its file, and the store does not record which one"
    crop = cut(image, found, preprocessing.get("resize_px", max(image.size)))
    crop.save(path.with_name(f"{path.name.removesuffix(path.suffix)}.png"))
    return ""


def _difference(path: Path | Frame, expected_sha256: bytes) -> str:
    if not isinstance(path, Path):
        return "" if read_info(path).content_sha256 == expected_sha256 else _CHANGED
    try:
        same = sha256_file(path) == expected_sha256.hex()
    except OSError as error:
        return f"'{path}' cannot be read ({error.strerror})"
    return "" if same else _CHANGED
