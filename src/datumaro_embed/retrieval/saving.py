"""Copies of the images that a search found, checked to be the ones that were embedded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..errors import StaleStoreError, StoreWriteError, UsageError
from ..escaping import printable
from ..models.manifest import sha256_file
from ..outputs import check_output
from ..records import Hit
from ..store import EmbeddingStore

__all__ = ["check_folder", "media_root_of", "save_hits"]

_MAX_NAME = 50


def media_root_of(store: EmbeddingStore, media_root: str | Path | None = None) -> Path:
    """Folder that the store's paths are relative to, as given or as the store says.

    Raises
    ------
    UsageError
        It is unknown, or is not there.
    """
    root = media_root or store.media_root
    if not root:
        raise UsageError("The store does not say where its images lie. Give --media-root DIR.")
    if not Path(root).is_dir():
        raise UsageError(f"There is no folder '{root}'. Give --media-root DIR.", path=str(root))
    return Path(root)


def check_folder(directory: Path) -> None:
    """Refuse a folder that cannot be made; an empty one may be there.

    Raises
    ------
    StoreExistsError, OutputFolderError
    """
    if not (directory.is_dir() and not any(directory.iterdir())):
        check_output(directory)


def save_hits(
    store: EmbeddingStore,
    hits: Sequence[Hit],
    directory: Path,
    *,
    media_root: Path,
    skip_stale: bool = False,
) -> list[str]:
    """Copy the image of each hit to ``RANK_SIMILARITY_ID.EXT`` in a new or empty folder.

    Parameters
    ----------
    directory : Path
        Made where it is missing.
    media_root : Path
        No file outside it is read, whatever a path in the store says.
    skip_stale : bool
        Copy the other hits where one is no longer what was embedded; without it nothing is kept.

    Returns
    -------
    list of str
        One line for each hit that was not copied: it has no file, the file is gone, lies outside
        the root, or has changed since it was embedded.

    Raises
    ------
    StoreExistsError, OutputFolderError
        The folder has something in it, or its parent does not exist.
    StaleStoreError
        A hit cannot be copied, and `skip_stale` is false.
    StoreWriteError
    """
    check_folder(directory)
    is_new = not directory.exists()
    problems = []
    try:
        directory.mkdir(exist_ok=True)
        width = max(3, len(str(len(hits))))
        for rank, hit in enumerate(hits, start=1):
            problem, source = _source(hit, media_root)
            if source is not None:
                name = f"{rank:0{width}}_{hit.similarity:.4f}_{_safe(hit.key.id)}{source.suffix}"
                expected = store.content_sha256[hit.row].tobytes()
                problem = _copy(source, directory / name, expected)
            if problem:
                problems.append(f"{hit.key}: {problem}")
        if problems and not skip_stale:
            _remove_copies(directory, is_new=is_new)
    except OSError as error:
        raise StoreWriteError(
            f"Cannot write '{directory}': {error.strerror or error}. Choose another place.",
            path=str(directory),
        ) from error
    if problems and not skip_stale:
        raise StaleStoreError(
            f"{len(problems)} of {len(hits)} images are not those that were embedded: "
            f"{printable('; '.join(problems[:3]))}. Nothing was copied. Embed the dataset again, "
            "or add --skip-stale to copy the others.",
            n_stale=len(problems),
        )
    return problems


def _remove_copies(directory: Path, *, is_new: bool) -> None:
    for copy in directory.iterdir():
        copy.unlink()
    if is_new:
        directory.rmdir()


def _source(hit: Hit, media_root: Path) -> tuple[str, Path | None]:
    """Find the file of a hit, or why it is not copied."""
    if not hit.path:
        return "the item has no image file", None
    root = media_root.resolve()
    try:
        path = (root / hit.path).resolve()
    except (OSError, ValueError) as error:  # a link that leads to itself; a NUL
        return f"its path cannot be followed ({error})", None
    if not path.is_relative_to(root):
        return "its path leads out of the media root", None
    if not path.is_file():
        return f"there is no file '{path}'", None
    return "", path


def _copy(source: Path, target: Path, expected_sha256: bytes) -> str:
    """Copy a file whose bytes are those that were embedded; else say why not, and leave nothing."""
    try:
        reader = source.open("rb")
    except OSError as error:
        return f"'{source}' cannot be read ({error.strerror})"
    with reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    if sha256_file(target) == expected_sha256.hex():
        return ""
    target.unlink()
    return "the image's bytes have changed since it was embedded"


def _safe(name: str) -> str:
    """Make a file name of an id: letters, digits and ``._-`` stay."""
    return re.sub(r"[^\w.-]+", "_", name)[-_MAX_NAME:].lstrip(".") or "item"
