"""Dataset → records and vectors → store: batching, order, failures, progress.

    SourceItem ─threads: read, decode, resize─▶ (record, pixels) ─batches─▶ encoder ─▶ writer

One thread of the caller drives everything; the pool decodes a bounded number of items ahead, so
memory does not grow with the dataset.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from .adapter import SourceDataset, SourceItem
from .encoders import BATCH_SIZE, ClipEncoder, Encoder
from .errors import ItemFailedError, StoreExistsError, UsageError
from .options import DEFAULT_MODEL
from .parallel import map_ahead, usable_processors
from .progress import EmbedSummary, Progress
from .reading import read_item
from .records import ItemRecord, Status
from .store import EmbeddingStore, StoreWriter, create_store, open_store
from .versions import installed_versions

if TYPE_CHECKING:
    from datumaro.components.dataset_base import IDataset

__all__ = ["EmbedOptions", "check_place", "embed_dataset", "embed_source", "run_fingerprint"]

OnError = Literal["record", "fail"]
Pixels = npt.NDArray[np.uint8]
_BATCHES_AHEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """How to embed; each face (transform, Python, command line) fills the same fields.

    Attributes
    ----------
    model : str
        A model directory, or a name that `datumaro_embed.models.resolve_model` knows.
    device : str
        OpenVINO device.
    batch_size : int, optional
        Images in one inference; the encoder's own default otherwise.
    workers : int, optional
        Decoding threads; the number of usable processors otherwise.
    dtype : {"float16", "float32"}
        Of the vectors on disk.
    on_error : {"record", "fail"}
        What an unreadable item does: gets a row with its status, or ends the run.
    follow_symlinks : bool
        Read image files that are links leading out of the dataset folder.
    restart : bool
        Replace a store that exists.
    """

    model: str = DEFAULT_MODEL
    device: str = "CPU"
    batch_size: int | None = None
    workers: int | None = None
    dtype: Literal["float16", "float32"] = "float16"
    on_error: OnError = "record"
    follow_symlinks: bool = False
    restart: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                flag = name.replace("_", "-")
                raise UsageError(
                    f"--{flag} must be at least 1, not {value}. Leave it out for the default."
                )
        _one_of("dtype", self.dtype, ("float16", "float32"))
        _one_of("on-error", self.on_error, ("record", "fail"))

    def load_encoder(self) -> ClipEncoder:
        """Load the model for these options."""
        return ClipEncoder.load(
            self.model, device=self.device, batch_size=self.batch_size or BATCH_SIZE
        )


def embed_dataset(
    dataset: IDataset,
    store: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **options: Any,
) -> EmbeddingStore:
    """Embed every item of a Datumaro dataset now, and return the open store.

    Parameters
    ----------
    dataset : datumaro Dataset
    store : path
        The HDF5 file to write; its folder is made where it is missing.
    root : path, optional
        The dataset's folder, for paths and their checks (see SourceDataset).
    progress : bool
        Show a bar where stderr is a terminal.
    **options
        Fields of `EmbedOptions`.

    Returns
    -------
    EmbeddingStore
        Row i is the i-th item sorted by (subset, id); failed items have a status and a zero vector.

    Raises
    ------
    DatumaroEmbedError
        Any of `datumaro_embed.errors`; then nothing was written.
    """
    chosen = EmbedOptions(**options)
    source = SourceDataset(
        dataset, root=Path(root) if root else None, follow_symlinks=chosen.follow_symlinks
    )
    embed_source(source, Path(store), chosen, progress=progress)
    return open_store(store)


def embed_source(
    source: SourceDataset,
    store: Path,
    options: EmbedOptions,
    *,
    dropped: Sequence[str] = (),
    progress: bool = True,
    encoder: Encoder | None = None,
) -> EmbedSummary:
    """Embed a source dataset into a store file; see `embed_dataset`.

    Parameters
    ----------
    dropped : sequence of str
        What the importer dropped, for the summary and the provenance.
    encoder : Encoder, optional
        Instead of loading ``options.model``.
    """
    started = time.monotonic()
    check_place(store, options)
    encoder = encoder or options.load_encoder()
    writer = create_store(
        store,
        dim=encoder.dim,
        dtype=options.dtype,
        run_fingerprint=run_fingerprint(encoder),
        overwrite=options.restart,
    )
    with writer, Progress(len(source), show=progress) as bar:
        _write_rows(source, encoder, writer, options, bar)
        labels = source.categories.labels
        writer.set_categories(source.categories, encoder.embed_labels(labels) if labels else None)
        writer.seal(_provenance(source, encoder, options, dropped))
    seconds = time.monotonic() - started
    return EmbedSummary(str(store), len(source), dict(bar.failures), dropped, seconds)


def check_place(store: Path, options: EmbedOptions) -> None:
    """Refuse early a place where the store cannot be written; leaves nothing behind.

    Raises
    ------
    UsageError, StoreExistsError, StoreWriteError
    """
    if store.is_dir() or not store.name:
        raise UsageError(
            f"'{store}' is a folder; a store is a file. Name it, as {store / 'clip.h5'}."
        )
    if os.path.lexists(store) and not options.restart:
        raise StoreExistsError(
            f"'{store}' exists. --restart replaces it; else choose another path.", path=str(store)
        )
    create_store(store, dim=1, overwrite=options.restart).abort()


def run_fingerprint(encoder: Encoder) -> str:
    """Identity of what makes a vector, the model's files: equal means comparable."""
    return encoder.fingerprint


def _write_rows(
    source: SourceDataset,
    encoder: Encoder,
    writer: StoreWriter,
    options: EmbedOptions,
    bar: Progress,
) -> None:
    """Append every row in order: a vector for what could be read, none for what could not."""
    rows = _OrderedRows(writer, bar)
    for vectors in encoder.embed_pixels(_batches(source, encoder, options, rows)):
        rows.fill(vectors)


class _OrderedRows:
    """Records in order, each waiting for its vector; a failed one only for those before it."""

    def __init__(self, writer: StoreWriter, bar: Progress) -> None:
        self._writer = writer
        self._bar = bar
        self._waiting: deque[ItemRecord] = deque()

    def expect(self, record: ItemRecord) -> None:
        self._waiting.append(record)
        self._write_failed()

    def fill(self, vectors: npt.NDArray[np.float32]) -> None:
        for vector in vectors:
            self._write(vector)
            self._write_failed()

    def _write_failed(self) -> None:
        while self._waiting and self._waiting[0].status is not Status.OK:
            self._write(None)

    def _write(self, vector: npt.NDArray[np.float32] | None) -> None:
        record = self._waiting.popleft()
        self._writer.append(record, vector)
        self._bar.note(record)


def _batches(
    source: SourceDataset, encoder: Encoder, options: EmbedOptions, rows: _OrderedRows
) -> Iterator[Pixels]:
    """Stack the pixels of readable items; every record goes to ``rows`` on the way."""
    batch: list[Pixels] = []
    for record, pixels in _read_ahead(source, encoder, options):
        rows.expect(record)
        if pixels is not None:
            batch.append(pixels)
        if len(batch) == encoder.batch_size:
            yield np.stack(batch)
            batch.clear()
    if batch:
        yield np.stack(batch)


def _read_ahead(
    source: SourceDataset, encoder: Encoder, options: EmbedOptions
) -> Iterator[tuple[ItemRecord, Pixels | None]]:
    """Read, decode and resize in threads, a bounded number ahead, in the source's order."""
    workers = options.workers or usable_processors()
    ahead = max(_BATCHES_AHEAD * encoder.batch_size, 2 * workers)

    def read(item: SourceItem) -> tuple[ItemRecord, Pixels | None]:
        record, image = read_item(item)
        if image is None and options.on_error == "fail":
            raise ItemFailedError(
                f"{record.key}: {record.error} ({record.status.name.lower()}). Mend or remove it, "
                "or run with --on-error record.",
                key=record.key,
            )
        return record, None if image is None else encoder.preprocess(image)

    return map_ahead(read, source, workers=workers, ahead=ahead)


def _provenance(
    source: SourceDataset, encoder: Encoder, options: EmbedOptions, dropped: Sequence[str]
) -> dict[str, Any]:
    return {
        **encoder.provenance(),
        "dtype": options.dtype,
        "media_root": str(source.root.resolve()),
        "dropped_by_importer": list(dropped),
        "versions": installed_versions(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _one_of(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"--{flag} must be {' or '.join(allowed)}, not {value!r}.")
