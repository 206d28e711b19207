"""Identify files that cannot be read as images by their first bytes, and say what to do next."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from .records import Status

# Every file in an image folder with one of these suffixes is an item, whether or not it can be
# read. The set includes all suffixes that Datumaro looks for.
IMAGE_SUFFIXES = frozenset(
    (
        *(".apng", ".arw", ".avif", ".avifs", ".bmp", ".bw", ".cr2", ".cr3", ".dcm", ".dib"),
        *(".dicom", ".dng", ".eps", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif", ".ico"),
        *(".j2c", ".j2k", ".jfif", ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg"),
        *(".jpx", ".jxl", ".jxr", ".nef", ".orf", ".pbm", ".pcx", ".pfm", ".pgm", ".pic"),
        *(".pjpeg", ".png", ".pnm", ".ppm", ".psd", ".pxm", ".qoi", ".raf", ".ras", ".rgb"),
        *(".rgba", ".rw2", ".sgi", ".sr", ".svg", ".tga", ".tif", ".tiff", ".wdp", ".webp"),
    )
)
# Datumaro's list plus .m4v
VIDEO_SUFFIXES = frozenset(
    (
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".evo", ".f4v", ".flv", ".m2p", ".m2ts"),
        *(".m4v", ".mk3d", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mxf", ".ogg", ".ogv"),
        *(".ogx", ".ps", ".qt", ".rmvb", ".ts", ".vob", ".webm", ".wmv"),
    )
)


@dataclass(frozen=True, slots=True)
class FileKind:
    """Kind of a file that is not a readable image.

    Other formats are UNSUPPORTED. Placeholders for a missing image, such as a git-LFS pointer or
    an error page, are UNREADABLE.
    """

    status: Status
    reason: str  # what it is, and what to do next


def _foreign(name: str, advice: str = "convert it to PNG or JPEG") -> FileKind:
    return FileKind(Status.UNSUPPORTED, f"it is {name}; {advice}")


def _stand_in(name: str, advice: str) -> FileKind:
    return FileKind(Status.UNREADABLE, f"it is {name}; {advice}")


_RAW = _foreign("a camera RAW file", "develop it to TIFF, PNG or JPEG")
VIDEO = _foreign("a video", "extract its frames as images")
_JPEG_XL = _foreign("a JPEG XL image")
_HEIC = _foreign("a HEIC image", "install the extra heif: pip install 'datumaro-embed[heif]'")
_AVIF = _foreign("an AVIF image", "install a Pillow that reads AVIF (11.3 or newer, from PyPI)")
_SLICES = "convert its slices to 16-bit PNG or TIFF"
_UNPACK = "unpack it"

# (offset, possible bytes there, kind); the first match counts
_MAGIC: tuple[tuple[int, tuple[bytes, ...], FileKind], ...] = (
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), _JPEG_XL),
    (128, (b"DICM",), _foreign("a DICOM file", "convert it to 16-bit PNG or TIFF")),
    (344, (b"n+1\0", b"ni1\0"), _foreign("a NIfTI volume", _SLICES)),
    (0, (b"SIMPLE  =",), _foreign("a FITS file", "convert it to 16-bit PNG or float TIFF")),
    (0, (b"v/1\x01",), _foreign("an OpenEXR image", "convert it to PNG or float TIFF")),
    (0, (b"#?R",), _foreign("a Radiance HDR image", "convert it to PNG or float TIFF")),
    (0, (b"PF\n",), _foreign("a PFM image in color", "convert it to float TIFF")),
    (0, (b"8BPS",), _foreign("a Photoshop file")),
    (0, (b"II\xbc\x01",), _foreign("a JPEG XR image")),
    (0, (b"icns",), _foreign("an Apple icon")),
    (0, (b"%PDF-",), _foreign("a PDF document", "export its pages as images")),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), _foreign("a PostScript file")),
    (0, (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb"), _RAW),
    (4, (b"moov", b"mdat", b"wide"), VIDEO),
    (0, (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"FLV\x01"), VIDEO),
    (8, (b"AVI LIST",), VIDEO),
    (8, (b"WAVE",), _foreign("a sound file", "remove it from the dataset")),
    (0, (b"ID3",), _foreign("a sound file", "remove it from the dataset")),
    (0, (b"\x93NUMPY",), _foreign("a NumPy array", "save it as PNG or TIFF")),
    (0, (b"\x89HDF\r\n\x1a\n",), _foreign("an HDF5 file", "save its images as PNG or TIFF")),
    (0, (b"PK\x03\x04", b"PK\x05\x06"), _foreign("a ZIP archive", _UNPACK)),
    (0, (b"\x1f\x8b",), _foreign("a gzip file", _UNPACK)),
    (0, (b"BZh",), _foreign("a bzip2 file", _UNPACK)),
    (0, (b"\xfd7zXZ\0",), _foreign("an xz file", _UNPACK)),
    (0, (b"\x28\xb5\x2f\xfd",), _foreign("a Zstandard file", _UNPACK)),
    (0, (b"7z\xbc\xaf\x27\x1c",), _foreign("a 7-Zip archive", _UNPACK)),
    (0, (b"Rar!\x1a\x07",), _foreign("a RAR archive", _UNPACK)),
    (257, (b"ustar",), _foreign("a tar archive", _UNPACK)),
    # CR2, NEF, DNG and ARW are TIFFs of which only the preview could be read (see formats.py).
    (0, (b"II*\0", b"MM\0*"), _RAW),
)
_AGAIN = "fetch the image again"
_LFS = _stand_in("a git-LFS pointer, not the image", "run git lfs pull")
_ANNEX = _stand_in("a git-annex pointer, not the image", "run git annex get")
# Start of a text file, in lower case, after leading blanks, comments and <?xml … ?>.
_TEXT: tuple[tuple[str, FileKind], ...] = (
    (r"version https?://(git-lfs|hawser|git-media)", _LFS),
    (r"(\.\./)*(\.git)?/annex/objects/", _ANNEX),
    (r"<(!doctype )?(\w+:)?svg\b", _foreign("an SVG drawing")),
    (r"<(!doctype html|html|head|body)\b", _stand_in("an HTML page", _AGAIN)),
    (r"<[a-z!]", _stand_in("an HTML or XML document", _AGAIN)),
    (r"[\[{]\s*[\]}\[{\"\d]", _stand_in("JSON text", _AGAIN)),
    (r"", _stand_in("a text file", _AGAIN)),
)
_HEAD_BYTES = 4096
# Brands of an ISO base media file (ISO/IEC 14496-12); the first set that has one of them counts.
_BRANDS = (
    ({b"avif", b"avis"}, _AVIF),
    ({b"crx "}, _RAW),
    ({b"jxl "}, _JPEG_XL),
    ({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}, _HEIC),
    ({b"mif1", b"mif2", b"msf1"}, _HEIC),
)


def file_kind(data: bytes) -> FileKind | None:
    """Identify a file that could not be read as an image; None if it is not recognized."""
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    for offset, magics, kind in _MAGIC:
        if data.startswith(magics, offset):
            return kind
    if not data.strip(b"\0"):
        return _stand_in("nothing but zero bytes", _AGAIN)
    head = data[:_HEAD_BYTES]
    encoding = "utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    text = head.decode(encoding, "replace").lower()
    printable = sum(character.isprintable() or character.isspace() for character in text)
    if printable < 0.95 * len(text) or text.count("\ufffd") > 1:
        return None
    text = re.sub(r"^(\s|<!--.*?-->|<\?.*?\?>)+", "", text, flags=re.DOTALL)
    return next((kind for start, kind in _TEXT if text and re.match(start, text)), None)


def is_image_name(name: str) -> bool:
    """Tell whether a file name has an image extension."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_video_name(name: str) -> bool:
    """Tell whether a file name has a video extension."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def is_heic(data: bytes) -> bool:
    """Tell whether a file is HEIC or another HEIF image, but not AVIF."""
    return data[4:8] == b"ftyp" and _by_brand(data) is _HEIC


def _by_brand(data: bytes) -> FileKind:
    """Identify a kind by all brands of its container; the first one may be generic."""
    end = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES)
    brands = {data[at : at + 4] for at in (8, *range(16, end, 4))}
    return next((kind for known, kind in _BRANDS if brands & known), VIDEO)
