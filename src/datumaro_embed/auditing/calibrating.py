"""Calibrate a model's threshold for duplicates on the images of a store.

Cosines of two models are not comparable: one gives different images 0.3, another 0.9. What the
threshold must tell apart is measured on images of the user: copies of them, altered as copies are
in practice, and the nearest image of each that is not proven a copy on its pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle, islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..encoders import ImageEncoder, load_encoder
from ..errors import CalibrationError, UsageError
from ..images import ImageProblem
from ..models import Calibration
from ..parallel import map_ahead, single_threaded_opencv
from ..retrieval import media_root_of, model_of
from ..similarity import neighbours, paired_cosines
from ..store import EmbeddingStore, using_store
from .copies import CopySearch
from .differences import Array

__all__ = ["calibrate"]

MAX_DIFFERENT = 0.01
MIN_COPIES = 0.5
MIN_IMAGES = 100
_SAMPLED = 500
_NEAREST = 3  # as many as `CopySearch` proves of each image
_SEED = 0
_COPIES = ("recompressed", "resized", "cropped")


def calibrate(
    store: EmbeddingStore | str | PathLike[str],
    *,
    model: str | None = None,
    media_root: str | Path | None = None,
    progress: bool = False,
) -> Calibration:
    """Measure the threshold that tells copies of a store's images from different images.

    At the lowest threshold allowed, 1 % of the images have a different image that reaches it. If
    99 % of the copies reach a higher one, the threshold is in the middle.

    Parameters
    ----------
    store : EmbeddingStore or path
    model : str, optional
        Name or directory of the store's model; by default its name in the store.
    media_root : path, optional
        Folder of the images; by default where the store says.
    progress : bool
        Show bars where stderr is a terminal.

    Returns
    -------
    Calibration
        Nothing is written: see `models.save_calibration`.

    Raises
    ------
    UsageError
        Fewer than 100 images can be read.
    CalibrationError
        At the threshold, fewer than half of the copies are found.
    ModelNotFoundError, ModelMismatchError
        The model is not on this machine, or did not make the store.

    Notes
    -----
    Up to 500 images, chosen with a fixed seed, are embedded once more, each altered in one of three
    ways: recompressed (JPEG, quality 50), at half its size, or with 5 % of each side cut away.
    Takes as long as embedding 500 images, and 3 KB of memory for each image of the store.
    """
    with single_threaded_opencv(), using_store(store) as opened:
        model_dir, _ = model_of(opened, model)
        search = CopySearch([opened], [media_root_of(opened, media_root)], progress=progress)
        known = search.rows_of(0)
        order = np.random.default_rng(_SEED).permutation(known)
        encoder = load_encoder(model_dir)
        rows, vectors = _copies(search, order, encoder)
        _need(len(rows), "can be read as they were embedded", opened)
        stored = np.asarray(opened.embeddings(rows), np.float32)
        copies = (stored * vectors).sum(axis=1) / np.linalg.norm(stored, axis=1)
        # Of each image, the cosine of its nearest other that is not proven a copy, nor an overlap.
        rows = np.sort(rows)
        near = neighbours(search.vectors, rows, _NEAREST, among=known)
        places, ranks = np.nonzero(near >= 0)
        one, other = rows[places], near[places, ranks]
        pairs = [*map(tuple, np.sort(np.stack([one, other], axis=1), axis=1).tolist())]
        proofs, unread = search.looked_at(pairs), search.pictures.unread
        apart = [pair not in proofs and unread.keys().isdisjoint(pair) for pair in pairs]
        is_different = np.array(apart, bool)
        cosines = paired_cosines(search.vectors, one[is_different], other[is_different])
        nearest = np.full(len(rows), -np.inf)
        np.maximum.at(nearest, places[is_different], cosines)
        different = nearest[np.isfinite(nearest)]
        _need(len(different), "have another image near them that is not a copy", opened)
        return _fitted(copies, different, store=Path(opened.path).name, n_images=len(known))


def _need(n_images: int, what: str, store: EmbeddingStore) -> None:
    if n_images < MIN_IMAGES:
        raise UsageError(
            f"Only {n_images} images of '{store.path}' {what}, and calibration needs {MIN_IMAGES}. "
            "Use a store of more images, or give their folder with ``media_root``."
        )


def _copies(search: CopySearch, order: Array, encoder: ImageEncoder) -> tuple[Array, Array]:
    """Embed a copy of each image, altered in one way after the other; rows and vectors.

    Images that cannot be read, or are others now, are passed over.
    """
    chosen: list[int] = []

    def read(row: int) -> tuple[int, Image.Image] | None:
        try:
            return row, search.pictures.opened(row).decode()
        except ImageProblem:
            return None

    def pixels(images: Iterator[tuple[int, Image.Image] | None]) -> Iterator[Array]:
        found = islice(filter(None, images), _SAMPLED)
        for (row, image), how in zip(found, cycle(_COPIES), strict=False):
            chosen.append(row)
            width, height = image.size
            if how == "recompressed":
                buffer = io.BytesIO()
                image.save(buffer, "JPEG", quality=50)
                image = Image.open(buffer).convert("RGB")
            elif how == "resized":
                half = max(1, width // 2), max(1, height // 2)
                image = image.resize(half, Image.Resampling.BICUBIC)
            else:
                x, y = width // 20, height // 20
                image = image.crop((x, y, width - x, height - y))
            yield encoder.preprocess(image)

    with closing(map_ahead(read, order.tolist())) as images:
        each = pixels(images)
        batches = iter(lambda: [*islice(each, encoder.batch_size)], [])
        vectors = [*encoder.embed_pixels(map(np.stack, batches))]
    return np.array(chosen, np.int64), np.concatenate([np.zeros((0, encoder.dim)), *vectors])


def _fitted(copies: Array, different: Array, **facts: Any) -> Calibration:
    """Choose the threshold; raise `CalibrationError` where there is none.

    `facts`: `store` and `n_images` of the `Calibration`.
    """
    allowed = math.floor(MAX_DIFFERENT * len(different))
    low = float(np.sort(different)[::-1][allowed])  # above it, 1 % are left
    high = float(np.quantile(copies, 0.01, method="lower"))
    threshold = min(round(max((low + high) / 2, low + 1e-4), 4), 1.0)
    reached = copies >= threshold
    shares = {kind: reached[n :: len(_COPIES)].mean() for n, kind in enumerate(_COPIES)}
    found = Calibration(
        **facts,
        threshold=threshold,
        copies={kind: round(float(share), 4) for kind, share in shares.items()},
        different=round(float(np.mean(different >= threshold)), 4),
    )
    if reached.mean() < MIN_COPIES:
        raise CalibrationError(
            f"No threshold tells copies of these images from different ones: at {threshold}, "
            f"{found.different:.1%} of the images have a different image as near, but only "
            f"{reached.mean():.0%} of their copies are. Nothing was written. Prove copies on their "
            "pixels with `datumaro-embed audit`, or choose another model.",
            calibration=found,
        )
    return found
