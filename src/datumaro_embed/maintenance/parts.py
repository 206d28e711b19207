"""What `merge` asks of the parts of one dataset: that all are there, and of the same items."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import StoreNotFoundError, UsageError
from ..sharding import Parts, Shard, named
from ..store import EmbeddingStore
from ..tally import counted

__all__ = ["expand", "merged_provenance", "refuse_incomplete"]

_PART_KEYS = {"number", "count", "dataset_n_items", "dataset_keys_sha256"}


def expand(stores: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    """Replace each folder of parts by its parts; refuse one that lacks some, or mixes divisions."""
    for path in map(Path, stores):
        parts = Parts.at(path)
        if parts is None:
            yield path
            continue
        if missing := parts.missing():
            raise _incomplete(str(path), missing)
        yield from parts.finished().values()


def refuse_incomplete(stores: Sequence[EmbeddingStore]) -> None:
    """Check stores that runs with a shard wrote against each other; others are no parts.

    Raises
    ------
    UsageError
        Of several divisions, or of a dataset that had other items at another time.
    StoreNotFoundError
        Parts are missing; the message names them.
    """
    parts = {store.path: found for store in stores if (found := _part(store)) is not None}
    if not parts:
        return
    first_path, first = next(iter(parts.items()))
    for path, other in parts.items():
        if other["count"] != first["count"]:
            raise UsageError(
                f"'{first_path}' is a part of {first['count']} and '{path}' of {other['count']}; "
                "parts of several divisions have items in common. Merge those of one."
            )
        if other["dataset_keys_sha256"] != first["dataset_keys_sha256"]:
            raise UsageError(
                f"The dataset had {counted(first['dataset_n_items'], 'items')} when '{first_path}' "
                f"was made and {other['dataset_n_items']:,}, not the same, when '{path}' was. Run "
                "the shards again; they re-use what is unchanged."
            )
    numbers = {part["number"] for part in parts.values()}
    missing = [shard for shard in Shard.all_of(first["count"]) if shard.number not in numbers]
    if missing:
        raise _incomplete("What is to be merged", missing)


def merged_provenance(stores: Sequence[EmbeddingStore]) -> dict[str, Any]:
    """Return what the first store says of itself, and of each in what else it differs.

    A merged store is no part any more, so ``shard`` is only told of each store.
    """
    first = stores[0].provenance
    own = ("created", "shard")
    merged = [
        {"uuid": store.uuid, "n_rows": store.n_rows}
        | {k: v for k, v in store.provenance.items() if k in own or first.get(k) != v}
        for store in stores
    ]
    return {key: value for key, value in first.items() if key != "shard"} | {"merged": merged}


def _part(store: EmbeddingStore) -> dict[str, Any] | None:
    found = store.provenance.get("shard")
    return found if isinstance(found, dict) and found.keys() >= _PART_KEYS else None


def _incomplete(what: str, missing: Sequence[Shard]) -> StoreNotFoundError:
    return StoreNotFoundError(
        f"{what} lacks the shards {named(missing)}. Run `datumaro-embed embed` with --shard "
        f"{missing[0]}{' and so on' if len(missing) > 1 else ''}; what is begun goes on.",
        missing=[str(shard) for shard in missing],
    )
