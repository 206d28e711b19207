"""`datumaro-embed embed`."""

from __future__ import annotations

from typing import Any

from ..flags import add_embed_arguments

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "embed", help="embed a dataset", description="Embed every item of a dataset into a store."
    )
    parser.add_argument("dataset", metavar="PATH[:FORMAT]", help="a dataset that Datumaro reads")
    add_embed_arguments(parser)
    parser.set_defaults(command=_embed)


def _embed(dataset: str, store: str, **options: Any) -> int:
    import sys

    from ..adapter import SourceDataset, import_dataset
    from ..models import resolve_model
    from ..pipeline import EmbedOptions, check_place, embed_source

    chosen = EmbedOptions(**options)
    resolve_model(chosen.model)
    check_place(store)
    imported = import_dataset(dataset)
    source = SourceDataset(
        imported.dataset, root=imported.root, follow_symlinks=chosen.follow_symlinks
    )
    summary = embed_source(
        source,
        store,
        chosen,
        dropped=imported.dropped,
        notify=lambda line: print(line, file=sys.stderr),
    )
    print("\n".join(summary.lines()))
    return 0
