"""What a run tells its user: a progress bar while it goes, a summary when it is over."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from ..causes import cause_of, detail_of
from ..encoders import ImageEncoder, OpenVinoImageEncoder, resizing_library
from ..escaping import printable
from ..logs import log
from ..parallel import usable_processors
from ..records import ItemRecord, Status
from ..tally import Tally, counted
from .options import EmbedOptions

__all__ = ["EmbedSummary", "Progress", "settings_line", "talk"]


@dataclass(slots=True)
class TableSummary:
    """What became of the objects, or the captions, of all items.

    Attributes
    ----------
    n_computed, n_reused : int
    without_vector : Counter
        Reason (the status in words) → number.
    """

    n_computed: int = 0
    n_reused: int = 0
    without_vector: Counter[str] = field(default_factory=Counter)

    @classmethod
    def total(cls, parts: Sequence[TableSummary | None]) -> TableSummary | None:
        """Add several up; None where none is there."""
        found = [part for part in parts if part is not None]
        if not found:
            return None
        return cls(
            sum(part.n_computed for part in found),
            sum(part.n_reused for part in found),
            sum((part.without_vector for part in found), Counter()),
        )

    def line(self, name: str) -> str:
        """Say it in one line."""
        n_rows = self.n_computed + self.n_reused + self.without_vector.total()
        text = f"{counted(n_rows, name)}: {self.n_computed:,} computed, {self.n_reused:,} reused"
        if self.without_vector:
            reasons = (f"{count:,} {why}" for why, count in self.without_vector.most_common())
            text += f", {self.without_vector.total():,} without a vector ({', '.join(reasons)})"
        return text


@dataclass(frozen=True, slots=True, repr=False)
class EmbedSummary:
    """Counts, failures and notes of a finished run.

    Attributes
    ----------
    store : str
        Where the store is.
    n_items : int
        Rows written, failed ones included.
    failures : mapping of Status to Tally
        For each status the causes and the items that failed.
    losses : Tally
        What of the dataset on disk was not imported, or not completely.
    notes : Tally
        What is wrong with items that have a row all the same (see `ItemRecord.notes`).
    seconds : float
    n_reused : int
        Rows whose vector an earlier run had.
    n_relabelled : int
        Of these, rows whose annotations differ from the previous store's.
    n_removed : int
        Items of the previous store that are no longer in the dataset.
    outlook : str
        What to do next, one line per store; empty if nothing.
    objects, captions : TableSummary or None
        None where they were not embedded.
    """

    store: str
    n_items: int
    failures: Mapping[Status, Tally]
    losses: Tally
    notes: Tally
    seconds: float
    n_reused: int = 0
    n_relabelled: int = 0
    n_removed: int = 0
    outlook: str = ""
    objects: TableSummary | None = None
    captions: TableSummary | None = None

    @property
    def n_failed(self) -> int:
        """Rows without a vector."""
        return sum(reasons.total for reasons in self.failures.values())

    @property
    def n_computed(self) -> int:
        """Rows whose vector this run computed: all but those re-used and those that failed."""
        return self.n_items - self.n_reused - self.n_failed

    def failure_line(self) -> str:
        """Say how many items failed, and where they are listed, in one line."""
        counts = (f"{tally.total} {s.name.lower()}" for s, tally in sorted(self.failures.items()))
        return printable(
            f"{self.n_failed:,} of {counted(self.n_items, 'items')} failed and have no vector "
            f"({', '.join(counts)}). `datumaro-embed info {self.store} --failed` lists them."
        )

    def __repr__(self) -> str:
        return f"<EmbedSummary: {printable(self._counts())}>"

    def lines(self) -> list[str]:
        """Say it in plain text, one line each."""
        rate = self.n_items / self.seconds if self.seconds else 0.0
        lines = [f"{self._counts()} in {self.seconds:.1f} s, {rate:.1f} images/s"]
        if self.n_relabelled:
            lines.append(f"  {counted(self.n_relabelled, 'reused rows have')} changed annotations")
        if self.n_removed:
            removed = counted(self.n_removed, "rows removed")
            lines.append(f"  {removed}: no longer in the dataset")
        for status, reasons in sorted(self.failures.items()):
            lines.append(f"  {status.name.lower()}: {reasons.total}")
            lines.extend(reasons.lines(times=" × "))
        if self.notes:
            lines.append("  noticed:")
            lines.extend(self.notes.lines())
        if self.losses:
            lines.append("  lost on import:")
            lines.extend(self.losses.lines())
        for name, table in (("objects", self.objects), ("captions", self.captions)):
            if table is not None:
                lines.append(f"  {table.line(name)}")
        return [printable(line) for line in (*lines, *self.outlook.splitlines())]

    def _counts(self) -> str:
        return (
            f"{counted(self.n_items, 'rows')} in {self.store}: {self.n_computed:,} computed, "
            f"{self.n_reused:,} reused, {self.n_failed:,} failed"
        )


def talk(*, show: bool) -> Callable[[str], None]:
    """Return what a caller from Python is told lines with: a terminal if there is one, or a log."""

    def tell(line: str) -> None:
        print(printable(line), file=sys.stderr)

    return tell if show and sys.stderr.isatty() else log.info


@dataclass
class Progress:
    """A tqdm bar and the counts of a run.

    Attributes
    ----------
    failures, notes : as in `EmbedSummary`
    objects, captions : TableSummary or None
        To be set where they are embedded.
    """

    bar: tqdm
    failures: dict[Status, Tally] = field(default_factory=dict)
    notes: Tally = field(default_factory=Tally)
    objects: TableSummary | None = None
    captions: TableSummary | None = None

    def note(
        self, record: ItemRecord, *, new_objects: Collection[int] = (), n_new_captions: int = 0
    ) -> None:
        """Count one row as written, with the objects and captions that this run computed."""
        if self.objects is not None:
            for number, one in enumerate(record.objects or ()):
                if one.vector is None:
                    self.objects.without_vector[one.status.name.lower().replace("_", " ")] += 1
                elif number in new_objects:
                    self.objects.n_computed += 1
                else:
                    self.objects.n_reused += 1
        if self.captions is not None:
            self.captions.n_computed += n_new_captions
            self.captions.n_reused += len(record.captions or ()) - n_new_captions
        self.bar.update()
        if record.status is not Status.OK:
            cause = cause_of(record.error)
            detail = detail_of(record.error, cause)
            example = f"{record.key}: {detail}" if detail else str(record.key)
            self.failures.setdefault(record.status, Tally()).add(cause, example)
            n_failed = sum(reasons.total for reasons in self.failures.values())
            self.bar.set_postfix_str(f"{n_failed} failed", refresh=False)
        for note in record.notes:
            self.notes.add(note, str(record.key))


def settings_line(encoder: ImageEncoder, options: EmbedOptions) -> str:
    """Say which settings a run has, those chosen for this machine too."""
    provenance = encoder.provenance()
    streams = provenance.get("streams")
    parts = [
        f"device {provenance['device']}",
        f"precision {provenance['precision']}",
        f"batch size {encoder.batch_size}",
        f"streams {streams}" if streams else "",
        f"decoding threads {options.workers or usable_processors()}",
        f"{options.decode} decoding",
        f"depth range {options.depth_range}" if options.depth_range else "",
        f"resizing by {resizing_library()}" if isinstance(encoder, OpenVinoImageEncoder) else "",
        f"vectors as {options.dtype}",
    ]
    return f"Settings: {', '.join(filter(None, parts))}."
