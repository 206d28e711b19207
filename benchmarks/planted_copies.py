"""How many copies are proven, kind by kind, and how many pictures that are none.

    python benchmarks/planted_copies.py kinds FOLDER         # of images: copies of them, a table
    python benchmarks/planted_copies.py places FOLDER...     # pictures that differ in one place
    python benchmarks/planted_copies.py pages                # pages, tables, plots: they look alike
    python benchmarks/planted_copies.py pairs STORE.h5 FILE  # proven pairs of a store, as CSV

`kinds` makes copies of 12 kinds of the images of a folder, embeds both with the model `demo`, and
finds them; and it compares 3,000 pairs of pictures that show much the same and are no copies: made
of the drawings and the photographs of scripts/ (needs the extra `drawings`). Exits 1 where a limit
is missed.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datumaro import Dataset
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from datumaro_embed import embed_dataset, open_store
from datumaro_embed.auditing import LONGEST_PX, Proof, find_copies, gates, likely_maps, prove
from datumaro_embed.parallel import map_ahead
from datumaro_embed.signatures import signature

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path += [str(SCRIPTS / "sample_data"), str(SCRIPTS / "demo_model")]

Rng = np.random.Generator
Picture = Image.Image
MIN_FOUND, MAX_FALSE = 0.95, 0.002
SIZES = [(400, 300), (320, 240), (300, 400), (480, 360), (360, 270), (320, 320)]
STYLES = ("noto", "twemoji", "fluent-emoji-flat", "fluent-emoji", "emojione")
NAMES = (
    *("car", "dog", "apple", "guitar", "umbrella", "bicycle", "banana", "clock", "key", "rose"),
    *("fish", "bird", "house", "airplane", "tree", "pizza", "ball", "boat", "bus", "chair"),
)


def jpeg(picture: Picture, quality: int) -> Picture:
    """Compress and decode."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def logo(picture: Picture, rng: Rng) -> Picture:
    """A text in a coloured box in a corner, a fifth of the width."""
    copy = picture.copy()
    w, h = picture.width // 5, picture.height // 12
    x = int(rng.choice([4, picture.width - w - 4]))
    y = int(rng.choice([4, picture.height - h - 4]))
    draw = ImageDraw.Draw(copy)
    draw.rectangle((x, y, x + w, y + h), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw.text((x + 4, y + 4), "STOCK 24", fill="white")
    return copy


def page(picture: Picture, rng: Rng) -> Picture:
    """A screenshot of a page that shows the picture among lines of text."""
    w, h = int(picture.width * 1.5), int(picture.height * 1.6)
    screen = Image.new("RGB", (w, h), (250, 250, 252))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, w, h // 12), fill=(40, 60, 90))
    x, y = int(rng.integers(8, w - picture.width - 8)), h // 12 + int(rng.integers(10, h // 5))
    for line in range(h // 12 + 8, h - 10, 13):
        draw.text((10, line), "the quick brown fox jumps over the lazy dog " * 3, fill=(70, 70, 70))
    screen.paste(picture, (x, y))
    return screen


def perspective(picture: Picture, rng: Rng) -> Picture:
    """Corners moved inwards by up to 4 % of the side."""
    w, h = picture.size
    corners = np.array([(0, 0), (0, h), (w, h), (w, 0)], float)
    inwards = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])
    corners += inwards * rng.uniform(0, 0.04, (4, 2)) * (w, h)
    quad = tuple(corners.reshape(-1).tolist())
    return picture.transform((w, h), Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)


def crop(picture: Picture, rng: Rng) -> Picture:
    """A quarter of both sides cut away."""
    w, h = picture.width * 3 // 4, picture.height * 3 // 4
    x, y = (int(rng.integers(n + 1)) for n in (picture.width - w, picture.height - h))
    return picture.crop((x, y, x + w, y + h))


def border(picture: Picture, rng: Rng) -> Picture:
    """A frame of 10 % of the side, black, white or coloured."""
    fill = [(0, 0, 0), (255, 255, 255), tuple(int(v) for v in rng.integers(0, 256, 3))]
    return ImageOps.expand(picture, picture.width // 10, fill[rng.integers(3)])


KINDS: dict[str, Callable[[Picture, Rng], Picture]] = {
    "turned by 90°": lambda p, _: p.transpose(Image.Transpose.ROTATE_90),
    "turned by 180°": lambda p, _: p.transpose(Image.Transpose.ROTATE_180),
    "gray": lambda p, _: p.convert("L").convert("RGB"),
    "brightness + 30 %": lambda p, _: ImageEnhance.Brightness(p).enhance(1.3),
    "brightness − 30 %": lambda p, _: ImageEnhance.Brightness(p).enhance(0.7),
    "border of 10 %": border,
    "logo": logo,
    "screenshot in a page": page,
    "JPEG 20, then 15": lambda p, _: jpeg(jpeg(p, 20), 15),
    "a quarter of the size": lambda p, _: p.resize((p.width // 4, p.height // 4)),
    "crop by 25 %": crop,
    "slight perspective": perspective,
}


class Scenes:
    """Hard negatives: pairs that show much the same and are no copies."""

    def __init__(self, seed: int) -> None:
        import drawings
        import scenes

        self.rng = np.random.default_rng(seed)
        self._scenes = scenes
        names = {style: set(drawings.icon_names(style)) for style in STYLES}
        icons = {
            style: drawings.load_icons(style, [n for n in NAMES if n in names[style]], 160)
            for style in STYLES
        }
        self._icons = [icon for found in icons.values() for icon in found.values()]
        self._photos = list(drawings.photographs().values())

    def pairs(self, n_each: int) -> Iterator[tuple[str, Picture, Picture]]:
        """Yield kind and both pictures."""
        for _ in range(n_each):
            yield "same drawing elsewhere", *self.moved()
            yield "same background, other things", *self.exchanged()
            yield "consecutive frames", *self.frames()

    def moved(self) -> tuple[Picture, Picture]:
        """One drawing in two places, before one background or two."""
        icon, first = self._icon(), self._background()
        second = first if self.rng.random() < 0.5 else self._background(first.size)
        side = int(min(first.size) * self.rng.uniform(0.3, 0.8))
        one = self._place(first.size, side)
        while True:
            other = self._place(first.size, side)
            if max(abs(one[0] - other[0]), abs(one[1] - other[1])) > 0.1 * min(first.size):
                break
        return self._paste(first, icon, side, one), self._paste(second, icon, side, other)

    def exchanged(self) -> tuple[Picture, Picture]:
        """Two drawings before one background, often in one place."""
        canvas, side = self._background(), 0
        side = int(min(canvas.size) * self.rng.uniform(0.25, 0.7))
        place = self._place(canvas.size, side)
        first = self._icon()
        while (second := self._icon()) is first:
            pass
        return self._paste(canvas, first, side, place), self._paste(canvas, second, side, place)

    def frames(self) -> tuple[Picture, Picture]:
        """A thing that moves by 4 to 12 % before a camera that stands, or drifts by up to 3 %."""
        canvas, icon = self._background(), self._icon()
        w, h = canvas.size
        side = int(min(w, h) * self.rng.uniform(0.25, 0.6))
        x, y = self._place((w * 7 // 8, h * 7 // 8), side)
        step = int(w * self.rng.uniform(0.04, 0.12))
        one = self._paste(canvas, icon, side, (x, y))
        other = self._paste(canvas, icon, side, (x + step, y + step // 3))
        if self.rng.random() < 0.5:
            drift = int(w * self.rng.uniform(0.005, 0.03))
            one = one.crop((0, 0, w - drift, h))
            other = other.crop((drift, 0, w, h))
        return one, other

    def _icon(self) -> npt.NDArray[np.uint8]:
        return self._icons[self.rng.integers(len(self._icons))]

    def _background(self, size: tuple[int, int] | None = None) -> Picture:
        w, h = size or SIZES[self.rng.integers(len(SIZES))]
        pixels = self._scenes.background(self.rng, max(w, h), self._photos)
        return Image.fromarray(pixels).crop((0, 0, w, h)).convert("RGB")

    def _place(self, size: tuple[int, int], side: int) -> tuple[int, int]:
        x, y = (int(self.rng.integers(max(n - side, 0) + 1)) for n in size)
        return x, y

    def _paste(
        self, canvas: Picture, icon: npt.NDArray[np.uint8], side: int, place: tuple[int, int]
    ) -> Picture:
        picture, drawing = canvas.copy(), self._scenes.trimmed(icon, side)
        picture.paste(drawing, place, drawing)
        return picture


def judge(first: Picture, second: Picture) -> Proof | None:
    """Prove one pair, whatever the vectors say."""
    signatures = [signature(np.asarray(picture)) for picture in (first, second)]
    gate = gates(np.stack(signatures), np.array([0]), np.array([1]))[0].tolist()
    pictures, sizes = [], (first.size, second.size)
    for picture in (first, second):
        small = picture.copy()
        small.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BOX)
        pictures.append(np.asarray(small))
    proofs = (
        prove(pictures[0], pictures[1], sizes, found)
        for found in likely_maps(signatures[0], signatures[1], sizes, gate)
    )
    return next((proof for proof in proofs if proof is not None), None)


def found_kinds(files: list[Path], each: int, seed: int) -> dict[str, tuple[int, Counter[str]]]:
    """Make copies, find them in a store of both; how many of each kind, and as what."""
    rng, counts = np.random.default_rng(seed), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        folder.mkdir()
        chosen = rng.choice(np.array(files), (len(KINDS), each), replace=False)
        for number, copied in enumerate(KINDS.values()):
            for place, file in enumerate(chosen[number]):
                picture = Image.open(file).convert("RGB")
                stem = f"{number:02}_{place:03}"
                (folder / f"{stem}_a.jpg").write_bytes(file.read_bytes())
                quality = int(rng.integers(80, 95))
                copied(picture, rng).convert("RGB").save(folder / f"{stem}_b.jpg", quality=quality)
        dataset = Dataset.import_from(str(folder), "image_dir")
        with embed_dataset(dataset, Path(name) / "s.h5", model="demo", root=folder) as store:
            found = find_copies(store, progress=True)
            ids = [key.id for key in store.keys()]
        together: Counter[str] = Counter()
        for group in found.groups:
            members = {ids[row] for row in group.rows}
            names = {name[:6] for name in members}
            together.update(name for name in names if {f"{name}_a", f"{name}_b"} <= members)
        hows = {
            ids[pair.first][:6]: " ".join((pair.proof.kind, *pair.proof.how))
            for pair in found.pairs
            if ids[pair.first][:6] == ids[pair.second][:6]
        }
        for number, kind in enumerate(KINDS):
            chosen_ids = [name for name in together if name.startswith(f"{number:02}_")]
            counts[kind] = (
                len(chosen_ids),
                Counter(hows.get(name, "by others") for name in chosen_ids),
            )
    return counts


def false_proofs(n_each: int, seed: int) -> dict[str, Counter[str]]:
    """Judge hard negatives; how many are proven, by kind."""
    counts: dict[str, Counter[str]] = {}

    def judged(pair: tuple[str, Picture, Picture]) -> tuple[str, Proof | None]:
        return pair[0], judge(jpeg(pair[1], 90), jpeg(pair[2], 90))

    for kind, proof in map_ahead(judged, Scenes(seed).pairs(n_each)):
        counts.setdefault(kind, Counter())[proof.kind if proof else "none"] += 1
    return counts


def kinds(options: argparse.Namespace) -> int:
    """Print the tables; judge."""
    started = time.perf_counter()
    files = [file for file in sorted(options.folder.rglob("*.jpg")) if _is_readable(file)]
    found = found_kinds(files, options.each, options.seed)
    print("| copies | found | as |\n|---|---:|---|")
    for kind, (count, hows) in found.items():
        named = ", ".join(f"{how} {n}" for how, n in hows.most_common(3))
        print(f"| {kind} | {count} of {options.each} | {named} |")
    wrong = false_proofs(options.negatives // 3, options.seed)
    print("\n| no copies | same picture | overlap | none |\n|---|---:|---:|---:|")
    for kind, counts in wrong.items():
        same = sum(counts.values()) - counts["overlap"] - counts["none"]
        print(f"| {kind} | {same} | {counts['overlap']} | {counts['none']} |")
    n_wrong = sum(n for c in wrong.values() for k, n in c.items() if k not in ("overlap", "none"))
    share = n_wrong / max(1, sum(c.total() for c in wrong.values()))
    print(f"\nfalse proofs {share:.2%}; {time.perf_counter() - started:.0f} s")
    missed = [kind for kind, (n, _) in found.items() if n < MIN_FOUND * options.each]
    missed += ["false proofs"] if share > MAX_FALSE else []
    print("missed: " + ", ".join(missed) if missed else "every limit is kept")
    return int(bool(missed))


def _is_readable(file: Path) -> bool:
    try:
        with Image.open(file) as picture:
            picture.load()
        return True
    except (OSError, ValueError):
        return False


def spot(share: float) -> Callable[[Picture], Picture]:
    """A square of a share of the shorter side, 70 levels darker or brighter."""

    def change(picture: Picture) -> Picture:
        pixels = np.asarray(picture).astype(np.int64)
        side = max(3, int(min(pixels.shape[:2]) * share))
        y, x = pixels.shape[0] // 2, pixels.shape[1] // 3
        place = pixels[y : y + side, x : x + side]
        place += -70 if place.mean() > 128 else 70
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    return change


def written(
    text: str, at: tuple[float, float], colour: str, height: float = 0.06
) -> Callable[[Picture], Picture]:
    """A text at shares of the sides, as high as a share of the height."""

    def change(picture: Picture) -> Picture:
        copy = picture.copy()
        place = at[0] * picture.width, at[1] * picture.height
        ImageDraw.Draw(copy).text(place, text, colour, font_size=max(picture.height * height, 8))
        return copy

    return change


def scratch(picture: Picture) -> Picture:
    """A dark line, 0.7 % of the shorter side wide."""
    copy, (w, h) = picture.copy(), picture.size
    width = max(1, round(min(w, h) * 0.007))
    ImageDraw.Draw(copy).line((w // 4, h // 3, w // 2, h // 2), (20, 20, 20), width)
    return copy


PLACES: dict[str, Callable[[Picture], Picture]] = {
    "nothing": lambda p: p,
    "a quarter of the size": lambda p: p.resize((p.width // 4, p.height // 4)),
    "JPEG 20": lambda p: jpeg(p, 20),
    "brightness + 30 %": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    **{f"a spot of {share:.0%}": spot(share) for share in (0.02, 0.03, 0.05, 0.08)},
    "a scratch": scratch,
    "a word in the middle": written("yes", (0.35, 0.5), "darkblue"),
    "a date at an edge": written("2026-11-28 08:14", (0.5, 0.93), "orange"),
}


def places(options: argparse.Namespace) -> int:
    """Print what becomes of pictures that differ in one place only, and of some that do not."""
    files = sorted(file for folder in options.folders for file in folder.rglob("*"))
    pictures = [
        Image.open(file).convert("RGB")
        for file in files
        if file.suffix in (".jpg", ".png") and _is_readable(file)
    ]
    pictures = [picture for picture in pictures if min(picture.size) >= 150][:: options.every]
    print(f"| {len(pictures)} pictures | no copy | to be reviewed | to be dropped |")
    print("|---|---:|---:|---:|")
    for name, change in PLACES.items():
        _print_judged(name, [(picture, change(picture)) for picture in pictures])
    print("\n| both have a word at one place | no copy | to be reviewed | to be dropped |")
    print("|---|---:|---:|---:|")
    for one, other in (("approved", "declined"), ("left", "right"), ("08:14", "08:19")):
        first, second = (written(word, (0.35, 0.5), "darkblue", 0.05) for word in (one, other))
        pairs = [(first(picture), second(picture)) for picture in pictures]
        _print_judged(f'"{one}", "{other}"', pairs)
    return 0


def _print_judged(name: str, pairs: list[tuple[Picture, Picture]]) -> None:
    proofs = [judge(first, jpeg(second, 90)) for first, second in pairs]
    copies = [proof for proof in proofs if proof is not None and proof.kind != "overlap"]
    doubtful = sum(bool(proof.doubts) for proof in copies)
    print(f"| {name} | {len(proofs) - len(copies)} | {doubtful} | {len(copies) - doubtful} |")


WORDS = (Path(__file__).parents[1] / "LICENSE").read_text().split()


def _lines(rng: Rng, step: int, line: Callable[[Rng], str], ground: str = "white") -> Picture:
    """A page of lines at the same places as on every other page of its kind."""
    sheet = Image.new("RGB", (850, 1100), ground)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    for y in range(60, 1040, step):
        pen.text((60, y), line(rng), (20, 20, 20) if ground == "white" else "lime", font)
    return sheet


def prose(rng: Rng) -> Picture:
    """A double-spaced page."""
    return _lines(rng, 42, lambda r: " ".join(r.choice(WORDS, 11))[:74])


def log_of(rng: Rng) -> Picture:
    """A terminal."""
    message = "{:02}:{:02} INFO worker {} request {} took {} ms"
    highs = (24, 60, 9, 99999, 99)
    return _lines(rng, 42, lambda r: message.format(*r.integers(0, highs)), "black")


def table(rng: Rng) -> Picture:
    """Six columns of numbers."""
    sheet = Image.new("RGB", (850, 1100), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for x in range(60, 800, 125):
        for y in range(60, 1040, 42):
            pen.text((x, y), f"{rng.uniform(1000, 9999):.2f}", (20, 20, 20), font)
    return sheet


def ticked(rng: Rng) -> Picture:
    """A questionnaire: the same questions, other ticks."""
    fixed = np.random.default_rng(7)
    sheet = _lines(fixed, 46, lambda r: " ".join(r.choice(WORDS, 6))[:50])
    pen = ImageDraw.Draw(sheet)
    for y in range(60, 1040, 46):
        answer = int(rng.integers(4))
        for n in range(4):
            box = (600 + 50 * n, y, 620 + 50 * n, y + 20)
            pen.rectangle(box, outline="black", width=2)
            if n == answer:
                pen.line(box, "black", 3)
    return sheet


def spectrogram(rng: Rng) -> Picture:
    """Harmonics of one tone, other pauses."""
    values = np.zeros((128, 256))
    values[14:127:14] = values[15:128:14] = 120
    values = values * rng.choice([0.6, 1.0], 256) + rng.normal(20, 8, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def strip(rng: Rng) -> Picture:
    """An ECG at another rate."""
    sheet = Image.new("RGB", (900, 400), (255, 240, 240))
    pen = ImageDraw.Draw(sheet)
    for at in range(0, 900, 20):
        pen.line((at, 0, at, 400), (250, 190, 190))
        pen.line((0, at, 900, at), (250, 190, 190))
    phase, period = int(rng.integers(100)), int(rng.integers(90, 120))
    beat = {40: -60, 41: -120, 42: -60, 44: 30, 45: 15}
    places = [(x, 200 + beat.get((x + phase) % period, 0)) for x in range(900)]
    pen.line(places, (20, 20, 20), 2)
    return sheet


PAGES = {
    "double-spaced prose": prose,
    "tables of numbers": table,
    "terminals": log_of,
    "questionnaires, other ticks": ticked,
    "spectrograms": spectrogram,
    "ECG strips": strip,
}
OF_PAGES: dict[str, Callable[[Picture], Picture]] = {
    "JPEG 30": lambda p: jpeg(p, 30),
    "60 % of the size": lambda p: p.resize((p.width * 6 // 10, p.height * 6 // 10)),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.8),
    "gray": lambda p: p.convert("L").convert("RGB"),
}


def pages(options: argparse.Namespace) -> int:
    """Print what becomes of unlike pages of one layout, and of copies of each."""

    def shares(proofs: list[Proof | None]) -> str:
        kinds = Counter("none" if p is None else "review" if p.doubts else "drop" for p in proofs)
        return " | ".join(str(kinds[kind]) for kind in ("none", "review", "drop"))

    print("| | unlike: no copy | reviewed | dropped | copies: no copy | reviewed | dropped |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, make in PAGES.items():
        made = [make(np.random.default_rng(seed)) for seed in range(options.each)]
        unlike = [judge(a, b) for n, a in enumerate(made) for b in made[n + 1 :]]
        copies = [judge(page, change(page)) for page in made for change in OF_PAGES.values()]
        print(f"| {name} | {shares(unlike)} | {shares(copies)} |")
    return 0


def pairs(options: argparse.Namespace) -> int:
    """Write the pairs of a store that are proven the same picture."""
    started = time.perf_counter()
    with open_store(options.store) as store, options.file.open("w", newline="") as file:
        found = find_copies(store, media_root=options.media_root, progress=True)
        rows = csv.writer(file)
        rows.writerow(["first_id", "second_id", "kind", "how", "score", "similarity"])
        for pair in found.pairs:
            if pair.proof.kind != "overlap":
                ids: list[Any] = [store.key(pair.first).id, store.key(pair.second).id]
                facts = pair.proof.kind, " ".join(pair.proof.how), pair.proof.score
                rows.writerow([*ids, *facts, round(pair.similarity, 4)])
    seconds = time.perf_counter() - started
    print(f"{found.n_candidates} candidates, {len(found.groups)} groups, {seconds:.1f} s")
    return 0


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("kinds")
    command.set_defaults(run=kinds)
    command.add_argument("folder", type=Path)
    command.add_argument("--each", type=int, default=100)
    command.add_argument("--negatives", type=int, default=3000)
    command.add_argument("--seed", type=int, default=2)
    command = commands.add_parser("places")
    command.set_defaults(run=places)
    command.add_argument("folders", type=Path, nargs="+")
    command.add_argument("--every", type=int, default=1)
    command = commands.add_parser("pages")
    command.set_defaults(run=pages)
    command.add_argument("--each", type=int, default=10)
    command = commands.add_parser("pairs")
    command.set_defaults(run=pairs)
    command.add_argument("store", type=Path)
    command.add_argument("file", type=Path)
    command.add_argument("--media-root", type=Path)
    options = parser.parse_args()
    result: int = options.run(options)
    return result


if __name__ == "__main__":
    sys.exit(main())
