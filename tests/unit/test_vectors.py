"""Unit rows and exact cosine top-k against float64 brute force."""

from __future__ import annotations

import numpy as np
import pytest

from datumaro_embed.vectors import top_k_cosine, unit_rows


def test_unit_rows_keeps_zero_rows() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("n_rows", [1, 7, 70_000])
def test_top_k_equals_brute_force(n_rows: int) -> None:
    rng = np.random.default_rng(n_rows)
    vectors = unit_rows(rng.normal(size=(n_rows, 8))).astype(np.float16)
    query = rng.normal(size=8)

    rows, similarities = top_k_cosine(query, vectors, 5)

    exact = vectors.astype(np.float64) @ (query / np.linalg.norm(query))
    np.testing.assert_allclose(similarities, np.sort(exact)[::-1][:5], atol=1e-6)
    np.testing.assert_allclose(exact[rows], similarities, atol=1e-6)


def test_ties_keep_row_order_and_k_is_capped() -> None:
    vectors = np.array([[0, 1], [1, 0], [1, 0]], dtype=np.float16)
    rows, _ = top_k_cosine(np.array([1.0, 0.0]), vectors, 10)
    assert rows.tolist() == [1, 2, 0]
