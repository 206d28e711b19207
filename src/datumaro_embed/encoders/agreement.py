"""Whether several streams gave the same for one batch, and the error that says they did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StreamDisagreementError
from ..vectors import unit_rows

__all__ = ["check_agreement"]

_SAME_COSINE = 0.999  # off the CPU, where one batch may be rounded in two ways

Rows = npt.NDArray[np.float32]


def check_agreement(
    found: Sequence[Rows], before: Rows | None, *, name: str, facts: Mapping[str, Any]
) -> None:
    """Compare the outputs of several requests for one batch: bit by bit on the CPU.

    Parameters
    ----------
    found : arrays of shape (n_rows, dim), float32
        One of each request.
    before : array of the same shape, optional
        What the batch gave earlier.
    name : str
        Of the encoder.
    facts : mapping
        Of `Engine.describe`.

    Raises
    ------
    StreamDisagreementError

    Notes
    -----
    On a CPU the number of threads of a stream changes no bit (measured with 1, 2 and 4 streams of
    2 threads, in f32 and bf16), so streams of unlike cores should agree too.
    """
    expected = found[0] if before is None else before
    is_exact = facts["device"].strip("()") == "CPU"
    for number, rows in enumerate(found, start=1):
        with np.errstate(invalid="ignore"):  # what is not finite is found later
            cosines = np.einsum("ij,ij->i", unit_rows(rows), unit_rows(expected))
        same = (rows.view(np.uint32) == expected.view(np.uint32)).all(axis=1)
        if not is_exact:
            same |= cosines >= _SAME_COSINE
        if same.all():
            continue
        wrong = np.flatnonzero(~same)
        lowest = float(cosines[wrong].min())
        if before is None:
            than = "on request 1"
            advice = "Run the same command again; if that fails too, use ``streams`` 1"
        else:
            than = "at first"
            advice = "Vectors of this run may be wrong: embed again with ``restart``"
        raise StreamDisagreementError(
            f"For the same batch, the {name} gave other vectors on request {number} of "
            f"{len(found)} than {than}: row {', '.join(map(str, wrong[:5]))}, lowest cosine "
            f"{lowest:.6f} (OpenVINO {facts['openvino']}, {facts['device_name']}, "
            f"{facts['precision']}, {facts['streams']} streams). {advice}, and please report it.",
            rows=wrong.tolist(),
            cosine=lowest,
            **{fact: facts[fact] for fact in ("streams", "openvino", "device_name", "precision")},
        )
