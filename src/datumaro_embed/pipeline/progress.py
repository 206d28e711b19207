"""What a run tells its user: a progress bar while it goes, a summary when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..encoders import ClipEncoder, Encoder, resizing_library
from ..records import ItemRecord, Status
from .options import EmbedOptions

__all__ = ["EmbedSummary", "Progress", "settings_line"]

_EXAMPLES_PER_CAUSE = 3


@dataclass(frozen=True, slots=True)
class EmbedSummary:
    """The end of a run.

    Attributes
    ----------
    store : str
        Where the store is.
    n_items : int
        Rows written, failed ones included.
    failures : mapping of Status to sequence of str
        For each cause the items that failed, ``"subset/id: reason"``.
    dropped : sequence of str
        What Datumaro itself dropped while importing; these have no row.
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
    failures: dict[Status, Sequence[str]]
    dropped: Sequence[str]
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
        return sum(len(items) for items in self.failures.values())

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
        for status, items in sorted(self.failures.items()):
            lines.append(f"  {status.name.lower()}: {len(items)}")
            lines.extend(_examples(items))
        if self.dropped:
            lines.append(f"  dropped by Datumaro's importer, no row: {len(self.dropped)}")
            lines.extend(_examples(self.dropped))
        if self.captions:
            lines.append(f"  {self.captions[1]} captions in {self.captions[0]}")
        return [*lines, self.outlook] if self.outlook else lines


@dataclass
class Progress:
    """A tqdm bar on a terminal and a count of failures; a context manager."""

    total: int
    show: bool = True
    failures: dict[Status, list[str]] = field(default_factory=dict)

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
            self.failures.setdefault(record.status, []).append(f"{record.key}: {record.error}")
            counts = Counter({status: len(items) for status, items in self.failures.items()})
            self._bar.set_postfix_str(f"{counts.total()} failed", refresh=False)


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
        *([f"resizing by {resizing_library()}"] if isinstance(encoder, ClipEncoder) else []),
        f"vectors as {options.dtype}",
    ]
    return f"Settings: {', '.join(parts)}."


def _examples(items: Sequence[str]) -> list[str]:
    shown = [f"    {item}" for item in items[:_EXAMPLES_PER_CAUSE]]
    hidden = len(items) - len(shown)
    return [*shown, f"    … and {hidden} more"] if hidden else shown
