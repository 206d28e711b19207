"""Read video frames by number; each video is decoded in order by one decoder.

A frame's number counts the decodable frames from 0, as in Datumaro. There is no seeking, as
OpenCV's seek returns another frame with variable frame rates, B-frames and damaged files.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .images import MAX_PIXELS, ImageProblem, read_head
from .kinds import VIDEO, file_kind
from .records import Status
from .tally import counted

if TYPE_CHECKING:
    import cv2

Frame = npt.NDArray[np.uint8]

_MAX_OPEN = 16  # open videos: items of several cameras may alternate
_MAX_KEPT = 32  # frames kept per video: threads ask for them in any order
_MAX_EXPECTED = 16_384
_log_lock = threading.Lock()


def frame_path(video: str, frame: int) -> str:
    """Return the name of a frame, such as ``clip.mp4#000120``."""
    return f"{video}#{frame:06d}"


def split_frame_path(path: str) -> tuple[str, int | None]:
    """Return the video and frame number of a frame's name; for an image, its path and None."""
    found = re.fullmatch(r"(.+)#(\d{6,18})", path, re.DOTALL)
    return (found[1], int(found[2])) if found else (path, None)


class Videos:
    """Decoders for one pass over the frames of several videos; thread-safe.

    Reading frames in ascending order decodes a video once, even if threads read them slightly out
    of order, provided that `expect` announced them. Reading an earlier frame decodes the video
    again from its beginning.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoders: OrderedDict[str, _Decoder] = OrderedDict()
        self._expected: OrderedDict[tuple[str, int], None] = OrderedDict()

    def expect(self, path: str, frame: int) -> None:
        """Announce that a frame will be read, so that it is kept if later ones are read first."""
        with self._lock:
            self._expected[path, frame] = None
            if len(self._expected) > _MAX_EXPECTED:
                self._expected.popitem(last=False)

    def read(self, path: str, frame: int) -> Frame:
        """Decode a frame: upright pixels, (height, width, 3), BGR; raises `ImageProblem`."""
        with self._lock:
            decoder = self._decoders.setdefault(path, _Decoder(path, self._is_expected))
            self._decoders.move_to_end(path)
            if len(self._decoders) > _MAX_OPEN:
                self._decoders.popitem(last=False)
        return decoder.read(frame)

    def _is_expected(self, path: str, frame: int) -> bool:
        """Tell whether a decoded frame was announced, and forget the announcement."""
        with self._lock:
            return self._expected.pop((path, frame), self) is None


class _Decoder:
    """Decodes one video forward, and keeps announced frames until they are read."""

    def __init__(self, path: str, is_expected: Callable[[str, int], bool]) -> None:
        self._path, self._is_expected = path, is_expected
        self._lock = threading.Lock()
        self._capture: cv2.VideoCapture | None = None
        self._next = 0
        self._kept: OrderedDict[int, Frame] = OrderedDict()
        self._latest: tuple[int, Frame] | None = None
        self._n_frames: int | None = None  # once known
        self._problem: ImageProblem | None = None  # why the video cannot be opened

    def read(self, frame: int) -> Frame:
        with self._lock:
            if self._latest is None or self._latest[0] != frame:
                self._latest = frame, self._find(frame)
            return self._latest[1]

    def _find(self, frame: int) -> Frame:
        if frame in self._kept:
            return self._kept.pop(frame)
        if self._problem is not None:
            raise ImageProblem(self._problem.status, self._problem.reason)
        if self._n_frames is not None and frame >= self._n_frames:
            raise _ended(self._n_frames)
        if self._capture is None or frame < self._next:
            try:
                self._capture, self._next = open_video(self._path), 0
            except ImageProblem as problem:
                self._problem = problem
                raise
        return self._forward_to(frame, self._capture)

    def _forward_to(self, frame: int, capture: cv2.VideoCapture) -> Frame:
        while capture.grab():
            number, self._next = self._next, self._next + 1
            expected = self._is_expected(self._path, number)
            if number != frame and not expected:
                continue
            found, pixels = capture.retrieve()
            if number == frame:
                if not found:
                    raise ImageProblem(Status.UNREADABLE, "the frame cannot be decoded")
                return np.asarray(pixels)
            if found:
                self._kept[number] = np.asarray(pixels)
                if len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
        self._n_frames = self._next
        raise _ended(self._n_frames)


def frame_counts(path: str) -> tuple[int, int]:
    """Return the number of frames counted by decoding a video, and the number in its header.

    Raises `ImageProblem` if the video cannot be opened.

    Only decoding gives the number of frames: the header of a truncated file counts lost frames, and
    not every packet of a damaged or trimmed file gives a frame. The header's number is 0 or less if
    the header has none.
    """
    import cv2

    capture = open_video(path)
    said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    n_frames = 0
    while capture.grab():
        n_frames += 1
    return n_frames, said


def open_video(path: str) -> Any:
    """Open a video at its first frame; raises `ImageProblem`.

    Refuses text and all other files whose first bytes are not a video's: FFmpeg would open the
    files and addresses that a playlist names.
    """
    head = read_head(Path(path))
    if not head:
        raise ImageProblem(Status.UNREADABLE, "the file is empty")
    kind = file_kind(head)
    if kind is not None and kind != VIDEO:
        raise ImageProblem(kind.status, kind.reason)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # the row's error says what is wrong
    import cv2
    from cv2.utils import logging

    with _log_lock:
        level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
        try:
            capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        finally:
            logging.setLogLevel(level)
    if not capture.isOpened():
        reason = "the video cannot be opened: it is damaged or cut off, or OpenCV lacks its codec"
        raise ImageProblem(Status.UNREADABLE, reason)
    width, height = (
        int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    if width * height > MAX_PIXELS:
        reason = f"too many pixels: {width} x {height}, the limit is {MAX_PIXELS}"
        raise ImageProblem(Status.TOO_LARGE, reason)
    return capture


def _ended(n_frames: int) -> ImageProblem:
    end = f"ends after {counted(n_frames, 'frames')}" if n_frames else "has no frames"
    return ImageProblem(Status.UNREADABLE, f"the video {end} that can be decoded")
