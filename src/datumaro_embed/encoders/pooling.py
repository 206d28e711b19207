"""Speed up a graph that pools one token: do not compute the other tokens after the last attention.

A vision transformer ends in ``norm(last_block(x))[:, 0]``. In its last block, only keys and values
need all tokens; query, output projection, MLP and norms, which are most of a block, only need the
pooled token. The vectors are the same. OpenVINO 2026.4 does not do this itself.

Going backward from the pooling, each operation tells along which axis of its inputs one token is
enough. A value is computed for one token if that is enough for all its consumers. If it must be
computed for all tokens, consumers that need one select it. Unknown operations need all tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from openvino import opset13 as ops

_Axes = list[int | None]  # per input: the axis along which one token is enough; None: all needed


def pool_before_computing(model: Any) -> int:
    """Change a model in place, so that it does not compute tokens that pooling drops.

    Parameters
    ----------
    model : openvino.Model
        With static shapes; otherwise nothing is changed.

    Returns
    -------
    int
        Number of operations that now compute one token.
    """
    n_shortened = 0
    for pool in model.get_ordered_ops():
        if pool.get_type_name() != "Gather" or not pool.get_input_partial_shape(0).is_static:
            continue
        token, axis, shape = _constant(pool, 1), _constant(pool, 2), pool.get_input_shape(0)
        is_scalar = token is not None and axis is not None and len(shape) == 3
        if not is_scalar or pool.get_attributes()["batch_dims"] or axis % 3 != 1 or shape[1] < 2:
            continue
        found = _shortened(model, pool)
        names = {node.get_name() for node, *_ in found}
        for node, axis, inputs in found:
            if node.get_type_name() == "Reshape":
                target = list(node.get_output_shape(0))
                target[axis] = 1
                node.input(1).replace_source_output(ops.constant(target, np.int64).output(0))
            for i, own in enumerate(inputs):
                value = node.input_value(i)
                if own is not None and value.get_node().get_name() not in names:
                    # This input is computed for all tokens, so select one of them.
                    number = ops.constant([token % shape[1]], np.int64)
                    taken = ops.gather(value, number, ops.constant(own, np.int64))
                    node.input(i).replace_source_output(taken.output(0))
        if found:
            pool.input(1).replace_source_output(ops.constant(0, np.int64).output(0))
            model.validate_nodes_and_infer_types()
        n_shortened += len(found)
    return n_shortened


def _shortened(model: Any, pool: Any) -> list[tuple[Any, int, _Axes]]:
    """Return the operations before `pool` of which one token is enough.

    Each with the token axis of its output and those of its inputs.
    """
    found: list[tuple[Any, int, _Axes]] = []
    asked: dict[tuple[str, int], _Axes] = {}  # output → its axis for each of its consumers
    for node in reversed(model.get_ordered_ops()):
        name, kind = node.get_name(), node.get_type_name()
        inputs: _Axes = [None] * node.get_input_size()
        wanted = asked.get((name, 0), [])
        if name == pool.get_name():
            inputs[0] = 1  # of (batch, tokens, dim)
        elif kind in _RULES and node.get_output_size() == 1 and len(set(wanted)) == 1:
            axis, values = wanted[0], [*node.input_values(), *node.outputs()]
            is_static = all(value.get_partial_shape().is_static for value in values)
            is_whole = len(wanted) == len(node.output(0).get_target_inputs())
            if axis is not None and is_static and is_whole:
                inputs = _RULES[kind](node, axis)
                if any(own is not None for own in inputs):
                    found.append((node, axis, inputs))
        for value, own in zip(node.input_values(), inputs, strict=True):
            asked.setdefault((value.get_node().get_name(), value.get_index()), []).append(own)
    return found


def _elementwise(node: Any, axis: int) -> _Axes:
    """Inputs are aligned at their last axes; those of size 1 on the token axis are broadcast."""
    n_tokens, rank = node.get_output_shape(0)[axis], len(node.get_output_shape(0))
    found: _Axes = []
    for i in range(node.get_input_size()):
        shape = node.get_input_shape(i)
        own = axis - (rank - len(shape))
        found.append(own if own >= 0 and shape[own] == n_tokens else None)
    return found


def _over_other_axes(node: Any, axis: int) -> _Axes:
    """Softmax, norms and reductions, if they keep all axes and are not over the tokens."""
    attributes, over = node.get_attributes(), None
    if node.get_type_name() == "Softmax":
        over = attributes["axis"]
    elif node.get_input_size() == 2 and attributes.get("keep_dims", True):  # MVN-1 has one input
        over = _constant(node, 1, scalar=False)
    rest: _Axes = [None] * (node.get_input_size() - 1)
    rank = len(node.get_input_shape(0))
    if over is None or axis in {int(a) % rank for a in np.ravel(over)}:
        return [None, *rest]
    return [axis, *rest]


def _matmul(node: Any, axis: int) -> _Axes:
    """Rows of the first matrix are rows of the product."""
    rank = len(node.get_input_shape(0))
    is_row = axis == len(node.get_output_shape(0)) - 2 and rank >= 2
    own = rank - 1 if node.get_attributes()["transpose_a"] else rank - 2
    return [own if is_row else None, None]


def _attention(node: Any, axis: int) -> _Axes:
    """Each query row is computed independently; all use the same keys and values."""
    n_inputs = node.get_input_size()
    is_row = axis == len(node.get_output_shape(0)) - 2
    is_masked = n_inputs > 3 and len(node.get_input_shape(3)) > 0
    is_independent = is_row and not is_masked and not node.get_attributes()["causal"]
    return [axis if is_independent else None, *[None] * (n_inputs - 1)]


def _transpose(node: Any, axis: int) -> _Axes:
    order = _constant(node, 1, scalar=False)
    return [None if order is None else int(order[axis]), None]


def _reshape(node: Any, axis: int) -> _Axes:
    """The tokens must have their own axis before and after."""
    before, after = list(node.get_input_shape(0)), list(node.get_output_shape(0))
    for own, n in enumerate(before):
        if n == after[axis] and prod(before[:own]) == prod(after[:axis]):
            return [own, None]
    return [None, None]


_RULES: dict[str, Callable[[Any, int], _Axes]] = {
    **dict.fromkeys(
        ("Add", "Convert", "Divide", "Erf", "Exp", "FakeQuantize", "Gelu", "HSwish", "Maximum"),
        _elementwise,
    ),
    **dict.fromkeys(
        ("Minimum", "Multiply", "Negative", "Power", "Relu", "Sigmoid", "Sqrt", "Subtract"),
        _elementwise,
    ),
    **dict.fromkeys(("SquaredDifference", "Swish", "Tanh"), _elementwise),
    **dict.fromkeys(("MVN", "ReduceMean", "ReduceSum", "Softmax"), _over_other_axes),
    "MatMul": _matmul,
    "Reshape": _reshape,
    "ScaledDotProductAttention": _attention,
    "Transpose": _transpose,
}


def _constant(node: Any, i: int, *, scalar: bool = True) -> Any:
    """Return the value of a constant input; None if it is computed, or not a scalar."""
    source = node.input_value(i).get_node()
    if source.get_type_name() == "Range":  # the ONNX front end gives a norm's axes as a range
        ends = [_constant(source, k) for k in range(3)]
        return None if scalar or None in ends else np.arange(*ends)
    if source.get_type_name() != "Constant":
        return None
    return source.data if not scalar else int(source.data) if source.data.ndim == 0 else None
