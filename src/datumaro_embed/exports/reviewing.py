"""Images to be looked at, in the order given, for Label Studio and CVAT.

Sources: Label Studio's task format (one JSON list; regions in percent of the image, as
predictions), and CVAT for images 1.1 (XML; pixels).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from ..records import AnnotationRecord, ItemKey, ItemRecord
from ..store import EmbeddingStore

WITHOUT_SIZE = "items whose image cannot be read"
Notes = Mapping[ItemKey, Sequence[str]]
_ROOT = "/data/local-files/?d="  # Label Studio's own way to local files
_NOT_IN_XML = {code: "\ufffd" for code in range(32) if chr(code) not in "\t\n\r"}
_NOT_IN_XML |= dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")


def write_label_studio(
    store: EmbeddingStore, path: Path, config: Path, items: Notes
) -> dict[str, int]:
    """Write the tasks, and the labeling configuration that they need.

    Returns how many annotations of each type, and how many items, were left out.
    """
    skipped: Counter[str] = Counter()
    labels = store.categories.labels
    tasks = []
    for item, notes in _items(store, items, skipped):
        found = [
            _region(item, number, annotation, labels)
            for number, annotation in enumerate(item.annotations)
            if _can_be_shown(annotation, skipped)
        ]
        data = {"image": _ROOT + quote(item.path), "item": str(item.key), "why": "\n".join(notes)}
        tasks.append({"data": data, "predictions": [{"model_version": "dataset", "result": found}]})
    path.write_text(json.dumps(tasks), encoding="utf-8")
    with config.open("w", encoding="utf-8") as file:
        xml = XMLGenerator(file, "utf-8", short_empty_elements=True)
        with _element(xml, "View"):
            _add(xml, "Text", {"name": "why", "value": "$why"})
            _add(xml, "Image", {"name": "image", "value": "$image"})
            for control in ("RectangleLabels", "PolygonLabels", "Choices"):
                with _element(xml, control, {"name": control.lower(), "toName": "image"}):
                    for name in labels:
                        _add(
                            xml, control[:-1] if control == "Choices" else "Label", {"value": name}
                        )
    return dict(sorted(skipped.items()))


def _region(
    item: ItemRecord, number: int, annotation: AnnotationRecord, labels: Sequence[str]
) -> dict[str, Any]:
    name = labels[annotation.label]
    size = (item.width, item.height)
    percent = [100 * value / size[n % 2] for n, value in enumerate(annotation.coords)]
    value: dict[str, Any]
    if annotation.type == "bbox":
        control = "rectanglelabels"
        value = dict(zip(("x", "y", "width", "height"), percent, strict=True)) | {"rotation": 0}
    elif annotation.type == "polygon":
        control = "polygonlabels"
        value = {"points": [list(point) for point in zip(*[iter(percent)] * 2, strict=True)]}
    else:
        control, value = "choices", {}
    return {
        "id": f"{item.key}/{number}",
        "type": control,
        "from_name": control,
        "to_name": "image",
        "original_width": item.width,
        "original_height": item.height,
        "image_rotation": 0,
        "value": {**value, control: [name]},
    }


def write_cvat(store: EmbeddingStore, path: Path, items: Notes) -> dict[str, int]:
    """Write the annotations of a task; returns what `write_label_studio` does."""
    skipped: Counter[str] = Counter()
    labels = store.categories.labels
    with path.open("w", encoding="utf-8", newline="") as file:
        xml = XMLGenerator(file, "utf-8", short_empty_elements=True)
        xml.startDocument()
        with _element(xml, "annotations"):
            _add(xml, "version", {}, "1.1")
            with _element(xml, "meta"), _element(xml, "task"), _element(xml, "labels"):
                for name in (*labels, *({"review"} - {*labels})):
                    with _element(xml, "label"):
                        _add(xml, "name", {}, name)
                        with _element(xml, "attributes"):
                            if name == "review":
                                _attribute(xml)
            for number, (item, notes) in enumerate(_items(store, items, skipped)):
                size = {"width": str(item.width), "height": str(item.height)}
                name = item.path or item.key.id
                with _element(xml, "image", {"id": str(number), "name": name, **size}):
                    for annotation in item.annotations:
                        if _can_be_shown(annotation, skipped):
                            _add(xml, *_shape(annotation, labels[annotation.label]))
                    for note in notes:
                        with _element(xml, "tag", {"label": "review", "source": "file"}):
                            _add(xml, "attribute", {"name": "why"}, note)
        xml.endDocument()
    return dict(sorted(skipped.items()))


def _attribute(xml: XMLGenerator) -> None:
    """Declare the text that says why an image is to be reviewed."""
    with _element(xml, "attribute"):
        for tag, text in (("name", "why"), ("mutable", "False"), ("input_type", "text")):
            _add(xml, tag, {}, text)
        _add(xml, "default_value")
        _add(xml, "values")


def _shape(annotation: AnnotationRecord, label: str) -> tuple[str, dict[str, str]]:
    own = {"label": label, "source": "file"}
    coords = annotation.coords
    if annotation.type == "label":
        return "tag", own
    own |= {"occluded": "0", "z_order": str(annotation.z_order)}
    if annotation.type == "bbox":
        x, y, w, h = coords
        corners = zip(("xtl", "ytl", "xbr", "ybr"), (x, y, x + w, y + h), strict=True)
        return "box", own | {name: f"{value:.2f}" for name, value in corners}
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in zip(*[iter(coords)] * 2, strict=True))
    return "polygon", own | {"points": points}


def _items(
    store: EmbeddingStore, items: Notes, skipped: Counter[str]
) -> Iterator[tuple[ItemRecord, Sequence[str]]]:
    for key, notes in items.items():
        item = store.item(store.row(key))
        if min(item.width, item.height) > 0:
            yield item, notes
        else:
            skipped[WITHOUT_SIZE] += 1


def _can_be_shown(annotation: AnnotationRecord, skipped: Counter[str]) -> bool:
    """Tell whether both programs can hold an annotation; count what they cannot."""
    if annotation.label >= 0 and annotation.type in ("bbox", "polygon", "label"):
        return True
    skipped[annotation.type] += 1
    return False


@contextmanager
def _element(
    xml: XMLGenerator, tag: str, given: Mapping[str, str] | None = None, text: str = ""
) -> Iterator[None]:
    attributes = {name: _text(value) for name, value in (given or {}).items()}
    xml.startElement(tag, AttributesImpl(attributes))
    xml.characters(_text(text))
    yield
    xml.endElement(tag)


def _add(
    xml: XMLGenerator, tag: str, given: Mapping[str, str] | None = None, text: str = ""
) -> None:
    with _element(xml, tag, given, text):
        pass


def _text(text: str) -> str:
    """Replace what no XML file can hold."""
    return text.translate(_NOT_IN_XML)
