"""Make an INT8 model, calibrate it on a dataset, and compare it with the full model."""

from __future__ import annotations

import io
import logging
import shutil
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .adapter import SourceDataset, SourceItem, import_dataset
from .encoders import Encoder, OpenVinoImageEncoder, load_encoder
from .errors import ModelFidelityError, ModelNotFoundError, UsageError
from .exporting import export_model
from .files import scratch
from .models import load_manifest, resolve_model
from .models.graph import openvino_core, save_graph
from .models.making import check_model_dir, make_golden, need_extra, new_model_dir
from .models.manifest import MANIFEST_NAME, ImageSpec, sha256_file, write_manifest
from .parallel import map_ahead
from .pipeline import read_item
from .tally import counted

MIN_ITEMS = 20
_K = 10
_SEED = 0
_NNCF = ("Making an INT8 model", "quantise", "nncf")

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How closely an INT8 model matches the full model, on items not used for calibration.

    Attributes
    ----------
    n_calibration, n_held_out : int
        Number of items.
    cosine_min, cosine_mean : float
        Cosine between the two vectors of an item.
    recall_at_10 : float
        Share of an item's ten nearest neighbors that are still among its ten nearest.
    zero_shot_agreement : float or None
        Share of items with the same nearest label; None with fewer than two labels.
    speed_ratio : float
        Images per second on this machine, INT8 / full.
    """

    n_calibration: int
    n_held_out: int
    cosine_min: float
    cosine_mean: float
    recall_at_10: float
    zero_shot_agreement: float | None
    speed_ratio: float

    def lines(self) -> list[str]:
        """Return a plain-text table."""
        agreement = self.zero_shot_agreement
        shown = "no labels" if agreement is None else f"{agreement:.4f}"
        return [
            f"INT8 against the full model, on {counted(self.n_held_out, 'held-out items')} "
            f"(calibrated on {self.n_calibration}):",
            f"  cosine, lowest           {self.cosine_min:.4f}",
            f"  cosine, mean             {self.cosine_mean:.4f}",
            f"  recall@{_K} of neighbors   {self.recall_at_10:.4f}",
            f"  zero-shot agreement      {shown}",
            f"  speed, INT8 : full       {self.speed_ratio:.2f}",
        ]


def export_int8(
    source: str,
    out_dir: Path,
    *,
    calibrate: str | None,
    revision: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Fidelity:
    """Make an INT8 model of a model directory, a model's name, a checkpoint or a hub id.

    Parameters
    ----------
    calibrate : str
        ``PATH[:FORMAT]`` of a dataset; None raises `UsageError`, as there is no default data.
    options
        Passed to `quantise_model`. See `exporting.export_model` for the other arguments.
    """
    if calibrate is None:
        raise UsageError(
            "INT8 calibration needs a dataset of images like yours. Give it with "
            "``calibrate`` DATASET[:FORMAT]."
        )
    need_extra(*_NNCF)
    dataset = import_dataset(calibrate).source
    check_model_dir(out_dir, replace=overwrite)
    options["overwrite"] = overwrite
    made = None
    if not Path(source).is_dir() or (Path(source) / MANIFEST_NAME).is_file():
        with suppress(ModelNotFoundError):  # `source` is a hub id
            made = resolve_model(source)
    if made is not None:
        return quantise_model(made, dataset, out_dir, **options)
    with scratch() as folder:
        full = export_model(source, folder / out_dir.name, revision=revision)
        return quantise_model(full, dataset, out_dir, **options)


def quantise_model(
    model_dir: str | Path,
    dataset: SourceDataset,
    out_dir: str | Path,
    *,
    calibration_items: int = 300,
    min_recall: float = 0.95,
    force: bool = False,
    overwrite: bool = False,
) -> Fidelity:
    """Write an INT8 copy of a model directory, whole or not at all.

    Only the image encoder becomes INT8; the text encoder is copied, as texts are few.

    Parameters
    ----------
    model_dir : str or Path
        A full-precision model directory or name.
    dataset : SourceDataset
        Its readable items are shuffled with a fixed seed: the first `calibration_items` (at most
        half) calibrate, and up to as many others are held out for the comparison.
    min_recall : float
        With a lower recall@10, nothing is written and ModelFidelityError is raised, unless `force`
        is set.

    Returns
    -------
    Fidelity
        Also written to ``model.json``.
    """
    need_extra(*_NNCF)
    if calibration_items < 1:
        raise UsageError(f"``calibration_items`` must be at least 1, not {calibration_items}.")
    if not 0 <= min_recall <= 1:
        raise UsageError(f"``min_recall`` must be between 0 and 1, not {min_recall}.")
    out_dir = Path(out_dir)
    found = resolve_model(model_dir)
    with new_model_dir(out_dir, replace=overwrite) as fresh:
        full = load_encoder(found)
        if full.manifest.precision == "int8":
            raise UsageError(f"{found} is already an INT8 model. Use the full-precision model.")
        pixels = _sample(dataset, full, 2 * calibration_items)
        n_calibration = min(calibration_items, len(pixels) // 2)
        for name in full.manifest.files:
            shutil.copyfile(found / name, fresh / name)
        quantise_image_encoder(
            found / "image_encoder.xml",
            fresh / "image_encoder.xml",
            pixels[:n_calibration],
            full.manifest.image,
        )
        manifest = replace(
            full.manifest,
            name=out_dir.name,
            precision="int8",
            files={name: sha256_file(fresh / name) for name in full.manifest.files},
            golden=make_golden(fresh, full.manifest.image, full.manifest.text),
            duplicates=None,
        )
        write_manifest(fresh, manifest)
        labels = dataset.categories.labels
        fidelity = _compare(full, load_encoder(fresh), pixels, n_calibration, labels)
        if fidelity.recall_at_10 < min_recall and not force:
            raise ModelFidelityError(
                f"INT8 keeps {fidelity.recall_at_10:.3f} of the {_K} nearest neighbors, below "
                f"``min_recall`` {min_recall}; nothing was written. Calibrate on more images like "
                "yours, lower ``min_recall``, or use ``force``.",
                fidelity=asdict(fidelity),
            )
        write_manifest(fresh, replace(manifest, fidelity=asdict(fidelity)))
        load_manifest(fresh)
    return fidelity


def quantise_image_encoder(
    source: Path, target: Path, pixels: Sequence[Pixels], spec: ImageSpec
) -> None:
    """Write an image encoder with INT8 weights and activations, calibrated on `pixels`.

    The first layer (patches) and the last (projection) keep full precision: they take little time
    but cause most of the loss (recall@10 of one small CLIP 0.945 → 0.964).
    Each image runs through the full graph once, in a batch of 1: about 20 ms for ViT-B/32.
    Equal inputs give equal files.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = openvino_core().read_model(source)
    name = model.input(0).any_name
    nodes = model.get_ordered_ops()
    first = [n.get_friendly_name() for n in nodes if n.get_type_name() == "Convolution"]
    last = [n.get_friendly_name() for n in nodes if n.get_type_name() == "MatMul"][-1:]
    with redirect_stdout(io.StringIO()):  # hides NNCF's progress bars
        quantised = nncf.quantize(
            model,
            nncf.Dataset(pixels, lambda image: {name: spec.network_input(image)}),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(pixels),
            ignored_scope=nncf.IgnoredScope(names=[*first, *last]),
        )
    save_graph(quantised, target, compress_to_fp16=False)


def fidelity_of(full: Vectors, quantised: Vectors) -> tuple[float, float, float]:
    """Return minimum cosine, mean cosine and recall@10; both arrays hold one unit row per item."""
    cosines = np.sum(full * quantised, axis=1)
    nearest, found = _nearest(full), _nearest(quantised)
    kept = [len(set(a) & set(b)) / len(a) for a, b in zip(nearest, found, strict=True)]
    return float(cosines.min()), float(cosines.mean()), float(np.mean(kept))


def _sample(dataset: SourceDataset, encoder: OpenVinoImageEncoder, n_wanted: int) -> list[Pixels]:
    """Read the pixels of randomly chosen readable items."""
    items = list(dataset)
    order = np.random.default_rng(_SEED).permutation(len(items))

    def read(item: SourceItem) -> Pixels | None:
        image = read_item(item)[1]
        return None if image is None else encoder.preprocess(image)

    pixels: list[Pixels] = []
    shuffled = (items[i] for i in order)
    for found in map_ahead(read, shuffled):
        if found is not None:
            pixels.append(found)
        if len(pixels) == n_wanted:
            break
    if len(pixels) < MIN_ITEMS:
        raise UsageError(
            f"Only {counted(len(pixels), 'images')} of the dataset can be read; INT8 needs at "
            f"least {MIN_ITEMS}, and preferably hundreds. Use a larger dataset."
        )
    return pixels


def _compare(
    full: OpenVinoImageEncoder,
    quantised: OpenVinoImageEncoder,
    pixels: Sequence[Pixels],
    n_calibration: int,
    labels: Sequence[str],
) -> Fidelity:
    held_out = pixels[n_calibration:]
    rows, seconds = _embed(full, held_out)
    rows_int8, seconds_int8 = _embed(quantised, held_out)
    cosine_min, cosine_mean, recall = fidelity_of(rows, rows_int8)
    agreement = None
    if len(labels) > 1 and isinstance(full, Encoder):
        prompts = full.embed_labels(labels).T
        same = np.argmax(rows @ prompts, axis=1) == np.argmax(rows_int8 @ prompts, axis=1)
        agreement = round(float(np.mean(same)), 6)
    return Fidelity(
        n_calibration=n_calibration,
        n_held_out=len(held_out),
        cosine_min=round(cosine_min, 6),
        cosine_mean=round(cosine_mean, 6),
        recall_at_10=round(recall, 6),
        zero_shot_agreement=agreement,
        speed_ratio=round(seconds / seconds_int8, 3),
    )


def _embed(encoder: OpenVinoImageEncoder, pixels: Sequence[Pixels]) -> tuple[Vectors, float]:
    """Return the vectors, and the seconds that embedding took after a warm-up."""
    size = encoder.batch_size
    batches = [np.stack(pixels[i : i + size]) for i in range(0, len(pixels), size)]
    list(encoder.embed_pixels(batches[:2]))
    started = time.perf_counter()
    rows = np.concatenate(list(encoder.embed_pixels(batches)))
    return rows, time.perf_counter() - started


def _nearest(rows: Vectors) -> npt.NDArray[np.int64]:
    similarities = rows @ rows.T
    np.fill_diagonal(similarities, -np.inf)
    order = np.argsort(-similarities, axis=1, kind="stable")
    return order[:, : min(_K, len(rows) - 1)]
