"""Read videos without annotations, one file or a folder; each frame is an item."""

from __future__ import annotations

import os
from pathlib import Path

from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DEFAULT_SUBSET_NAME, DatasetItem
from datumaro.components.media import Video, VideoFrame

from ..kinds import is_video_name
from ..parallel import map_ahead
from ..records import is_split_name
from ..tally import Tally
from ..video import frame_counts
from .fence import Fence
from .same_stem import can_be_id


def read_videos(
    path: Path, losses: Tally, *, follow_symlinks: bool, every: int
) -> tuple[Dataset, Path]:
    """Return a dataset of the frames of a video or of all videos below a folder, and the folder.

    Ids look like ``clip.mp4#000120``. If all videos are in folders called train, val and test,
    these are subsets. A video that cannot be opened gives one item, whose error says why.
    """
    root = path if path.is_dir() else path.parent
    fence = Fence(root, follow_symlinks)
    files = [str(path)]
    if path.is_dir():
        folders = fence.walk(losses)
        files = [os.path.join(f.path, n) for f in folders for n in f.files if is_video_name(n)]
    names = [fence.relative(os.path.abspath(file)).split("/") for file in files]
    in_subsets = all(len(parts) > 1 and is_split_name(parts[0]) for parts in names)

    def count(file: str) -> tuple[int, int]:
        try:
            return (1, 1) if fence.place(file)[1] else frame_counts(file)
        except Exception:  # OpenCV may raise nearly anything; reading the frame reports the error
            return 1, 1

    items = []
    for file, parts, (n_frames, n_said) in zip(files, names, map_ahead(count, files), strict=True):
        video_id = "/".join(parts[in_subsets:])
        if not can_be_id(video_id):
            losses.add("video files whose name cannot be an id", "/".join(parts))
            continue
        if n_frames < n_said:
            what = f"{'/'.join(parts)}: {n_frames:,} of {n_said:,}"
            losses.add("videos with fewer frames than their header says", what)
        video, digits = Video(file), max(6, len(str(n_frames - 1)))
        items += [
            DatasetItem(
                f"{video_id}#{frame:0{digits}d}",
                subset=parts[0] if in_subsets else DEFAULT_SUBSET_NAME,
                media=VideoFrame(video, frame),
            )
            for frame in range(0, max(1, n_frames), every)
        ]
    return Dataset.from_iterable(items, media_type=VideoFrame, ann_types=set()), root
