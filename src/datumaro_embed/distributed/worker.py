"""A worker: a dataset and a compiled encoder that embed one shard after another.

This module does not use Ray: a worker is an ordinary object that calls `embed_source`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..adapter import SourceDataset, import_dataset
from ..encoders import ImageEncoder
from ..errors import ClusterError, RunInterruptedError
from ..pipeline import EmbedOptions, EmbedSummary, embed_source
from ..sharding import Shard
from ..tally import Tally, counted

if TYPE_CHECKING:
    from datumaro.components.dataset_base import IDataset


@dataclass(frozen=True, slots=True)
class Task:
    """A run's parameters for every worker, pickled; see `embed_on_ray`.

    Options are plain values, as a node may have another version of this package.
    """

    dataset: str | Callable[[], IDataset]
    root: str | None
    store: str
    options: Mapping[str, Any]
    version: str = __version__

    def load_options(self) -> EmbedOptions:
        """Return the options; raise `ClusterError` if the driver has another package version."""
        if self.version != __version__:
            raise ClusterError(
                f"datumaro-embed is {__version__} on {socket.gethostname()}, but {self.version} "
                "where the run was started. Install the same version on every node."
            )
        return EmbedOptions(**self.options)


@dataclass(frozen=True, slots=True)
class Ready:
    """Facts that must be equal on all workers of a run.

    `model` is a fingerprint; `vectors` are the inference settings, such as ``"f32 on CPU"``.
    """

    n_items: int
    model: str
    vectors: str

    def __str__(self) -> str:
        return f"{counted(self.n_items, 'items')}, model {self.model[:12]}, {self.vectors}"


@dataclass(frozen=True, slots=True)
class ShardResult:
    """Summary of one shard's run, and the lines that it reported at its start."""

    summary: EmbedSummary
    said: Sequence[str]


class Worker:
    """Embeds shards of a task; other methods may be called meanwhile, from another thread.

    `prepare` reads dataset and model, so that their errors are raised by a call.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._source: SourceDataset | None = None
        self._losses = Tally()
        self._encoder: ImageEncoder | None = None
        self._stopped = threading.Event()
        self._n_rows = 0

    def prepare(self) -> Ready:
        """Read dataset and model."""
        options = self._task.load_options()
        self._encoder = options.load_encoder()
        chosen: dict[str, Any] = {
            "follow_symlinks": options.follow_symlinks,
            "every": options.every,
        }
        if isinstance(self._task.dataset, str):
            imported = import_dataset(self._task.dataset, **chosen)
            self._source, self._losses = imported.source, imported.losses
        else:
            root = Path(self._task.root) if self._task.root else None
            self._source = SourceDataset(self._task.dataset(), root=root, **chosen)
        kind = options.vector_kind(self._encoder)
        return Ready(len(self._source), kind.fingerprint, kind.settings)

    def embed(self, shard: Shard) -> ShardResult | None:
        """Embed one shard into its part of the store, or continue it; None if stopped."""
        assert self._source is not None
        said: list[str] = []
        self._n_rows = 0
        try:
            summary = embed_source(
                self._source,
                self._task.store,
                self._task.load_options(),
                losses=self._losses,
                shard=shard,
                progress=False,
                notify=said.append,
                encoder=self._encoder,
                before_row=self._count_row,
            )
        except RunInterruptedError:
            return None
        return ShardResult(summary, said)

    def n_rows(self) -> int:
        """Return the number of finished rows of the current shard."""
        return self._n_rows

    def stop(self) -> None:
        """End the current shard after the next row; finished rows are committed."""
        self._stopped.set()

    def _count_row(self) -> None:
        if self._stopped.is_set():
            raise RunInterruptedError("Stopped by the driver; nothing is lost.", exit_status=130)
        self._n_rows += 1
