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
from datumaro_embed.images import ImageProblem, open_image, read_info, upright_rgb
from datumaro_embed.records import Status

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


def colour_tiff(samples: Samples, compression: int = 5) -> bytes:
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    return bytes(cv2.imencode(".tif", samples[:, :, ::-1], flags)[1])


def plain_tiff(
    samples: Samples, *, orientation: int = 1, planar: int = 1, deflate: bool = False, colour: int
) -> bytes:
    """Encode samples of any type; `colour` is the photometric interpretation."""
    height, width, channels = samples.shape
    planes = [samples] if planar == 1 else list(np.moveaxis(samples, 2, 0))
    strips = [zlib.compress(p.tobytes()) if deflate else p.tobytes() for p in planes]
    kind = {"u": 1, "i": 2, "f": 3, "c": 6}[samples.dtype.kind]
    values = {
        256: [width],
        257: [height],
        258: [8 * samples.dtype.itemsize] * channels,
        259: [8 if deflate else 1],
        262: [colour],
        273: [0] * len(strips),
        274: [orientation],
        277: [channels],
        278: [height],
        279: [len(strip) for strip in strips],
        284: [planar],
        **({338: [2]} if channels in {2, 4} else {}),
        339: [kind] * channels,
    }
    end = 8 + 2 + 12 * len(values) + 4
    ends = np.cumsum([end + sum(4 * len(v) for v in values.values()), *values[279]])
    values[273] = [int(start) for start in ends[:-1]]
    entries, long = b"", b""
    for tag, numbers in values.items():
        field = struct.pack(f"<{len(numbers)}I", *numbers)
        entries += struct.pack("<HHI", tag, 4, len(numbers))
        entries += field if len(numbers) == 1 else struct.pack("<I", end + len(long))
        long += field if len(numbers) > 1 else b""
    body = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + long
    return body.ljust(int(ends[0]), b"\0") + b"".join(strips)


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


SIGNED_BITS = {"i1": [7], "i2": [8, 10, 12, 14, 15]}
SIGNED_BITS["i4"] = [*SIGNED_BITS["i2"], 16, 20, 24, 28, 31]
SIGNED_BITS["i8"] = [*SIGNED_BITS["i4"], 32, 48]


@pytest.mark.parametrize(
    ("dtype", "bits"), [(dtype, n) for dtype, depths in SIGNED_BITS.items() for n in depths]
)
def test_signed_samples_are_as_bright_as_unsigned_ones(dtype: str, bits: int) -> None:
    colour = COLOUR[:, :, :3]
    samples = np.rint(colour * ((2**bits - 1) / 255)).astype(dtype)
    in_files = [tiff(samples[:, :, 0].astype("i4")), colour_tiff(samples)]
    for source in (samples, samples[:, :, 0], *(in_files if dtype in {"i2", "i4"} else [])):
        pixels = decoded(source, "auto")[0]
        is_grey = np.ptp(pixels.astype(int), axis=2).max() == 0
        gap = np.abs(pixels.astype(int) - (colour[:, :, :1] if is_grey else colour))
        assert gap.max() <= (1 if bits == 7 else 0)
    if bits in {7, 15, 31}:
        assert decoded(samples, "full")[0].max() >= 250


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


UPRIGHT = {1: lambda a: a, 3: lambda a: a[::-1, ::-1], 6: lambda a: np.rot90(a, -1)}
UPRIGHT |= {2: np.fliplr, 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2), 8: np.rot90}
UPRIGHT[7] = lambda a: np.rot90(a.transpose(1, 0, 2), 2)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4"])
def test_tiffs_that_pillow_has_no_mode_for(dtype: str, channels: int, orientation: int) -> None:
    scale = 1 / 255 if dtype[0] == "f" else 7
    samples = (COLOUR[:40, :, :channels] * scale).astype(dtype)
    data = plain_tiff(
        samples, colour=1 if channels == 1 else 2, orientation=orientation, deflate=channels == 3
    )
    expected = UPRIGHT[orientation](decoded(samples)[0])
    pixels, notes = decoded(data)
    assert np.array_equal(pixels, expected)
    assert notes == decoded(samples)[1]
    info = read_info(data)
    assert (info.width, info.height) == expected.shape[1::-1]
    assert (info.stored_width, info.stored_height, info.orientation) == (64, 40, orientation)
    with pytest.raises(ImageProblem) as caught:
        open_image(data, max_pixels=40 * 64 - 1)
    assert caught.value.status is Status.TOO_LARGE


@pytest.mark.parametrize(
    ("dtype", "channels", "colour", "planar", "reason"),
    [
        ("f2", 1, 1, 1, "1 x 16-bit float samples; convert it to 16-bit PNG or 32-bit float TIFF"),
        ("i1", 1, 1, 1, "1 x 8-bit signed integer samples; convert it to"),
        ("u4", 3, 2, 1, "3 x 32-bit unsigned integer samples; convert it to"),
        ("f4", 2, 1, 1, "2 x 32-bit float samples; convert it to"),
        ("c8", 1, 1, 1, "1 x 64-bit other samples; convert it to"),
        ("f4", 3, 2, 2, "3 x 32-bit float samples in separate planes; save it with interleaved"),
        ("u2", 3, 2, 2, "3 x 16-bit unsigned integer samples in separate planes; save it with"),
    ],
)
def test_tiffs_that_nobody_reads_right_are_named(
    dtype: str, channels: int, colour: int, planar: int, reason: str
) -> None:
    """Of these, Pillow makes noise of 16-bit planes, and OpenCV of all planes."""
    samples = COLOUR[:, :, :channels].astype(dtype)
    for deflate in (False, True):
        with pytest.raises(ImageProblem) as caught:
            open_image(plain_tiff(samples, colour=colour, planar=planar, deflate=deflate))
        assert caught.value.status is Status.UNSUPPORTED
        assert str(caught.value).startswith(f"it is a TIFF of {reason}")
        eight_bits = plain_tiff(COLOUR[:, :, :3], colour=2, planar=planar, deflate=deflate)
        assert np.array_equal(decoded(eight_bits)[0], COLOUR[:, :, :3])


@pytest.mark.parametrize("deflate", [False, True])
def test_a_float_tiff_that_is_cut_or_a_bomb_is_refused(
    deflate: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    data = plain_tiff(np.random.default_rng(0).random((64, 64, 3)), colour=2, deflate=deflate)
    for end in (len(data) - 9, len(data) // 2):
        with pytest.raises(ImageProblem) as caught:
            decoded(data[:end])
        assert caught.value.status is Status.UNREADABLE
    large = struct.pack("<I", 7_000)  # squared, times 24 bytes: 1.1 GiB
    bomb = data[:18] + large + data[22:30] + large + data[34:]
    with pytest.raises(ImageProblem, match="more than 1 GiB") as caught:
        open_image(bomb)
    assert caught.value.status is Status.TOO_LARGE
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("order", ["<", ">"])
def test_pfm(order: str) -> None:
    """Rows from below; the sign of the scale is the byte order, its size is not applied."""
    head = f"\n64 64\n{'-' if order == '<' else ''}2.0\n".encode()
    values = (PICTURE[::-1] / 255).astype(f"{order}f4")
    assert np.array_equal(decoded(b"Pf" + head + values.tobytes())[0][:, :, 0], PICTURE)
    with pytest.raises(ImageProblem, match="it is a PFM image in color; convert it to float TIFF"):
        open_image(b"PF" + head + values.tobytes() * 3)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_is_what_opencv_reads(channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 65_536, (40, 30, channels), dtype=np.uint16)
    order = [2, 1, 0, 3][:channels]
    for suffix in (".png", ".tif"):
        data = bytes(cv2.imencode(suffix, samples[:, :, order])[1])
        for rule in ("0:65535", "30000:30200"):
            assert np.array_equal(decoded(data, rule)[0], decoded(samples, rule)[0])


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
    with pytest.raises(ValueError, match="the image has no finite value"):
        DepthRange.parse(rule).to_uint8(np.full((4, 5), value, np.float32))
