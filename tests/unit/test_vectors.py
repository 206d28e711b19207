"""Unit rows."""

from __future__ import annotations

import numpy as np

from datumaro_embed.vectors import unit_rows


def test_unit_rows_keeps_zero_rows() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert rows.dtype == np.float32
