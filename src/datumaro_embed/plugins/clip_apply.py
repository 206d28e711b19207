"""The Datumaro transform `clip_apply`: carries out the actions of a findings file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from datumaro.components.dataset_base import IDataset

from ..adapter import SourceDataset
from ..findings import Findings, Plan, changed, refuse_uneven
from ..flags import add_apply_arguments
from ..paths import path_given
from .transform import FindingsTransform


class ClipApply(FindingsTransform):
    r"""Drop, relabel and move what a findings file says.

    Only rows with an action are applied: drop, keep, label NAME, subset NAME. Every
    image is compared with the one of the finding, every object with its number,
    label and box: if one has changed, nothing is written. OUT must be a new or
    empty folder outside DATA. `datumaro-embed apply` does the same, writes any
    format, and compares the written dataset with the plan.

        datum transform -t clip_apply -o OUT DATA -- \
            --findings findings.csv
    """

    NAME = "clip_apply"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Describe the file, and how to act on it."""
        parser.add_argument(
            "--findings",
            required=True,
            type=path_given,
            metavar="FILE",
            help="findings file, CSV or Parquet (required)",
        )
        add_apply_arguments(parser)

    @classmethod
    def check_arguments(cls, parsed: dict[str, Any]) -> None:
        """Refuse a file that is none."""
        super().check_arguments(parsed)
        Findings.read(parsed["findings"])

    def __init__(
        self, extractor: IDataset, *, findings: Findings | str | Path, **options: Any
    ) -> None:
        super().__init__(extractor, **options)
        self._findings = findings

    def _find(self, source: SourceDataset) -> tuple[Findings, None]:  # noqa: ARG002
        given = self._findings
        return given if isinstance(given, Findings) else Findings.read(given), None

    def _refuse_lost(self, source: SourceDataset, plan: Plan) -> None:
        super()._refuse_lost(source, plan)
        if self._form is not None:
            refuse_uneven(changed(source, plan), self._form, before=source)
