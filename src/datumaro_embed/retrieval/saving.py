"""Copies of the images that a search found, checked to be the ones that were embedded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..errors import StaleStoreError, StoreWriteError, UsageError
from ..escaping import printable
from ..models.manifest import sha256_file
from ..outputs import check_output
from ..records import Hit, ItemKey
from ..store import EmbeddingStore
from ..tally import counted

__all__ = ["MediaFiles", "check_folder", "media_root_of", "save_hits"]

_MAX_NAME = 50
_CHANGED = "the image's bytes have changed since it was embedded"


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


class MediaFiles:
    """The image files of a store's items, compared with what was embedded; each item once.

    Attributes
    ----------
    problems : dict
        Key → why its image cannot be copied, of the items that were asked for and have one.
    """

    def __init__(self, store: EmbeddingStore, media_root: Path) -> None:
        self._store = store
        self._root = media_root
        self._fresh: set[ItemKey] = set()
        self.problems: dict[ItemKey, str] = {}

    def is_fresh(self, key: ItemKey, row: int, path: str) -> bool:
        """Tell whether an item's file is what was embedded; else note why not."""
        if key not in self._fresh and key not in self.problems:
            problem, source = _source(path, self._root)
            if source is not None:
                problem = _difference(source, self._store.content_sha256[row].tobytes())
            if problem:
                self.problems[key] = problem
            else:
                self._fresh.add(key)
        return key in self._fresh

    def is_fresh_hit(self, hit: Hit) -> bool:
        """`is_fresh` of a hit."""
        return self.is_fresh(hit.key, hit.row, hit.path)

    def check_queries(self, keys: Iterable[ItemKey]) -> None:
        """Refuse to query with an item whose image is another one by now.

        Raises
        ------
        StaleStoreError, ItemNotFoundError
        """
        for key in keys:
            row = self._store.row(key)
            if not self.is_fresh(key, row, self._store.item(row).path):
                raise stale_query(key, self.problems[key])

    def check_any(self, hits: Sequence[Hit]) -> None:
        """Refuse to go on where no hit is left because of problems.

        Raises
        ------
        StaleStoreError
        """
        if self.problems and not hits:
            raise StaleStoreError(
                f"None of the images found is what was embedded: {'; '.join(self.lines(3))}. "
                "Nothing was copied. Embed the dataset again, or give --media-root DIR.",
                n_stale=len(self.problems),
            )

    def lines(self, shown: int = 20) -> Iterator[str]:
        """Yield the first problems, each with its item, and how many more there are."""
        for key, problem in islice(self.problems.items(), shown):
            yield printable(f"{key}: {problem}")
        if len(self.problems) > shown:
            yield f"{len(self.problems) - shown:,} more"


def stale_query(key: ItemKey, problem: str = _CHANGED) -> StaleStoreError:
    """Return the error for an item that is no longer what its vector shows."""
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
            problem, source = _source(hit.path, media_root)
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
            f"{len(problems)} of {counted(len(hits), 'images')} are not those that were embedded: "
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


def _source(name: str, media_root: Path) -> tuple[str, Path | None]:
    """Find the file of an item, or why it is not copied."""
    if not name:
        return "the item has no image file", None
    root = media_root.resolve()
    try:
        path = (root / name).resolve()
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
    problem = _difference(target, expected_sha256)
    if problem:
        target.unlink()
    return problem


def _difference(path: Path, expected_sha256: bytes) -> str:
    try:
        same = sha256_file(path) == expected_sha256.hex()
    except OSError as error:
        return f"'{path}' cannot be read ({error.strerror})"
    return "" if same else _CHANGED


def _safe(name: str) -> str:
    """Make a file name of an id: letters, digits and ``._-`` stay."""
    return re.sub(r"[^\w.-]+", "_", name)[-_MAX_NAME:].lstrip(".") or "item"
