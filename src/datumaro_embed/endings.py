"""JPEG and PNG files that stop early or lack data; a file that lacks only its end is usable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from PIL import Image

_END = b"\xff\xd9"
# In entropy-coded data FF is followed by 00 or by a restart marker, or by FF, which is filling.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_MARKER = re.compile(_END)  # searched three times as fast as by bytes.find
_FILL_BYTES = re.compile(rb"\xff+")
_MOST_SEGMENTS = 10_000  # a file may be made of nothing else
_SCAN = 0xDA
_CUT = 0  # no marker: the data stop
_SEQUENTIAL = {0xC0, 0xC1}  # and Huffman-coded
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC5, 0xC6, 0xC9, 0xCA, 0xCD, 0xCE}  # all but the lossless
_ALL_COEFFICIENTS = (1 << 64) - 1
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
# Bits that a decoder would have to take for data. One of them alone may by chance say "nothing
# more", as an end of block does; all of them do only where nothing more is expected.
_BITS = tuple(byte * 4096 for byte in (b"\x00", b"\x55", b"\xaa", b"\xcc", b"\x7e"))
# libjpeg looks eight bytes ahead. These decode to little: codes of many ones are the longest.
_AHEAD = b"\xfe" * 16
_LAST_BYTES = 32


def jpeg_has_no_end(data: bytes) -> bool:
    """Tell whether the data of a JPEG file stop before its end marker; trailing bytes are allowed.

    What is no JPEG, or no marker where one must be, is the decoder's business: False.
    """
    return data[-2:] != _END and _scans(data)[0] == _CUT


def load_jpeg(image: Image.Image, data: bytes) -> bool:
    """Decode a JPEG, opened from bytes with an end marker, and tell whether its data are damaged.

    Data are missing or left over, and libjpeg's warnings do not reach Pillow: one sequential scan
    tells it by where the decoder stops, other files by scans that are missing.

    The decoder gets all but the last bytes, then these and a few more, then the end marker. Of a
    whole image it is done after the second part, neither before nor later.
    """
    components = start = 0  # the data of the one scan of a sequential JPEG begin at `start`
    for marker, segment, at in _segments(data):
        if marker in _SEQUENTIAL:
            components = len(segment[6::3])
        if marker == _SCAN:
            start = at if components and segment[:1] == bytes((components,)) else 0
            break
    found_end = _END_MARKER.search(data, start)
    if start == 0 or found_end is None:
        image.load()
        end_marker, known = _scans(data)
        return end_marker == _END[1] and any(found != _ALL_COEFFICIENTS for found in known.values())
    end = found_end.start()
    last = max(start, end - _LAST_BYTES)
    parts = [data[:last], data[last:end].rstrip(b"\xff") + _AHEAD, data[end:]]
    cast("Any", image).load_read = lambda _: parts.pop(0) if parts else b""
    image.load()
    return len(parts) != 1


def whole_jpeg(data: bytes, decode: Callable[[bytes], bytes]) -> bytes | None:
    """Complete a JPEG file that lacks its end marker, if nothing else of it is missing.

    None where coefficients of some part of the image are missing. `decode` makes pixels of a file's
    bytes.

    A decoder given too few data makes grey of the rest, without an error. But if nothing is
    missing, bits added after the last scan change no pixel, whatever they are. So the file is
    decoded six times, which only files without an end marker cost.
    """
    found = _scans(data)[1]
    if not found or any(known != _ALL_COEFFICIENTS for known in found.values()):
        return None
    # A download that stopped leaves zeros, and half an end marker.
    stripped = data.rstrip(b"\x00")
    if stripped[-1:] == b"\xff" and len(stripped) < len(data):
        stripped = data[: len(stripped) + 1]  # the stuffed byte FF 00
    else:
        stripped = stripped.rstrip(b"\xff")
    if _is_complete(stripped, decode):
        return stripped + _END
    # Zeros may be data too, of an even image; then every one of them is needed.
    if data[-1:] == b"\0" and _is_complete(data, decode) and not _is_complete(data[:-1], decode):
        return data + _END
    return None


def _is_complete(data: bytes, decode: Callable[[bytes], bytes]) -> bool:
    """Tell whether no bits, added to entropy-coded data, change a pixel."""
    expected = decode(data + _END)
    restarts = _RESTART.findall(data, data.rfind(bytes((0xFF, _SCAN))))
    # A decoder that expects a restart marker passes over all that comes before it.
    restart = bytes((0xFF, 0xD0 | (restarts[-1][0] + 1) & 7 if restarts else 0xD0))
    return all(decode(data + bits + restart + bits + _END) == expected for bits in _BITS)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield each marker with its segment and where this ends, up to the end marker or `_CUT`.

    It stops early at something that is no marker.
    """
    at = 2
    for _ in range(_MOST_SEGMENTS):
        filled = _FILL_BYTES.match(data, at)
        if at >= len(data) or (filled and filled.end() >= len(data)):
            yield _CUT, b"", at
            return
        if filled is None:
            return
        at = filled.end() + 1
        marker, length = data[at - 1], int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        at += length
        yield marker, segment, at
        if marker == _END[1]:
            return
        if marker == _SCAN:
            following = _NEXT_MARKER.search(data, at)
            at = following.start() if following else len(data)


def _scans(data: bytes) -> tuple[int | None, dict[int, int]]:
    """Tell what ends a JPEG, and the coefficients that each component has in full precision.

    The first is `_CUT`, the end marker, or None where something comes that is no marker; the bits
    of the second are the coefficients.
    """
    known: dict[int, int] = {}
    for marker, segment, _ in _segments(data):
        if marker in {_CUT, _END[1]}:
            return marker, known
        if marker in _FRAMES:
            known = dict.fromkeys(segment[6::3], 0)
        if marker == _SCAN and len(segment) >= 4:
            first, last, precision = segment[-3:]  # coefficients first to last of its components
            if precision & 15 == 0:  # no bits are left for a later scan
                for component in known.keys() & set(segment[1:-3:2]):
                    known[component] |= ((2 << last) - 1) & ~((1 << first) - 1)
    return None, {}
