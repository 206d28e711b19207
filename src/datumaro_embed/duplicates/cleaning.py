"""What becomes of the items of duplicate groups: set apart, dropped, moved or tagged; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..records import DuplicateGroup, ItemKey
from ..tally import counted

ACTIONS = ("separate", "drop", "move", "tag")
DUPLICATED = "duplicated"
_DONE = {
    "separate": f"moved to the subset '{DUPLICATED}'",
    "drop": "dropped",
    "move": "moved to the subset of the copy that is kept",
    "tag": "tagged",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one item: its new key, its group (from 1), the copy that stays.

    `attributes` are added to its own.
    """

    key: ItemKey
    group: int
    keep: ItemKey
    dropped: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)


def plan_changes(
    groups: Sequence[DuplicateGroup],
    action: str,
    keys: Collection[ItemKey],
    taken: Iterable[ItemKey] = (),
) -> dict[ItemKey, Change]:
    """Decide for every item of a dataset that is in a group.

    Parameters
    ----------
    action : {"separate", "drop", "move", "tag"}
        ``separate`` puts all but the one that stays into the subset ``duplicated``; ``drop`` drops
        them; ``move`` puts them into the subset of the one that stays; ``tag`` adds
        ``duplicate_group`` (1, 2, …) and, but for the one that stays, ``duplicate_of``.
    keys : collection of ItemKey
        Items that may be touched; other members of a group are left out of account.
    taken : iterable of ItemKey
        Further keys that no item may get.
    """
    check_action(action)
    known, used = set(keys), {*keys, *taken}
    wanted = DUPLICATED if action == "separate" else ""  # subset of what does not stay
    changes: dict[ItemKey, Change] = {}
    for number, group in enumerate(groups, start=1):
        here = [key.item for key in group.keys if key in known]
        if len(here) < 2:
            continue
        keep = _keep(group, here)
        for key in here:
            stays = key == keep
            if action == "tag":
                own = {"duplicate_group": number} | ({} if stays else {"duplicate_of": str(keep)})
                changes[key] = Change(key, number, keep, attributes=own)
            elif action == "drop" and not stays:
                changes[key] = Change(key, number, keep, dropped=True)
            elif not stays and key.subset != (subset := wanted or keep.subset):
                changes[key] = Change(_free(key, subset, used), number, keep)
    return changes


def check_action(action: str) -> None:
    """Refuse what is none of `ACTIONS`; raises `UsageError`."""
    if action not in ACTIONS:
        raise UsageError(f"There is no ``action`` {action!r}. Choose {', '.join(ACTIONS)}.")


def plan_summary(changes: Mapping[ItemKey, Change], action: str, n_items: int) -> str:
    """Say how many items of how many are changed, and in which subsets they are.

    ``12 of 363 items dropped (train 9, val 3)``
    """
    subsets = Counter(key.subset for key in changes)
    where = ", ".join(f"{name} {count}" for name, count in sorted(subsets.items()))
    done = f"{len(changes):,} of {counted(n_items, 'items')} {_DONE[action]}"
    return done + (f" ({where})" if where else "")


def _keep(group: DuplicateGroup, here: Sequence[ItemKey]) -> ItemKey:
    """Choose the copy that stays: that of the report, else one of its split."""
    if group.keep in here:
        return group.keep.item
    splits = dict(zip(group.keys, group.splits, strict=True))
    return min(here, key=lambda key: (splits[key] is not splits[group.keep], key))


def _free(key: ItemKey, subset: str, used: set[ItemKey]) -> ItemKey:
    """Give a key in another subset that no item has; its old subset's name tells two apart."""
    moved = ItemKey(subset, key.id)
    while moved in used:
        moved = ItemKey(subset, f"{moved.id}_{key.subset}")
    used.add(moved)
    return moved
