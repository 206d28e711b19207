"""``--shard I/N``: which of N runs embeds an item, and where each run writes.

    X.h5.parts/  1-of-3.h5  2-of-3.h5.work/  3-of-3.h5

The run of a shard is an ordinary run over some of the items, with its own store and lock; it can
be resumed. `maintenance.merge_stores` joins the parts.
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
    """Share `number` of `count` of a dataset's items.

    Raises `UsageError` unless `number` is 1 to `count`.
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
                "the shell variables in it."
            )
        return cls(int(found[2]), int(found[1]))

    @classmethod
    def all_of(cls, count: int) -> list[Shard]:
        """Return shards 1 to `count`."""
        return [cls(count, number) for number in range(1, count + 1)]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, key: ItemKey) -> bool:
        """Tell whether this shard has an item; the answer is the same on every machine and version.

        Uses `key_hash` modulo `count`, so shards differ in size only by chance: with 200,000 items
        in 8 shards, each has 25,000 ± 300. Takes about 2 µs.
        """
        return key_hash(key) % self.count == self.number - 1

    def describe(self, keys: Iterable[ItemKey]) -> dict[str, Any]:
        """Return the provenance of a part, from which `merge` finds the parts that belong together.

        `keys` are the keys of the whole dataset, ascending.
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
    """Return a list of shards as text, shortened if it is long."""
    rest = len(shards) - _MAX_NAMED
    return ", ".join(map(str, shards[:_MAX_NAMED])) + (f" and {rest} more" if rest > 0 else "")


def key_hash(key: ItemKey) -> int:
    """Return BLAKE2b (digest size 8) of the length-prefixed subset and id, as an integer.

    Source: RFC 7693. Lengths are 8 bytes, little-endian, so ("ab", "c") and ("a", "bc") differ.
    """
    subset, item_id = (text.encode("utf-8", "surrogatepass") for text in (key.subset, key.id))
    digest = hashlib.blake2b(len(subset).to_bytes(8, "little"), digest_size=8)
    digest.update(subset + len(item_id).to_bytes(8, "little") + item_id)
    return int.from_bytes(digest.digest(), "little")


@dataclass(frozen=True, slots=True)
class Parts:
    """Folder beside the future store, with one store per shard."""

    folder: Path

    @classmethod
    def of(cls, store: Path) -> Parts:
        """Return the parts folder of a store."""
        return cls(Path(f"{store}{_SUFFIX}"))

    @classmethod
    def at(cls, path: Path) -> Parts | None:
        """Return the `Parts` at a path; None if it is not a parts folder."""
        parts = cls(path)
        return parts if path.is_dir() and parts.found() else None

    def path(self, shard: Shard, *, keeps_segments: bool) -> Path:
        """Return the path of one shard's store, a file or a directory."""
        width = len(str(shard.count))
        name = f"{shard.number:0{width}}-of-{shard.count}"
        return self.folder / (name if keeps_segments else f"{name}.h5")

    def found(self) -> dict[Shard, Path]:
        """Return all started parts; an unfinished one may have only a .work folder."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        matches = (_PART.fullmatch(name.removesuffix(".work")) for name in names)
        found = {(int(m[2]), int(m[1])): self.folder / m[0] for m in matches if m}
        return {
            Shard(count, number): found[count, number]
            for count, number in sorted(found)
            if 1 <= number <= count
        }

    def finished(self) -> dict[Shard, Path]:
        """Return the finished parts: a file, or a directory whose run has ended."""
        return {
            shard: path
            for shard, path in self.found().items()
            if path.is_file() or (path / "manifest.json").is_file()
        }

    def check(self, count: int | None = None) -> int:
        """Return the number of shards; raise `UsageError` if parts have different ones.

        Such parts would share items. `count` is the number of shards of the run to start, if any.
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
        """Return the shards without a finished part; the folder must have parts."""
        finished = self.finished()
        return [shard for shard in Shard.all_of(self.check()) if shard not in finished]


def part_path(store: str | os.PathLike[str], shard: Shard) -> Path:
    """Return the path that the run of one shard writes, given the path of the joined store."""
    place = StorePlace.of(store)
    return Parts.of(place.target).path(shard, keeps_segments=place.keeps_segments)


def outlook(store: str | os.PathLike[str]) -> str:
    """Return a line for the end of a shard's run: the unfinished shards, or how to join all."""
    place = StorePlace.of(store)
    parts = Parts.of(place.target)
    if not parts.found():  # another storage backend keeps the parts
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
