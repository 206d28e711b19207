"""Pure NumPy on embedding vectors: unit norm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["unit_rows"]

FloatArray = npt.NDArray[np.floating]


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
