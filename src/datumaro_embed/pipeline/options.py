"""`EmbedOptions`: how to embed, the same for the transform, Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from ..depth import DepthRange
from ..encoders import BATCH_SIZE, ImageEncoder, load_encoder
from ..errors import UsageError
from ..flags import DEFAULT_MODEL
from ..objects import ObjectOptions
from ..records import CropShape
from ..store import COMMIT_ROWS
from ..vectors import VectorKind

__all__ = ["EmbedOptions"]

OnError = Literal["record", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """How to embed; each face (transform, Python, command line) fills the same fields.

    Attributes
    ----------
    model : str
        A model directory, or a name that `datumaro_embed.models.resolve_model` knows.
    device : str
        OpenVINO device.
    precision : {"auto", "f32", "bf16", "f16"}
        Of the arithmetic; ``"auto"``: what the device is fastest at.
    batch_size : int, optional
        Images in one inference; the encoder's own default otherwise.
    workers : int, optional
        Decoding threads; the number of usable processors otherwise.
    streams : int, optional
        Batches computed at the same time; the device's choice otherwise.
    decode : {"exact", "fast"}
        ``"fast"`` reads large JPEGs at a half, a quarter or an eighth of their size where that is
        still at least the model's: other pixels, nearly the same vectors (docs/performance.md).
    depth_range : str, optional
        ``"auto"``, ``"full"`` or ``"LOW:HIGH"``: how samples of more than 8 bits become bytes
        (docs/image-files.md); otherwise ``"auto"``, and the summary says which images it concerns.
    dtype : {"float16", "float32"}
        Of the vectors on disk.
    on_error : {"record", "fail"}
        What an unreadable item does: gets a row with its status, or ends the run.
    follow_symlinks : bool
        Read image files that are links leading out of the dataset folder.
    every : int
        Of videos, only the frames whose number is a multiple of this.
    commit_rows : int
        A crash loses at most so many rows, or those of one minute.
    objects : bool, optional
        Embed a crop of every object too, into the table ``objects``; otherwise where the store has
        that table.
    object_margin, object_shape, min_object_px
        See `ObjectOptions`; the shape is ``"square"``, ``"stretch"`` or ``"pad"``. Otherwise those
        that the store has.
    captions : bool, optional
        Embed Caption annotations too, into the table ``captions``; otherwise where the store has
        that table.
    verbose : bool
        Say which settings were chosen.
    restart : bool
        Re-use nothing of a store or an unfinished run that is there, and replace it.
    """

    model: str = DEFAULT_MODEL
    device: str = "CPU"
    precision: Literal["auto", "f32", "bf16", "f16"] = "auto"
    batch_size: int | None = None
    workers: int | None = None
    streams: int | None = None
    decode: Literal["exact", "fast"] = "exact"
    depth_range: str | None = None
    dtype: Literal["float16", "float32"] = "float16"
    on_error: OnError = "record"
    follow_symlinks: bool = False
    every: int = 1
    commit_rows: int = COMMIT_ROWS
    restart: bool = False
    objects: bool | None = None
    object_margin: float | None = None
    object_shape: Literal["square", "stretch", "pad"] | None = None
    min_object_px: int | None = None
    captions: bool | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "streams", "commit_rows", "every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(
                    f"``{name}`` must be at least 1, not {value}. Leave it out for the default."
                )
        DepthRange.parse(self.depth_range)
        choices: dict[str, tuple[str, ...]] = {
            "precision": ("auto", "f32", "bf16", "f16"),
            "decode": ("exact", "fast"),
            "dtype": ("float16", "float32"),
            "on_error": ("record", "fail"),
        }
        if self.object_shape is not None:
            choices["object_shape"] = tuple(shape.name.lower() for shape in CropShape)
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise UsageError(f"``{name}`` must be {' or '.join(allowed)}, not {value!r}.")
        for name in ("objects", "captions"):
            if (value := getattr(self, name)) not in (None, True, False):
                raise UsageError(f"``{name}`` must be True, False or None, not {value!r}.")
        self.object_options()

    def load_encoder(self) -> ImageEncoder:
        """Load the model for these options."""
        return load_encoder(
            self.model,
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size or BATCH_SIZE,
            streams=self.streams,
        )

    def vector_kind(self, encoder: ImageEncoder) -> VectorKind:
        """Return the kind of vectors that an encoder makes with these options."""
        settings = VectorKind.settings_of({**encoder.provenance(), **self.decoding()})
        return VectorKind(encoder.dim, self.dtype, encoder.fingerprint, settings, encoder.name)

    def object_options(self, kept: ObjectOptions | None = None) -> ObjectOptions:
        """Return how objects are cut out: what is not chosen is as in the store."""
        shape = CropShape[self.object_shape.upper()] if self.object_shape else None
        margin, min_px = self.object_margin, self.min_object_px
        given: dict[str, Any] = {"margin": margin, "shape": shape, "min_px": min_px}
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(kept or ObjectOptions(), **chosen)

    def decoding(self) -> dict[str, str]:
        """Return what a provenance says of the way from files to pixels."""
        return {"decode": self.decode, "depth_range": str(DepthRange.parse(self.depth_range))}
