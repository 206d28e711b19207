"""Two pictures: what is proven to be a copy, what is not, and what a person is asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from copies_support import COPIES, Picture, judged, noise, scene, text


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_copy_is_proven_and_named(name: str, swapped: bool) -> None:
    change, how = COPIES[name]
    pair = scene(1), change(scene(1))
    proof = judged(*(pair[::-1] if swapped else pair))
    assert proof is not None
    assert proof.kind == "picture"
    assert proof.how == ((how,) if how else ())
    assert proof.score > 0.8


def things(ground: tuple[int, int, int], thing: tuple[int, int, int]) -> Picture:
    """Two things before one color."""
    picture = Image.new("RGB", (320, 240), ground)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((60, 40, 150, 130), thing)
    draw.polygon([(200, 200), (290, 190), (230, 110)], thing)
    draw.line((70, 180, 130, 150), thing, 6)
    return picture


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("ground", "thing"),
    [
        ((245, 235, 250), (180, 215, 220)),  # the ground becomes white
        ((230, 240, 235), (205, 180, 235)),  # so does most of the things
        ((134, 172, 58), (255, 52, 57)),  # equally bright: what is seen is color
    ],
    ids=["light", "lighter", "equally bright"],
)
def test_what_becomes_too_bright_is_the_same_picture(
    ground: tuple[int, int, int], thing: tuple[int, int, int], swapped: bool
) -> None:
    picture = things(ground, thing)
    pair = picture, ImageEnhance.Brightness(picture).enhance(1.3)
    proof = judged(*(pair[::-1] if swapped else pair))
    assert proof is not None
    assert (proof.kind, proof.how) == ("picture", ("brightness",))
    ground_alone = Image.new("RGB", (320, 240), ground)
    ImageDraw.Draw(ground_alone).ellipse((60, 40, 150, 130), thing)
    brighter = ImageEnhance.Brightness(ground_alone).enhance(1.3)
    assert judged(*((brighter, picture) if swapped else (picture, brighter))) is None


def stained(at: tuple[int, int]) -> Picture:
    """A soft stain, as bright as what is below it."""
    ground = np.asarray(noise(8, (320, 240), cells=24)).astype(np.float32)
    y, x = np.mgrid[:240, :320]
    weight = 15 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 25**2))
    pixels = ground + weight[..., None] * np.array([1, -0.85, 0.9])
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def gray_with(fill: tuple[int, int, int], at: tuple[int, int], side: int) -> Picture:
    picture = (
        noise(9, (320, 240), cells=40).convert("L").point(lambda v: 114 + v // 9).convert("RGB")
    )
    ImageDraw.Draw(picture).ellipse((*at, at[0] + side, at[1] + side), fill)
    return picture


def smooth(displaced: float) -> Picture:
    """A body of soft parts, as on a radiograph; each elsewhere by up to some pixels."""
    rng = np.random.default_rng(2)
    picture = Image.new("L", (320, 320), 40)
    draw = ImageDraw.Draw(picture)
    for n in range(14):
        x, y = rng.uniform(40, 280, 2) + displaced * rng.uniform(-1, 1, 2)
        w, h = rng.uniform(20, 70, 2)
        draw.ellipse((x - w, y - h, x + w, y + h), outline=90 + 8 * n, width=9)
    return picture.filter(ImageFilter.GaussianBlur(3)).convert("RGB")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (stained((90, 80)), stained((200, 140))),
        (gray_with((190, 100, 70), (40, 60), 75), gray_with((70, 160, 70), (220, 140), 40)),
        (gray_with((128, 128, 128), (0, 0), 4), gray_with((50, 155, 155), (140, 90), 65)),
        (smooth(0), smooth(2)),
    ],
    ids=["stain elsewhere", "other thing in color", "a thing in color", "displaced"],
)
def test_pictures_that_differ_softly_are_never_dropped_unseen(
    first: Picture, second: Picture
) -> None:
    for pair in ((first, second), (second, first)):
        proof = judged(*pair)
        assert proof is None or proof.kind == "overlap" or proof.doubts
    assert judged(second, ImageOps.mirror(second)) is not None


@pytest.mark.parametrize("swapped", [False, True])
def test_the_gray_copy_of_a_gray_picture_with_one_thing_in_color(swapped: bool) -> None:
    """It is proven; a person looks, as a thing in color may have been added."""
    picture = noise(5, cells=24).convert("L").convert("RGB")
    ImageDraw.Draw(picture).ellipse((100, 60, 126, 84), (200, 40, 40))
    pair = picture, picture.convert("L").convert("RGB")
    proof = judged(*(pair[::-1] if swapped else pair))
    assert proof is not None
    assert (proof.kind, proof.how, proof.doubts) == ("picture", ("gray",), ("place",))


def test_a_thing_that_moved_before_a_plain_ground_is_no_change_of_perspective() -> None:
    columns = np.linspace(230, 60, 400)[None, :, None] + np.zeros((300, 1, 3))
    ground = Image.fromarray((columns * (1, 0.9, 1)).clip(0, 255).astype(np.uint8))
    frames = []
    for x, drift in ((90, 0), (106, 3)):
        frame = ground.copy()
        ImageDraw.Draw(frame).ellipse((x, 90, x + 120, 186), (40, 150, 230), (20, 60, 120), 5)
        frames.append(frame.crop((drift, 0, 380 + drift, 300)))
    proof = judged(*frames)
    assert proof is None or proof.kind == "overlap"


def test_a_slight_perspective_of_a_textured_picture_is_proven() -> None:
    picture = noise(6, (320, 240), cells=24)
    corners = (6, 2, 0, 236, 310, 240, 320, 8)
    copy = picture.transform(picture.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    proof = judged(picture, copy)
    assert proof is not None
    assert proof.kind == "picture"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (scene(1), scene(2)),  # the same thing elsewhere
        (scene(1), scene(1, at=(120, 70))),  # it moved
        (scene(1), scene(1, fill="blue")),  # another thing
        (scene(1), noise(1)),  # nothing there
        (text(1), text(2)),  # two pages
        (Image.new("RGB", (90, 90), "gray"), Image.new("RGB", (90, 90), "gray")),  # nothing to see
    ],
    ids=["elsewhere", "moved", "other thing", "taken away", "text", "flat"],
)
def test_what_is_only_alike_is_not_proven(first: Picture, second: Picture) -> None:
    assert judged(first, second) is None


def test_pictures_that_overlap_are_a_kind_of_their_own() -> None:
    wide = noise(3, (300, 180), cells=16)
    proof = judged(wide.crop((0, 0, 240, 180)), wide.crop((60, 0, 300, 180)))
    assert proof is None or proof.kind == "overlap"
    proof = judged(wide.crop((0, 0, 288, 180)), wide.crop((12, 0, 300, 180)))
    assert proof is not None
    assert proof.kind == "overlap"


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        ("gray", "in color", "gray"),
        ("cropped", "with more around it", "cropped"),
        ("framed", "cropped", "with more around it"),
        ("darker", "with different brightness", "with different brightness"),
        ("stamped", "without an overlay", "with an overlay"),
    ],
)
def test_a_reason_is_told_of_its_picture(
    change: str, first: str, second: str, swapped: bool
) -> None:
    pair = scene(1), COPIES[change][0](scene(1))
    proof = judged(*(pair[::-1] if swapped else pair))
    assert proof is not None
    if swapped:
        proof = proof.swapped()
    assert proof.told_of_second("x/1") == f"the same picture, {second}, as x/1"
    assert proof.swapped().told_of_second("x/0") == f"the same picture, {first}, as x/0"
    assert proof.swapped().swapped() == proof


@pytest.mark.parametrize(
    ("at", "fill"),
    [((20, 20), "white"), ((110, 90), "black"), ((200, 150), "gray")],
)
def test_a_person_looks_at_what_differs_in_one_place(at: tuple[int, int], fill: str) -> None:
    """A defect, a filled-in field, a logo: pixels do not tell which of them it is."""
    marked = scene(1).copy()
    x, y = at
    ImageDraw.Draw(marked).rectangle((x, y, x + 11, y + 11), fill)
    for pair in ((scene(1), marked), (marked, scene(1))):
        proof = judged(*pair)
        assert proof is not None
        assert proof.doubts in (("place",), ("overlay",))
    for change in ("same", "smaller", "mirrored", "upside down", "darker"):
        proof = judged(scene(1), COPIES[change][0](scene(1)))
        assert proof is not None
        assert proof.doubts == ()


def test_a_person_looks_at_what_differs_in_one_place_of_a_part() -> None:
    """A defect stays one where the copy is cropped or has a border as well."""
    marked = scene(1).copy()
    ImageDraw.Draw(marked).rectangle((110, 90, 122, 102), "gray")
    cropped, bordered = (12, 9, 230, 172), 24
    for change in (lambda p: p.crop(cropped), lambda p: ImageOps.expand(p, bordered, "black")):
        same, other = judged(scene(1), change(scene(1))), judged(scene(1), change(marked))
        assert same is not None
        assert same.doubts == ()
        assert other is not None
        assert other.doubts == ("place",)


@pytest.mark.parametrize("seed", [14, 38, 40, 78])
def test_the_edges_of_a_part_seem_to_differ_only_until_it_is_aligned(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = noise(seed, (480, 360), cells=5)
    for _ in range(3):
        x, y = int(rng.integers(430)), int(rng.integers(310))
        ImageDraw.Draw(whole).rectangle((x, y, x + 24, y + 60), "white", "black", 6)
    share = rng.uniform(0.82, 0.93)
    width, height = int(480 * share), int(360 * share)
    x, y = int(rng.integers(480 - width)), int(rng.integers(360 - height))
    proof = judged(whole, whole.crop((x, y, x + width, y + height)))
    assert proof is not None
    assert proof.how == ("cropped",)
    assert not proof.doubts


def test_a_person_looks_at_two_copies_of_other_words() -> None:
    """Where both have words, their means hardly differ: a form filled in differently."""
    first, second = scene(1).copy(), scene(1).copy()
    for picture, words in ((first, "John Smith 17"), (second, "Mary Jones 42")):
        ImageDraw.Draw(picture).text((90, 130), words, "white")
    for one, other in ((first, second), (second, first.resize((480, 360)))):
        proof = judged(one, other)
        assert proof is not None
        assert proof.doubts
    proof = judged(first, first.resize((480, 360)))
    assert proof is not None
    assert proof.doubts == ()


def table(seed: int) -> Picture:
    """A page of numbers, each at its place on every such page."""
    sheet, rng = Image.new("RGB", (640, 800), "white"), np.random.default_rng(seed)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for x in range(40, 600, 95):
        for y in range(40, 760, 32):
            pen.text((x, y), f"{rng.uniform(1000, 9999):.2f}", (20, 20, 20), font)
    return sheet


def prose(seed: int) -> Picture:
    """A double-spaced page."""
    sheet, rng = Image.new("RGB", (640, 800), "white"), np.random.default_rng(seed)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    words = ("a", "kilo", "november", "of", "victor", "so", "quebec", "tangible", "it", "lima")
    for y in range(40, 760, 32):
        pen.text((40, y), " ".join(rng.choice(words, 20))[:72], (20, 20, 20), font)
    return sheet


@pytest.mark.parametrize("page", [table, prose])
def test_pages_of_the_same_lines_are_no_copies(page: Callable[[int], Picture]) -> None:
    """What rows and columns have in common is most of what there is."""
    for seed in range(3):
        assert judged(page(seed), page(seed + 1)) is None
        for copy in (
            page(seed).resize((384, 480)),
            ImageEnhance.Brightness(page(seed)).enhance(0.8),
        ):
            proof = judged(page(seed), copy)
            assert proof is not None
            assert (proof.kind, proof.doubts) == ("picture", ())


def test_a_person_looks_at_forms_with_other_ticks() -> None:
    def ticked(seed: int) -> Picture:
        sheet, rng = prose(0).crop((0, 0, 640, 800)), np.random.default_rng(seed)
        pen = ImageDraw.Draw(sheet)
        pen.rectangle((400, 0, 640, 800), "white")
        for y in range(40, 760, 32):
            answer = int(rng.integers(4))
            for n in range(4):
                pen.rectangle(
                    (430 + 45 * n, y, 448 + 45 * n, y + 18),
                    "black" if n == answer else "white",
                    "black",
                    2,
                )
        return sheet

    for seed in range(3):
        proof = judged(ticked(seed), ticked(seed + 1))
        assert proof is None or proof.doubts
        proof = judged(ticked(seed), ticked(seed).resize((512, 640)))
        assert proof is not None
        assert proof.doubts == ()


def test_pictures_of_few_tones_are_believed_only_if_they_are_hardly_changed() -> None:
    def ellipse(*box: int) -> Picture:
        mask = Image.new("RGB", (240, 180))
        ImageDraw.Draw(mask).ellipse(box, "white")
        return mask

    mask = ellipse(40, 30, 200, 150)
    for changed, doubts in (
        (mask, ()),
        (mask.resize((120, 90)), ()),
        (ImageOps.mirror(ellipse(30, 30, 190, 140)), ("tones",)),
    ):
        first = mask if not doubts else ellipse(30, 30, 190, 140)
        proof = judged(first, changed)
        assert proof is not None
        assert proof.doubts == doubts
    photo = judged(scene(1), ImageOps.mirror(scene(1)))
    assert photo is not None
    assert photo.doubts == ()


@pytest.mark.parametrize(
    ("ground", "doubts"), [("white", ("tones",)), ("lemonchiffon", ()), ("lightgray", ("tones",))]
)
def test_a_drawing_on_colored_ground_has_more_than_tones(
    ground: str, doubts: tuple[str, ...]
) -> None:
    drawn = Image.new("RGB", (240, 180), ground)
    for n in range(12):  # of as many grays
        x, y = 10 + 18 * n, 12 + 22 * ((n * 5) % 7)
        ImageDraw.Draw(drawn).ellipse((x, y, x + 17, y + 14), (16 * n,) * 3)
    proof = judged(drawn, ImageOps.mirror(drawn))
    assert proof is not None
    assert proof.doubts == doubts
