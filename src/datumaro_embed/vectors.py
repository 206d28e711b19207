"""Scale vectors to unit norm, and check that vectors may share a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ModelMismatchError, UsageError

FloatArray = npt.NDArray[np.floating]

MAX_DIM = 65_536
MAX_TEXT_BYTES = 4096
VECTOR_DTYPES = ("float16", "float32")
_DEPTH = ", depth range "


def unit_rows(vectors: FloatArray) -> npt.NDArray[np.float32]:
    """Scale rows to Euclidean norm 1; a zero row stays zero.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), any float dtype

    Returns
    -------
    array of shape (n_rows, dim), float32
    """
    rows = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.zeros_like(rows)
    np.divide(rows, norms, out=unit, where=norms > 0)
    return unit


@dataclass(frozen=True, slots=True)
class VectorKind:
    """Properties that decide whether vectors may share a store.

    Raises `UsageError` if vectors of this kind cannot be stored.
    """

    dim: int  # length of a vector
    dtype: str = "float16"  # {"float16", "float32"}: stored type
    fingerprint: str = ""  # hash of the model's weights, tokenizer and preprocessing
    settings: str = ""  # inference settings, such as ``"f32 on CPU"``; empty if unknown
    model: str = ""  # name of the model, for messages

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MAX_DIM:
            raise UsageError(f"dim is {self.dim}; it must be 1 to {MAX_DIM:,}.", dim=self.dim)
        if self.dtype not in VECTOR_DTYPES:
            raise UsageError(
                f"dtype is {self.dtype!r}; choose one of {', '.join(VECTOR_DTYPES)}.",
                dtype=self.dtype,
            )
        for name in ("fingerprint", "settings", "model"):
            text = getattr(self, name)
            if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES or "\0" in text:
                raise UsageError(f"{name} is over {MAX_TEXT_BYTES:,} bytes or contains a NUL.")

    def __str__(self) -> str:
        settings = f", {self.settings}" if self.settings else ""
        mark = f" ({self.fingerprint[:12]})" if self.fingerprint else ""
        return f"{self.dim} x {self.dtype} by {self.model or 'an unknown model'}{mark}{settings}"

    def same_model(self, other: VectorKind) -> bool:
        """Tell whether both come from one model, so that their vectors may be compared."""
        return (self.fingerprint, self.dim) == (other.fingerprint, other.dim)

    def fits(self, other: VectorKind) -> bool:
        """Tell whether vectors of both may share a store; unknown settings fit any."""
        known = {self.settings, other.settings} - {""}
        return self.same_model(other) and self.dtype == other.dtype and len(known) < 2

    def mismatch(self, place: object, wanted: VectorKind, remedy: str) -> ModelMismatchError:
        """Return the error for a store that has vectors of this kind instead of `wanted`."""
        return ModelMismatchError(
            f"'{place}' has vectors {self}, but {wanted} is required. {remedy}",
            path=str(place),
            stored=self.fingerprint,
            wanted=wanted.fingerprint,
        )

    @property
    def depth_range(self) -> str:
        """Depth range in the settings, else ``"auto"``."""
        return self.settings.partition(_DEPTH)[2] or "auto"

    @staticmethod
    def settings_of(provenance: Mapping[str, Any]) -> str:
        """Return the settings that change the bits of a vector, as text.

        They are ``precision``, ``device``, ``decode`` and ``depth_range`` of `provenance`.
        """
        precision, device = provenance.get("precision"), provenance.get("device")
        if not isinstance(precision, str) or not isinstance(device, str):
            return ""
        families = sorted(set(re.findall(r"[A-Za-z]+", device)))  # GPU.0 and GPU.1 are both GPU
        decoding = ", fast decoding" if provenance.get("decode") == "fast" else ""
        depth_range = provenance.get("depth_range", "auto")
        depth = "" if depth_range == "auto" else f"{_DEPTH}{depth_range}"
        return f"{precision} on {'+'.join(families)}{decoding}{depth}"
