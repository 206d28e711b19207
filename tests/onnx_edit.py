"""Change ONNX files without the onnx package: protocol buffers, field by field."""

from __future__ import annotations

from collections.abc import Callable

Field = tuple[int, int, int | bytes]  # number, wire type, value

GRAPH, INITIALIZER, OUTPUT, NODE = 7, 5, 12, 1  # numbers of onnx.proto
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14


def read(data: bytes) -> list[Field]:
    found: list[Field] = []
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 == 0:
            value, at = _read_varint(data, at)
            found.append((tag >> 3, 0, value))
            continue
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 2:
            size, at = _read_varint(data, at)
        found.append((tag >> 3, tag & 7, data[at : at + size]))
        at += size
    return found


def write(fields: list[Field]) -> bytes:
    parts = []
    for number, kind, value in fields:
        parts.append(_varint(number << 3 | kind))
        if isinstance(value, int):
            parts.append(_varint(value))
        else:
            parts += [_varint(len(value)) if kind == 2 else b"", value]
    return b"".join(parts)


def change(data: bytes, number: int, how: Callable[[bytes], bytes]) -> bytes:
    """Apply a function to every field of a number."""
    fields = read(data)
    return write([(n, k, how(v) if n == number else v) for n, k, v in fields])  # type: ignore[arg-type]


def external(model: bytes, location: str) -> tuple[bytes, bytes]:
    """Move the weights of a model to a file: its graph, and what that file holds."""
    weights = bytearray()

    def move(tensor: bytes) -> bytes:
        fields = read(tensor)
        raw = next((v for n, _, v in fields if n == _RAW_DATA and len(v) > 64), None)  # type: ignore[arg-type]
        if not isinstance(raw, bytes):
            return tensor
        facts = {"location": location, "offset": str(len(weights)), "length": str(len(raw))}
        weights.extend(raw)
        entries: list[Field] = [
            (_EXTERNAL_DATA, 2, write([(1, 2, key.encode()), (2, 2, value.encode())]))
            for key, value in facts.items()
        ]
        kept = [field for field in fields if field[0] != _RAW_DATA]
        return write([*kept, *entries, (_DATA_LOCATION, 0, 1)])

    graph = change(model, GRAPH, lambda g: change(g, INITIALIZER, move))
    return graph, bytes(weights)


def rename_output(model: bytes, old: str, new: str) -> bytes:
    """Give an output of the graph another name, in the node that makes it too."""

    def string(value: bytes) -> bytes:
        return new.encode() if value == old.encode() else value

    def graph(data: bytes) -> bytes:
        renamed = change(data, OUTPUT, lambda output: change(output, 1, string))
        return change(renamed, NODE, lambda node: change(node, 2, string))

    return change(model, GRAPH, graph)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
