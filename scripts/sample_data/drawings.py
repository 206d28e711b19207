"""Drawings and photographs that come inside public packages, ready to paste.

The demo model and the sample data are both made of them, so that anyone can rebuild either
from packages alone: no hub, no crawl, and a known licence for every pixel.

A *style* is one artist's set of drawings. Styles name the same thing differently
(``catside``, ``robot-face-1``, ``pizza-1``); every name returned here is the one that most
styles and ``concepts.json`` use. A second drawing of the same thing in one style keeps a number:
``pizza`` and ``pizza-2``.

Needs ``numpy``, ``pillow``, ``resvg-py``, ``scikit-image``, ``scikit-learn`` and the ``npm``
command.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import json
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from drawing_names import RENAMED


@dataclass(frozen=True)
class Style:
    """One set of drawings, the package that carries it and what its licence asks for."""

    package: str
    version: str
    licence: str
    attribution: str
    source_url: str


STYLES: dict[str, Style] = {
    "noto": Style(
        "@iconify-json/noto",
        "1.2.9",
        "Apache-2.0",
        "Noto Emoji, Google Inc",
        "https://github.com/googlefonts/noto-emoji",
    ),
    "noto-v1": Style(
        "@iconify-json/noto-v1",
        "1.2.5",
        "Apache-2.0",
        "Noto Emoji (version 1, 'blobs'), Google Inc",
        "https://github.com/googlefonts/noto-emoji",
    ),
    "twemoji": Style(
        "@iconify-json/twemoji",
        "1.2.5",
        "CC-BY-4.0",
        "Twitter Emoji, Twitter Inc",
        "https://github.com/jdecked/twemoji",
    ),
    "fluent-emoji": Style(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "MIT",
        "Fluent Emoji, Microsoft Corporation",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    "fluent-emoji-flat": Style(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "MIT",
        "Fluent Emoji Flat, Microsoft Corporation",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    "fxemoji": Style(
        "@iconify-json/fxemoji",
        "1.2.2",
        "Apache-2.0",
        "Firefox OS Emoji, Mozilla",
        "https://github.com/mozilla/fxemoji",
    ),
    "emojione": Style(
        "@iconify-json/emojione",
        "1.2.3",
        "CC-BY-4.0",
        "Emoji One 2 (EmojiTwo), Emoji One",
        "https://github.com/EmojiTwo/emojitwo",
    ),
    "emojione-monotone": Style(
        "@iconify-json/emojione-monotone",
        "1.2.1",
        "CC-BY-4.0",
        "Emoji One 2 Monotone (EmojiTwo), Emoji One",
        "https://github.com/EmojiTwo/emojitwo",
    ),
    "fluent-emoji-high-contrast": Style(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "MIT",
        "Fluent Emoji High Contrast, Microsoft Corporation",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    "streamline-emojis": Style(
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "CC-BY-4.0",
        "Streamline Emojis, Streamline",
        "https://github.com/webalys-hq/streamline-vectors",
    ),
}


def cache_dir() -> Path:
    """Where rasterised drawings are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "datumaro-embed" / "drawings"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _package_json(style: str) -> dict[str, Any]:
    """The style's ``icons.json``, fetched by ``npm pack`` the first time."""
    info = STYLES[style]
    kept = cache_dir() / f"{style}-{info.version}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            command = [
                "npm",
                "pack",
                "--silent",
                "--pack-destination",
                folder,
                f"{info.package}@{info.version}",
            ]
            subprocess.run(command, check=True, capture_output=True)
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
                member = archive.extractfile("package/icons.json")
                assert member is not None, f"{info.package}: icons.json is no file"
                text = member.read()
        _write_atomically(kept, text)
    package: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return package


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    partial.write_bytes(content)
    partial.replace(path)


@cache
def _undashed_names() -> dict[str, str]:
    """Names without their dashes, for the one style that writes them so."""
    names = sorted(set(_sources("fluent-emoji-flat")) | set(_sources("twemoji")))
    return {name.replace("-", ""): name for name in names}


def _canonical(style: str, name: str) -> str:
    """What the other styles call ``name``: tones and artists' numbering aside."""
    renamed = RENAMED.get(style, {}).get(name)
    if renamed:
        return renamed
    if style == "fxemoji":
        return _undashed_names().get(name, name)
    return name.removesuffix("-1") if style == "streamline-emojis" else name


@cache
def _sources(style: str) -> dict[str, tuple[str, bool]]:
    """Canonical name → (name of the drawing in the package, mirrored), aliases resolved."""
    package = _package_json(style)
    drawn = {name: (name, False) for name in package["icons"]}
    for name, alias in package.get("aliases", {}).items():
        if alias["parent"] in drawn:
            drawn.setdefault(name, (alias["parent"], bool(alias.get("hFlip"))))
    names: dict[str, tuple[str, bool]] = {}
    taken_by_others = set(RENAMED.get(style, {}).values())
    for name, source in drawn.items():
        canonical = _canonical(style, name)
        if canonical == name and name in taken_by_others:
            continue
        names.setdefault(canonical, source)
    return names


def icon_names(style: str) -> list[str]:
    """Canonical names that ``style`` has a drawing for, sorted."""
    return sorted(_sources(style))


def drawing_of(style: str, name: str) -> str:
    """The package's own name of the drawing: two aliases of one drawing share it."""
    return _sources(style)[name][0]


def _rasterise(package: dict[str, Any], drawing: str, size_px: int) -> np.ndarray:
    """One drawing, fitted into a transparent square: array of shape (size_px, size_px, 4)."""
    import resvg_py  # here, because drawings already in the cache need no rasteriser

    icon = package["icons"][drawing]
    width = icon.get("width", package.get("width", 16))
    height = icon.get("height", package.get("height", 16))
    left, top = icon.get("left", package.get("left", 0)), icon.get("top", package.get("top", 0))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{size_px}" height="{size_px}" viewBox="{left} {top} {width} {height}">'
        f"{icon['body']}</svg>"
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))


def load_icons(
    style: str, names: list[str] | None = None, size_px: int = 160
) -> dict[str, np.ndarray]:
    """Rasterised drawings by canonical name.

    Parameters
    ----------
    style : str
        A key of `STYLES`.
    names : list of str, optional
        Which drawings; all of them by default. A name the style does not draw is left out.
    size_px : int
        Side of the square drawings, in pixels.

    Returns
    -------
    dict of str to uint8 array of shape (size_px, size_px, 4)
        RGBA with straight alpha, in the order of ``names``.

    Notes
    -----
    A few milliseconds a drawing the first time, then read from a compressed npz under `cache_dir`.
    The two one-colour styles come out black, to be coloured by the caller.
    """
    sources = _sources(style)
    wanted = [name for name in (icon_names(style) if names is None else names) if name in sources]
    drawings = sorted({sources[name][0] for name in wanted})
    pixels = dict(zip(drawings, _rasterised(style, drawings, size_px), strict=True))
    return {
        name: pixels[sources[name][0]][:, ::-1] if sources[name][1] else pixels[sources[name][0]]
        for name in wanted
    }


def _rasterised(style: str, drawings: list[str], size_px: int) -> np.ndarray:
    """Drawings by their package name, kept in one npz per request."""
    key = hashlib.sha256("\n".join(drawings).encode()).hexdigest()[:12]
    kept = cache_dir() / f"{style}-{STYLES[style].version}-{size_px}px-{key}.npz"
    if kept.exists():
        return np.asarray(np.load(kept)["pixels"])
    package = _package_json(style)
    pixels = np.stack([_rasterise(package, drawing, size_px) for drawing in drawings])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, pixels=pixels)
    _write_atomically(kept, buffer.getvalue())
    return pixels


# Photographs whose stated terms allow this use; the wheels carry others that do not say.
@dataclass(frozen=True)
class Photograph:
    """One photograph inside a wheel and its terms."""

    package: str
    file: str
    licence: str
    attribution: str


_SKIMAGE, _SKLEARN = "skimage.data", "sklearn.datasets"
PHOTOGRAPHS: dict[str, Photograph] = {
    "astronaut": Photograph(_SKIMAGE, "astronaut.png", "public domain", "Eileen Collins, NASA"),
    "brick": Photograph(_SKIMAGE, "brick.png", "CC0-1.0", "CC0Textures, Bricks25"),
    "camera": Photograph(_SKIMAGE, "camera.png", "CC0-1.0", "Lav Varshney"),
    "cat": Photograph(_SKIMAGE, "chelsea.png", "CC0-1.0", "Stefan van der Walt"),
    "china": Photograph(
        _SKLEARN, "images/china.jpg", "CC-BY-2.0", "danielbuechele, flickr 6061409035"
    ),
    "clock": Photograph(_SKIMAGE, "clock_motion.png", "public domain", "Stefan van der Walt"),
    "coffee": Photograph(_SKIMAGE, "coffee.png", "CC0-1.0", "Rachel Michetti, Pikolo Espresso Bar"),
    "flower": Photograph(
        _SKLEARN, "images/flower.jpg", "CC-BY-2.0", "vultilion, flickr 6056698931"
    ),
    "grass": Photograph(_SKIMAGE, "grass.png", "CC0-1.0", "CC0Textures"),
    "gravel": Photograph(_SKIMAGE, "gravel.png", "CC0-1.0", "CC0Textures, Gravel04"),
    "hubble_deep_field": Photograph(
        _SKIMAGE, "hubble_deep_field.jpg", "public domain", "NASA, ESA"
    ),
    "retina": Photograph(_SKIMAGE, "retina.jpg", "CC0-1.0", "Häggström, Mikael"),
    "text": Photograph(
        _SKIMAGE, "text.png", "public domain", "Wikipedia, released into the public domain"
    ),
    "rocket": Photograph(_SKIMAGE, "rocket.jpg", "CC0-1.0", "SpaceX"),
}


def photographs() -> dict[str, np.ndarray]:
    """Photographs from the scikit-image and scikit-learn wheels.

    Returns
    -------
    dict of str to uint8 array of shape (height, width, 3)
    """
    found = {}
    for name, photograph in PHOTOGRAPHS.items():
        with (
            importlib.resources.files(photograph.package)
            .joinpath(photograph.file)
            .open("rb") as stream
        ):
            found[name] = np.asarray(Image.open(stream).convert("RGB"))
    return found
