"""``--shard I/N``: which items are whose, and where their rows are written."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from pathlib import Path

import pytest

from datumaro_embed.errors import UsageError
from datumaro_embed.pipeline import check_place
from datumaro_embed.place import StorePlace
from datumaro_embed.records import ItemKey
from datumaro_embed.sharding import Parts, Shard, key_hash, outlook, part_path

KEYS = [ItemKey(subset, f"{number:05}") for subset in ("train", "val") for number in range(2000)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_every_item_is_of_one_shard_and_shares_are_alike(count: int) -> None:
    owners = [[s.number for s in Shard.all_of(count) if s.holds(key)] for key in KEYS]
    assert {len(owner) for owner in owners} == {1}
    sizes = Counter(owner[0] for owner in owners)
    mean = len(KEYS) / count
    assert all(abs(sizes[n] - mean) < 5 * mean**0.5 for n in range(1, count + 1))


def test_the_division_is_the_same_for_ever() -> None:
    keys = [ItemKey("train", "a"), ItemKey("val", "a"), ItemKey("", ""), ItemKey("t", "é\udc80")]
    owners = [next(s.number for s in Shard.all_of(8) if s.holds(key)) for key in keys]
    assert owners == [7, 5, 3, 4]


def test_key_hash_is_blake2b_of_length_prefixed_strings() -> None:
    framed = struct.pack("<Q", 5) + b"train" + struct.pack("<Q", 3) + "né".encode()
    digest = hashlib.blake2b(framed, digest_size=8).digest()
    assert key_hash(ItemKey("train", "né")) == int.from_bytes(digest, "little")
    assert key_hash(ItemKey("", "")) == 0x0E74_94F9_07A5_5052
    assert key_hash(ItemKey("ab", "c")) != key_hash(ItemKey("a", "bc"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/8", r"shard is 0/8, but shards are numbered from 1 to N"),
        ("9/8", r"shard is 9/8, but shards are numbered from 1 to N.*--array=1-8"),
        ("1/0", "numbered from 1"),
        ("", "must be I/N, such as 2/8 for the second of eight, not ''"),
        ("/", "Check the shell variables"),
        ("3", "must be I/N"),
        ("-1/8", "must be I/N"),
        ("1/8/2", "must be I/N"),
        ("1.0/8", "must be I/N"),
        ("١/8", "must be I/N"),
    ],
)
def test_nonsense_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Shard.parse(text)
    assert "\n" not in str(caught.value)


def test_a_shard_is_read_as_it_is_written() -> None:
    assert Shard.parse("2/8") == Shard(count=8, number=2)
    assert str(Shard.parse(" 02/8\n")) == "2/8"


@pytest.mark.parametrize(
    ("store", "shard", "target", "directory"),
    [
        ("e.h5", "2/8", "e.h5.parts/2-of-8.h5", "e.h5.parts/2-of-8.h5.work"),
        ("e.hdf5", "2/12", "e.hdf5.parts/02-of-12.h5", "e.hdf5.parts/02-of-12.h5.work"),
        ("store/", "2/8", "store.parts/2-of-8", "store.parts/2-of-8"),
        ("e.h5/", "12/12", "e.h5.parts/12-of-12", "e.h5.parts/12-of-12"),
    ],
)
def test_a_part_lies_beside_the_store_to_be(
    store: str, shard: str, target: str, directory: str, tmp_path: Path
) -> None:
    place = StorePlace.of(part_path(f"{tmp_path}/{store}", Shard.parse(shard)))
    place.check()
    assert place.target == tmp_path / target
    assert place.directory == tmp_path / directory
    assert list(tmp_path.iterdir()) == []


def test_a_place_for_the_whole_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is a folder but not an embedding store"):
        check_place(tmp_path / "photos", Shard(2, 1))


def test_parts_that_are_finished_begun_and_missing(tmp_path: Path) -> None:
    parts = Parts.of(tmp_path / "e.h5")
    assert Parts.at(parts.folder) is None
    (parts.folder / "3-of-4.h5.work").mkdir(parents=True)
    for name in ("1-of-4.h5", "2-of-4.h5", "notes.txt", "9-of-4.h5"):
        (parts.folder / name).touch()
    (parts.folder / "2-of-4.h5.work").mkdir()
    assert Parts.at(parts.folder) == parts
    assert [str(shard) for shard in parts.found()] == ["1/4", "2/4", "3/4"]
    assert [str(shard) for shard in parts.finished()] == ["1/4", "2/4"]
    assert [str(shard) for shard in parts.missing()] == ["3/4", "4/4"]
    assert outlook(tmp_path / "e.h5") == "2 of 4 shards are not finished yet: 3/4, 4/4"


def test_divisions_are_not_mixed(tmp_path: Path) -> None:
    parts = Parts.of(tmp_path / "e.h5")
    (parts.folder / "3-of-4.h5.work").mkdir(parents=True)
    check_place(tmp_path / "e.h5", Shard(4, 2))
    with pytest.raises(UsageError, match="with 4 and 5 shards"):
        check_place(tmp_path / "e.h5", Shard(5, 2))
