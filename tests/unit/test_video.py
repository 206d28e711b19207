"""Videos: which frames are items, decoded once and in order; what damaged videos leave."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from datumaro.components import media as dm
from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from PIL import Image

from datumaro_embed import embed_dataset, find_duplicates, open_store
from datumaro_embed.adapter import import_dataset
from datumaro_embed.cli import main
from datumaro_embed.encoders.fake import FakeEncoder
from datumaro_embed.errors import EmbedWarning, StaleStoreError
from datumaro_embed.pipeline import EmbedOptions, EmbedSummary, embed_source
from datumaro_embed.records import Hit, ObjectStatus, Status
from datumaro_embed.retrieval import save_hits
from datumaro_embed.store import EmbeddingStore
from datumaro_embed.verify import compare_with_dataset
from datumaro_embed.video import Videos

SIZE = (96, 64)
Pixels = np.ndarray[Any, Any]


def drawn(seed: int, n: int) -> list[Pixels]:
    """Blurred noise, of another color in each frame."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (n, 8, 12, 3), np.uint8)
    return [cv2.resize(picture, SIZE, interpolation=cv2.INTER_CUBIC) for picture in pictures]


def write_video(path: Path, frames: Sequence[Pixels]) -> Path:
    """Write MJPG, whose frames do not depend on each other, or MPEG-4 with key frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = "mp4v" if path.suffix == ".mp4" else "MJPG"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, SIZE)
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def decoded(path: Path) -> list[Pixels]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


class Embed:
    """Embeds a path with the fake encoder; keeps the summary."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store" / "v.h5"
        self.store.parent.mkdir()

    def __call__(self, path: Path | str, **options: Any) -> EmbeddingStore:
        rows = options.pop("rows", None)

        def before_row() -> None:
            if rows is not None and next(rows, None) is None:
                raise KeyboardInterrupt

        chosen = EmbedOptions(**options)
        imported = import_dataset(str(path), every=chosen.every)
        self.summary: EmbedSummary = embed_source(
            *(imported.source, self.store, chosen),
            losses=imported.losses,
            encoder=FakeEncoder(),
            progress=False,
            before_row=before_row,
        )
        return open_store(self.store)


@pytest.fixture
def embed(tmp_path: Path) -> Embed:
    return Embed(tmp_path)


def ids(store: EmbeddingStore) -> list[str]:
    return [str(key) for key in store.keys()]


# Which frames are items --------------------------------------------------------------------------


def test_a_file_and_a_folder(tmp_path: Path, embed: Embed) -> None:
    video = write_video(tmp_path / "v" / "a.mp4", drawn(0, 30))

    alone = ids(embed(video))
    with embed(video.parent, restart=True) as store:
        assert alone == ids(store) == [f"default/a.mp4#{n:06d}" for n in range(30)]
        assert store.item(29).path == "a.mp4#000029"
        assert (store.item(29).width, store.item(29).height) == SIZE
        assert [*compare_with_dataset(store, import_dataset(str(video.parent)).source)] == []
    assert embed.summary.n_failed == 0


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["train/a.avi", "val/x/b.AVI"], ["train/a.avi#000000", "val/x/b.AVI#000000"]),
        (["a.avi", "val/b.avi"], ["default/a.avi#000000", "default/val/b.avi#000000"]),
    ],
)
def test_folders_of_splits_are_subsets(
    tmp_path: Path, embed: Embed, names: list[str], keys: list[str]
) -> None:
    for seed, name in enumerate(names):
        write_video(tmp_path / "v" / name, drawn(seed, 1))

    assert ids(embed(tmp_path / "v:video_frames")) == ids(embed(tmp_path / "v")) == keys


def test_other_files_beside_videos_ask_for_the_format(tmp_path: Path, embed: Embed) -> None:
    write_video(tmp_path / "v" / "a.avi", drawn(0, 2))
    (tmp_path / "v" / "notes.json").write_text("{}")

    with pytest.raises(Exception, match=r"v:videos for the frames of its videos"):
        embed(tmp_path / "v")
    assert len(embed(f"{tmp_path / 'v'}:videos")) == 2


def test_every(tmp_path: Path, embed: Embed, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "v" / "a.avi", drawn(0, 10))
    wanted = ["000000", "000004", "000008"]
    dataset = Dataset.import_from(str(video), "video_frames")

    assert ids(embed(video, every=4)) == [f"default/a.avi#{n}" for n in wanted]
    with embed_dataset(
        dataset, tmp_path / "p.h5", encoder=FakeEncoder(), progress=False, every=4
    ) as store:
        assert [key.id for key in store.keys()] == wanted
    dataset.transform("clip_embed", store=str(tmp_path / "t.h5"), model="demo", every=4)
    assert len([*dataset]) == 10
    with open_store(tmp_path / "t.h5") as store:
        assert [key.id for key in store.keys()] == wanted
    assert main(["verify", str(embed.store), "--dataset", str(video)]) == 0
    assert main(["verify", str(tmp_path / "t.h5"), "--dataset", f"{video}:video_frames"]) == 0
    assert capsys.readouterr().out == "3 rows: sound\n" * 2


# How they are decoded ----------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of OpenCV's decoders."""
    made: list[str] = []

    class Counting:
        """Not a subclass: those of OpenCV's classes crash the garbage collector."""

        def __init__(self, *arguments: Any, real: Any = cv2.VideoCapture) -> None:
            made.append("open")
            self._capture = real(*arguments)

        def __getattr__(self, name: str) -> Any:
            made.append(name)
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Counting)
    return made


@pytest.mark.parametrize("workers", [1, 8])
def test_one_decoder_for_each_video(tmp_path: Path, calls: list[str], workers: int) -> None:
    paths = [write_video(tmp_path / name, drawn(3, 150)) for name in ("a.mp4", "b.mp4")]
    items = [
        # As of two cameras: the videos take turns.
        DatasetItem(f"{n:03d}{path.stem}", media=dm.VideoFrame(dm.Video(str(path)), n))
        for path in paths
        for n in range(150)
    ]
    with embed_dataset(
        Dataset.from_iterable(items, media_type=dm.VideoFrame),
        *(tmp_path / "v.h5",),
        encoder=FakeEncoder(),
        progress=False,
        workers=workers,
    ) as store:
        assert store.item(21).path == "b.mp4#000010"
    assert (calls.count("open"), calls.count("grab"), calls.count("set")) == (2, 300, 0)


def test_threads_get_the_frames_they_ask_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", drawn(1, 60))
    frames, videos = decoded(path), Videos()
    for n in range(0, 60, 2):
        videos.expect(str(path), n)
    order = [*range(0, 60, 2), *random.Random(0).sample(range(60), 20), 7, 7]

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda n: videos.read(str(path), n), order)
        for n, frame in zip(order, found, strict=True):
            np.testing.assert_array_equal(frame, frames[n])


def test_a_run_goes_on_and_only_new_pixels_are_embedded(tmp_path: Path, embed: Embed) -> None:
    frames = drawn(5, 40)
    video = write_video(tmp_path / "v" / "a.avi", frames)
    with pytest.raises(KeyboardInterrupt):
        embed(video, rows=iter(range(25)), commit_rows=10)

    with embed(video) as store:
        assert (embed.summary.n_reused, len(store)) == (20, 40)
        whole = store.embeddings().copy()
    write_video(video, [*frames[:7], frames[7][::-1], *frames[8:], frames[0]])
    with open_store(embed.store) as store:
        source = import_dataset(str(video)).source
        assert [*compare_with_dataset(store, source)] == [
            "default/a.avi#000007: the image's bytes have changed",
            "default/a.avi#000040: in the dataset, not in the store",
        ]
    with embed(video) as store:
        assert (embed.summary.n_reused, len(store)) == (
            40,
            41,
        )  # the last shows what the first does
        same = np.flatnonzero((store.embeddings()[:40] == whole).all(axis=1))
        assert [*same] == [n for n in range(40) if n != 7]


def test_objects_of_frames(tmp_path: Path) -> None:
    video = dm.Video(str(write_video(tmp_path / "a.avi", drawn(2, 3))))
    items = [
        DatasetItem(f"{n}", media=dm.VideoFrame(video, n), annotations=[Bbox(9, 9, 40, 30)])
        for n in range(3)
    ]
    with embed_dataset(
        Dataset.from_iterable(items, media_type=dm.VideoFrame),
        *(tmp_path / "v.h5",),
        encoder=FakeEncoder(),
        progress=False,
        objects=True,
    ) as store:
        assert [*store.objects.statuses] == [ObjectStatus.OK] * 3
        assert len(np.unique(store.objects.vectors, axis=0)) == 3


# What damaged videos leave -----------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_frames(path: Path) -> None:
    write_video(path, [])


def unknown_codec(path: Path) -> None:
    data = path.read_bytes().replace(b"MJPG", b"qqqq").replace(b"mp4v", b"qqqq")
    path.write_bytes(data.replace(b"esds", b"free"))


def list_of_files(path: Path) -> None:
    other = write_video(path.parent.parent / "secret.mp4", drawn(0, 3))
    path.write_text(f"ffconcat version 1.0\nfile ../{other.name}\n")


def link_out(path: Path) -> None:
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "cannot be opened"),
        (without_frames, "cannot be opened|no frames"),
        (unknown_codec, "cannot be opened|no frames"),
        (list_of_files, "text file"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("version https://git-lfs"), "git-LFS pointer"),
        (link_out, "link leads out"),
    ],
)
def test_a_damaged_video_is_a_row_beside_the_others(
    tmp_path: Path, embed: Embed, name: str, damage: Callable[[Path], None], reason: str
) -> None:
    damaged = write_video(tmp_path / "v" / name, drawn(0, 20))
    write_video(tmp_path / "v" / "b.mp4", drawn(0, 2))
    damage(damaged)

    with embed(tmp_path / "v") as store:
        failed = [
            item for item in map(store.item, range(len(store))) if item.status is not Status.OK
        ]
        if name == "a.avi" and damage is cut:  # its frames up to there are found
            assert "videos with fewer frames than their header says" in str(
                embed.summary.losses.to_json()
            )
            assert len(failed) <= 1
            assert 8 < len(store) - 2 < 12
        else:
            assert [str(item.key) for item in failed] == [f"default/{name}#000000"]
            assert np.any([word in failed[0].error for word in reason.split("|")]), failed
            assert len(store) == 3


def test_frames_that_a_video_does_not_have(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", drawn(0, 3))
    places = [(path, 2), (path, 3), (path, 900), (tmp_path / "no.avi", 0), (tmp_path, 0)]
    items = [
        DatasetItem(str(n), media=dm.VideoFrame(dm.Video(str(file)), frame))
        for n, (file, frame) in enumerate(places)
    ]
    with (
        pytest.warns(EmbedWarning),
        embed_dataset(
            Dataset.from_iterable(items, media_type=dm.VideoFrame),
            *(tmp_path / "v.h5",),
            encoder=FakeEncoder(),
            progress=False,
            root=tmp_path,
        ) as store,
    ):
        assert [(int(item.status), item.error) for item in map(store.item, range(5))] == [
            (Status.OK, ""),
            (Status.UNREADABLE, "the video ends after 3 frames that can be decoded"),
            (Status.UNREADABLE, "the video ends after 3 frames that can be decoded"),
            (Status.MISSING, "no such file or directory"),
            (Status.UNREADABLE, "it is a directory"),
        ]


@pytest.mark.parametrize("said", [3, 20_000])
def test_a_header_that_lies_is_not_believed(tmp_path: Path, embed: Embed, said: int) -> None:
    path = write_video(tmp_path / "v" / "a.avi", drawn(0, 20))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, said)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, said)
    path.write_bytes(data)

    with embed(path) as store:
        assert len(store) == 20
        assert embed.summary.n_failed == 0
    assert ("fewer frames" in str(embed.summary.losses.to_json())) == (said == 20_000)


def test_a_variable_frame_rate_changes_no_frame(tmp_path: Path, embed: Embed) -> None:
    path = write_video(tmp_path / "v" / "a.mp4", drawn(0, 30))
    before = embed(path).embeddings().copy()
    data = path.read_bytes()
    runs = [(10, 100), (1, 9_000), (12, 40), (7, 300)]  # frames, duration of each
    body = b"".join(struct.pack(">II", *run) for run in runs)
    box = struct.pack(">I4sII", 16 + len(body), b"stts", 0, len(runs)) + body
    at = data.index(b"stts") - 4
    more = len(box) - struct.unpack_from(">I", data, at)[0]
    data = bytearray(data[:at] + box + data[at + len(box) - more :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = data.index(name) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + more)
    path.write_bytes(data)

    with embed(path, restart=True) as store:
        np.testing.assert_array_equal(store.embeddings(), before)
    assert embed.summary.n_failed == 0


@pytest.mark.parametrize(("start", "length", "n"), [(5, 30, 25), (5, 10, 10), (17, 30, 13)])
def test_frames_that_an_mp4_leaves_out(
    tmp_path: Path, embed: Embed, start: int, length: int, n: int
) -> None:
    """By its edit list, as of a clip that was cut without encoding it again."""
    path = write_video(tmp_path / "v" / "a.mp4", drawn(0, 30))
    data = bytearray(path.read_bytes())
    struct.pack_into(">Ii", data, data.index(b"elst") + 12, length * 40, start * 512)
    path.write_bytes(data)

    with embed(path) as store:
        assert len(store) == n
        assert embed.summary.n_failed == 0


# What is made of their vectors -------------------------------------------------------------------


def test_near_duplicate_frames_are_one_group(tmp_path: Path, embed: Embed) -> None:
    first, second = drawn(0, 2)
    clip = [np.clip(first.astype(int) + n % 9, 0, 255).astype(np.uint8) for n in range(300)]
    write_video(tmp_path / "v" / "train" / "a.avi", clip)
    write_video(tmp_path / "v" / "val" / "a.avi", [second, clip[0], clip[1]])

    with embed(tmp_path / "v") as store:
        report = find_duplicates(store, threshold=0.98)
    assert [len(group.keys) for group in report.groups] == [302]
    within = [pair for pair in report.pairs if not pair.across_splits]
    assert len({pair.second for pair in within}) == len(within) == 300
    assert all(pair.similarity >= 0.98 for pair in within)


def test_a_hit_is_saved_as_the_frame(tmp_path: Path, embed: Embed) -> None:
    path = write_video(tmp_path / "v" / "a.mp4", drawn(4, 12))
    with embed(path) as store:
        hits = [Hit(store.key(n), n, 1.0, path=store.item(n).path) for n in (11, 3)]
        assert save_hits(store, hits, tmp_path / "out", media_root=path.parent) == []
        for hit, file in zip(hits, sorted((tmp_path / "out").iterdir()), strict=True):
            saved = np.asarray(Image.open(file))
            np.testing.assert_array_equal(saved[..., ::-1], decoded(path)[hit.row])
        write_video(path, drawn(5, 12))
        with pytest.raises(StaleStoreError, match="changed"):
            save_hits(store, hits, tmp_path / "no", media_root=path.parent)
