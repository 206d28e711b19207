"""Plain-text lines of `datumaro-embed info`; control characters are not escaped yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from .causes import cause_of
from .objects import ObjectOptions
from .records import ObjectStatus, Split, Status
from .store import EmbeddingStore
from .tally import counted


def describe(store: EmbeddingStore) -> Iterator[str]:
    """Yield the model, dimensions and counts by subset, status and label."""
    provenance = store.provenance
    yield f"store        {store.path}"
    unknown = "unknown" if store.complete else "unknown (the run has not ended)"
    name, origin = store.model_fact("name"), store.model_fact("source")
    yield f"model        {' from '.join(filter(None, (name, origin))) or unknown}"
    yield f"fingerprint  {store.kind.fingerprint}"
    ran_on = [str(provenance[key]) for key in ("device", "precision") if key in provenance]
    yield f"ran on       {', '.join(ran_on) or unknown}"
    yield f"embeddings   {store.n_rows} × {store.dim} {store.dtype}"
    if store.has_table("objects"):
        n_shown = len(store.objects)
    else:  # annotations of one item, group and label are one object
        types = enumerate(store.ann_type_names)
        is_shown = ~np.isin(
            store.column("annotations/type"), [n for n, t in types if t in ("label", "caption")]
        )
        grouped = is_shown & (store.column("annotations/group") != 0)
        together = (
            store.ann_rows,
            store.column("annotations/group"),
            store.column("annotations/label").astype(np.int64),
        )
        keys = np.stack([values[grouped] for values in together])
        n_shown = int(np.count_nonzero(is_shown & ~grouped) + np.unique(keys, axis=1).shape[1])
    yield f"annotations  {store.count('annotations')} of {counted(n_shown, 'objects')}"
    if store.has_table("objects"):
        yield f"objects      {len(store.objects)}, {int(store.objects.has_vector.sum())} embedded"
        if crops := ObjectOptions.of(provenance):
            yield f"crops        {crops}"
    if store.has_table("captions"):
        yield f"captions     {len(store.captions)} embedded"
    yield f"created      {provenance.get('created', 'unknown')}"
    codes = Counter(zip(store.subset_codes.tolist(), store.splits.tolist(), strict=True))
    for (code, split), count in sorted(codes.items()):
        yield f"subset       {store.subset_names[code]} ({Split(split).name.lower()}): {count}"
    for status, count in sorted(Counter(store.statuses.tolist()).items()):
        yield f"status       {_name(status)}: {count}"
    statuses = store.objects.statuses if store.has_table("objects") else np.zeros(0, np.uint8)
    for status, count in enumerate(np.bincount(statuses).tolist()):
        if count:
            yield f"object       {ObjectStatus(status).name.lower()}: {count}"
    names = store.categories.labels  # empty until the run has ended
    of_objects = store.objects.labels.tolist() if store.has_table("objects") else []
    n_objects = Counter(of_objects)
    for label, count in Counter(store.column("annotations/label").tolist()).most_common():
        name = names[label] if 0 <= label < len(names) else f"label {label}"
        name = name if label >= 0 else "(no label)"
        shown = [counted(n_objects[label], "objects")] if of_objects else []
        yield f"label        {name}: {', '.join([*shown, counted(count, 'annotations')])}"


def describe_items(store: EmbeddingStore, n_items: int) -> Iterator[str]:
    """Yield subset, id, image path, shape and first values of the first vectors."""
    for row in range(min(n_items, store.n_rows)):
        record = store.item(row)
        vector = np.asarray(store.embeddings([row])[0], dtype=np.float32)
        values = " ".join(f"{value:+.4f}" for value in vector[:6])
        state = record.status.name.lower() + (f": {record.error}" if record.error else "")
        yield (
            f"{row:>6}  {record.key.subset}  {record.key.id}  {record.path or '(no file)'}  "
            f"{record.width}×{record.height}  {counted(len(record.annotations), 'annotations')}  "
            f"({vector.shape[0]},) [{values} …]  {state}"
        )


def describe_failures(store: EmbeddingStore) -> Iterator[str]:
    """Yield each cause of failures with its count, then each failed item with its reason.

    Reads only the statuses, and the keys and reasons of failed rows.
    """
    rows = np.flatnonzero(store.statuses != Status.OK).tolist()
    causes = Counter(
        (int(store.statuses[row]), cause_of(store.text("items/error", row))) for row in rows
    )
    yield f"failed       {len(rows)} of {counted(store.n_rows, 'items')}"
    for (status, cause), count in causes.most_common():
        yield f"{count:>6} ×  {_name(status)}: {cause}"
    for row in rows:
        yield f"{store.key(row)}  {_name(store.statuses[row])}: {store.text('items/error', row)}"


def _name(status: int) -> str:
    return Status(int(status)).name.lower()
