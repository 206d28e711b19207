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
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from openvino import opset13 as ops

_Axes = list[int | None]  # per input: the axis along which one token is enough; None: all needed


@dataclass(frozen=True, slots=True)
class _Shortened:
    """An operation to compute for one token only."""

    node: Any
    axis: int  # token axis of its output
    inputs: _Axes


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
        if pool.get_type_name() != "Gather" or not _is_static(pool):
            continue
        token, axis, shape = _constant(pool, 1), _constant(pool, 2), _shape(pool, 0)
        is_scalar = token is not None and axis is not None and len(shape) == 3
        if not is_scalar or pool.get_attributes()["batch_dims"] or axis % 3 != 1 or shape[1] < 2:
            continue
        found = _shortened(model, pool, 1)
        for one in found.values():
            _shorten(one, token % shape[1], found)
        if found:
            pool.input(1).replace_source_output(_number(0))
            model.validate_nodes_and_infer_types()
        n_shortened += len(found)
    return n_shortened


def _shortened(model: Any, pool: Any, axis: int) -> dict[str, _Shortened]:
    """Return, by name, the operations before `pool` of which one token is enough."""
    found: dict[str, _Shortened] = {}
    asked: dict[tuple[str, int], _Axes] = {}
    for node in reversed(model.get_ordered_ops()):
        name = node.get_name()
        if name == pool.get_name():
            inputs: _Axes = [axis, None, None]
        else:
            inputs = [None] * node.get_input_size()
            wanted = _agreed(node, asked)
            if wanted is not None:
                inputs = _RULES[node.get_type_name()](node, wanted)
                if any(needed is not None for needed in inputs):
                    found[name] = _Shortened(node, wanted, inputs)
        for value, needed in zip(node.input_values(), inputs, strict=True):
            asked.setdefault((value.get_node().get_name(), value.get_index()), []).append(needed)
    return found


def _agreed(node: Any, asked: dict[tuple[str, int], _Axes]) -> int | None:
    """Return the axis along which one token is enough for all consumers of an operation."""
    if node.get_type_name() not in _RULES or node.get_output_size() != 1 or not _is_static(node):
        return None
    wanted = asked.get((node.get_name(), 0), [])
    readers = node.output(0).get_target_inputs()
    return wanted[0] if len(wanted) == len(readers) and len(set(wanted)) == 1 else None


def _shorten(one: _Shortened, token: int, found: dict[str, _Shortened]) -> None:
    """Make an operation select one token of each input that is computed for all tokens."""
    if one.node.get_type_name() == "Reshape":
        shape = list(one.node.get_output_shape(0))
        shape[one.axis] = 1
        one.node.input(1).replace_source_output(ops.constant(shape, np.int64).output(0))
    for i, axis in enumerate(one.inputs):
        value = one.node.input_value(i)
        if axis is not None and value.get_node().get_name() not in found:
            taken = ops.gather(value, ops.constant([token], np.int64), _number(axis).get_node())
            one.node.input(i).replace_source_output(taken.output(0))


def _elementwise(node: Any, axis: int) -> _Axes:
    """Inputs are aligned at their last axes; those of size 1 on the token axis are broadcast."""
    n_tokens, rank = node.get_output_shape(0)[axis], len(node.get_output_shape(0))
    found: _Axes = []
    for i in range(node.get_input_size()):
        shape = _shape(node, i)
        own = axis - (rank - len(shape))
        found.append(own if own >= 0 and shape[own] == n_tokens else None)
    return found


def _over_other_axes(node: Any, axis: int) -> _Axes:
    """Norms and reductions, if they keep all axes and do not reduce over the tokens."""
    if node.get_input_size() != 2:  # MVN-1, without an input for axes
        return [None]
    axes = _constant(node, 1, scalar=False)
    rank = len(_shape(node, 0))
    keeps = node.get_type_name() == "MVN" or node.get_attributes()["keep_dims"]
    if axes is None or not keeps or axis in {int(a) % rank for a in np.ravel(axes)}:
        return [None, None]
    return [axis, None]


def _softmax(node: Any, axis: int) -> _Axes:
    along = node.get_attributes()["axis"] % len(_shape(node, 0))
    return [None if along == axis else axis]


def _matmul(node: Any, axis: int) -> _Axes:
    """Rows of the first matrix are rows of the product."""
    rank = len(_shape(node, 0))
    is_row = axis == len(node.get_output_shape(0)) - 2 and rank >= 2
    own = rank - 1 if node.get_attributes()["transpose_a"] else rank - 2
    return [own if is_row else None, None]


def _attention(node: Any, axis: int) -> _Axes:
    """Each query row is computed independently; all use the same keys and values."""
    rest: _Axes = [None] * (node.get_input_size() - 1)
    is_row = axis == len(node.get_output_shape(0)) - 2
    if not is_row or node.get_attributes()["causal"] or (len(rest) > 2 and _shape(node, 3)):
        return [None, *rest]
    return [axis, *rest]


def _transpose(node: Any, axis: int) -> _Axes:
    order = _constant(node, 1, scalar=False)
    return [None if order is None else int(order[axis]), None]


def _reshape(node: Any, axis: int) -> _Axes:
    """The tokens must have their own axis before and after."""
    before, after = _shape(node, 0), list(node.get_output_shape(0))
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
    **dict.fromkeys(("MVN", "ReduceMean", "ReduceSum"), _over_other_axes),
    "MatMul": _matmul,
    "Reshape": _reshape,
    "ScaledDotProductAttention": _attention,
    "Softmax": _softmax,
    "Transpose": _transpose,
}


def _is_static(node: Any) -> bool:
    values = [*node.input_values(), *node.outputs()]
    return all(value.get_partial_shape().is_static for value in values)


def _shape(node: Any, i: int) -> list[int]:
    return list(node.input_value(i).get_shape())


def _constant(node: Any, i: int, *, scalar: bool = True) -> Any:
    """Return the value of a constant input; None if it is computed, or not a scalar."""
    source = node.input_value(i).get_node()
    if source.get_type_name() == "Range":  # the ONNX front end gives a norm's axes as a range
        ends = [_constant(source, k) for k in range(3)]
        return None if scalar or None in ends else np.arange(*ends)
    if source.get_type_name() != "Constant":
        return None
    return source.data if not scalar else int(source.data) if source.data.ndim == 0 else None


def _number(value: int) -> Any:
    return ops.constant(value, np.int64).output(0)
