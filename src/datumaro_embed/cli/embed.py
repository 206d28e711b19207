"""`datumaro-embed embed`."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from ..flags import add_embed_arguments, add_machine_arguments
from .output import say, tell

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "embed", help="embed a dataset", description="Embed every item of a dataset into a store."
    )
    parser.add_argument("dataset", metavar="PATH[:FORMAT]", help="a dataset that Datumaro reads")
    add_embed_arguments(parser)
    add_machine_arguments(parser)
    parser.set_defaults(command=_embed)


def _embed(
    dataset: str,
    store: str,
    *,
    shard: str | None,
    ray: str | None,
    shards: int | None,
    **options: Any,
) -> int:
    if ray is not None:
        return _embed_on_ray(dataset, store, ray, shards, options)
    if shards is not None:
        raise UsageError("--shards goes with --ray. For one share of the items use --shard I/N.")

    from ..adapter import import_dataset
    from ..models import resolve_model
    from ..pipeline import EmbedOptions, check_place, embed_source
    from ..sharding import Shard

    share = None if shard is None else Shard.parse(shard)
    chosen = EmbedOptions(**options)
    resolve_model(chosen.model)
    check_place(store, share, captions=chosen.captions)
    imported = import_dataset(dataset, follow_symlinks=chosen.follow_symlinks)
    summary = embed_source(
        imported.source,
        store,
        chosen,
        losses=imported.losses,
        shard=share,
        notify=tell,
    )
    say(summary.lines())
    return 0


def _embed_on_ray(
    dataset: str, store: str, address: str, n_shards: int | None, options: dict[str, Any]
) -> int:
    from ..distributed import embed_on_ray

    summary = embed_on_ray(
        dataset,
        store,
        n_shards=n_shards,
        address=address,
        notify=tell,
        **options,
    )
    say(summary.lines())
    return 0
