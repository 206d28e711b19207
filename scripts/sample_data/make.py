"""Make ``sample_data``: one small detection dataset, written as COCO and as Ultralytics YOLO.

Sixty drawn scenes with exact boxes and nine photographs with boxes drawn by eye. Some of them
are planted for what a reader gets wrong first: grey, palette and transparent images, EXIF
orientation, an image without objects, and two near-duplicates that leak from train into val.
``sample_data/README.md`` lists them.

    python scripts/sample_data/make.py            # writes sample_data/coco and sample_data/yolo
    python scripts/sample_data/make.py --check    # makes them anew and compares every byte

Needs ``numpy`` and ``pillow``, and what ``drawings.py`` needs: ``resvg-py``, ``scikit-image``,
``scikit-learn`` and the ``npm`` command. Encoders differ in bytes between versions: the
committed files come from pillow 12.3.0, numpy 2.4.6 and resvg-py 0.5.0.
"""

from __future__ import annotations

import argparse
import filecmp
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageEnhance, ImageFilter, ImageOps

import drawings

SEED = 20
SCENES = range(1, 61)
LONG_SIDE_PX = 480  # of a photograph
QUALITY = 88
ORIENTATION_TAG = 0x0112
# What a camera held that way stores: the inverse of what the tag asks the reader to do.
STORED_AS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
LICENCES = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "public domain": "https://creativecommons.org/publicdomain/mark/1.0/",
}

# ── What is in the pictures ─────────────────────────────────────────────────────────────────
# fmt: off


@dataclass(frozen=True)
class Theme:
    """Things that are seen together, and the colours and texture behind them."""

    labels: tuple[str, ...]
    colours: tuple[str, ...]
    texture: str  # name of a photograph
    tint: tuple[str, str] | None = None  # its dark and light end; None keeps its colours


THEMES = {
    "meadow": Theme(
        ("cat", "dog", "horse", "rabbit", "owl", "elephant", "sunflower", "butterfly"),
        ("#dff2c4", "#8cc06a", "#f6f1cf", "#a9d6c8"), "grass", ("#2c4f1c", "#b7d98a"),
    ),
    "kitchen": Theme(
        ("banana", "red apple", "pizza", "hamburger", "carrot", "strawberry", "birthday cake",
         "cup", "watermelon", "pineapple", "spoon"),
        ("#fff3df", "#f2c9a1", "#cfe8e6", "#e9dcc9", "#7d5a45"), "brick", ("#8a7466", "#f3e6d8"),
    ),
    "street": Theme(
        ("car", "bus", "bicycle", "train", "house", "umbrella"),
        ("#c9d3da", "#8d99a3", "#e8e4da", "#b9cde0"), "gravel", ("#4d5054", "#c4c6c8"),
    ),
    "sky": Theme(
        ("airplane", "helicopter", "rocket", "balloon", "butterfly"),
        ("#cfe9ff", "#6fb2ea", "#f7d9c4", "#24345c"), "hubble_deep_field",
    ),
    "sea": Theme(
        ("fish", "octopus", "turtle", "penguin", "sailboat"),
        ("#9fdcec", "#1f6f9e", "#d9f4f2", "#0d3b5c"), "gravel", ("#1d6a8a", "#bfeaf0"),
    ),
    "desk": Theme(
        ("laptop", "camera", "key", "scissors", "cup", "umbrella", "soccer ball"),
        ("#e7e2f2", "#b59c7d", "#f4f4f2", "#5c6a74"), "brick", ("#5a4a40", "#cbb9a6"),
    ),
    "garden": Theme(
        ("house", "cactus", "sunflower", "butterfly", "soccer ball"),
        ("#e6f5d7", "#c7e0f4", "#f3e2b8", "#76a868"), "grass", ("#3d5a22", "#d6e6a0"),
    ),
    "stage": Theme(
        ("guitar", "trumpet", "drum", "balloon", "camera"),
        ("#3b2a5a", "#e9d8f5", "#8a2f4d", "#f5e9d8"), "brick", ("#2b1d3d", "#8d73a8"),
    ),
}
THEME_ORDER = (
    "meadow", "kitchen", "street", "sky", "sea", "kitchen", "desk", "garden", "stage",
)
ICON_OF = {  # where the drawing's name is not simply the label with dashes
    "car": "automobile",
    "cup": "hot-beverage",
}
# Two of seven are portrait; seven is coprime with the themes, so that every theme gets each.
SIZES_PX = (
    (400, 300), (320, 240), (300, 400), (480, 360), (360, 270), (240, 320), (426, 320),
)


@dataclass(frozen=True)
class Variant:
    """How a scene departs from an upright RGB JPEG."""

    mode: str = "RGB"
    suffix: str = ".jpg"
    orientation: int = 1


VARIANTS = {
    4: Variant("L"),
    9: Variant(orientation=8),
    10: Variant(orientation=6),
    15: Variant("P", ".png"),
    23: Variant("L", ".png"),
    26: Variant("RGBA", ".png"),
    33: Variant(suffix=".webp"),
    34: Variant("L"),
    39: Variant(orientation=3),
    45: Variant(orientation=6),
}
COPIES = {41: 12}  # scene 41 is scene 12 again: a little brighter, stored at a lower quality
COPY_QUALITY, COPY_BRIGHTNESS = 62, 1.06


@dataclass(frozen=True)
class Shot:
    """A photograph, the part of it that is used, and its objects as ``x0, y0, x1, y1``.

    Pixels of the photograph as packaged, read off a grid laid over it.
    """

    name: str  # in drawings.PHOTOGRAPHS
    crop: tuple[int, int, int, int]
    objects: tuple[tuple[str, int, int, int, int], ...] = ()
    mode: str = "RGB"
    orientation: int = 1


CUP_AND_SPOON = (("cup", 173, 18, 410, 307), ("spoon", 318, 67, 425, 327))
SHOTS = (
    Shot("cat", (0, 0, 451, 300), (("cat", 0, 0, 398, 300),)),
    Shot("coffee", (0, 0, 600, 400), CUP_AND_SPOON),
    Shot("camera", (0, 0, 512, 512),
         (("person", 0, 63, 332, 512), ("camera", 253, 139, 325, 187)), mode="L"),
    Shot("rocket", (190, 27, 490, 427), (("rocket", 309, 126, 336, 407),), orientation=6),
    Shot("astronaut", (0, 0, 512, 512),
         (("person", 19, 16, 365, 512), ("rocket", 355, 0, 457, 284))),
    Shot("coffee", (12, 8, 588, 392), CUP_AND_SPOON),  # the second near-duplicate: trimmed by 4 %
    Shot("flower", (0, 0, 640, 427),
         (("flower", 169, 85, 446, 359), ("flower", 288, 374, 470, 427))),
    Shot("china", (30, 0, 400, 427), (("pagoda", 62, 29, 373, 410),)),
    Shot("hubble_deep_field", (0, 0, 1000, 872)),
)


# fmt: on
def is_val(kind: str, number: int) -> bool:
    """Hold out three of ten scenes and every third photograph."""
    return number % 10 in {1, 5, 8} if kind == "scene" else number % 3 == 0


# ── Pictures ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Box:
    """An object's place in the upright image: left, top, width and height in pixels."""

    label: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Picture:
    """One image of the dataset, still upright and not yet encoded."""

    stem: str
    subset: str
    image: Image.Image
    boxes: tuple[Box, ...]
    licence: str = "Apache-2.0"
    suffix: str = ".jpg"
    orientation: int = 1
    quality: int = QUALITY

    @property
    def file_name(self) -> str:
        """Name of the file; its stem is the item's id in either format."""
        return self.stem + self.suffix

    @cached_property
    def encoded(self) -> bytes:
        """File content; a turned picture is stored as a turned camera stores it."""
        options: dict[str, Any] = {}
        image = self.image
        if self.orientation != 1:
            image = image.transpose(STORED_AS[self.orientation])
            options["exif"] = Image.Exif()
            options["exif"][ORIENTATION_TAG] = self.orientation
        if self.suffix == ".png":
            options["optimize"] = True
        else:
            options["quality"] = self.quality
        stream = io.BytesIO()
        image.save(stream, Image.registered_extensions()[self.suffix], **options)
        return stream.getvalue()


photographs = cache(drawings.photographs)


def background(
    theme: Theme, kind: int, size: tuple[int, int], rng: np.random.Generator
) -> Image.Image:
    """Paint a texture, a plain colour or a gradient, so that colour alone tells little."""
    first, second = (str(colour) for colour in rng.choice(theme.colours, 2, replace=False))
    if kind == 0:
        return texture(theme, size, rng)
    if kind == 1:
        return Image.new("RGB", size, first)
    return gradient(first, second, size, slant=rng.uniform(-0.5, 0.5))


def gradient(top: str, bottom: str, size: tuple[int, int], slant: float) -> Image.Image:
    """Blend from one colour at the top to another at the bottom, a little off level."""
    width, height = size
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(-0.5, 0.5, width)
    share = np.clip(down + slant * across, 0, 1)[..., None]
    first, last = (np.array(ImageColor.getrgb(colour)) for colour in (top, bottom))
    return Image.fromarray(np.rint(first * (1 - share) + last * share).astype(np.uint8))


def texture(theme: Theme, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Cut a part out of the theme's photograph; tinted, and softened to keep files small."""
    source = Image.fromarray(photographs()[theme.texture])
    left = int(rng.integers(source.width - size[0] + 1))
    top = int(rng.integers(source.height - size[1] + 1))
    image = source.crop((left, top, left + size[0], top + size[1]))
    if theme.tint:
        image = ImageOps.colorize(image.convert("L"), *theme.tint)
    return image.filter(ImageFilter.GaussianBlur(1.5))


@cache
def icon(label: str) -> Image.Image:
    """Load the drawing of a label."""
    name = ICON_OF.get(label, label.replace(" ", "-"))
    return Image.fromarray(drawings.load_icons("noto", [name], size_px=256)[name])


def sprite(label: str, longest_px: float, rng: np.random.Generator) -> Image.Image:
    """Turn the drawing slightly, cut it to its visible pixels and scale its longest side."""
    image = icon(label)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    image = image.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True)
    image = image.crop(visible(image))
    scale = longest_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def visible(image: Image.Image) -> tuple[int, int, int, int]:
    """Find the bounds of the pixels that are at least half opaque."""
    rows, columns = np.nonzero(np.asarray(image.getchannel("A")) >= 128)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def place(
    labels: list[str], size: tuple[int, int], rng: np.random.Generator
) -> Iterator[tuple[Box, Image.Image, tuple[int, int]]]:
    """Yield box, drawing and corner, none touching; start again smaller when there is no room."""
    share = {2: 0.56, 3: 0.5, 4: 0.45, 5: 0.4}[len(labels)]
    for attempt in range(40):
        longest = [
            min(size) * max(0.28, share * 0.97**attempt) * rng.uniform(0.85, 1.1) for _ in labels
        ]
        sprites = [sprite(label, px, rng) for label, px in zip(labels, longest, strict=True)]
        corners = try_corners([s.size for s in sprites], size, rng)
        if corners is None:
            continue
        for label, image, (x, y) in zip(labels, sprites, corners, strict=True):
            x0, y0, x1, y1 = visible(image)
            yield Box(label, x + x0, y + y0, x1 - x0, y1 - y0), image, (x, y)
        return
    raise RuntimeError(f"no room for {labels} in {size}; draw fewer or smaller")


def try_corners(
    sizes: list[tuple[int, int]], canvas: tuple[int, int], rng: np.random.Generator, gap: int = 4
) -> list[tuple[int, int]] | None:
    """Find top left corners with ``gap`` pixels between all, or give up after 60 tries for one."""
    corners: list[tuple[int, int]] = []
    for w, h in sizes:
        for _ in range(60):
            x = int(rng.integers(gap, canvas[0] - w - gap + 1))
            y = int(rng.integers(gap, canvas[1] - h - gap + 1))
            if not any(
                x < px + pw + gap and px < x + w + gap and y < py + ph + gap and py < y + h + gap
                for (px, py), (pw, ph) in zip(corners, sizes, strict=False)
            ):
                corners.append((x, y))
                break
        else:
            return None
    return corners


def draw_scene(
    number: int, theme: Theme, kind: int, labels: list[str]
) -> tuple[Image.Image, tuple[Box, ...]]:
    """Draw one scene from its own random stream: a change to one leaves the others as they are."""
    rng = np.random.default_rng([SEED, number])
    size = SIZES_PX[number % len(SIZES_PX)]
    variant = VARIANTS.get(number, Variant())
    canvas = background(theme, kind, size, rng).convert("RGBA")
    if variant.mode == "RGBA":
        canvas = Image.new("RGBA", size)  # black under full transparency, as editors write it
    boxes = []
    for box, image, corner in place(labels, size, rng):
        canvas.alpha_composite(image, corner)
        boxes.append(box)
    return in_mode(canvas, variant.mode), tuple(boxes)


def in_mode(canvas: Image.Image, mode: str) -> Image.Image:
    """Convert the finished scene to the mode its file is to have."""
    if mode == "RGBA":
        return canvas
    image = canvas.convert("RGB")
    return image.quantize(128, dither=Image.Dither.NONE) if mode == "P" else image.convert(mode)


def plan_scenes() -> Iterator[tuple[int, Theme, int, list[str]]]:
    """Yield number, theme, kind of background and labels; a theme's labels take turns."""
    rng = np.random.default_rng(SEED)
    bags: dict[str, list[str]] = {name: [] for name in THEMES}
    seen = dict.fromkeys(THEMES, 0)
    for number in SCENES:
        name = THEME_ORDER[number % len(THEME_ORDER)]
        seen[name] += 1
        labels: list[str] = []
        for _ in range(rng.integers(2, 6)):
            bags[name] = bags[name] or [str(v) for v in rng.permutation(THEMES[name].labels)]
            labels.append(bags[name].pop())
        yield number, THEMES[name], seen[name] % 3, labels


def scenes() -> Iterator[Picture]:
    """Yield the drawn pictures."""
    plans = {plan[0]: plan for plan in plan_scenes()}
    for number in SCENES:
        image, boxes = draw_scene(*plans[COPIES.get(number, number)])
        variant, quality = VARIANTS.get(number, Variant()), QUALITY
        if number in COPIES:
            image, quality = ImageEnhance.Brightness(image).enhance(COPY_BRIGHTNESS), COPY_QUALITY
        yield Picture(
            f"scene_{number:03d}",
            "val" if is_val("scene", number) else "train",
            image,
            boxes,
            suffix=variant.suffix,
            orientation=variant.orientation,
            quality=quality,
        )


def shots() -> Iterator[Picture]:
    """Yield the photographs."""
    for number, shot in enumerate(SHOTS, start=1):
        image = Image.fromarray(photographs()[shot.name]).convert(shot.mode).crop(shot.crop)
        scale = min(1.0, LONG_SIDE_PX / max(image.size))
        size = (round(image.width * scale), round(image.height * scale))
        yield Picture(
            f"photo_{number:02d}",
            "val" if is_val("photo", number) else "train",
            image.resize(size, Image.Resampling.LANCZOS),
            tuple(shot_box(shot, found, size) for found in shot.objects),
            drawings.PHOTOGRAPHS[shot.name].licence,
            orientation=shot.orientation,
        )


def shot_box(shot: Shot, found: tuple[str, int, int, int, int], size: tuple[int, int]) -> Box:
    """Move an object of the packaged photograph into the cropped and scaled one."""
    label, *edges = found
    left, top, right, bottom = shot.crop
    sx, sy = size[0] / (right - left), size[1] / (bottom - top)
    x0, x1 = (round((min(max(e, left), right) - left) * sx, 1) for e in edges[::2])
    y0, y1 = (round((min(max(e, top), bottom) - top) * sy, 1) for e in edges[1::2])
    return Box(label, x0, y0, round(x1 - x0, 1), round(y1 - y0, 1))


# ── Files ───────────────────────────────────────────────────────────────────────────────────


def write_images(folder: Path, pictures: list[Picture]) -> None:
    """Write ``images/<subset>/<file>``, which the two formats share."""
    for picture in pictures:
        path = folder / "images" / picture.subset / picture.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.encoded)


def write_coco(folder: Path, pictures: list[Picture], labels: list[str]) -> None:
    """Write ``annotations/instances_*.json``; sizes and boxes are those of the upright image."""
    write_images(folder, pictures)
    (folder / "annotations").mkdir()
    for subset in ("train", "val"):
        document = coco_document(pictures, labels, subset)
        text = json.dumps(document, indent=1) + "\n"
        (folder / "annotations" / f"instances_{subset}.json").write_text(text, "utf-8")


def coco_document(pictures: list[Picture], labels: list[str], subset: str) -> dict[str, Any]:
    """Describe one subset; ids count through both, so that merging them needs no new ones."""
    numbered = [(i, p) for i, p in enumerate(pictures, start=1) if p.subset == subset]
    owned = [(i, p.subset, box) for i, p in enumerate(pictures, start=1) for box in p.boxes]
    return {
        "info": {"description": "datumaro-embed sample data", "version": "1"},
        "licenses": [
            {"id": i, "name": name, "url": url}
            for i, (name, url) in enumerate(LICENCES.items(), start=1)
        ],
        "categories": [
            {"id": i, "name": name, "supercategory": ""} for i, name in enumerate(labels, start=1)
        ],
        "images": [coco_image(i, picture) for i, picture in numbered],
        "annotations": [
            coco_annotation(i, image_id, box, labels)
            for i, (image_id, owner, box) in enumerate(owned, start=1)
            if owner == subset
        ],
    }


def coco_image(image_id: int, picture: Picture) -> dict[str, Any]:
    """Describe an image as a viewer shows it, which for a turned one is not as it is stored."""
    return {
        "id": image_id,
        "file_name": picture.file_name,
        "width": picture.image.width,
        "height": picture.image.height,
        "license": list(LICENCES).index(picture.licence) + 1,
    }


def coco_annotation(number: int, image_id: int, box: Box, labels: list[str]) -> dict[str, Any]:
    """Describe one object; there are boxes only, no outlines."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": labels.index(box.label) + 1,
        "bbox": [box.x, box.y, box.w, box.h],
        "area": round(box.w * box.h, 2),
        "iscrowd": 0,
        "segmentation": [],
    }


def write_yolo(folder: Path, pictures: list[Picture], labels: list[str]) -> None:
    """Write the Ultralytics layout; no ``path`` in data.yaml, so that it works anywhere."""
    write_images(folder, pictures)
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(labels))
    text = f"train: images/train\nval: images/val\nnames:\n{names}"
    (folder / "data.yaml").write_text(text, "utf-8")
    for picture in pictures:
        path = folder / "labels" / picture.subset / f"{picture.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (yolo_line(box, picture.image.size, labels) for box in picture.boxes)
        path.write_text("".join(lines), "utf-8")


def yolo_line(box: Box, size: tuple[int, int], labels: list[str]) -> str:
    """Give centre and size relative to the upright image, with digits enough for 1e-7 px."""
    width, height = size
    relative = (
        (box.x + box.w / 2) / width,
        (box.y + box.h / 2) / height,
        box.w / width,
        box.h / height,
    )
    return " ".join([str(labels.index(box.label)), *(f"{v:.10f}" for v in relative)]) + "\n"


def write_all(folder: Path) -> None:
    """Write both datasets, replacing what is there."""
    pictures = [*scenes(), *shots()]
    labels = sorted({box.label for picture in pictures for box in picture.boxes})
    for name, write in (("coco", write_coco), ("yolo", write_yolo)):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        write(folder / name, pictures, labels)


def differences(made: Path, kept: Path) -> list[str]:
    """List the files of either tree that the other lacks or holds with other bytes."""
    trees = [
        {
            p.relative_to(root).as_posix()
            for part in ("coco", "yolo")
            for p in (root / part).rglob("*")
            if p.is_file()
        }
        for root in (made, kept)
    ]
    _, changed, unreadable = filecmp.cmpfiles(made, kept, trees[0] & trees[1], shallow=False)
    return sorted([*(trees[0] ^ trees[1]), *changed, *unreadable])


def main() -> int:
    """Write the data, or say what differs and return 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "sample_data"
    parser.add_argument("--output", type=Path, default=default, metavar="DIR")
    parser.add_argument("--check", action="store_true", help="compare with DIR, write nothing")
    args = parser.parse_args()
    if not args.check:
        write_all(args.output)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder))
        changed = differences(Path(folder), args.output)
    for name in changed:
        print(f"differs: {name}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
