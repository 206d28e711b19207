"""`datumaro-embed`: argument parsing; every command calls one function elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .errors import DatumaroEmbedError
from .options import add_embed_arguments

__all__ = ["main"]

_MAX_DIFFERENCES = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 for success, 1 failure, 2 wrong usage, 130 interrupted."""
    arguments = vars(_parser().parse_args(argv))
    command: Callable[..., int] = arguments.pop("command")
    try:
        return command(**arguments)
    except DatumaroEmbedError as error:
        print(f"datumaro-embed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("datumaro-embed: interrupted; no store was written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `datumaro-embed info … | head`
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="datumaro-embed", description="CLIP embeddings of Datumaro datasets, in HDF5."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_embed(commands)
    _add_info(commands)
    _add_verify(commands)
    _add_export_model(commands)
    return parser


def _add_embed(commands: Any) -> None:
    parser = commands.add_parser(
        "embed", help="embed a dataset", description="Embed every item of a dataset into a store."
    )
    parser.add_argument("dataset", metavar="PATH[:FORMAT]", help="a dataset that Datumaro reads")
    add_embed_arguments(parser)
    parser.set_defaults(command=_embed)


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="what is in a store",
        description="Print model, dimensions and counts by subset, status and label.",
    )
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "--items", type=int, default=0, metavar="N", help="also print the first N items and vectors"
    )
    parser.set_defaults(command=_info)


def _add_verify(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="check a store, alone or against its dataset",
        description="Check every row's checksum; with --dataset every item and annotation too. "
        "Exits 1 where something differs.",
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--dataset", metavar="PATH[:FORMAT]", help="compare with this dataset")
    parser.add_argument("--follow-symlinks", action="store_true", help="as for `embed`")
    parser.set_defaults(command=_verify)


def _add_export_model(commands: Any) -> None:
    parser = commands.add_parser(
        "export-model",
        help="make a model directory from a Hugging Face checkpoint",
        description="Convert a CLIP checkpoint to OpenVINO. Needs the `export` extra.",
    )
    parser.add_argument("source", metavar="SRC", help="checkpoint directory or Hugging Face id")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--revision", help="of a Hugging Face id")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"))
    parser.set_defaults(command=_export_model)


def _embed(dataset: str, store: str, **options: Any) -> int:
    from .adapter import SourceDataset, import_dataset
    from .models import resolve_model
    from .pipeline import EmbedOptions, check_place, embed_source

    chosen = EmbedOptions(**options)
    resolve_model(chosen.model)
    check_place(Path(store), chosen)
    imported = import_dataset(dataset)
    source = SourceDataset(
        imported.dataset, root=imported.root, follow_symlinks=chosen.follow_symlinks
    )
    print("\n".join(embed_source(source, Path(store), chosen, dropped=imported.dropped).lines()))
    return 0


def _info(store: Path, items: int) -> int:
    from .info import describe, describe_items
    from .store import open_store

    with open_store(store) as opened:
        for line in (*describe(opened), *describe_items(opened, items)):
            print(line)
    return 0


def _verify(store: Path, dataset: str | None, follow_symlinks: bool) -> int:
    from .adapter import SourceDataset, import_dataset
    from .store import open_store
    from .verify import compare_with_dataset

    with open_store(store) as opened:
        problems = opened.verify()
        if dataset is not None:
            imported = import_dataset(dataset)
            source = SourceDataset(
                imported.dataset, root=imported.root, follow_symlinks=follow_symlinks
            )
            problems += compare_with_dataset(opened, source)
        for problem in problems[:_MAX_DIFFERENCES]:
            print(problem)
        if len(problems) > _MAX_DIFFERENCES:
            print(f"… and {len(problems) - _MAX_DIFFERENCES} more")
        print(f"{opened.n_rows} rows: " + (f"{len(problems)} differences" if problems else "sound"))
    return 1 if problems else 0


def _export_model(source: str, output: Path, revision: str | None, precision: str) -> int:
    from .models.export import export_model

    print(export_model(source, output, revision=revision, precision=precision))
    return 0


if __name__ == "__main__":
    sys.exit(main())
