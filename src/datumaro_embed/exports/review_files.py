"""Folders that annotation tools import, of what is to be reviewed, the most suspicious first.

Sources: "CVAT for images 1.1" (annotations.xml; labels.json is the raw label constructor of a
task) and Label Studio's JSON of tasks with predictions, and its labeling configuration.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from ..errors import UsageError
from ..findings import Finding, act
from ..findings.columns import PICKED
from ..objects import group_annotations
from ..records import AnnotationRecord, ItemRecord
from ..store import EmbeddingStore

_DRAWN = {"bbox": "box", "polygon": "polygon", "polyline": "polyline", "points": "points"}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROLS = {"bbox": "RectangleLabels", "polygon": "PolygonLabels", "label": "Choices"}


@dataclass(frozen=True, slots=True)
class ToReview:
    """An item, what was found about it, and about each of its annotations, by index."""

    item: ItemRecord
    reasons: list[str] = field(default_factory=list)
    of_annotations: dict[int, list[str]] = field(default_factory=dict)

    def all_reasons(self) -> list[str]:
        return [*self.reasons, *(text for found in self.of_annotations.values() for text in found)]


def to_review(store: EmbeddingStore, findings: Iterable[Finding] | None) -> list[ToReview]:
    """Give the items with findings that are not decided, by their lowest rank; or all items.

    The action `review` decides nothing. What is dropped needs no other decision, and what a person
    picked on the page was decided as a whole.

    Raises `UsageError`: an item is not in the store, or its image was another one.
    """
    if findings is None:
        return [ToReview(store.item(row)) for row in range(store.n_rows)]
    found: dict[int, ToReview] = {}
    findings = [*findings]
    settled = {
        (row.key, row.object)
        for row in findings
        if act(row)[0] == "drop" or (row.kind == PICKED and act(row)[0] not in ("", "review"))
    }
    dropped = {row.key for row in findings if act(row)[0] == "drop" and row.object is None}
    for finding in sorted(findings, key=lambda row: row.rank or np.inf):
        is_settled = finding.key in dropped or (finding.key, finding.object) in settled
        if is_settled or act(finding)[0] not in ("", "review"):
            continue
        row = store.row(finding.key) if finding.key in store else -1
        sha = store.content_sha256[row].tobytes() if row >= 0 else b""
        if row < 0 or finding.content_sha256 not in ("", sha.hex()):
            raise UsageError(
                f"'{finding.key}' of ``findings`` is not in the store, or has another image there. "
                "Audit the store again."
            )
        entry = found.setdefault(row, ToReview(store.item(row)))
        text = f"{finding.kind}: {finding.reason}"
        numbers: Sequence[int] = ()  # of the annotations that the object is made of
        if finding.object is not None:
            objects = (
                [each.annotations for each in entry.item.objects]
                if entry.item.objects
                else group_annotations(entry.item.annotations)
            )
            numbers = objects[finding.object] if finding.object < len(objects) else ()
        for number in numbers:
            entry.of_annotations.setdefault(number, []).append(text)
        if finding.object is None:
            entry.reasons.append(text)
    return [*found.values()]


def write_cvat(
    store: EmbeddingStore, folder: Path, findings: Iterable[Finding] | None
) -> tuple[int, dict[str, int]]:
    """Write annotations.xml, labels.json and images.txt; how many items, and what is left out."""
    entries, names = to_review(store, findings), store.categories.labels
    skipped: Counter[str] = Counter()
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = [{"name": name, "type": "any"} for name in names]
    labels.append({"name": _tag(names), "type": "tag"})
    # The labels as a task of CVAT has them
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = "review"
    SubElement(task, "mode").text = "annotation"
    listed = SubElement(task, "labels")
    for label in labels:
        element = SubElement(listed, "label")
        SubElement(element, "name").text = _xml(label["name"])
        attribute = SubElement(SubElement(element, "attributes"), "attribute")
        facts = {"name": "finding", "mutable": "False", "input_type": "text", "values": ""}
        for name, value in facts.items():
            SubElement(attribute, name).text = value

    for number, entry in enumerate(entries):
        item = entry.item
        image = SubElement(root, "image", id=str(number), name=_xml(item.path))
        image.set("width", str(item.width))
        image.set("height", str(item.height))
        for at, each in enumerate(item.annotations):
            shape = _cvat_shape(each, names)
            if shape is None:
                skipped[each.type] += 1
                continue
            image.append(shape)
            _note(shape, "finding", entry.of_annotations.get(at, []))
        if entry.reasons:
            _note(SubElement(image, "tag", label=_tag(names)), "finding", entry.reasons)
    indent(root)
    ElementTree(root).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)
    note = {"name": "finding", "input_type": "text", "mutable": False, "values": [""]}
    content = json.dumps([{**label, "attributes": [note]} for label in labels], indent=1)
    (folder / "labels.json").write_text(content, encoding="utf-8")
    paths = "".join(f"{entry.item.path}\n" for entry in entries)
    (folder / "images.txt").write_text(paths, encoding="utf-8", errors="surrogateescape")
    return len(entries), dict(sorted(skipped.items()))


def _tag(names: Sequence[str]) -> str:
    """Return the name of the label that says what is to be reviewed; none of the dataset's."""
    name = "review"
    while name in names:
        name += "_"
    return name


def _note(parent: Element, name: str, reasons: list[str]) -> None:
    if reasons:
        SubElement(parent, "attribute", name=name).text = _xml("; ".join(reasons))


def _xml(text: str) -> str:
    """Replace characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def _cvat_shape(each: AnnotationRecord, names: Sequence[str]) -> Element | None:
    """Give an annotation as CVAT has it; None where it has no word for it."""
    if not 0 <= each.label < len(names) or not np.isfinite(each.coords).all():
        return None
    facts = {"label": _xml(names[each.label]), "source": "manual"}
    if each.type == "label":
        return Element("tag", facts)
    if each.type not in _DRAWN:
        return None
    facts |= {"occluded": "0", "z_order": str(each.z_order)}
    if each.type == "bbox":
        x, y, w, h = each.coords
        corners = {"xtl": x, "ytl": y, "xbr": x + w, "ybr": y + h}
        return Element("box", facts | {name: f"{value:.2f}" for name, value in corners.items()})
    points = np.array(each.coords).reshape(-1, 2).tolist()
    facts["points"] = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return Element(_DRAWN[each.type], facts)


def write_label_studio(
    store: EmbeddingStore, folder: Path, findings: Iterable[Finding] | None
) -> tuple[int, dict[str, int]]:
    """Write ``tasks.json`` and ``config.xml``: how many items, and what is left out."""
    entries, names = to_review(store, findings), store.categories.labels
    skipped: Counter[str] = Counter()
    tasks = []
    for place, entry in enumerate(entries):
        item = entry.item
        results = [*_results(item, names, skipped)]
        tasks.append(
            {
                "id": place + 1,
                "data": {
                    "image": f"/data/local-files/?d={quote(item.path, errors='surrogateescape')}",
                    "subset": item.key.subset,
                    "item_id": item.key.id,
                    "finding": "; ".join(entry.all_reasons()),
                },
                "predictions": [
                    {
                        "model_version": "datumaro-embed",
                        "score": 1 - place / len(entries),
                        "result": results,
                    }
                ],
            }
        )
    (folder / "tasks.json").write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    view = Element("View")
    SubElement(view, "Header", value="$finding")
    SubElement(view, "Image", name="image", value="$image")
    for kind in _CONTROLS.values():
        element = SubElement(view, kind, name=kind.lower(), toName="image")
        for name in names:
            SubElement(element, "Choice" if kind == "Choices" else "Label", value=_xml(name))
    indent(view)
    ElementTree(view).write(folder / "config.xml", encoding="utf-8")
    return len(entries), dict(sorted(skipped.items()))


def _results(
    item: ItemRecord, names: Sequence[str], skipped: Counter[str]
) -> Iterator[Mapping[str, Any]]:
    for number, each in enumerate(item.annotations):
        known = each.type in _CONTROLS and 0 <= each.label < len(names)
        if not known or not np.isfinite(each.coords).all() or not item.width or not item.height:
            skipped[each.type] += 1
            continue
        kind = _CONTROLS[each.type].lower()
        shape: dict[str, Any] = {}  # in percent of the image; a label of the image has none
        percents = np.array(each.coords).reshape(-1, 2) * 100 / (item.width, item.height)
        if each.type == "polygon":
            shape = {"points": percents.tolist()}
        elif each.type == "bbox":
            (x, y), (w, h) = percents.tolist()
            shape = {"x": x, "y": y, "width": w, "height": h, "rotation": 0}
        yield {
            "id": str(number),
            "type": kind,
            "from_name": kind,
            "to_name": "image",
            "original_width": item.width,
            "original_height": item.height,
            "image_rotation": 0,
            "value": {**shape, kind: [_xml(names[each.label])]},
        }
