"""Graphs that compute only what they pool give the vectors of the whole graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from datumaro_embed.encoders.pooling import pool_before_computing
from datumaro_embed.encoders.runtime import prepare_graph
from datumaro_embed.models import load_manifest, openvino_core, resolve_model

pytestmark = pytest.mark.slow

HUB_ONNX = Path(__file__).parents[1] / "golden/hub/tiny-clip/onnx/vision_model.onnx"
B, T, D, HEADS = 3, 5, 8, 2
RNG = np.random.default_rng(0)


def weights(*shape: int) -> Any:
    return ops.constant(RNG.normal(size=shape).astype(np.float32))


def split(x: Any) -> Any:
    heads = ops.reshape(x, ops.constant([0, T, HEADS, D // HEADS]), special_zero=True)
    return ops.transpose(heads, ops.constant([0, 2, 1, 3]))


def joined(heads: Any) -> Any:
    return ops.reshape(
        ops.transpose(heads, ops.constant([0, 2, 1, 3])), ops.constant([-1, T, D]), False
    )


def fused_attention(q: Any, k: Any, v: Any, **options: Any) -> Any:
    return ops.scaled_dot_product_attention(q, k, v, **options)


def causal_attention(q: Any, k: Any, v: Any) -> Any:
    return fused_attention(q, k, v, causal=True)


def masked_attention(q: Any, k: Any, v: Any) -> Any:
    return fused_attention(q, k, v, attention_mask=weights(T, T))


def plain_attention(q: Any, k: Any, v: Any) -> Any:
    return ops.matmul(ops.softmax(ops.matmul(q, k, False, True), axis=-1), v, False, False)


def attention_over_batches_of_heads(q: Any, k: Any, v: Any) -> Any:
    flat = [ops.reshape(x, ops.constant([-1, T, D // HEADS]), False) for x in (q, k, v)]
    return ops.reshape(plain_attention(*flat), ops.constant([-1, HEADS, T, D // HEADS]), False)


def block(x: Any, attention: Callable[..., Any]) -> Any:
    """A pre-norm block, with all that a quantised or an ONNX one has besides."""
    normed = ops.mvn(x, ops.constant([-1]), True, 1e-5, "inside_sqrt")
    limits = [ops.constant(np.float32(n)) for n in (-3, 3, -3, 3)]
    normed = ops.fake_quantize(normed, *limits, 256)
    q, k, v = (
        split(ops.add(ops.matmul(normed, weights(D, D), False, True), weights(D))) for _ in range(3)
    )
    x = ops.add(x, ops.matmul(joined(attention(q, k, v)), weights(D, D), False, False))
    mean = ops.reduce_mean(x, ops.constant([-1]), True)
    spread = ops.sqrt(ops.reduce_mean(ops.squared_difference(x, mean), ops.constant([2]), True))
    normed = ops.divide(ops.subtract(x, mean), ops.add(spread, ops.constant(np.float32(1e-3))))
    hidden = ops.gelu(ops.matmul(normed, weights(D, 2 * D), False, False), "erf")
    per_token = ops.multiply(ops.matmul(hidden, weights(2 * D, D), False, False), weights(T, 1))
    return ops.add(x, per_token)


def model(
    token: int, attention: Callable[..., Any], *, axis: int = 1, read_on: bool = False
) -> Any:
    tokens = ops.parameter([B, T, D], np.float32, "tokens")
    last = block(block(tokens, fused_attention), attention)
    pooled = ops.gather(last, ops.constant(token), ops.constant(axis))
    results = [ops.matmul(pooled, weights(D, 4), False, False)]
    return ov.Model([*results, ops.relu(last)] if read_on else results, [tokens])


def outputs(graph: Any, feed: np.ndarray) -> np.ndarray:
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.array(openvino_core().compile_model(graph, "CPU", hint)([feed])[0])


def lengths(graph: Any) -> list[int]:
    """How many rows each product of two matrices has."""
    products = [op for op in graph.get_ordered_ops() if op.get_type_name() == "MatMul"]
    return [int(op.get_output_shape(0)[-2]) for op in products]


@pytest.mark.parametrize(("token", "axis"), [(0, 1), (2, -2), (-1, 1)])
@pytest.mark.parametrize(
    (
        "attention",
        "n_products",
    ),  # query, output and MLP; where they are plain, the two of attention
    [(fused_attention, 4), (plain_attention, 6), (attention_over_batches_of_heads, 6)],
)
def test_the_last_block_is_computed_for_the_pooled_token(
    token: int, axis: int, attention: Callable[..., Any], n_products: int
) -> None:
    graph = model(token, attention, axis=axis)
    feed = RNG.normal(size=(B, T, D)).astype(np.float32)
    expected = outputs(graph, feed)
    whole = lengths(graph)
    assert pool_before_computing(graph) > 10
    shorter = lengths(graph)
    assert np.allclose(outputs(graph, feed), expected, atol=1e-6)
    n_first = 6  # products of the first block
    assert shorter[:n_first] == whole[:n_first]
    assert whole[n_first:].count(T) - shorter[n_first:].count(T) == n_products


@pytest.mark.parametrize("attention", [causal_attention, masked_attention])
def test_attention_that_knows_its_rows_is_computed_in_full(attention: Callable[..., Any]) -> None:
    graph = model(1, attention)
    feed = RNG.normal(size=(B, T, D)).astype(np.float32)
    expected = outputs(graph, feed)
    assert pool_before_computing(graph) > 0  # what comes after it
    assert np.allclose(outputs(graph, feed), expected, atol=1e-6)


def test_tokens_that_somebody_else_reads_are_computed() -> None:
    graph = model(0, fused_attention, read_on=True)
    assert pool_before_computing(graph) == 0


def test_shapes_that_are_not_fixed_change_nothing() -> None:
    graph = model(0, fused_attention)
    graph.reshape([-1, T, D])
    assert pool_before_computing(graph) == 0


@pytest.mark.parametrize("path", [resolve_model("demo") / "image_encoder.xml", HUB_ONNX])
def test_real_models(path: Path) -> None:
    def read() -> Any:
        graph = openvino_core().read_model(path)
        side = graph.input(0).partial_shape[2]
        side = side.get_length() if side.is_static else 32
        graph.reshape([4, 3, side, side])
        return graph

    whole, shorter = read(), read()
    assert pool_before_computing(shorter) > 10
    feed = RNG.normal(size=whole.input(0).shape).astype(np.float32)
    assert np.abs(outputs(whole, feed) - outputs(shorter, feed)).max() <= 1e-6


def test_the_engines_graph_is_a_shortened_one() -> None:
    folder = resolve_model("demo")
    image = load_manifest(folder).image
    shapes = {"pixel_values": (4, image.size_px, image.size_px, 3)}

    def n_single_rows(*, whole: bool) -> int:
        graph = openvino_core().read_model(folder / "image_encoder.xml")
        products = lengths(prepare_graph(graph, shapes, image, whole=whole))
        return products.count(1)

    assert n_single_rows(whole=False) == n_single_rows(whole=True) + 4
