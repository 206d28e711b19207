"""What the transforms share: plain help, arguments checked when parsed, errors of one line."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from datumaro.cli.__main__ import make_parser
from datumaro.cli.util.errors import CliException
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset_base import CategoriesInfo, DatasetItem, IDataset
from datumaro.components.environment import DEFAULT_ENVIRONMENT
from datumaro.components.transformer import Transform

from datumaro_embed_bridge import runs_our_transform

from ..adapter import SourceDataset, format_of, with_copied_image, with_labels
from ..errors import DatumaroEmbedError, EmptyDatasetError, OutputFolderError
from ..escaping import printable
from ..files import check_output
from ..findings import (
    Finding,
    Findings,
    Plan,
    changed,
    fresh_items,
    plan_changes,
    refuse_lost,
)
from ..flags import add_stale_argument
from ..logs import log
from ..parallel import map_ahead
from ..paths import text_given
from ..pipeline import read_item_info
from ..records import ItemKey
from ..store import EmbeddingStore, open_store


class DatumTransform(Transform):  # type: ignore[misc]
    """A transform with a command line; `from_datum` tells it from a call in Python."""

    def __init__(self, extractor: IDataset, from_datum: bool) -> None:
        super().__init__(extractor)
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
        try:
            cls.check_arguments(parsed)
        except DatumaroEmbedError as error:
            raise CliException(error.with_flags()) from error
        return {**parsed, "from_datum": True}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Under `datum`, raise what it prints without a traceback; else leave our errors."""
        try:
            yield
        except DatumaroEmbedError as error:
            if self._from_datum:
                raise CliException(error.with_flags()) from error
            raise


class FindingsTransform(DatumTransform):
    """A transform that carries out findings; each kind says where these come from."""

    def __init__(
        self,
        extractor: IDataset,
        *,
        skip_stale: bool = False,
        new_labels: bool = False,
        dry_run: bool = False,
        plan: str | Path | None = None,
        from_datum: bool = False,
    ) -> None:
        super().__init__(extractor, from_datum)
        self._skip_stale, self._new_labels, self._dry_run = skip_stale, new_labels, dry_run
        self._plan_file = None if plan is None else Path(plan)

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse to save a dataset that lost items over another one, or over the one that is read.

        Datumaro leaves the annotations of a subset that became empty, and images that nothing
        names, where they are: what was dropped would come back. For some formats it removes all
        other files.
        """
        if (plan := parsed.get("plan")) is not None:
            check_output(plan)
        folders = datum_folders()
        if folders is None:
            return
        source, out = (Path(os.path.realpath(folder)) for folder in folders)
        used = os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir()))
        if used or out.is_relative_to(source if source.is_dir() else source.parent):
            what = "is not empty" if used else f"is inside the dataset '{folders[0]}'"
            raise OutputFolderError(
                f"The output folder '{folders[1]}' {what}. Items that this transform leaves out or "
                "moves could stay there, even with --overwrite, so nothing was written. Choose a "
                "new folder outside the dataset (-o OUT).",
                path=str(folders[1]),
            )

    def _check(self) -> None:
        """Refuse wrong arguments, before any image is read."""

    def _example(self, source: SourceDataset) -> str:  # noqa: ARG002
        """Return an action such as all will be, by which a format is refused early."""
        return ""

    def _find(self, source: SourceDataset) -> tuple[Findings, Mapping[ItemKey, bytes] | None]:
        """Return findings with their actions, and the contents of items where they are known."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[DatasetItem]:
        plan = self._plan
        labels = self.categories().get(AnnotationType.label, ())
        names = [each.name for each in labels]
        yield from map(with_copied_image, plan.items(self._extractor, names))

    def categories(self) -> CategoriesInfo:
        """Give the dataset's categories, with the labels that the findings add."""
        known = self._extractor.categories()
        return with_labels(known, self._plan.new_labels) if self._new_labels else known

    def subsets(self) -> Any:
        """Give the subsets that are left; counted, for the transform may empty one."""
        return super(Transform, self).subsets()

    @cached_property
    def _plan(self) -> Plan:
        """Decide everything, tell it, and only then let the first item go."""
        with self._errors():
            self._check()
            try:
                source = SourceDataset(self._extractor, follow_symlinks=True)
            except EmptyDatasetError:  # another transform has left nothing
                return Plan(0)
            if action := self._example(source):  # before all images are compared
                key = next(source.keys())
                first = source.only(lambda each: each == key)
                contents = {key: bytes(32)}
                row = Finding(subset=key.subset, id=key.id, action=action)
                self._refuse_lost(first, plan_changes(Findings([row]), first, contents=contents))
            findings, known = self._find(source)
            plan = plan_changes(
                findings,
                source,
                skip_stale=self._skip_stale,
                new_labels=self._new_labels,
                contents=known,
                form=self._form,
            )
            self._refuse_lost(source, plan)
            if self._plan_file is not None:
                plan.write_csv(self._plan_file)
            if not self._dry_run:
                log.info("%s: %s", self.NAME, plan.summary())
                return plan
            print(
                "\n".join(map(printable, [*plan.lines(source), "a dry run: no dataset is written"]))
            )
            if self._from_datum:
                raise SystemExit(0)  # `datum` writes what it gets, unless it gets to no end
            return Plan(len(source))

    @cached_property
    def _form(self) -> str | None:
        """Give the format that `datum` reads the dataset in, and saves it in, where it is known."""
        if not self._from_datum:
            return None
        if form := format_of(self._extractor):
            return form
        if not runs_our_transform(sys.argv):
            return None
        path, _, form = make_parser().parse_args(sys.argv[1:]).target.partition(":")
        detected = [form] if form else DEFAULT_ENVIRONMENT.detect_dataset(path)
        return detected[0] if len(detected) == 1 else None

    def _refuse_lost(self, source: SourceDataset, plan: Plan) -> None:
        """Refuse what `datum` would lose of the changes, as it saves in the source's format."""
        if (form := self._form) is None:
            return
        if any(not change.dropped for change in plan.changes.values()):
            # What is not changed, too: Datumaro writes labels only if there is nothing else.
            others = (c for c in plan.changes.values() if c.labels or c.added or c.attributes)
            relabeled = {change.key for change in others}
            refuse_lost(changed(source, plan), form, before=source, relabeled=relabeled)


class StoreTransform(FindingsTransform):
    """A transform that picks or changes items by what a store knows of them."""

    def __init__(self, extractor: IDataset, store: str | Path, **options: Any) -> None:
        super().__init__(extractor, **options)
        self._store = store

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe the flags of every such transform."""
        parser.add_argument(
            "--store",
            required=True,
            type=text_given,
            metavar="STORE",
            help="store of this dataset (required)",
        )
        add_stale_argument(parser)

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse an output folder that is in use, and a store that cannot be opened."""
        super().check_arguments(parsed)
        open_store(parsed["store"]).close()

    def _find(self, source: SourceDataset) -> tuple[Findings, Mapping[ItemKey, bytes]]:
        records = map_ahead(read_item_info, source)
        contents = {record.key: record.content_sha256 for record in records}
        with open_store(self._store) as store:
            fresh = fresh_items(store, contents, skip_stale=self._skip_stale)
            facts = {"store": store.uuid, "model": store.kind.fingerprint}
            actions = self._actions(store, contents, fresh)
            rows = (
                Finding.of(
                    self.NAME,
                    key,
                    group=group,
                    action=action,
                    content_sha256=contents[key].hex() if any(contents[key]) else "",
                    **facts,
                )
                for key, group, action in actions
            )
            return Findings(rows), contents

    def _actions(
        self, store: EmbeddingStore, keys: Collection[ItemKey], fresh: set[ItemKey]
    ) -> Iterable[tuple[ItemKey, int | None, str]]:
        """Say what becomes of items; those that are not `fresh` are unknown to the store."""
        raise NotImplementedError


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
