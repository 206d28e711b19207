"""JPEG and PNG files that stop before their end: what is whole but for the marker can be used."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["jpeg_has_no_end", "png_has_no_end", "whole_jpeg"]

_END = b"\xff\xd9"
# In entropy-coded data FF is followed by 00 or by a restart marker, or by FF, which is filling.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL_BYTES = re.compile(rb"\xff+")
_MOST_SEGMENTS = 10_000  # a file may be made of nothing else
_SCAN = 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALL_COEFFICIENTS = (1 << 64) - 1
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
# Bits that a decoder would have to take for data. One of them alone may by chance say "nothing
# more", as an end of block does; all of them do only where nothing more is expected.
_BITS = tuple(byte * 4096 for byte in (b"\x00", b"\x55", b"\xaa", b"\xcc", b"\x7e"))


def jpeg_has_no_end(data: bytes) -> bool:
    """Tell whether the data of a JPEG file stop before its end marker; trailing bytes are allowed.

    What is no JPEG, or no marker where one must be, is the decoder's business: False.
    """
    return data[-2:] != _END and _scans(data) is not None


def whole_jpeg(data: bytes, decode: Callable[[bytes], bytes]) -> bytes | None:
    """Complete a JPEG file that lacks its end marker, if nothing else of it is missing.

    Parameters
    ----------
    data : bytes
        For which `jpeg_has_no_end` is true.
    decode : callable
        From a file's bytes to its pixels.

    Returns
    -------
    bytes or None
        With an end marker; None where coefficients of some part of the image are missing.

    Notes
    -----
    A decoder given too few data makes grey of the rest, without an error. But if nothing is
    missing, bits added after the last scan change no pixel, whatever they are. So the file is
    decoded some ten times, which only files without an end marker cost.
    """
    found = _scans(data)
    if not found or any(known != _ALL_COEFFICIENTS for known in found.values()):
        return None
    stripped = _without_padding(data)
    if _is_complete(stripped, decode):
        return stripped + _END
    # Zeros may be data too, of an even image; then every one of them is needed.
    if data[-1:] == b"\0" and _is_complete(data, decode) and not _is_complete(data[:-1], decode):
        return data + _END
    return None


def _is_complete(data: bytes, decode: Callable[[bytes], bytes]) -> bool:
    """Tell whether no bits, added to entropy-coded data, change a pixel."""
    expected = decode(data + _END)
    last = 7
    for found in _RESTART.finditer(data, data.rfind(bytes((0xFF, _SCAN)))):
        last = found[1][0] & 7
    # Bits before the restart marker that comes next would be passed over up to it.
    restart = bytes((0xFF, 0xD0 | (last + 1) & 7))
    return all(
        decode(data + filling + bits + _END) == expected
        for filling in (b"", restart)
        for bits in _BITS
    )


def png_has_no_end(data: bytes) -> bool:
    """Tell whether a PNG file lacks its last chunk."""
    return data.rfind(b"IEND") < 0


def _scans(data: bytes) -> dict[int, int] | None:
    """Collect the coefficients that each component has in full precision, as bits.

    None where the end marker comes, or something that is no marker.
    """
    known: dict[int, int] = {}
    at = 2
    for _ in range(_MOST_SEGMENTS):
        filled = _FILL_BYTES.match(data, at)
        if filled is None or filled.end() >= len(data):
            return known if at >= len(data) or filled else None
        at = filled.end() + 1
        marker, length = data[at - 1], int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        at += length
        if marker == _END[1]:
            return None
        if marker in _FRAMES:
            known = dict.fromkeys(segment[6::3], 0)
        if marker == _SCAN:
            _note_scan(segment, known)
            following = _NEXT_MARKER.search(data, at)
            at = following.start() if following else len(data)
    return None


def _note_scan(segment: bytes, known: dict[int, int]) -> None:
    """Note the coefficients of one scan, those first..last of its components."""
    if len(segment) < 4:
        return
    first, last, precision = segment[-3:]
    if precision & 15 == 0:  # no bits are left for a later scan
        coefficients = ((2 << last) - 1) & ~((1 << first) - 1)
        for component in segment[1:-3:2]:
            known[component] = known.get(component, 0) | coefficients


def _without_padding(data: bytes) -> bytes:
    """Take away zeros, as a download that stopped leaves them, and half an end marker."""
    stripped = data.rstrip(b"\x00")
    if stripped[-1:] == b"\xff" and len(stripped) < len(data):
        return data[: len(stripped) + 1]  # the stuffed byte FF 00
    return stripped.rstrip(b"\xff")
