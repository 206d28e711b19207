"""Whose drawings and photographs the demo model learned from, and under which terms."""

from __future__ import annotations

import drawings
from captions import TEST_STYLE, TRAINING_STYLES
from scenes import TRAINING_PHOTOGRAPHS

LICENCE_TEXTS = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "MIT": "https://opensource.org/license/mit",
}
CHANGED = (
    "changed: rasterised, recoloured, warped and composed into scenes; "
    "the checkpoint holds learned weights, no drawing"
)
WHEELS = {"skimage.data": "scikit-image", "sklearn.datasets": "scikit-learn"}


def notice() -> str:
    """The text of NOTICE: one paragraph for each set of drawings, one for each photograph."""
    test = drawings.STYLES[TEST_STYLE]
    opening = (
        "datumaro-embed demo model\n"
        "The weights in this folder were trained from scratch, "
        "on scenes composed of the works below.\n"
        f"Drawings of {test.attribution} ({test.licence}, {test.package}@{test.version}) "
        "were used for testing only."
    )
    styles = [_style_terms(style) for style in TRAINING_STYLES]
    photos = [_photograph_terms(name) for name in TRAINING_PHOTOGRAPHS]
    return "\n\n".join([opening, *styles, *photos]) + "\n"


def _style_terms(style: str) -> str:
    info = drawings.STYLES[style]
    return (
        f"{info.attribution}\n"
        f"  licence: {info.licence} ({LICENCE_TEXTS[info.licence]})\n"
        f"  source: {info.source_url}, from the npm package {info.package}@{info.version}\n"
        f"  {CHANGED}"
    )


def _photograph_terms(name: str) -> str:
    photo = drawings.PHOTOGRAPHS[name]
    link = LICENCE_TEXTS.get(photo.licence)
    terms = f"{photo.licence} ({link})" if link else photo.licence
    return (
        f"Photograph {photo.file!r}, {photo.attribution}\n"
        f"  licence: {terms}\n"
        f"  source: the Python package {WHEELS[photo.package]}\n"
        "  changed: cropped, recoloured, used as a background"
    )


def licence_table() -> str:
    """The same in short, as a markdown table."""
    lines = ["| work | licence | package | used for |", "|---|---|---|---|"]
    for style, info in drawings.STYLES.items():
        purpose = "test only" if style == TEST_STYLE else "training"
        lines.append(
            f"| {info.attribution} | {info.licence} | `{info.package}@{info.version}` | {purpose} |"
        )
    for name, photo in drawings.PHOTOGRAPHS.items():
        if name in TRAINING_PHOTOGRAPHS:
            work = f"photograph {name}: {photo.attribution}"
            lines.append(f"| {work} | {photo.licence} | `{WHEELS[photo.package]}` | training |")
    return "\n".join(lines)
