"""Facts and findings → HTML sections; every string of a dataset goes through `markup`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..records import DuplicateGroup, ItemKey, Split
from ..tally import counted
from .facts import Facts, LabelFact
from .markup import tag, text
from .sizes import size_chart

__all__ = ["Item", "duplicates", "failures", "gallery", "labels", "masthead", "section", "sizes"]

_SHOWN_LABELS = 60


@dataclass(frozen=True, slots=True)
class Item:
    """What a card shows of an item.

    Attributes
    ----------
    point : int or None
        Of the map.
    picture : str
        base64 of a thumbnail; empty where there is none.
    """

    key: ItemKey
    split: Split
    labels: tuple[str, ...]
    point: int | None
    picture: str


def section(anchor: str, heading: str, lead: str, body: str) -> str:
    """Wrap a part of the page; `lead` and `body` are HTML."""
    title = tag("h2", text(heading), id=f"{anchor}-heading")
    lead_html = tag("p", lead, class_="lead") if lead else ""
    return tag("section", title + lead_html + body, id=anchor, aria_labelledby=f"{anchor}-heading")


def masthead(title: str, subtitle: str, facts: Facts, n_leaks: int, n_groups: int) -> str:
    """Title and the numbers one looks for first."""
    n_failed = facts.n_items - facts.n_embedded
    n_labels = sum(1 for label in facts.labels if label.n_annotations)
    tiles = [
        _tile(
            facts.n_items, "items", ", ".join(f"{s.n_items:,} {s.name}" for s in facts.subsets[:4])
        ),
        _tile(facts.n_annotations, "annotations", _types(facts)),
        _tile(n_labels, "labels in use", f"of {len(facts.labels):,}"),
        _tile(
            n_leaks,
            "leaks between splits",
            "see below" if n_leaks else "none found",
            bad=n_leaks > 0,
        ),
        _tile(n_groups, "near-duplicate groups", "leaks included"),
        _tile(
            n_failed, "failed items", "see below" if n_failed else "all embedded", bad=n_failed > 0
        ),
    ]
    heading = tag("p", "datumaro-embed report", class_="eyebrow") + tag("h1", text(title))
    return tag(
        "header",
        tag("div", heading + tag("p", text(subtitle), class_="subtitle"))
        + tag("dl", "".join(tiles), class_="tiles"),
    )


def _types(facts: Facts) -> str:
    shown = sorted(facts.annotation_types.items(), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{count:,} {name}" for name, count in shown)


def _tile(number: int, name: str, detail: str, *, bad: bool = False) -> str:
    return tag(
        "div",
        tag("dt", text(name))
        + tag("dd", f"{number:,}", class_="number")
        + tag("dd", text(detail), class_="detail"),
        class_="tile bad" if bad else "tile",
    )


def labels(facts: Facts, examples: dict[int, Item]) -> str:
    """Bars of annotations by label, cut by split, each with its most typical picture."""
    used = [label for label in facts.labels if label.n_annotations]
    unused = [label.name for label in facts.labels if not label.n_annotations]
    if not used:
        return tag("p", "No annotation has a label.", class_="note")
    most = used[0].n_annotations
    splits = sorted({split for label in used for split in label.by_split})
    rows = [_label_row(label, most, splits, examples.get(label.index)) for label in used]
    body = _legend(splits) + _label_table(rows[:_SHOWN_LABELS], splits)
    if len(rows) > _SHOWN_LABELS:
        more = _label_table(rows[_SHOWN_LABELS:1000], splits)
        body += _details(f"{counted(len(rows) - _SHOWN_LABELS, 'more labels')}", more)
    if unused:
        names = tag("p", ", ".join(map(text, unused[:1000])))
        body += _details(f"{counted(len(unused), 'labels')} without any annotation", names)
    return body


def _legend(splits: Sequence[Split]) -> str:
    entries = (
        tag("li", tag("span", class_=f"swatch {split.name.lower()}") + text(split.name.lower()))
        for split in splits
    )
    return tag("ul", "".join(entries), class_="legend")


def _label_table(rows: Sequence[str], splits: Sequence[Split]) -> str:
    names = "".join(
        tag("th", text(split.name.lower()), scope="col", class_="num") for split in splits
    )
    head = (
        tag("th", "example", scope="col")
        + tag("th", "label", scope="col")
        + tag("th", "annotations", scope="col", class_="bar")
        + tag("th", "all", scope="col", class_="num")
        + names
        + tag("th", "items", scope="col", class_="num")
    )
    table = tag(
        "table", tag("thead", tag("tr", head)) + tag("tbody", "".join(rows)), class_="labels"
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Labels")


def _label_row(label: LabelFact, most: int, splits: Sequence[Split], example: Item | None) -> str:
    parts = (
        tag(
            "span",
            class_=split.name.lower(),
            style=f"width:{100 * count / most:.3f}%",
            title=f"{split.name.lower()}: {count:,}",
        )
        for split, count in sorted(label.by_split.items())
    )
    numbers = "".join(
        tag("td", f"{label.by_split.get(split, 0):,}", class_="num") for split in splits
    )
    return tag(
        "tr",
        tag("td", _picture(example) if example else "", class_="tiny")
        + tag("th", text(label.name), scope="row")
        + tag("td", tag("div", "".join(parts), class_="stack", aria_hidden="true"), class_="bar")
        + tag("td", f"{label.n_annotations:,}", class_="num")
        + numbers
        + tag("td", f"{label.n_items:,}", class_="num"),
    )


def duplicates(groups: Sequence[tuple[DuplicateGroup, Sequence[Item]]], total: int) -> str:
    """Draw groups with their first items side by side; `total` counts the groups not given too."""
    body = "".join(_group(number, group, items) for number, (group, items) in enumerate(groups, 1))
    body = tag("div", body, class_="groups") if body else ""
    if total > len(groups):
        command = tag("code", "datumaro-embed duplicates")
        more = counted(total - len(groups), "more groups")
        body += tag("p", f"{more}; {command} lists all.", class_="note")
    return body or tag("p", "None found.", class_="note good")


def _group(number: int, group: DuplicateGroup, items: Sequence[Item]) -> str:
    badges = [_badge("leak between splits", "bad")] if group.across_splits else []
    badges += [_badge("same bytes", "plain")] if group.identical else []
    badges += [_badge("labels differ", "warn")] if group.conflicting_labels else []
    heading = tag("h3", f"Group {number}: {counted(len(group.keys), 'items')} " + "".join(badges))
    low, high = f"{group.min_similarity:.3f}", f"{group.max_similarity:.3f}"
    span = low if low == high else f"{low} to {high}"
    similar = tag("p", f"similarity {span}", class_="note")
    cards = "".join(card(item) for item in items)
    if len(group.keys) > len(items):
        cards += tag("p", f"and {len(group.keys) - len(items):,} more", class_="note")
    body = heading + similar + tag("div", cards, class_="cards")
    return tag("article", body, class_="group" if len(items) <= 2 else "group many")


def _badge(words: str, kind: str) -> str:
    return tag("span", text(words), class_=f"badge {kind}")


def gallery(items: Iterable[tuple[Item, float]]) -> str:
    """Draw cards with a similarity each."""
    cards = "".join(card(item, f"similarity {similarity:.3f}") for item, similarity in items)
    return tag("div", cards, class_="cards") if cards else tag("p", "None.", class_="note")


def card(item: Item, note: str = "") -> str:
    """Draw one item: picture, key, split, labels."""
    names = ", ".join(item.labels[:4]) + (" …" if len(item.labels) > 4 else "")
    caption = (
        tag("span", text(item.key.id), class_="id")
        + tag("span", text(item.key.subset), class_=f"split {item.split.name.lower()}")
        + tag("span", text(names or "no label"), class_="names")
        + (tag("span", text(note), class_="similarity") if note else "")
    )
    return tag("figure", _picture(item) + tag("figcaption", caption), class_="card")


def _picture(item: Item) -> str:
    """Picture of an item; a button where the map has its point."""
    names = ", ".join(item.labels[:4])
    alt = f"{item.key}" + (f": {names}" if names else "")
    inside = (
        tag("img", src=f"data:image/webp;base64,{item.picture}", alt=alt, loading="lazy")
        if item.picture
        else tag("span", "no picture", class_="absent")
    )
    if item.point is None:
        return tag("div", inside, class_="thumb")
    return tag(
        "button",
        inside,
        class_="thumb",
        type="button",
        data_point=item.point,
        aria_label=f"Show {alt} on the map",
    )


def failures(facts: Facts) -> str:
    """List failed items by cause."""
    if not facts.failures:
        return tag("p", "Every item was embedded.", class_="note good")
    parts: list[str] = []
    for failure in facts.failures[:200]:
        keys = "".join(
            tag("li", text(f"{key}: {detail}" if detail else key))
            for key, detail in failure.examples
        )
        if failure.n_items > len(failure.examples):
            keys += tag("li", f"… and {failure.n_items - len(failure.examples):,} more")
        status = tag("strong", text(failure.status.name.lower().replace("_", " ")))
        summary = f"{failure.n_items:,} × {status}: {text(failure.cause)}"
        parts.append(
            tag(
                "details",
                tag("summary", summary) + tag("ul", keys, class_="keys"),
                open=len(parts) < 3,
            )
        )
    return "".join(parts)


def sizes(facts: Facts) -> str:
    """Chart of widths and heights, with its summary in words."""
    return size_chart(facts.sizes, facts.n_items)


def _details(summary: str, body: str) -> str:
    return tag("details", tag("summary", text(summary)) + body)
