"""Read the outputs and external files of an ONNX graph, without reading its weights.

A model of more than 2 GB keeps its weights in other files. Their names and those of the outputs are
in the small graph file, so errors show before the large download.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

# Protocol buffers: message → field number → message in that field. The numbers are from onnx.proto;
# other fields, including weights, are skipped.
_MESSAGES = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 12: "output", 15: "sparse"},
    "subgraph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 6: "subgraph", 11: "subgraph"}
    | {22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
_FIXED_BYTES = {1: 8, 5: 4}  # wire types of fixed length → bytes


def read_onnx(path: Path) -> tuple[list[str], set[str]]:
    """Read the names of a graph's outputs and of the files that hold its weights.

    Raises `ValueError` if the file is not ONNX, or resizes with antialiasing: OpenVINO 2026.4
    leaves that out without an error (a bicubic 37 x 37 to 16 x 16 of noise was off by 2.6).

    Returns
    -------
    outputs : list of str
    external : set of str
        Paths as written in the graph file, relative to it.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    outputs: list[str] = []
    external: set[str] = set()
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        todo = [("model", 0, len(data))]
        while todo:
            message, start, stop = todo.pop()
            if message == "attribute":  # field 1 is its name, and field 3 an integer
                names = (data[a:b] for n, a, b in _fields(data, start, stop) if n == 1)
                if next(names, b"") == b"antialias" and b"\x18\x01" in bytes(data[start:stop]):
                    raise ValueError("it resizes with antialiasing, which OpenVINO leaves out")
            for number, first, end in _fields(data, start, stop):
                kind = _MESSAGES[message].get(number)
                if kind == "output":
                    outputs += _strings(data, first, end).get(1, [])
                elif kind == "external":
                    entry = _strings(data, first, end)
                    external.update(entry.get(2, []) if entry.get(1) == ["location"] else [])
                elif kind is not None:
                    todo.append((kind, first, end))
    return outputs, external


def _strings(data: memoryview, start: int, stop: int) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for number, first, end in _fields(data, start, stop):
        found.setdefault(number, []).append(bytes(data[first:end]).decode("utf-8", "replace"))
    return found


def _fields(data: memoryview, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of every length-delimited field."""
    at = start
    while at < stop:
        tag, at = _varint(data, at, stop)
        if tag & 7 == 2:
            length, at = _varint(data, at, stop)
            if at + length > stop:
                raise ValueError("it is cut off, or not ONNX")
            yield tag >> 3, at, at + length
            at += length
        elif tag & 7 == 0:
            _, at = _varint(data, at, stop)
        elif tag & 7 in _FIXED_BYTES:
            at += _FIXED_BYTES[tag & 7]
        else:
            raise ValueError("it is not ONNX")


def _varint(data: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 64:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("it is cut off, or not ONNX")
