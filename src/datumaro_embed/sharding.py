"""``--shard I/N``: which items fall to which of N runs, and where each of them writes.

    X.h5.parts/  1-of-3.h5  2-of-3.h5.work/  3-of-3.h5

A run of a shard is an ordinary run over a part of the items, with a store, a lock and a resume of
its own. `maintenance.merge_stores` joins the parts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError
from .place import SUFFIXES, StorePlace
from .records import ItemKey
from .tally import counted

_FORM = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")
_PART = re.compile(r"([0-9]{1,5})-of-([0-9]{1,5})(\.h5)?")
_SUFFIX = ".parts"
_MAX_NAMED = 10


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One of `count` shares of the items of any dataset, `number` from 1 to `count`.

    Raises `UsageError`: `number` is not one of them.
    """

    count: int
    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"``shard`` is {self}, but shards are numbered from 1 to N, such as 1/8 to 8/8. In "
                "Slurm, use --array=1-8."
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"I/N"``; raises `UsageError`."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise UsageError(
                f"``shard`` must be I/N, such as 2/8 for the second of eight, not {text!r}. Check "
                "the variables in it."
            )
        return cls(int(found[2]), int(found[1]))

    @classmethod
    def all_of(cls, count: int) -> list[Shard]:
        """Every shard of a division."""
        return [cls(count, number) for number in range(1, count + 1)]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, key: ItemKey) -> bool:
        """Tell whether an item is of this shard: the same on every machine, for ever.

        By `key_hash` modulo `count`, so shares differ by chance alone: of 200,000
        items in 8 shards each has 25,000 give or take 300. Some 2 µs.
        """
        return key_hash(key) % self.count == self.number - 1

    def describe(self, keys: Iterable[ItemKey]) -> dict[str, Any]:
        """Return what a part's provenance says, so that `merge` knows what belongs together.

        `keys`: of the whole dataset, ascending.
        """
        digest, n_items = hashlib.sha256(), 0
        for key in keys:
            digest.update(key_hash(key).to_bytes(8, "little"))
            n_items += 1
        return {
            "number": self.number,
            "count": self.count,
            "dataset_n_items": n_items,
            "dataset_keys_sha256": digest.hexdigest(),
        }


def named(shards: Sequence[Shard]) -> str:
    """Word a list of shards, shortened where it is long."""
    rest = len(shards) - _MAX_NAMED
    return ", ".join(map(str, shards[:_MAX_NAMED])) + (f" and {rest} more" if rest > 0 else "")


def key_hash(key: ItemKey) -> int:
    """First 8 bytes of BLAKE2b (digest size 8) over length-prefixed subset and id, as an integer.

    Source: RFC 7693. Lengths are 8 bytes, little-endian, so ("ab", "c") and ("a", "bc") differ.
    """
    subset, item_id = (text.encode("utf-8", "surrogatepass") for text in (key.subset, key.id))
    digest = hashlib.blake2b(len(subset).to_bytes(8, "little"), digest_size=8)
    digest.update(subset + len(item_id).to_bytes(8, "little") + item_id)
    return int.from_bytes(digest.digest(), "little")


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder beside a store to be, in which each shard has a store of its own."""

    folder: Path

    @classmethod
    def of(cls, store: Path) -> Parts:
        """Where the parts of a store are."""
        return cls(Path(f"{store}{_SUFFIX}"))

    @classmethod
    def at(cls, path: Path) -> Parts | None:
        """Tell whether a path is such a folder."""
        parts = cls(path)
        return parts if path.is_dir() and parts.found() else None

    def path(self, shard: Shard, *, keeps_segments: bool) -> Path:
        """Where the store of one shard is, a file or a directory."""
        width = len(str(shard.count))
        name = f"{shard.number:0{width}}-of-{shard.count}"
        return self.folder / (name if keeps_segments else f"{name}.h5")

    def found(self) -> dict[Shard, Path]:
        """Every part that is finished or begun (then what is there may be its work alone)."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        matches = (_PART.fullmatch(name.removesuffix(".work")) for name in names)
        found = {(int(m[2]), int(m[1])): self.folder / m[0] for m in matches if m}
        return {
            Shard(count, number): found[count, number]
            for count, number in sorted(found)
            if 1 <= number <= count
        }

    def finished(self) -> dict[Shard, Path]:
        """The parts that are whole: a file, or a directory whose run was finished."""
        return {
            shard: path
            for shard, path in self.found().items()
            if path.is_file() or (path / "manifest.json").is_file()
        }

    def check(self, count: int | None = None) -> int:
        """Refuse parts of several divisions, which have items in common; raises `UsageError`.

        Parameters
        ----------
        count : int, optional
            Of the run to be.

        Returns
        -------
        int
            The number of shards.
        """
        counts = {shard.count for shard in self.found()} | ({count} if count else set())
        if len(counts) > 1:
            several = " and ".join(map(str, sorted(counts)))
            raise UsageError(
                f"'{self.folder}' would mix parts of runs with {several} shards. Use the number of "
                "shards that the folder already has, or remove the folder."
            )
        return counts.pop()

    def missing(self) -> Sequence[Shard]:
        """Shards that are not finished, of a folder with parts."""
        finished = self.finished()
        return [shard for shard in Shard.all_of(self.check()) if shard not in finished]


def part_path(store: str | os.PathLike[str], shard: Shard) -> Path:
    """Where the run of one shard writes, for the store that the parts will be."""
    place = StorePlace.of(store)
    return Parts.of(place.target).path(shard, keeps_segments=place.keeps_segments)


def outlook(store: str | os.PathLike[str]) -> str:
    """Say, once a part is finished, which others are not, or how to join all."""
    place = StorePlace.of(store)
    parts = Parts.of(place.target)
    if not parts.found():  # another backend keeps them
        return ""
    if missing := parts.missing():
        of_all = counted(missing[0].count, "shards")
        return f"{len(missing):,} of {of_all} are not finished yet: {named(missing)}"
    file_like = place.target.suffix.lower() in SUFFIXES
    output = f"{place.target}{os.sep if place.keeps_segments and file_like else ''}"
    there = any(map(os.path.lexists, (place.target, place.directory)))
    words = ["datumaro-embed", "merge", str(parts.folder), "-o", output]
    command = shlex.join(words + ["--replace"] * there)
    return f"All shards are finished. Join them: {command}"
