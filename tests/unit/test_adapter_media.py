"""Every Datumaro medium → encoder input, or a typed refusal."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from datumaro.components import media as dm
from PIL import Image

from datumaro_embed.adapter.media import encoder_input
from datumaro_embed.images import ImageProblem
from datumaro_embed.records import Status

PIXELS = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    return buffer.getvalue()


def test_file_is_passed_as_a_path_unopened() -> None:
    given = encoder_input(dm.Image.from_file("/nowhere/a.jpg", size=(6, 8)))
    assert (given.source, given.roi) == (Path("/nowhere/a.jpg"), None)


def test_bytes_and_numpy() -> None:
    assert encoder_input(dm.Image.from_bytes(png_bytes())).source == png_bytes()
    assert encoder_input(dm.Image.from_bytes(png_bytes)).source == png_bytes()
    np.testing.assert_array_equal(encoder_input(dm.Image.from_numpy(PIXELS)).source, PIXELS)
    np.testing.assert_array_equal(encoder_input(dm.Image.from_numpy(lambda: PIXELS)).source, PIXELS)


def test_regions_of_interest_of_files_and_bytes_keep_their_box_and_numpy_is_cut(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes())
    roi = (1, 2, 3, 4)

    file = encoder_input(dm.RoIImage.from_image(dm.Image.from_file(str(path)), roi))
    raw = encoder_input(dm.RoIImage.from_image(dm.Image.from_bytes(png_bytes()), roi))
    array = encoder_input(dm.RoIImage.from_image(dm.Image.from_numpy(PIXELS), roi))

    assert (file.source, file.roi) == (path, roi)
    assert (raw.source, raw.roi) == (png_bytes(), roi)
    np.testing.assert_array_equal(array.source, PIXELS[2:6, 1:4])
    assert array.roi is None


def test_video_frames(tmp_path: Path) -> None:
    path = str(tmp_path / "v.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 5, (32, 24))
    for value in (10, 200):
        writer.write(np.full((24, 32, 3), value, np.uint8))
    writer.release()
    video = dm.Video(path)

    frames = [encoder_input(dm.VideoFrame(video, index)).source for index in (0, 1)]
    video.close()

    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 2
    assert [round(float(frame.mean()), -1) for frame in frames] == [10, 200]


@pytest.mark.parametrize(
    ("medium", "reason"),
    [
        (None, "no image"),
        (dm.PointCloud.from_file("a.pcd"), "PointCloudFromFile"),
        (dm.MultiframeImage([dm.Image.from_numpy(PIXELS)], path="a"), "MultiframeImage"),
        (dm.Video("a.avi"), "Video"),
        (dm.MediaElement(), "MediaElement"),
    ],
)
def test_other_media_are_refused_by_name(medium: dm.MediaElement | None, reason: str) -> None:
    with pytest.raises(ImageProblem, match=reason) as caught:
        encoder_input(medium)
    assert caught.value.status is Status.UNSUPPORTED


def test_image_without_data_is_missing() -> None:
    with pytest.raises(ImageProblem, match="no data") as caught:
        encoder_input(dm.Image.from_numpy(lambda: None))
    assert caught.value.status is Status.MISSING
