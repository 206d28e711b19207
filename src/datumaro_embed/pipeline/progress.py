"""What a run tells its user: a progress bar while it goes, a summary when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..encoders import ClipEncoder, Encoder, resizing_library
from ..records import ItemRecord, Status
from ..tally import Tally
from .options import EmbedOptions

__all__ = ["EmbedSummary", "Progress", "settings_line"]


@dataclass(frozen=True, slots=True)
class EmbedSummary:
    """The end of a run.

    Attributes
    ----------
    store : str
        Where the store is.
    n_items : int
        Rows written, failed ones included.
    failures : mapping of Status to Tally
        For each status the reasons and the items that failed.
    losses : Tally
        What of the dataset on disk was not imported, or not completely.
    notes : Tally
        What is wrong with items that have a row all the same (see `ItemRecord.notes`).
    seconds : float
    n_added, n_reused, n_reembedded, n_removed : int
        New items; rows whose vector an earlier run had; items that were there and were embedded
        again; items of the store before that the dataset has no longer.
    outlook : str
        What is next to do, a line for each store; empty where nothing is.
    captions : (path, number) or None
        Where the captions are and how many; None where none were embedded.
    """

    store: str
    n_items: int
    failures: Mapping[Status, Tally]
    losses: Tally
    notes: Tally
    seconds: float
    n_added: int = 0
    n_reused: int = 0
    n_reembedded: int = 0
    n_removed: int = 0
    outlook: str = ""
    captions: tuple[Path, int] | None = None

    @property
    def n_failed(self) -> int:
        """Rows without a vector."""
        return sum(reasons.total for reasons in self.failures.values())

    def lines(self) -> list[str]:
        """Say it in plain text, one line each."""
        rate = self.n_items / self.seconds if self.seconds else 0.0
        lines = [
            f"{self.n_items} rows in {self.store} ({self.n_items - self.n_failed} embedded, "
            f"{self.n_failed} failed) in {self.seconds:.1f} s, {rate:.1f} images/s"
        ]
        if self.n_reused or self.n_reembedded or self.n_removed:
            lines.append(
                f"  {self.n_reused} re-used, {self.n_added} added, "
                f"{self.n_reembedded} re-embedded, {self.n_removed} removed"
            )
        for status, reasons in sorted(self.failures.items()):
            lines.append(f"  {status.name.lower()}: {reasons.total}")
            lines.extend(reasons.lines())
        if self.notes:
            lines.append("  noticed:")
            lines.extend(self.notes.lines())
        if self.losses:
            lines.append("  lost on import:")
            lines.extend(self.losses.lines())
        if self.captions:
            lines.append(f"  {self.captions[1]} captions in {self.captions[0]}")
        return [*lines, self.outlook] if self.outlook else lines


@dataclass
class Progress:
    """A tqdm bar on a terminal and a count of failures; a context manager."""

    total: int
    show: bool = True
    failures: dict[Status, Tally] = field(default_factory=dict)
    notes: Tally = field(default_factory=Tally)

    def __enter__(self) -> Progress:
        self._bar = tqdm(
            total=self.total,
            desc="Embedding",
            unit="img",
            disable=None if self.show else True,  # None: only where stderr is a terminal
            dynamic_ncols=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def note(self, record: ItemRecord) -> None:
        """Count one row as written."""
        self._bar.update()
        if record.status is not Status.OK:
            self.failures.setdefault(record.status, Tally()).add(record.error, str(record.key))
            n_failed = sum(reasons.total for reasons in self.failures.values())
            self._bar.set_postfix_str(f"{n_failed} failed", refresh=False)
        for note in record.notes:
            self.notes.add(note, str(record.key))


def settings_line(encoder: Encoder, options: EmbedOptions) -> str:
    """Say which settings a run has, those chosen for this machine too."""
    provenance = encoder.provenance()
    streams = provenance.get("streams")
    parts = [
        f"device {provenance['device']}",
        f"precision {provenance['precision']}",
        f"batch size {encoder.batch_size}",
        *([f"streams {streams}"] if streams else []),
        f"decoding threads {options.decoding_threads()}",
        f"{options.decode} decoding",
        *([f"depth range {options.depth_range}"] if options.depth_range else []),
        *([f"resizing by {resizing_library()}"] if isinstance(encoder, ClipEncoder) else []),
        f"vectors as {options.dtype}",
    ]
    return f"Settings: {', '.join(parts)}."
