"""What tag, drop and move do to the items of a group."""

from __future__ import annotations

import pytest

from datumaro_embed.duplicates.cleaning import Change, plan_changes
from datumaro_embed.errors import UsageError
from datumaro_embed.records import DuplicateGroup, ItemKey, Split


def keys(*texts: str) -> tuple[ItemKey, ...]:
    return tuple(ItemKey(*text.split("/")) for text in texts)


def group(*texts: str, keep: str) -> DuplicateGroup:
    members = keys(*texts)
    return DuplicateGroup(
        keep=keys(keep)[0],
        keys=members,
        splits=(Split.OTHER,) * len(members),
        labels=((),) * len(members),
        min_similarity=0.96,
        max_similarity=1.0,
    )


GROUPS = [
    group("train/a", "train/b", "val/a", keep="train/b"),
    group("val/c", "val/d", keep="val/c"),
]
ALL = keys("train/a", "train/b", "train/z", "val/a", "val/c", "val/d")


def changes(action: str, present: tuple[ItemKey, ...] = ALL) -> dict[str, Change]:
    return {str(key): change for key, change in plan_changes(GROUPS, action, present).items()}


def test_tag_names_the_group_and_what_stays() -> None:
    assert {name: dict(change.attributes) for name, change in changes("tag").items()} == {
        "train/a": {"duplicate_group": 1, "duplicate_of": "train/b"},
        "train/b": {"duplicate_group": 1},
        "val/a": {"duplicate_group": 1, "duplicate_of": "train/b"},
        "val/c": {"duplicate_group": 2},
        "val/d": {"duplicate_group": 2, "duplicate_of": "val/c"},
    }


def test_drop_leaves_one_of_each_group() -> None:
    assert {name for name, change in changes("drop").items() if change.dropped} == {
        "train/a",
        "val/a",
        "val/d",
    }


def test_move_takes_a_free_name() -> None:
    moved = {name: str(change.key) for name, change in changes("move").items()}
    assert moved == {"val/a": "train/a_val"}
    taken = (*ALL, *keys("train/a_val"))
    assert str(plan_changes(GROUPS, "move", taken)[keys("val/a")[0]].key) == "train/a_val_val"


def test_two_items_never_move_to_one_name() -> None:
    three = [group("train/k", "val/a", keep="train/k"), group("test/a", "train/l", keep="train/l")]
    present = keys("train/k", "val/a", "test/a", "train/l")
    found = plan_changes(three, "move", present)
    assert sorted(str(change.key) for change in found.values()) == ["train/a", "train/a_test"]


def test_members_that_the_dataset_has_lost_do_not_count() -> None:
    assert changes("drop", keys("train/a", "val/c")) == {}
    without_keep = changes("drop", keys("train/a", "val/a"))
    assert {name: change.dropped for name, change in without_keep.items()} == {"val/a": True}


def test_unknown_actions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no action 'delete'\. Choose separate, drop, move, tag"):
        changes("delete")
