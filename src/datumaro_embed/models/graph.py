"""OpenVINO's graphs: the process's ``Core``, and encoders extracted from a traced model."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

# OpenVINO's name of an unnamed node: its type and a number that is unique in the process.
_NUMBERED = re.compile(r"([A-Za-z0-9]+)_\d+")
# Operations that pass token ids on as they are.
_SAME_IDS = {"Convert", "Reshape", "Squeeze", "Unsqueeze"}
_FULL_BYTES = 1 << 20  # a disk with less free space than this and a graph's weights is full
_lock = threading.Lock()
_cores: list[Any] = []


def openvino_core() -> Any:
    """Return the ``openvino.Core`` of this process, made at the first call.

    There must be only one during the life of the process. The CPU plugin gives the thread that
    loads it a new signal stack, and restores the previous one when it is unloaded (measured with
    2026.4, `strace -e sigaltstack`). If two plugins are unloaded in the order of loading, the
    second restores a stack that the first has freed, and the next Ctrl-C, whose handler runs on
    that stack, is a segmentation fault.
    """
    import openvino as ov

    with _lock:
        if not _cores:
            _cores.append(ov.Core())
        return _cores[0]


@dataclass(frozen=True, slots=True)
class Half:
    """One encoder: its inputs, the length of its vectors, and its ``openvino.Model``."""

    inputs: tuple[str, ...]
    dim: int
    graph: Any

    def run(self, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run a batch (see `run_f32`) with those `arrays` that are inputs."""
        return run_f32(self.graph, {name: arrays[name] for name in self.inputs})


def run_f32(graph: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Return a graph's output for a batch, on the CPU in f32; rows are not normalized."""
    rows: npt.NDArray[np.float32] = compile_f32(graph)(dict(arrays))[0]
    return rows


def compile_f32(graph: Any) -> Any:
    """Compile a graph for the CPU in f32."""
    return openvino_core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def input_shapes(size_px: int, context_length: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all inputs that an encoder may have, for `cut_out`."""
    pixels = (-1, 3, size_px, size_px)
    tokens = dict.fromkeys(("input_ids", "attention_mask"), (-1, context_length))
    return {"pixel_values": pixels, **tokens}


def cut_out(
    path: Path,
    output: str,
    shapes: Mapping[str, Sequence[int]],
    *,
    aliases: Mapping[str, str] = MappingProxyType({}),
    pool: str = "",
    features: str = "",
) -> Half:
    """Return the part of a model that computes one vector per row.

    Raises `RuntimeError` if the file is damaged, has no such output, or does not take these shapes.

    Parameters
    ----------
    path : Path
        The whole model, ``.xml`` or ``.onnx``.
    output : str
        Name of the output, a tensor of shape (batch, dim), or with `pool` one of more axes.
    shapes : mapping of str to shape
        Shapes of the possible inputs; -1 is any length. Inputs that the output does not depend on
        are left out. A model's only input may have any name.
    aliases : mapping of str to str
        Names of the output in models that have none called `output`, each with its `pool`; the
        first found is used.
    pool : {"", "cls", "mean"}
        How an output of several vectors becomes one: the first of (batch, tokens, dim), or the mean
        of all.
    features : {"", "first", "last"}
        For the mean: whether the output is (batch, dim, …) or (batch, …, dim).
    """
    import openvino as ov

    whole = _read(path)
    named = sorted(name for port in whole.outputs for name in port.names)
    wanted = next((name for name in (output, *aliases) if name in named), None)
    if wanted is None:
        raise RuntimeError(f"it has no output {output!r}, only {', '.join(named)}")
    how = pool if wanted == output else aliases[wanted]
    result = _pooled(whole.output(wanted).node.input_value(0), how, features)
    used = _inputs(whole, result, shapes)
    names = tuple(name for name in shapes if name in used)
    graph = ov.Model([result], [used[name] for name in names], output)
    graph.output(0).tensor.set_names({output})
    graph.reshape({name: list(shapes[name]) for name in names})
    graph = _with_usual_types(graph)
    half = Half(names, int(graph.output(0).partial_shape[1].get_length()), graph)
    # Shapes that do not fit may only fail at inference, so run two rows: ones, and tokens 0 and 1
    # in turns, as a text of padding alone, which either of them may be, has no vector.
    kinds = {port.any_name: port.element_type.to_dtype() for port in graph.inputs}
    probe = {name: np.ones((2, *shapes[name][1:]), kinds[name]) for name in names}
    if "input_ids" in probe:
        probe["input_ids"][:, ::2] = 0
    try:
        rows = half.run(probe)
    except RuntimeError as error:
        reason = reason_of(error)
        raise RuntimeError(f"it fails with a batch of two (made for one?): {reason}") from error
    if rows.shape != (2, half.dim):
        raise RuntimeError(f"two rows give the shape {rows.shape}, not (2, {half.dim})")
    if not np.isfinite(rows).all():
        raise RuntimeError("its vectors have values that are not finite")
    return half


def n_known_tokens(graph: Any) -> int | None:
    """Return the number of rows of the table in which a text encoder looks up its ``input_ids``.

    OpenVINO takes other numbers for greater ids, without an error. None: no such table is found.
    """
    found = []
    todo = [node for node in graph.get_parameters() if "input_ids" in node.output(0).names]
    while todo:
        for reader in todo.pop().output(0).get_target_inputs():
            node = reader.get_node()
            if node.get_type_name() == "Gather" and reader.get_index() == 1:
                rows = node.input_value(0).get_partial_shape()[0]
                found += [rows.get_length()] if rows.is_static else []
            elif node.get_type_name() in _SAME_IDS and reader.get_index() == 0:
                todo.append(node)
    return min(found, default=None)


def reason_of(error: Exception) -> str:
    """Return the last line of an OpenVINO error, the cause, without dashes and stops."""
    return str(error).strip().rpartition("\n")[2].strip("-. ")


def save_graph(graph: Any, path: Path, *, compress_to_fp16: bool) -> None:
    """Write ``.xml`` and ``.bin``; equal graphs give equal bytes. Raises OSError."""
    import openvino as ov

    for i, node in enumerate(graph.get_ordered_ops()):  # number unnamed nodes by position
        if numbered := _NUMBERED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{numbered[1]}_{i}")
    try:
        ov.save_model(graph, path, compress_to_fp16=compress_to_fp16)
    except RuntimeError as error:  # of a stream, without the system's reason
        constants = (n for n in graph.get_ordered_ops() if n.get_type_name() == "Constant")
        n_bytes = _FULL_BYTES + sum(node.get_byte_size() for node in constants)
        is_full = shutil.disk_usage(path.parent).free < n_bytes  # it has removed its own part
        number = errno.ENOSPC if is_full else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def _read(path: Path) -> Any:
    """Read a model; ONNX with its own front end, as OpenVINO would report the errors of all."""
    from openvino.frontend import FrontEndManager

    if path.suffix != ".onnx":
        return openvino_core().read_model(path)
    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(str(path)))
    except Exception as error:  # front ends have their own exceptions
        raise RuntimeError(str(error).strip()) from error


def _inputs(model: Any, result: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return the inputs that a result depends on, by name.

    A model's only input gets the name of the shape that fits its rank. Raises `RuntimeError` for an
    input that nothing fills, and for one of another shape or type.
    """
    import openvino as ov

    if len(model.inputs) == 1 and model.input(0).any_name not in shapes:
        rank = model.input(0).get_partial_shape().rank
        n_axes = rank.get_length() if rank.is_static else 0
        if fitting := [name for name, shape in shapes.items() if len(shape) == n_axes]:
            model.input(0).tensor.set_names({fitting[0]})

    ancestors: set[str] = set()
    stack = [result.get_node()]
    while stack:
        current = stack.pop()
        if current.get_name() not in ancestors:
            ancestors.add(current.get_name())
            stack += [value.get_node() for value in current.input_values()]
    nodes = {port.any_name: port.get_node() for port in model.inputs}
    used = {name: node for name, node in nodes.items() if node.get_name() in ancestors}

    if others := sorted(used.keys() - shapes.keys()):
        raise RuntimeError(
            f"it needs the input {others[0]!r}, but an encoder gets only {', '.join(shapes)}"
        )
    for name, node in used.items():
        wanted, port = ov.PartialShape(list(shapes[name])), node.output(0)
        if not port.get_partial_shape().compatible(wanted):
            raise RuntimeError(
                f"its input {name!r} has the shape {port.get_partial_shape()}, not {wanted}"
            )
        if name == "pixel_values" and port.get_element_type().is_integral():
            kind = port.get_element_type().get_type_name()
            raise RuntimeError(f"its input {name!r} takes {kind}, not floating-point numbers")
    return used


def _pooled(value: Any, pool: str, features: str) -> Any:
    """Return one vector per row of an output."""
    from openvino import opset13 as ops

    shape = value.get_partial_shape()
    rank = shape.rank.get_length() if shape.rank.is_static else 0
    if rank == 2:
        if pool:
            raise RuntimeError(
                f"its output has the shape {shape}, which is one vector per row already; leave out "
                "``pool``"
            )
        return value
    if rank == 3 and pool == "cls":
        return ops.gather(value, np.int64(0), np.int64(1)).output(0)
    if rank in {3, 4} and pool == "mean":
        if not features:
            raise RuntimeError(
                f"its output has the shape {shape}, which does not show where the numbers of a "
                "vector are; give ``features``: first for (batch, dim, …), last for (batch, …, dim)"
            )
        axes = range(1, rank - 1) if features == "last" else range(2, rank)
        return ops.reduce_mean(value, np.array(axes, np.int64), keep_dims=False).output(0)
    advice = "; ``pool`` cls is for (batch, tokens, dim)" if pool == "cls" else "; see ``pool``"
    raise RuntimeError(f"its output has the shape {shape}, which is not one vector per row{advice}")


def _with_usual_types(graph: Any) -> Any:
    """Return a graph that takes float32 pixels and int64 tokens, and gives float32 vectors."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(graph)
    changes = False
    for i, port in enumerate([*graph.inputs, *graph.outputs]):
        usual = ov.Type.i64 if port.element_type.is_integral() else ov.Type.f32
        if port.element_type != usual:
            is_input, changes = i < len(graph.inputs), True
            info = steps.input(i) if is_input else steps.output(i - len(graph.inputs))
            info.tensor().set_element_type(usual)
    return steps.build() if changes else graph
