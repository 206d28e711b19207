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


_RAW = "a camera RAW file; develop it to TIFF, PNG or JPEG"
_VIDEO = "a video; extract its frames as images"
VIDEO = FileKind(Status.UNSUPPORTED, f"it is {_VIDEO}")
_JPEG_XL = "a JPEG XL image; convert it to PNG or JPEG"
_HEIC = "a HEIC image; install the extra heif: pip install 'datumaro-embed[heif]'"
_AVIF = "an AVIF image; install a Pillow that reads AVIF (11.3 or newer, from PyPI)"
_SLICES = "convert its slices to 16-bit PNG or TIFF"
_UNPACK = "unpack it"

# (offset, possible bytes there, what it is and what to do next); the first match counts
_MAGIC = (
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), _JPEG_XL),
    (128, (b"DICM",), "a DICOM file; convert it to 16-bit PNG or TIFF"),
    (344, (b"n+1\0", b"ni1\0"), f"a NIfTI volume; {_SLICES}"),
    (0, (b"SIMPLE  =",), "a FITS file; convert it to 16-bit PNG or float TIFF"),
    (0, (b"v/1\x01",), "an OpenEXR image; convert it to PNG or float TIFF"),
    (0, (b"#?R",), "a Radiance HDR image; convert it to PNG or float TIFF"),
    (0, (b"PF\n",), "a PFM image in color; convert it to float TIFF"),
    (0, (b"8BPS",), "a Photoshop file; convert it to PNG or JPEG"),
    (0, (b"II\xbc\x01",), "a JPEG XR image; convert it to PNG or JPEG"),
    (0, (b"icns",), "an Apple icon; convert it to PNG or JPEG"),
    (0, (b"%PDF-",), "a PDF document; export its pages as images"),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "a PostScript file; convert it to PNG or JPEG"),
    (0, (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb"), _RAW),
    (4, (b"moov", b"mdat", b"wide"), _VIDEO),
    (0, (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"FLV\x01"), _VIDEO),
    (8, (b"AVI LIST",), _VIDEO),
    (8, (b"WAVE",), "a sound file; remove it from the dataset"),
    (0, (b"ID3",), "a sound file; remove it from the dataset"),
    (0, (b"\x93NUMPY",), "a NumPy array; save it as PNG or TIFF"),
    (0, (b"\x89HDF\r\n\x1a\n",), "an HDF5 file; save its images as PNG or TIFF"),
    (0, (b"PK\x03\x04", b"PK\x05\x06"), f"a ZIP archive; {_UNPACK}"),
    (0, (b"\x1f\x8b",), f"a gzip file; {_UNPACK}"),
    (0, (b"BZh",), f"a bzip2 file; {_UNPACK}"),
    (0, (b"\xfd7zXZ\0",), f"an xz file; {_UNPACK}"),
    (0, (b"\x28\xb5\x2f\xfd",), f"a Zstandard file; {_UNPACK}"),
    (0, (b"7z\xbc\xaf\x27\x1c",), f"a 7-Zip archive; {_UNPACK}"),
    (0, (b"Rar!\x1a\x07",), f"a RAR archive; {_UNPACK}"),
    (257, (b"ustar",), f"a tar archive; {_UNPACK}"),
    # CR2, NEF, DNG and ARW are TIFFs of which only the preview could be read (see formats.py).
    (0, (b"II*\0", b"MM\0*"), _RAW),
)
_AGAIN = "fetch the image again"
_LFS = "a git-LFS pointer, not the image; run git lfs pull"
_ANNEX = "a git-annex pointer, not the image; run git annex get"
_SVG = "an SVG drawing; convert it to PNG or JPEG"  # the only text that is a picture
# Start of a text file, in lower case, after leading blanks, comments and <?xml … ?>.
_TEXT = (
    (r"version https?://(git-lfs|hawser|git-media)", _LFS),
    (r"(\.\./)*(\.git)?/annex/objects/", _ANNEX),
    (r"<(!doctype )?(\w+:)?svg\b", _SVG),
    (r"<(!doctype html|html|head|body)\b", f"an HTML page; {_AGAIN}"),
    (r"<[a-z!]", f"an HTML or XML document; {_AGAIN}"),
    (r"[\[{]\s*[\]}\[{\"\d]", f"JSON text; {_AGAIN}"),
    (r"", f"a text file; {_AGAIN}"),
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
        return FileKind(Status.UNSUPPORTED, f"it is {_by_brand(data)}")
    for offset, magics, what in _MAGIC:
        if data.startswith(magics, offset):
            return FileKind(Status.UNSUPPORTED, f"it is {what}")
    if not data.strip(b"\0"):
        return FileKind(Status.UNREADABLE, f"it is nothing but zero bytes; {_AGAIN}")
    head = data[:_HEAD_BYTES]
    encoding = "utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    text = head.decode(encoding, "replace").lower()
    printable = sum(character.isprintable() or character.isspace() for character in text)
    if printable < 0.95 * len(text) or text.count("\ufffd") > 1:
        return None
    text = re.sub(r"^(\s|<!--.*?-->|<\?.*?\?>)+", "", text, flags=re.DOTALL)
    for start, what in _TEXT if text else ():
        if re.match(start, text):
            status = Status.UNSUPPORTED if what is _SVG else Status.UNREADABLE
            return FileKind(status, f"it is {what}")
    return None


def is_image_name(name: str) -> bool:
    """Tell whether a file name has an image extension."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_video_name(name: str) -> bool:
    """Tell whether a file name has a video extension."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def is_heic(data: bytes) -> bool:
    """Tell whether a file is HEIC or another HEIF image, but not AVIF."""
    return data[4:8] == b"ftyp" and _by_brand(data) is _HEIC


def _by_brand(data: bytes) -> str:
    """Say what a file is by all brands of its container; the first one may be generic."""
    end = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES)
    brands = {data[at : at + 4] for at in (8, *range(16, end, 4))}
    return next((what for known, what in _BRANDS if brands & known), _VIDEO)
