"""What every encoder must do: subclass `EncoderContract` and let pytest collect it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ..encoders import Encoder, ImageEncoder, ImageInput, texts_of
from ..errors import ItemFailedError, UsageError

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


class ImageEncoderContract(ABC):
    """What every encoder of images must do: subclass it, give `make`, and pytest runs the rest.

    Examples
    --------
    >>> class TestMyEncoder(ImageEncoderContract):
    ...     def make(self, batch_size):
    ...         return my_package.MyEncoder(batch_size=batch_size)
    """

    @abstractmethod
    def make(self, batch_size: int) -> ImageEncoder:
        """Make an encoder of this batch size; always the same model."""

    _made: ClassVar[ImageEncoder]

    @pytest.fixture
    def encoder(self) -> ImageEncoder:
        """Give an encoder whose batches hold four images; made once for each subclass."""
        cls = type(self)
        if "_made" not in vars(cls):
            cls._made = self.make(4)
        return cls._made

    @pytest.fixture
    def pixels(self, encoder: ImageEncoder) -> Pixels:
        """Draw pixels of eleven images: two batches and three."""
        side = encoder.image_size_px
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (11, side, side, 3), dtype=np.uint8)

    # Helpers ---------------------------------------------------------------------------------

    @staticmethod
    def batches(pixels: Pixels, size: int) -> Iterator[Pixels]:
        """Cut pixels into batches of `size`, the last one shorter."""
        return (pixels[i : i + size] for i in range(0, len(pixels), size))

    def embedded(self, encoder: ImageEncoder, pixels: Pixels, size: int = 4) -> Vectors:
        """Embed pixels in batches of `size`."""
        return np.concatenate(list(encoder.embed_pixels(self.batches(pixels, size))))

    # Vectors ---------------------------------------------------------------------------------

    def test_attributes(self, encoder: ImageEncoder) -> None:
        assert encoder.name
        assert encoder.dim > 0
        assert encoder.image_size_px > 0
        assert encoder.least_side_px >= encoder.image_size_px
        assert encoder.batch_size == 4
        assert len(bytes.fromhex(encoder.fingerprint)) == 32
        assert self.make(2).fingerprint == encoder.fingerprint

    def test_rows_are_unit_float32(self, encoder: ImageEncoder, pixels: Pixels) -> None:
        for rows in (self.embedded(encoder, pixels), encoder.embed(pixels[:3])):
            assert rows.dtype == np.float32
            assert rows.shape[1] == encoder.dim
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)

    def test_one_result_for_each_batch_in_order(
        self, encoder: ImageEncoder, pixels: Pixels
    ) -> None:
        found = list(encoder.embed_pixels(self.batches(pixels, 4)))
        assert [len(rows) for rows in found] == [4, 4, 3]
        alone = [self.embedded(encoder, row[None]) for row in pixels]
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(alone))

    def test_a_vector_does_not_depend_on_its_neighbours(
        self, encoder: ImageEncoder, pixels: Pixels
    ) -> None:
        expected = self.embedded(encoder, pixels)
        order = np.random.default_rng(1).permutation(len(pixels))
        np.testing.assert_array_equal(self.embedded(encoder, pixels[order]), expected[order])
        for size in (1, 2, 3):
            np.testing.assert_array_equal(self.embedded(encoder, pixels, size), expected)

    def test_different_pixels_give_different_vectors(
        self, encoder: ImageEncoder, pixels: Pixels
    ) -> None:
        assert len(np.unique(self.embedded(encoder, pixels), axis=0)) == len(pixels)

    def test_batches_are_taken_lazily(self, encoder: ImageEncoder, pixels: Pixels) -> None:
        taken = 0

        def endless() -> Iterator[Pixels]:
            nonlocal taken
            while True:
                taken += 1
                yield pixels[:4]

        results = encoder.embed_pixels(endless())
        assert taken == 0
        expected = self.embedded(encoder, pixels[:4])
        for _ in range(5):
            np.testing.assert_array_equal(next(results), expected)
        assert taken < 5 + 256
        close = getattr(results, "close", None)
        if close is not None:
            close()
        np.testing.assert_array_equal(self.embedded(encoder, pixels[:4]), expected)

    def test_a_batch_may_be_written_over_once_it_was_answered(
        self, encoder: ImageEncoder, pixels: Pixels
    ) -> None:
        expected = self.embedded(encoder, pixels)
        given: list[Pixels] = []

        def batches() -> Iterator[Pixels]:
            for batch in self.batches(pixels, 4):
                given.append(batch.copy())
                yield given[-1]

        found = []
        for number, rows in enumerate(encoder.embed_pixels(batches())):
            found.append(rows)
            given[number][:] = 0
        np.testing.assert_array_equal(np.concatenate(found), expected)

    def test_no_batches(self, encoder: ImageEncoder) -> None:
        assert list(encoder.embed_pixels(iter(()))) == []
        rows = encoder.embed_images([])
        assert rows.shape == (0, encoder.dim)
        assert rows.dtype == np.float32

    def test_a_session_answers_in_order_however_it_is_asked(
        self, encoder: ImageEncoder, pixels: Pixels
    ) -> None:
        expected = self.embedded(encoder, pixels)
        for finished_first in (False, True):
            with closing(encoder.session()) as session:
                for batch in self.batches(pixels, 3):
                    session.submit(batch)
                if finished_first:
                    session.finish()
                found = [session.collect() for _ in range(len(session))]
                assert len(session) == 0
            np.testing.assert_array_equal(np.concatenate(found), expected)

    @pytest.mark.parametrize("change", ["empty", "too many", "float", "side", "no batch", "grey"])
    def test_batches_that_are_refused(
        self, encoder: ImageEncoder, pixels: Pixels, change: str
    ) -> None:
        batch: Any = {
            "empty": pixels[:0],
            "too many": pixels[:5],
            "float": pixels[:4].astype(np.float32),
            "side": pixels[:4, :-1],
            "no batch": pixels[0],
            "grey": pixels[:4, :, :, :1],
        }[change]
        with pytest.raises(UsageError, match="batch"):
            list(encoder.embed_pixels([batch]))

    def test_an_error_of_the_source_comes_through(
        self, encoder: ImageEncoder, pixels: Pixels
    ) -> None:
        def broken() -> Iterator[Pixels]:
            yield pixels[:4]
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            list(encoder.embed_pixels(broken()))
        assert self.embedded(encoder, pixels[:1]).shape == (1, encoder.dim)

    # Images and texts ------------------------------------------------------------------------

    @pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (64, 48), (224, 224)])
    def test_preprocess(self, encoder: ImageEncoder, size: tuple[int, int]) -> None:
        found = encoder.preprocess(Image.new("RGB", size, (10, 20, 30)))
        side = encoder.image_size_px
        assert (found.shape, found.dtype) == ((side, side, 3), np.dtype(np.uint8))
        assert found.flags.c_contiguous
        assert (found == (10, 20, 30)).all()

    def test_images_of_every_kind_are_the_same_image(
        self, encoder: ImageEncoder, tmp_path: Path
    ) -> None:
        array = np.random.default_rng(2).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(array)
        path = tmp_path / "a.png"
        image.save(path)
        kinds: list[ImageInput] = [image, array, path, str(path), path.read_bytes()]
        rows = encoder.embed_images(kinds)
        assert rows.shape == (5, encoder.dim)
        np.testing.assert_array_equal(rows, rows[:1].repeat(5, axis=0))

    def test_an_unreadable_image_is_named(self, encoder: ImageEncoder, tmp_path: Path) -> None:
        images: list[ImageInput] = [np.zeros((4, 4, 3), np.uint8), tmp_path / "none.png"]
        with pytest.raises(ItemFailedError, match="Image 1 cannot be embedded"):
            encoder.embed_images(images)

    def test_threads_get_the_same_vectors(self, encoder: ImageEncoder, pixels: Pixels) -> None:
        expected = self.embedded(encoder, pixels)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: self.embedded(encoder, pixels), range(8)))
        for rows in found:
            np.testing.assert_array_equal(rows, expected)

    def test_provenance_is_json(self, encoder: ImageEncoder) -> None:
        facts = json.loads(json.dumps(encoder.provenance()))
        assert facts["model"]["fingerprint"] == encoder.fingerprint
        assert facts["precision"]
        assert facts["device"]


class EncoderContract(ImageEncoderContract):
    """What every encoder of images and texts must do."""

    @pytest.fixture
    def texts(self, encoder: ImageEncoder) -> Encoder:
        """Give the encoder, which has texts."""
        return texts_of(encoder)

    def test_texts_are_unit_float32(self, texts: Encoder) -> None:
        rows = texts.embed_texts(["a cat", "", "x" * 999])
        assert (rows.shape, rows.dtype) == ((3, texts.dim), np.dtype(np.float32))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        for rows in (texts.embed_texts([]), texts.embed_labels([])):
            assert (rows.shape, rows.dtype) == ((0, texts.dim), np.dtype(np.float32))

    def test_texts_keep_their_order(self, texts: Encoder) -> None:
        words = [f"text {i}" for i in range(40)] + ["", "🐱", "\ud800", "a\0b", "word " * 500]
        rows = texts.embed_texts(words)
        np.testing.assert_array_equal(texts.embed_texts(words[::-1]), rows[::-1])
        np.testing.assert_array_equal(texts.embed_texts(words[7:8]), rows[7:8])

    def test_labels_are_texts(self, texts: Encoder) -> None:
        names = ["cat", "traffic_light"]
        prompts = [texts.label_prompt(name) for name in names]
        np.testing.assert_array_equal(texts.embed_labels(names), texts.embed_texts(prompts))
