"""What the transforms share: plain help, arguments checked when parsed, errors of one line."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datumaro.cli.__main__ import make_parser
from datumaro.cli.util.errors import CliException
from datumaro.components.dataset_base import IDataset
from datumaro.components.transformer import Transform

from datumaro_embed_bridge import runs_our_transform

from ..errors import DatumaroEmbedError, OutputFolderError
from ..flags import add_stale_argument
from ..store import open_store


class DatumTransform(Transform):  # type: ignore[misc]
    """A transform with a command line; `from_datum` tells it from a call in Python."""

    def __init__(self, extractor: IDataset, store: str | Path, from_datum: bool) -> None:
        super().__init__(extractor)
        self._store = store
        self._from_datum = from_datum

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe what follows ``--``."""
        raise NotImplementedError

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse a wrong argument before `datum` does anything."""
        raise NotImplementedError

    @classmethod
    def build_cmdline_parser(cls, **kwargs: Any) -> argparse.ArgumentParser:
        """Return a parser whose help is the docstring as it is written.

        Datumaro's own formatter joins lines and breaks them at ``|n`` and ``|s``, which then stand
        in the docstring for every other reader.
        """
        plain: dict[str, Any] = {
            "description": inspect.getdoc(cls),
            "formatter_class": argparse.RawDescriptionHelpFormatter,
        }
        parser: argparse.ArgumentParser = super().build_cmdline_parser(**plain | kwargs)
        cls.add_arguments(parser)
        return parser

    @classmethod
    def parse_cmdline(cls, args: list[str] | None = None) -> dict[str, Any]:
        """Parse and check."""
        parsed: dict[str, Any] = super().parse_cmdline(args)
        with _datum_errors(True):
            cls.check_arguments(parsed)
        return {**parsed, "from_datum": True}

    def _errors(self) -> Any:
        return _datum_errors(self._from_datum)


class StoreTransform(DatumTransform):
    """A transform that picks or changes items by what a store knows of them."""

    def __init__(
        self, extractor: IDataset, store: str | Path, skip_stale: bool, from_datum: bool
    ) -> None:
        super().__init__(extractor, store, from_datum)
        self._skip_stale = skip_stale

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe the flags of every such transform."""
        parser.add_argument(
            "--store", required=True, metavar="STORE", help="store of this dataset (required)"
        )
        add_stale_argument(parser)

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse an output folder that is in use, and a store that cannot be opened."""
        _refuse_used_output()
        open_store(parsed["store"]).close()

    def subsets(self) -> Any:
        """Give the subsets that are left; counted, for the transform may empty one."""
        return super(Transform, self).subsets()


@contextmanager
def _datum_errors(from_datum: bool) -> Iterator[None]:
    """Under `datum`, raise the one error that it prints without a traceback; else leave ours."""
    try:
        yield
    except DatumaroEmbedError as error:
        if from_datum:
            raise CliException(error.with_flags()) from error
        raise


def datum_folders() -> tuple[Path, Path] | None:
    """Return the dataset that `datum transform` reads and the folder that it saves to.

    Datumaro does not tell a transform; its own parser reads the command line once more. None in a
    process that is not `datum transform -t clip_*`.
    """
    if not runs_our_transform(sys.argv):
        return None
    known = make_parser().parse_args(sys.argv[1:])
    source = Path(known.target.partition(":")[0])
    return source, Path(known.dst_dir or source)


def _refuse_used_output() -> None:
    """Refuse to save a dataset that lost items over another one, or over the one that is read.

    Datumaro leaves the annotations of a subset that became empty, and images that nothing names,
    where they are: what was dropped would come back. For some formats it removes all other files.
    """
    folders = datum_folders()
    if folders is None:
        return
    source, out = (Path(os.path.realpath(folder)) for folder in folders)
    used = os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir()))
    if used or out.is_relative_to(source if source.is_dir() else source.parent):
        what = "is not empty" if used else f"is inside the dataset '{folders[0]}'"
        raise OutputFolderError(
            f"The output folder '{folders[1]}' {what}. Items that this transform leaves out or "
            "moves could stay there, even with --overwrite, so nothing was written. Choose a new "
            "folder outside the dataset (-o OUT).",
            path=str(folders[1]),
        )
