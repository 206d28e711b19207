"""What becomes of the items of duplicate groups: tagged, dropped or moved; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..records import DuplicateGroup, ItemKey

__all__ = ["ACTIONS", "Change", "plan_changes"]

ACTIONS = ("tag", "drop", "move")


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one item.

    Attributes
    ----------
    key : ItemKey
        Its key from now on.
    dropped : bool
    attributes : mapping
        To add to its own.
    """

    key: ItemKey
    dropped: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)


def plan_changes(
    groups: Sequence[DuplicateGroup], action: str, keys: Iterable[ItemKey]
) -> dict[ItemKey, Change]:
    """Decide for every item of a dataset that is in a group.

    Parameters
    ----------
    groups : sequence of DuplicateGroup
    action : {"tag", "drop", "move"}
        ``tag`` adds ``duplicate_group`` (1, 2, …) and, but for the one that stays,
        ``duplicate_of``; ``drop`` drops all but that one; ``move`` puts the others in its subset.
    keys : iterable of ItemKey
        Of the dataset; members of a group that are not in it are left out of account.

    Returns
    -------
    dict
        Key → its change; no entry for items that stay as they are.

    Raises
    ------
    UsageError
        No such action.
    """
    if action not in ACTIONS:
        raise UsageError(f"There is no action {action!r}. Choose {', '.join(ACTIONS)}.")
    taken = set(keys)
    changes: dict[ItemKey, Change] = {}
    for number, group in enumerate(groups, start=1):
        here = [key for key in group.keys if key in taken or key in changes]
        keep = group.keep if group.keep in here else next(iter(here), group.keep)
        for key in here if len(here) > 1 else ():
            change = _change(key, keep, number, action, taken)
            if change is not None:
                changes[key] = change
    return changes


def _change(
    key: ItemKey, keep: ItemKey, number: int, action: str, taken: set[ItemKey]
) -> Change | None:
    stays = key == keep
    if action == "tag":
        own = {} if stays else {"duplicate_of": str(keep)}
        return Change(key, attributes={"duplicate_group": number, **own})
    if stays or (action == "move" and key.subset == keep.subset):
        return None
    if action == "drop":
        return Change(key, dropped=True)
    return Change(_free(key, keep.subset, taken))


def _free(key: ItemKey, subset: str, taken: set[ItemKey]) -> ItemKey:
    """Give a key in another subset that no item has; its old subset's name tells two apart."""
    moved = ItemKey(subset, key.id)
    while moved in taken:
        moved = ItemKey(subset, f"{moved.id}_{key.subset}")
    taken.add(moved)
    return moved
