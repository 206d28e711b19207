"""Whose drawings and photographs the demo model learned from, and under which terms."""

from __future__ import annotations

import drawings
from demo_captions import TEST_STYLE, TRAINING_STYLES
from demo_scenes import TRAINING_PHOTOGRAPHS

LICENCE_TEXTS = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "MIT": "https://opensource.org/license/mit",
}
CHANGED = "changed: rasterised, recoloured, warped and composed into scenes; the checkpoint holds learned weights, no drawing"


def notice() -> str:
    """The text of NOTICE: one paragraph for each set of drawings, one for each photograph."""
    parts = [
        "datumaro-embed demo model\n"
        "The weights in this folder were trained from scratch on scenes composed of the works below.\n"
        f"The drawings of {TEST_STYLE!r} (Apache-2.0, {drawings.STYLES[TEST_STYLE].attribution}) were used for testing only."
    ]
    for style in TRAINING_STYLES:
        info = drawings.STYLES[style]
        parts.append(
            f"{info.attribution}\n  licence: {info.licence} ({LICENCE_TEXTS[info.licence]})\n"
            f"  source: {info.source_url}, taken from the npm package {info.package}@{info.version}\n  {CHANGED}"
        )
    for name in TRAINING_PHOTOGRAPHS:
        photo = drawings.PHOTOGRAPHS[name]
        terms = LICENCE_TEXTS.get(photo.licence)
        parts.append(
            f"Photograph {photo.file!r}, {photo.attribution}\n  licence: {photo.licence}{f' ({terms})' if terms else ''}\n"
            f"  source: the Python package {photo.package.split('.')[0].replace('skimage', 'scikit-image').replace('sklearn', 'scikit-learn')}\n"
            "  changed: cropped, recoloured, used as a background"
        )
    return "\n\n".join(parts) + "\n"


def licence_table() -> str:
    """The same in short, as a markdown table."""
    lines = ["| work | licence | package | used for |", "|---|---|---|---|"]
    for style, info in drawings.STYLES.items():
        purpose = "test only" if style == TEST_STYLE else "training"
        lines.append(f"| {info.attribution} | {info.licence} | `{info.package}@{info.version}` | {purpose} |")
    for name, photo in drawings.PHOTOGRAPHS.items():
        if name in TRAINING_PHOTOGRAPHS:
            lines.append(f"| photograph {name}: {photo.attribution} | {photo.licence} | `{photo.package}` | training |")
    return "\n".join(lines)
