"""images.py and pixels.py: every mode, orientation and kind of damage."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pillow_heif import from_pillow

from datumaro_embed.images import (
    ImageInfo,
    ImageProblem,
    open_image,
    read_image,
    read_info,
    upright_rgb,
)
from datumaro_embed.pixels import quiet_pillow
from datumaro_embed.records import Status

# An upright picture without any symmetry: each orientation moves its corners elsewhere.
PICTURE = np.zeros((4, 6, 3), np.uint8)
PICTURE[0, 0] = (255, 0, 0)
PICTURE[0, 5] = (0, 255, 0)
PICTURE[3, 0] = (0, 0, 255)
STORED = {  # EXIF 2.3, 4.6.4 A: what a stored row and column mean, undone
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.transpose(1, 0, 2),
    6: PICTURE.transpose(1, 0, 2)[::-1],
    7: PICTURE.transpose(1, 0, 2)[::-1, ::-1],
    8: PICTURE.transpose(1, 0, 2)[:, ::-1],
}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    if kind == "HEIF":  # not registered with Pillow
        from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(source: Any, **options: Any) -> np.ndarray[Any, Any]:
    image, _ = read_image(source, **options)
    assert image.mode == "RGB"
    return np.asarray(image)


def problem_of(source: Any, **options: Any) -> ImageProblem:
    with pytest.raises(ImageProblem) as caught:
        read_image(source, **options)
    assert "\n" not in caught.value.reason
    assert caught.value.reason
    return caught.value


def exif_bytes(orientation: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + body + struct.pack(">I", zlib.crc32(body))


# ---------------------------------------------------------------------------------------- sources


def test_path_str_bytes_and_array_give_equal_pixels(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(PICTURE))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), PICTURE):
        assert np.array_equal(pixels_of(source), PICTURE)


def test_info_has_size_and_hash_of_the_file_bytes() -> None:
    data = encoded(Image.fromarray(PICTURE))
    expected = ImageInfo(6, 4, 1, hashlib.sha256(data).digest())
    assert read_image(data)[1] == expected == read_info(data)


def test_array_hash_covers_dtype_shape_and_values() -> None:
    arrays = [
        np.zeros((4, 4), np.uint8),
        np.zeros((2, 8), np.uint8),
        np.zeros((4, 4), np.int8),
        np.ones((4, 4), np.uint8),
    ]
    assert len({read_info(array).content_sha256 for array in arrays}) == 4
    strided = np.zeros((8, 8), np.uint8)[::2, ::2]
    assert read_info(strided).content_sha256 == read_info(arrays[0]).content_sha256


def test_returned_image_carries_no_metadata_that_could_rotate_it_again() -> None:
    data = encoded(Image.fromarray(STORED[6]), "TIFF", exif=exif_bytes(6))
    image, _ = read_image(data)
    assert image.info == {}
    assert len(image.getexif()) == 0


def test_a_jpeg_carries_no_metadata_either_and_the_callers_image_is_left_alone() -> None:
    data = encoded(Image.fromarray(STORED[6]), "JPEG", exif=exif_bytes(6))
    image, _ = read_image(data)
    assert image.info == {}
    assert len(image.getexif()) == 0
    with Image.open(io.BytesIO(data)) as mine:
        assert np.array_equal(np.asarray(upright_rgb(mine)), np.asarray(image))
        assert mine.getexif()[0x0112] == 6
        assert mine.size == (4, 6)


# ------------------------------------------------------------------------------------ reduced size


@pytest.mark.parametrize(
    ("size", "least_side_px", "expected"),
    [
        ((640, 480), 224, (320, 240)),
        ((640, 480), 240, (320, 240)),
        ((640, 480), 241, (640, 480)),
        ((480, 640), 100, (120, 160)),
        ((1000, 300), 30, (125, 38)),
        ((4000, 16), 8, (2000, 8)),
        ((640, 480), 0, (640, 480)),
        ((30, 20), 224, (30, 20)),
    ],
)
def test_a_jpeg_is_read_at_the_smallest_size_that_is_large_enough(
    size: tuple[int, int], least_side_px: int, expected: tuple[int, int]
) -> None:
    ramp = np.linspace(0, 255, size[0], dtype=np.uint8)[None].repeat(size[1], axis=0)
    for suffix in ("JPEG", "PNG"):
        data = encoded(Image.fromarray(ramp).convert("RGB"), suffix)
        opened = open_image(data)
        image = opened.decode(least_side_px=least_side_px)
        assert image.size == (expected if suffix == "JPEG" else size)
        assert (opened.info.stored_width, opened.info.stored_height) == size
        assert image.mode == "RGB"
        full = read_image(data)[0].resize(image.size, Image.Resampling.BOX)
        gap = np.abs(np.asarray(image, np.int16) - np.asarray(full, np.int16))
        assert gap.mean() < 2


def test_a_reduced_jpeg_is_upright_too() -> None:
    picture = Image.fromarray(STORED[6]).resize((160, 240), Image.Resampling.NEAREST)
    data = encoded(picture, "JPEG", exif=exif_bytes(6))
    image = open_image(data).decode(least_side_px=40)
    assert image.size == (60, 40)
    assert np.asarray(image)[0, 0, 0] > 200  # red, at the upright top left


# ------------------------------------------------------------------------------------------ modes

RAMP = np.arange(0, 256, 5, dtype=np.uint8)[None].repeat(3, axis=0)
COLOUR = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=2)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *[("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "PNG")],
        *[("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("LAB", "TIFF")],
        *[("RGB", "BMP"), ("RGB", "PPM"), ("RGBA", "TGA"), ("L", "SGI"), ("RGBA", "WEBP")],
    ],
)
def test_eight_bit_modes_are_pillows_own_conversion(mode: str, kind: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(image, kind, **options)
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(pixels_of(data), expected)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "La", "RGBa", "RGBX", "PA", "F", "I", "I;16"])
def test_modes_that_no_file_has_are_read_from_open_images(mode: str) -> None:
    if mode == "PA":
        image = Image.fromarray(COLOUR).convert("P").convert("PA")
    elif mode in {"La", "RGBa"}:
        image = Image.fromarray(COLOUR).convert(mode.upper()).convert(mode)
    else:
        image = Image.fromarray(COLOUR).convert("L" if mode[0] in "FI" else "RGB").convert(mode)
    rgb = upright_rgb(image)
    assert (rgb.mode, rgb.size) == ("RGB", image.size)


def test_alpha_is_dropped_not_blended() -> None:
    clear = Image.new("RGBA", (2, 2), (10, 200, 30, 0))
    assert (pixels_of(encoded(clear)) == (10, 200, 30)).all()


def test_somebodys_image_keeps_its_transparency() -> None:
    image = Image.new("P", (4, 4))
    image.info["transparency"] = 0
    upright_rgb(image)
    assert image.info["transparency"] == 0


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])])
def test_palette_with_transparency_keeps_its_colours(transparency: Any) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([9, 8, 7, 60, 50, 40, 100, 110, 120])
    data = encoded(image, transparency=transparency)
    assert pixels_of(data)[0].tolist() == [[9, 8, 7], [60, 50, 40], [100, 110, 120]]


def test_adobe_cmyk_jpeg_is_not_inverted() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red_pixel = pixels_of(encoded(red, "JPEG", quality=100))[8, 8]
    assert red_pixel[0] > 245
    assert red_pixel[1:].max() < 10


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    image = Image.fromarray(values)
    assert pixels_of(encoded(image, kind))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_big_endian_sixteen_bit_tiff() -> None:
    values = np.array([[0, 256, 65535]], np.uint16)
    image = Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes())
    assert pixels_of(encoded(image, "TIFF"))[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),
        ([0, 256, 65535], [0, 1, 255]),
        ([0, 1 << 24, (1 << 31) - 1], [0, 2, 255]),
        ([-5, 7, 255], [0, 7, 255]),
    ],
)
def test_thirty_two_bit_grey_is_shifted_into_a_byte(values: list[int], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], np.int32)), "TIFF")
    assert pixels_of(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.4, 256.0], [0, 100, 255]),
        ([float("nan"), -1.0, float("inf")], [0, 0, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_float_grey(values: list[float], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert pixels_of(data)[0, :, 0].tolist() == expected
    assert pixels_of(np.array([values], np.float64))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (pixels_of(data) == (255, 0, 0)).all()


# ----------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 2), (4, 6, 3), (4, 6, 4)])
def test_array_shapes(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = pixels_of(array)
    colour = (
        array[..., :3] if array.ndim == 3 and shape[2] >= 3 else array.reshape(4, 6, -1)[..., :1]
    )
    assert np.array_equal(found, np.broadcast_to(colour, (4, 6, 3)))


def test_bgr_arrays_are_turned_round() -> None:
    bgra = np.dstack([PICTURE[..., ::-1], np.zeros((4, 6), np.uint8)])
    assert np.array_equal(pixels_of(bgra, channel_order="bgr"), PICTURE)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (np.bool_, True, 255),
        (np.uint16, 0xF234, 0xF2),
        (np.int64, -3, 0),
        (np.int16, 300, 300 >> 2),  # 10 bits
        (np.float16, 0.5, 128),
        (np.uint64, 2**63, 128),
    ],
)
def test_array_dtypes(dtype: Any, value: Any, expected: int) -> None:
    assert (pixels_of(np.full((2, 2), value, dtype)) == expected).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((2, 2), np.complex64),
        np.array([[object()]]),
    ],
)
def test_arrays_that_are_no_image(array: Any) -> None:
    found = problem_of(array)
    assert found.status is Status.UNREADABLE
    assert found.info is not None


# ------------------------------------------------------------------------------------ orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(stored, kind, exif=exif_bytes(orientation), **options)
    image, info = read_image(data)
    assert np.array_equal(np.asarray(image), PICTURE)
    assert (info.stored_width, info.stored_height, info.orientation) == (*stored.size, orientation)
    assert (info.width, info.height) == (6, 4)
    assert read_info(data) == info


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_jpeg(orientation: int) -> None:
    scale = np.ones((16, 16, 1), np.uint8)
    stored = Image.fromarray(np.kron(STORED[orientation], scale))
    image, info = read_image(encoded(stored, "JPEG", quality=95, exif=exif_bytes(orientation)))
    corners = np.asarray(image)[8::16, 8::16].astype(int)
    assert np.abs(corners - PICTURE).max() < 60
    assert (info.width, info.height) == (96, 64)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_count_as_upright(orientation: Any) -> None:
    data = encoded(Image.fromarray(PICTURE), exif=exif_bytes(orientation))
    assert np.array_equal(pixels_of(data), PICTURE)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0",
        b"Exif\0\0" + exif_bytes(6)[6:20],
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40,
        b"Exif\0\0II*\0\xff\xff\xff\xff",
    ],
)
def test_damaged_exif_does_not_cost_the_image(exif: bytes) -> None:
    data = encoded(Image.fromarray(PICTURE), "JPEG", exif=exif)
    image, info = read_image(data)
    assert image.size == (6, 4)
    assert info.orientation == 1


def test_upright_rgb_turns_an_open_image() -> None:
    data = encoded(Image.fromarray(np.ascontiguousarray(STORED[6])), exif=exif_bytes(6))
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(upright_rgb(image)), PICTURE)


# ----------------------------------------------------------------------------------------- damage


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no.jpg", tmp_path / "no" / "way.jpg", tmp_path / ("x" * 5000), "a\0b"):
        found = problem_of(path)
        assert (found.status, found.info) == (Status.MISSING, None)
        assert str(tmp_path) not in found.reason


def test_a_file_used_as_a_directory_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert problem_of(tmp_path / "file" / "a.jpg").status is Status.MISSING


def test_directory(tmp_path: Path) -> None:
    assert problem_of(tmp_path).status is Status.UNREADABLE


@pytest.mark.skipif(not Path("/proc/version").is_file(), reason="/proc is of Linux")
def test_a_file_that_has_more_than_its_size_is_read_to_its_end_or_limit() -> None:
    source = Path("/proc/version")  # its size is 0
    data = source.read_bytes()
    found = problem_of(source)
    assert found.status is Status.UNREADABLE
    assert found.info is not None
    assert found.info.content_sha256 == hashlib.sha256(data).digest()
    assert problem_of(source, max_bytes=len(data) - 1).status is Status.TOO_LARGE


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in its file system")
def test_a_pipe_or_device_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        assert "pipe, socket or device" in problem_of(path).reason


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    found = problem_of(tmp_path / "a.jpg")
    assert (found.status, found.reason) == (Status.UNREADABLE, "the file is empty")
    assert found.info == ImageInfo(0, 0, 1, hashlib.sha256(b"").digest())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_unreadable(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for keep in (len(data) // 2, 20, 5):
        assert problem_of(data[:keep]).status is Status.UNREADABLE


def test_a_truncated_jpeg_keeps_its_size_and_hash() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", exif=exif_bytes(6))
    cut = data[: len(data) // 2]
    found = problem_of(cut)
    assert "truncated" in found.reason
    assert found.info == ImageInfo(48, 64, 6, hashlib.sha256(cut).digest())
    assert read_info(cut) == found.info


def test_flipped_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "HEIF", "TGA"):
        original = np.frombuffer(encoded(noise, kind), np.uint8)
        for _ in range(60):
            damaged = original.copy()
            damaged[rng.integers(0, len(damaged), 6)] = rng.integers(0, 256, 6)
            with suppress(ImageProblem):  # anything else fails the test
                read_image(damaged.tobytes(), max_pixels=1 << 20)


def test_zero_size() -> None:
    assert problem_of(png_header(0, 5)).status is Status.UNREADABLE


@pytest.mark.parametrize("side", [9_500, 12_000, 30_000, 100_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    found = problem_of(png_header(side, side), max_pixels=90_000_000)
    assert found.status is Status.TOO_LARGE
    assert found.info is not None
    assert (found.info.width, found.info.height) == (side, side)


def test_the_default_limit_refuses_the_classic_bomb() -> None:
    assert problem_of(png_header(30_000, 30_000)).status is Status.TOO_LARGE


def test_limits_are_the_callers(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(PICTURE))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (path, data, PICTURE):
        assert problem_of(source, max_pixels=23).status is Status.TOO_LARGE
        assert read_image(source, max_pixels=24)[0].size == (6, 4)
    for source in (path, data):
        assert problem_of(source, max_bytes=len(data) - 1).status is Status.TOO_LARGE
        assert read_image(source, max_bytes=len(data))[0].size == (6, 4)


def test_a_sparse_giant_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert problem_of(tmp_path / "big.jpg").status is Status.TOO_LARGE


def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(PICTURE)))
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("this system does not list open files")
    before = len(list(handles.iterdir()))
    held = [read_image(path) for _ in range(20)]
    assert len(list(handles.iterdir())) == before
    assert len(held) == 20


def test_problem_pickles() -> None:
    problem = ImageProblem(Status.MISSING, "gone\nfor  ever", ImageInfo(1, 2, 3, bytes(32)))
    copy = pickle.loads(pickle.dumps(problem))
    assert (copy.status, copy.info) == (problem.status, problem.info)
    assert str(copy) == "gone for ever"


# ---------------------------------------------------------------------------------------- threads


def test_many_threads_read_alike_and_leave_no_warning_filter() -> None:
    damaged = encoded(Image.fromarray(PICTURE), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: np.asarray(read_image(damaged)[0]), range(64)))
    assert all(np.array_equal(one, found[0]) for one in found)
    assert list(warnings.filters) == before


def test_quiet_pillow_holds_until_the_last_thread_leaves() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with quiet_pillow():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait(10)
    with quiet_pillow():
        pass
    warnings.warn_explicit("hushed", UserWarning, "PIL/Image.py", 1, module="PIL.Image")
    leave.set()
    thread.join()
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn_explicit("heard", UserWarning, "PIL/Image.py", 1, module="PIL.Image")


@pytest.mark.parametrize(
    ("name", "quality", "steps"),
    [
        *[("JPEG", 95, 10), ("JPEG", 75, 50), ("JPEG", 50, 100), ("JPEG", 25, 200)],
        *[("PNG", 0, 0), ("BMP", 0, 0), ("WEBP", 80, None), ("TIFF", 0, None)],
    ],
)
def test_how_coarsely_a_file_keeps_its_pixels_is_read(
    name: str, quality: int, steps: float | None
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(stream, name, quality=quality)
    assert open_image(stream.getvalue()).steps == (steps and pytest.approx(steps, rel=0.02))


def test_pixels_are_read_without_pandas() -> None:
    """An interrupt in its import, which takes half a second, would be lost."""
    code = """
import gc, sys
import numpy as np
from PIL import Image
from datumaro_embed.pixels import rgbx
colors = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
pixels = rgbx(Image.fromarray(colors))
gc.collect()  # the image is gone, its pixels are not
others = [Image.new("RGB", (53, 37)) for _ in range(50)]
assert (pixels[..., :3] == colors).all()
assert not pixels.flags.writeable
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
