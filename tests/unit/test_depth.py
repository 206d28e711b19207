"""depth.py and 16-bit files: which bytes become of deep samples, and what is said about it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from datumaro_embed.depth import UNCHOSEN, DepthRange
from datumaro_embed.errors import UsageError
from datumaro_embed.images import open_image, upright_rgb

Samples = npt.NDArray[Any]

# A picture that uses every level, smooth enough that its neighbours in value are told apart.
PICTURE = np.add.outer(np.arange(64), 3 * np.arange(64)).astype(np.uint8)
COLOUR = np.dstack([PICTURE, PICTURE[::-1], PICTURE.T, 255 - PICTURE])


def decoded(source: Any, rule: str | None = None) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    opened = open_image(source, depth_range=DepthRange.parse(rule))
    return np.asarray(opened.decode()), opened.notes


def scaled(picture: Samples, bits: int) -> npt.NDArray[np.uint16]:
    """Return an 8-bit picture as a camera of so many bits gives it, in 16."""
    return np.rint(picture * ((2**bits - 1) / 255)).astype(np.uint16)


def png(samples: npt.NDArray[np.uint16]) -> bytes:
    """Encode 16-bit samples of 1 to 4 channels: grey, grey + alpha, RGB, RGBA."""
    height, width, channels = samples.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


def tiff(samples: Samples) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "TIFF")
    return buffer.getvalue()


def colour_tiff(samples: npt.NDArray[np.uint16], compression: int) -> bytes:
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    return bytes(cv2.imencode(".tif", samples[:, :, ::-1], flags)[1])


# ------------------------------------------------------------------------------------ bit depths


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", [None, "auto"])
def test_an_image_of_few_bits_is_the_eight_bit_image(
    bits: int, channels: int, rule: str | None
) -> None:
    colour = COLOUR[:, :, :channels]
    pixels, notes = decoded(png(scaled(colour, bits)), rule)
    expected = np.broadcast_to(colour[:, :, : 1 if channels < 3 else 3], (64, 64, 3))
    assert np.array_equal(pixels, expected)
    said = [f"16-bit images that use at most {bits} bits"] if bits < 16 and rule is None else []
    assert [note[: len(said[0])] for note in notes] == said


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])  # none, LZW, deflate, PackBits
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colour_tiff_of_few_bits(bits: int, compression: int) -> None:
    data = colour_tiff(scaled(COLOUR[:, :, :3], bits), compression)
    assert np.array_equal(decoded(data)[0], COLOUR[:, :, :3])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_of_few_bits(channels: int, order: str) -> None:
    samples = scaled(COLOUR[:, :, :channels], 12).astype(f"{order}u2")
    expected = np.broadcast_to(COLOUR[:, :, : min(channels, 3)], (64, 64, 3))
    assert np.array_equal(decoded(samples)[0], expected)


@pytest.mark.parametrize("make", [lambda s: png(s[:, :, None]), tiff, lambda s: s])
def test_full_keeps_the_high_byte(make: Any) -> None:
    samples = scaled(PICTURE, 12)
    pixels, notes = decoded(make(samples), "full")
    assert np.array_equal(pixels[:, :, 0], samples >> 8)
    assert notes == ()


def test_full_keeps_the_high_byte_of_colour() -> None:
    samples = scaled(COLOUR[:, :, :3], 12)
    for data in (png(samples), colour_tiff(samples, 5)):
        assert np.array_equal(decoded(data, "full")[0], samples >> 8)


def test_a_window_is_the_same_for_all_images() -> None:
    samples = np.array([[0, 1000, 2500, 4000, 5000]], np.uint16)
    for source in (samples, png(samples[:, :, None]), tiff(samples), tiff(samples.astype("f4"))):
        pixels, notes = decoded(source, "1000:4000")
        assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]
        assert notes == ()
    colour = np.dstack([samples, samples[:, ::-1], samples])
    assert decoded(png(colour), "1000:4000")[0][0, 1].tolist() == [0, 255, 0]


@pytest.mark.parametrize("rule", [None, "auto", "full", "0:50", "-1000:3000"])
def test_no_rule_touches_eight_bits(rule: str | None) -> None:
    dark = (PICTURE >> 3).astype(np.uint8)  # 5 bits
    buffer = io.BytesIO()
    Image.fromarray(dark).save(buffer, "PNG")
    for source in (dark, buffer.getvalue(), tiff(dark)):
        pixels, notes = decoded(source, rule)
        assert np.array_equal(pixels[:, :, 0], dark)
        assert notes == ()
    mask = dark > 15
    assert np.array_equal(decoded(mask, rule)[0][:, :, 0], np.where(mask, 255, 0))


def test_an_open_image_goes_by_the_rule_too() -> None:
    with Image.open(io.BytesIO(tiff(scaled(PICTURE, 12)))) as image:
        assert np.array_equal(np.asarray(upright_rgb(image))[:, :, 0], PICTURE)
        full = np.asarray(upright_rgb(image, DepthRange.parse("full")))
    assert full.max() == 15


# ------------------------------------------------------- scales that the type does not tell

UNUSUAL = {
    "thermal": (29_000 + PICTURE.astype(np.uint16) * 15, "16-bit images that are dark, flat"),
    "kelvin": ((273 + PICTURE / 10).astype("f4"), "floating-point images that are dark, flat"),
    "metres": ((PICTURE / 25).astype("f4"), "floating-point images that are dark, flat"),
    "centred": ((PICTURE / 127.5 - 1).astype("f4"), "floating-point images that are dark, flat"),
    "hounsfield": (PICTURE.astype("i4") * 12 - 1000, "integer images that are dark, flat"),
    "float of 12 bits": (scaled(PICTURE, 12).astype("f4"), "floating-point images that are dark"),
    "labels": ((PICTURE >> 3).astype("u2"), "16-bit images that use at most 8 bits"),
    "huge": ((PICTURE * 1e30).astype("f4"), "floating-point images that are dark, flat"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_values_on_another_scale_are_stretched_to_their_own_range(kind: str) -> None:
    samples, said = UNUSUAL[kind]
    steps = 31 if kind == "labels" else 255
    for source in (samples, tiff(samples)):
        pixels, notes = decoded(source)
        gap = np.abs(pixels[:, :, 0] / 255 - (PICTURE >> 3 if steps == 31 else PICTURE) / steps)
        assert gap.max() < 0.03  # a thousandth at either end is clipped
        assert [note[: len(said)] for note in notes] == [said]
        assert "--depth-range auto" in notes[0]
        assert decoded(source, "auto")[1] == ()
        assert np.array_equal(decoded(source, "auto")[0], pixels)


@pytest.mark.parametrize(
    "samples",
    [
        PICTURE.astype("u2") * 257,
        (PICTURE / 255).astype("f4"),
        PICTURE.astype("f4"),
        (PICTURE / 255 * 1.04 - 0.02).astype("f4"),  # overshoots, as resampling does
        PICTURE.astype("i4"),
        PICTURE.astype("i4") * 257,
    ],
)
def test_values_on_a_usual_scale_are_taken_as_they_are(samples: Samples) -> None:
    overshoots = samples.max() < 1.05 and samples.min() < 0
    for source in (samples, tiff(samples)):
        pixels, notes = decoded(source)
        gap = np.abs(pixels[:, :, 0].astype(int) - PICTURE)
        assert gap.max() <= (6 if overshoots else 0)
        assert bool(notes) == overshoots  # 255 would be white, as one value is above 1


@pytest.mark.parametrize("dead", [65_535, 0])
def test_a_dead_pixel_does_not_decide(dead: int) -> None:
    samples = 2_000 + scaled(PICTURE, 12) // 2
    samples[5, 7] = dead
    pixels, _ = decoded(samples)
    others = np.ones(PICTURE.shape, bool)
    others[5, 7] = False
    assert np.ptp(pixels[:, :, 0][others]) > 100


def test_what_is_not_a_number_is_black_and_infinity_is_white() -> None:
    samples = (PICTURE / 25).astype("f4")
    samples[0, :3] = np.nan, np.inf, -np.inf
    for rule in (None, "auto", "full", "0:10"):
        assert decoded(samples, rule)[0][0, :3, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    "samples",
    [
        np.array([[-1.7e308, 0.0, 1.7e308]]),
        np.array([[0.0, 5e-324]]),
        np.array([[-(2**63), 2**63 - 1]], np.int64),
        np.array([[0, 2**64 - 1]], np.uint64),
        np.array([[-32_768, 32_767]], np.int16),
        np.array([[6e4, -6e4]], np.float16),
    ],
)
def test_extremes_neither_warn_nor_fail(samples: Samples) -> None:
    for rule in (None, "auto", "full", "-1e300:1e300"):
        assert decoded(samples, rule)[0].shape == (*samples.shape, 3)
    if samples.dtype != np.float64 or samples.max() > 1:
        assert sorted(decoded(samples)[0][0, :, 0])[:: samples.size - 1] == [0, 255]


@pytest.mark.parametrize("value", [0, 1, 700, 40_000])
def test_an_even_image_stays_even(value: int) -> None:
    for dtype in (np.uint16, np.int32, np.float32):
        assert np.ptp(decoded(np.full((8, 8), value, dtype))[0]) == 0


def test_unsigned_32_bit_tiff_is_not_taken_for_negative() -> None:
    samples = PICTURE.astype(np.uint32) << 24
    data = bytearray(tiff(samples.view(np.int32)))
    tags = struct.unpack_from("<H", data, struct.unpack_from("<I", data, 4)[0])[0]
    start = struct.unpack_from("<I", data, 4)[0] + 2
    entries = {
        struct.unpack_from("<H", data, start + 12 * i)[0]: start + 12 * i for i in range(tags)
    }
    struct.pack_into("<H", data, entries[339] + 8, 1)  # SampleFormat: unsigned
    assert np.array_equal(decoded(bytes(data))[0][:, :, 0], PICTURE)


@given(arrays(np.uint16, (6, 5), elements=st.integers(0, 65_535)))
def test_brighter_stays_brighter(samples: Samples) -> None:
    """By every rule, in one image: a larger value never becomes a smaller byte."""
    order = np.argsort(samples, axis=None, kind="stable")
    for rule in (UNCHOSEN, DepthRange.parse("full"), DepthRange.parse("100:3000")):
        pixels, _ = rule.to_uint8(samples)
        assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()


@given(arrays(np.uint16, (6, 5, 3), elements=st.integers(0, 65_535)))
def test_colour_files_and_arrays_agree(samples: Samples) -> None:
    assert np.array_equal(decoded(png(samples))[0], decoded(samples)[0])


# ------------------------------------------------------------------------------------ the option


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("auto", "auto"),
        ("full", "full"),
        ("0:4095", "0:4095"),
        ("0.0:4.095e3", "0:4095"),
        ("-1000:3000.5", "-1000:3000.5"),
        (".1:1", "0.1:1"),
    ],
)
def test_a_range_has_one_spelling(text: str, spelt: str) -> None:
    assert str(DepthRange.parse(text)) == spelt
    assert DepthRange.parse(spelt) == DepthRange.parse(text)


@pytest.mark.parametrize(
    "text", ["", "Auto", "5", "5:", ":5", "5:5", "9:1", "a:b", "0:inf", "nan:1", "1:2:3", "window"]
)
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"must be auto, full or two finite numbers LOW:HIGH"):
        DepthRange.parse(text)


def test_what_is_not_chosen_is_auto() -> None:
    assert str(DepthRange.parse(None)) == "auto"


def test_a_pgm_states_its_depth(tmp_path: Path) -> None:
    """Pillow goes by it, so that nothing is left to guess."""
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 64 64 4095\n" + scaled(PICTURE, 12).astype(">u2").tobytes())
    pixels, notes = decoded(path)
    assert np.abs(pixels[:, :, 0].astype(int) - PICTURE).max() <= 1
    assert notes == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", ["auto", "full", "0:1"])
def test_an_image_without_a_finite_value_is_no_black_one(value: float, rule: str) -> None:
    with pytest.raises(ValueError, match="no value of the image is finite"):
        DepthRange.parse(rule).to_uint8(np.full((4, 5), value, np.float32))
