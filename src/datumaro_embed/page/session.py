"""One open store and what the explorer knows of it: findings, pictures, encoder, maps, queries."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DatumaroEmbedError, StoreReplacedError, UsageError
from ..files import Identity, identity_at
from ..findings import Findings
from ..images import read_image
from ..models import load_manifest, resolve_model
from ..place import manifest_files
from ..retrieval import QueryEmbedder, compose
from ..similarity import all_cosines
from ..store import VectorTable, open_store
from .decisions import Decisions
from .maps import Maps
from .pictures import FULL_PX, PictureCache, Pictures, as_jpeg
from .places import default_findings
from .summary import label_totals, summary
from .tasks import Task

__all__ = ["EncoderLoading", "Session"]

_ENCODER_AFTER_S = 1.0  # the first pictures go first
_MAX_IMAGES, _MAX_TEXTS = 16, 1024
_TABLES = ("items", "objects")


class EncoderLoading(Exception):  # noqa: N818  (the page asks again)
    """The encoder is not there yet."""


@dataclass(frozen=True, slots=True)
class QueryImage:
    """An image that was dropped on the page: its vector, and a picture of it."""

    vector: npt.NDArray[Any]
    jpeg: bytes


class Session:
    """What one explorer has open; `close` lets go of it.

    Parameters
    ----------
    path : Path
        Of the store.
    findings : Path, optional
        ``STORE.findings.csv`` unless given; an audit makes it where it is missing.
    media_root : Path, optional
        As the store says unless given.

    Raises
    ------
    StoreError
    UsageError
        A file of findings of another store; no such folder.
    """

    def __init__(
        self, path: Path, *, findings: Path | None = None, media_root: Path | None = None
    ) -> None:
        if media_root is not None and not media_root.is_dir():
            raise UsageError(
                f"There is no folder '{media_root}'. Name the folder of the images with "
                "``media_root``.",
                path=str(media_root),
            )
        self.path = Path(os.path.abspath(path))
        self.store = open_store(path)
        self._identity = self._identity_now()
        self.tasks = {name: Task() for name in ("audit", "encoder", "map", "apply")}
        root = media_root or (Path(self.store.media_root) if self.store.media_root else None)
        self.media_root = root if root is not None and root.is_dir() else None
        self.pictures = Pictures(self.store, self.media_root, PictureCache())
        self.maps = Maps(self.store, self.tasks["map"])
        self.decisions = Decisions(self.store, findings or default_findings(self.path))
        self.plan: dict[str, Any] = {}
        self.near: dict[int, list[int]] = {}  # by finding: rows nearest to it
        self._images: OrderedDict[str, QueryImage] = OrderedDict()
        self._encoder: QueryEmbedder | None = None
        self._encoding = threading.Lock()
        self._timer = threading.Timer(_ENCODER_AFTER_S, self.load_encoder)
        self._timer.daemon = True
        self._texts: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()

    def start(self) -> None:
        """Begin in the background what takes a while: findings, then the encoder."""
        self.tasks["audit"].start(self._find)
        self._timer.start()

    # Store ---------------------------------------------------------------------------------------

    def table(self, of: str) -> VectorTable:
        """Give the items or the objects; raises `UsageError`."""
        if of not in _TABLES:
            raise UsageError(f"of is {of!r}. Choose items or objects.")
        return self.store.table(of)

    def check_row(self, of: str, row: int) -> VectorTable:
        """Give the table that has a row; raises `UsageError`."""
        table = self.table(of)
        if not 0 <= row < len(table):
            raise UsageError(f"There is no row {row} in the {of}; there are {len(table):,}.")
        return table

    @cached_property
    def labels(self) -> list[dict[str, Any]]:
        """Count the items and objects of each label, in the dataset's order."""
        return label_totals(self.store)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Answer of ``api/summary``."""
        return summary(self.store)

    @property
    def dataset(self) -> str | None:
        """Where the dataset lies, if the images lie in it."""
        return None if self.media_root is None else str(self.media_root)

    def _identity_now(self) -> Identity | None:
        inside = manifest_files(self.path) if self.path.is_dir() else [self.path]
        return identity_at(inside[0]) if inside else None

    def is_replaced(self) -> bool:
        """Tell whether another store is at the path now; one that was only touched is the same."""
        now = self._identity_now()
        if now != self._identity:
            try:
                with open_store(self.path) as store:
                    if store.uuid != self.store.uuid:
                        return True
            except DatumaroEmbedError:
                return True
            self._identity = now
        return False

    def refuse_replaced(self) -> None:
        """Raise `StoreReplacedError` where `is_replaced`."""
        if self.is_replaced():
            raise StoreReplacedError(
                f"'{self.path}' is another store than the one that is open, or is gone. Start "
                "`datumaro-embed explore` again."
            )

    # Findings ------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Make the findings, unless they are there."""
        task, decisions = self.tasks["audit"], self.decisions
        if decisions.has_audit:
            return
        if decisions.read_only:
            raise UsageError(f"there are no findings, and none can be saved. {decisions.read_only}")
        task.note = "audit"
        with tempfile.TemporaryDirectory(prefix="datumaro-embed-") as folder:
            out = Path(folder) / "findings.parquet"
            root = None if self.media_root is None else str(self.media_root)
            task.call("make_findings", store=str(self.path), media_root=root, out=str(out))
            self.refuse_replaced()
            decisions.publish(Findings.read(out))

    # Queries -------------------------------------------------------------------------------------

    @cached_property
    def has_texts(self) -> bool:
        """Whether the model that made the store is here, and embeds texts."""
        try:
            directory = resolve_model(self.store.model_fact("name"))
            manifest = load_manifest(directory, verify_hashes=False)
        except DatumaroEmbedError:
            return False
        same = manifest.fingerprint == self.store.kind.fingerprint
        return same and manifest.text is not None

    def load_encoder(self) -> None:
        """Begin to load the encoder, unless it is loading or loaded, or there is none."""
        with self._encoding:
            if self.tasks["encoder"].state in ("idle", "failed") and self.store.model_fact("name"):
                self.tasks["encoder"].start(self._load_encoder)

    def _load_encoder(self) -> None:
        embed = QueryEmbedder(self.store, "items", None, None)
        embed.load()
        if self.has_texts:
            embed("a photo")  # compiles
        self._encoder = embed

    def _embedder(self) -> QueryEmbedder:
        """Return the encoder; raises `EncoderLoading`, `UsageError`."""
        if self._encoder is None:
            if self.tasks["encoder"].state == "failed":
                raise UsageError(f"The model cannot be loaded: {self.tasks['encoder'].note}")
            if not self.store.model_fact("name"):
                raise UsageError("The store does not say which model made it. Query with rows.")
            self.load_encoder()
            raise EncoderLoading
        return self._encoder

    def text_vector(self, text: str) -> npt.NDArray[Any]:
        """Embed a text; raises `EncoderLoading`, `UsageError`: the model has no texts."""
        if text not in self._texts:
            embed = self._embedder()
            self._texts[text] = embed(text)
            if len(self._texts) > _MAX_TEXTS:
                self._texts.popitem(last=False)
        return self._texts[text]

    def add_image(self, data: bytes) -> tuple[str, str]:
        """Embed an image that was dropped on the page; return its id and version.

        Raises `ImageProblem`, `EncoderLoading`.
        """
        embed = self._embedder()
        image, info = read_image(data, depth_range=self.store.depth_range)
        name = info.content_sha256.hex()
        vector = embed(image)
        self._images[name[:32]] = QueryImage(vector, as_jpeg(image, FULL_PX // 4))
        while len(self._images) > _MAX_IMAGES:
            self._images.popitem(last=False)
        return name[:32], name[:12]

    def image(self, name: str) -> QueryImage:
        """Give an image that was dropped; raises `UsageError`."""
        found = self._images.get(name)
        if found is None:
            raise UsageError("The image of this query is gone. Drop it on the page again.")
        return found

    def similarities(
        self, of: str, plus: list[npt.NDArray[Any]], minus: list[npt.NDArray[Any]]
    ) -> npt.NDArray[np.float32]:
        """Compare every row with a query: (n_rows,) float32."""
        return all_cosines(self.table(of).embeddings(), compose(plus, minus))

    # Apply ---------------------------------------------------------------------------------------

    def carry_out(self, dataset: str, out: str, form: str | None, *, dry_run: bool) -> None:
        """Begin to apply the findings to a dataset; the plan, or what was done, is in `plan`."""
        if self.tasks["apply"].state == "running":
            raise UsageError("`apply` is running. Wait until it ends.")
        self.plan = {}

        def work() -> None:
            arguments = {"dataset": dataset, "out": out, "form": form, "dry_run": dry_run}
            path = str(self.decisions.path)
            self.plan = self.tasks["apply"].call("carry_out", findings=path, **arguments)

        self.tasks["apply"].start(work)

    def close(self) -> None:
        """Let go of everything; findings are on disk already."""
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()  # it may be past its time, and read the store
        for task in self.tasks.values():
            task.stop()
        self.decisions.close()
        self.store.close()
