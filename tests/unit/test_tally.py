"""Counts by reason: bounded examples, most frequent first, the same after JSON and pickle."""

from __future__ import annotations

import pickle

import pytest

from datumaro_embed.tally import Tally, counted


def filled() -> Tally:
    tally = Tally()
    tally.add("boxes outside their image", "train/a")
    for number in range(5):
        tally.add("images without a label file", f"images/{number}.jpg")
    tally.add("annotations without iscrowd", count=2999)
    return tally


def test_lines_give_counts_and_at_most_three_examples() -> None:
    assert list(filled().lines("  ")) == [
        "  2,999 annotations without iscrowd",
        "  5 images without a label file (images/0.jpg, images/1.jpg, images/2.jpg, …)",
        "  1 box outside their image (train/a)",
    ]


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("annotations", "annotation"),
        ("damaged shards are", "damaged shard is"),
        ("images listed twice, read as one", "image listed twice, read as one"),
        ("16-bit images that use at most 9 bits", "16-bit image that uses at most 9 bits"),
        ("annotations that reach outside the image", "annotation that reaches outside the image"),
        ("items that are not in the store", "item that is not in the store"),
        ("items with the id of another item", "item with the id of another item"),
        ("label lines that are neither a box", "label line that is neither a box"),
        ("image entries without a file name", "image entry without a file name"),
        ("batches, of boxes", "batch, of boxes"),
        ("classes with the name of another", "class with the name of another"),
        ("boxes that have no width", "box that has no width"),
        ("Tiere", "Tiere"),
    ],
)
def test_one_thing_is_singular_and_so_is_its_verb(many: str, one: str) -> None:
    assert [counted(n, many) for n in (0, 1, 2000)] == [f"0 {many}", f"1 {one}", f"2,000 {many}"]


def test_names_cannot_move_the_terminals_cursor() -> None:
    tally = Tally()
    tally.add("images without a label file", "a\x1b[2J\nb")
    assert list(tally.lines("")) == ["1 image without a label file (a\\x1b[2J\\nb)"]


def test_json_and_pickle_keep_everything() -> None:
    tally = filled()
    assert tally.to_json()["boxes outside their image"] == {"count": 1, "examples": ["train/a"]}
    assert pickle.loads(pickle.dumps(tally)) == tally


def test_tallies_add_up() -> None:
    both, other = filled(), filled()
    both.update(other)
    assert both.total == 2 * filled().total == 2 * (1 + 5 + 2999)
    assert [len(reason.examples) for reason in both] == [0, 3, 2]


def test_an_empty_tally_is_false() -> None:
    assert not Tally()
    assert filled()


def test_many_reasons_are_not_all_lines() -> None:
    tally = Tally()
    for number in range(30):
        tally.add(f"kinds of fault {number:02}", count=2)
    lines = [*tally.lines("")]
    assert len(lines) == 21
    assert lines[-1] == "20 more, for 10 other reasons"
