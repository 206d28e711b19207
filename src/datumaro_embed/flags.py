"""Flags of commands and Datumaro transforms, and their defaults; imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from .paths import path_given, text_given

DEFAULT_K = 20
DEFAULT_KEEP_SPLIT = "train"
DEFAULT_MODEL = "clip-vit-base-patch32"
DEFAULT_LEAST_RELEVANCE = 3.0
AUDIT_KINDS = (
    *("failed", "leak", "duplicate", "mislabel", "systematic", "conflict", "odd_pair"),
    *("outlier", "quality", "box"),
)
DEFAULT_THRESHOLD = 0.95
DEFAULT_TABLE = "items"
SELECTIONS = ("diverse", "coverage", "typical", "uncertain-by-label")
TABLES = (DEFAULT_TABLE, "objects", "captions")


def add_embed_arguments(parser: ArgumentParser) -> None:
    """Add the embedding flags; their destinations are the fields of `pipeline.EmbedOptions`."""
    add = parser.add_argument
    add(
        "--store",
        required=True,
        type=text_given,
        metavar="FILE.h5|FOLDER/",
        help="HDF5 store or store directory to write (required); inside a dataset's folder, use "
        "the suffix .hdf5: `datum` mistakes a folder with an .h5 file for another format",
    )
    add(
        "--model",
        default=DEFAULT_MODEL,
        type=text_given,
        help="model directory or name; `demo` comes with the package (default: %(default)s)",
    )
    add(
        "--device",
        default="CPU",
        help="OpenVINO device, such as CPU, GPU, NPU or AUTO (default: %(default)s)",
    )
    add(
        "--precision",
        default="auto",
        choices=("auto", "f32", "bf16", "f16"),
        help="inference precision; auto: the device's fastest, f32: nearly the same vectors on "
        "every machine (default: %(default)s)",
    )
    add("--batch-size", type=int, metavar="N", help="images per inference (default: 16)")
    add("--workers", type=int, metavar="N", help="decoding threads (default: one per processor)")
    add(
        "--streams",
        type=int,
        metavar="N",
        help="batches to compute in parallel (default: chosen by the device)",
    )
    add(
        "--decode",
        default="exact",
        choices=("exact", "fast"),
        help="fast: decode large JPEGs at reduced size; the pixels differ, but the vectors are "
        "nearly the same (default: %(default)s)",
    )
    add(
        "--depth-range",
        metavar="auto|full|LOW:HIGH",
        help="how to scale values of more than 8 bits to bytes: auto uses the range of values in "
        "each image, full the range of the type, LOW:HIGH this range for all images (if LOW is "
        "negative, write --depth-range=-9:9). The default is auto, and the run also counts images "
        "that full would make dark, flat or clipped",
    )
    kept = "(default: on if the store already has this table)"
    add(
        "--objects",
        action=BooleanOptionalAction,
        help=f"also embed a crop of every object, into the table `objects` of the store {kept}",
    )
    add(
        "--object-margin",
        type=float,
        metavar="FRACTION",
        help="margin added on each side of an object's box, as a fraction of the box's longer "
        "side (default: as in the store, else 0.1)",
    )
    add(
        "--object-shape",
        choices=("square", "stretch", "pad"),
        help="how a crop becomes square: square takes more of the image, stretch resizes, pad adds "
        "gray (default: as in the store, else square)",
    )
    add(
        "--min-object-px",
        type=int,
        metavar="PX",
        help="minimum longer side of an object; smaller objects get no vector (default: as in the "
        "store, else 16)",
    )
    add(
        "--captions",
        action=BooleanOptionalAction,
        help=f"also embed Caption annotations, into the table `captions` of the store {kept}",
    )
    add("--verbose", action="store_true", help="print the settings chosen for this machine")
    add(
        "--dtype",
        default="float16",
        choices=("float16", "float32"),
        help="type of the vectors in the store (default: %(default)s)",
    )
    add(
        "--on-error",
        default="record",
        choices=("record", "fail"),
        help="record: give an unreadable item a row with its status; fail: end the run (default: "
        "%(default)s)",
    )
    add_follow_symlinks_argument(parser)
    add(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="embed only frames 0, N, 2N and so on of each video (default: every frame)",
    )
    add(
        "--commit-rows",
        type=int,
        default=8_192,
        metavar="N",
        help="commit after N images or one minute, whichever comes first (default: %(default)s)",
    )
    add("--restart", action="store_true", help="embed everything again and reuse nothing")


def add_machine_arguments(parser: ArgumentParser) -> None:
    """Add ``--shard``, ``--ray`` and ``--shards``: work on several machines."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--shard",
        metavar="I/N",
        help="embed only shard I of N, counted from 1, into the folder STORE.parts; "
        "`merge STORE.parts -o STORE` joins them. For Slurm and CI arrays, use "
        "--shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT with --array=1-N",
    )
    where.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="embed on every node of a Ray cluster and join the parts (extra `ray`); without "
        "ADDRESS, it uses $RAY_ADDRESS, a cluster running on this machine, or a new local one, in "
        "this order",
    )
    parser.add_argument(
        "--shards", type=int, metavar="N", help="with --ray: number of shards (default: 4 per node)"
    )


def add_follow_symlinks_argument(parser: ArgumentParser) -> None:
    """Add ``--follow-symlinks``."""
    parser.add_argument(
        "--follow-symlinks",
        action="store_true",
        help="read images through symbolic links that lead out of the dataset folder",
    )


def add_output_argument(parser: ArgumentParser, metavar: str, **options: Any) -> None:
    """Add ``-o`` and ``--output``."""
    default: dict[str, Any] = {"required": True, "type": path_given, "help": "must not exist"}
    parser.add_argument("-o", "--output", metavar=metavar, **default | options)


def add_findings_arguments(parser: ArgumentParser, *, required: bool = False) -> None:
    """Add ``--output`` and ``--accept`` of an analysis."""
    add_output_argument(
        parser,
        "FILE",
        required=required,
        help="findings file to write: CSV, or Parquet if the name ends in .parquet",
    )
    parser.add_argument(
        "--accept", action="store_true", help="copy each suggestion to the column `action`"
    )


def add_partial_argument(parser: ArgumentParser) -> None:
    """Add ``--partial``, which allows a command to read an unfinished store."""
    parser.add_argument(
        "--partial",
        action="store_true",
        help="read the rows that an unfinished run has committed so far (default: exit status 3)",
    )


def add_search_arguments(parser: ArgumentParser) -> None:
    """Add the flags of a search; `retrieval.search_request` reads them."""
    add = parser.add_argument
    repeat: dict[str, Any] = {"action": "append", "default": []}
    add_table_argument(parser, "find items, objects or captions")
    add("--image", **repeat, type=text_given, metavar="FILE", help="add an image file to the query")
    add("--item", **repeat, metavar="SUBSET/ID", help="add a stored item to the query")
    add(
        "--object",
        **repeat,
        metavar="SUBSET/ID#N",
        help="add object N (from 0) of an item to the query, or with --of captions its caption N; "
        "`--item SUBSET/ID --object N` is the same",
    )
    add("--not", **repeat, dest="minus", metavar="TEXT", help="subtract a text from the query")
    add(
        "--not-image",
        **repeat,
        type=text_given,
        metavar="FILE",
        help="subtract an image file from the query",
    )
    add("--not-item", **repeat, metavar="SUBSET/ID", help="subtract a stored item from the query")
    add("--not-object", **repeat, metavar="SUBSET/ID#N", help="subtract an object from the query")
    add(
        "-k",
        type=int,
        default=DEFAULT_K,
        metavar="N",
        help="maximum number of hits (default: %(default)s)",
    )
    add("--subset", **repeat, metavar="NAME", help="search only items of this subset")
    add("--split", **repeat, metavar="NAME", help="search only items of train, val, test or other")
    add(
        "--label",
        **repeat,
        metavar="NAME",
        help="search only items that have this label, or with --of objects, objects of this label",
    )
    add(
        "--min-relevance",
        type=float,
        metavar="X",
        help="text queries only: minimum relevance of a hit, in standard deviations above its "
        "similarity to meaningless texts; with 3 to 4, most meaningless queries have no hits",
    )
    add(
        "--model",
        type=text_given,
        metavar="MODEL",
        help="model directory or name (default: that of the store)",
    )
    add("--exact", action="store_true", help="compare every row, even if an index exists")


def add_label_arguments(parser: ArgumentParser) -> None:
    """Add the flags of zero-shot labels; `auditing.label_findings` reads them."""
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument("--labels", default="", metavar="A,B,C", help="label names to choose from")
    names.add_argument(
        "--labels-file", type=path_given, metavar="FILE", help="file with one label name per line"
    )
    add = parser.add_argument
    add(
        "--min-relevance",
        type=float,
        default=DEFAULT_LEAST_RELEVANCE,
        metavar="X",
        help="minimum relevance of a label, in standard deviations above the similarity of "
        "meaningless texts (default: %(default)s)",
    )
    add(
        "--model",
        type=text_given,
        metavar="MODEL",
        help="model directory or name (default: that of the store)",
    )


def add_table_argument(parser: ArgumentParser, what: str) -> None:
    """Add ``--of``."""
    parser.add_argument(
        "--of", default=DEFAULT_TABLE, choices=TABLES, help=f"{what} (default: %(default)s)"
    )


def add_stale_argument(parser: ArgumentParser) -> None:
    """Add ``--skip-stale``."""
    parser.add_argument(
        "--skip-stale",
        action="store_true",
        help="skip items that are not in the store or whose image has changed; without this flag "
        "they are an error and nothing is written",
    )


def add_apply_arguments(parser: ArgumentParser) -> None:
    """Add the flags of commands that apply findings."""
    add = parser.add_argument
    add(
        "--skip-stale",
        action="store_true",
        help="leave out rows that do not match the dataset: the image, object, label or box is "
        "missing or has changed; without this flag they are an error and nothing is written",
    )
    add(
        "--new-labels",
        action="store_true",
        help="allow `label NAME` with a label that the dataset does not have yet",
    )
    add_plan_arguments(parser)


def add_plan_arguments(parser: ArgumentParser, *names: str) -> None:
    """Add ``--dry-run`` and ``--plan``; `names` are other names of ``--plan``."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would change, but write no dataset; --plan still writes its file",
    )
    parser.add_argument(
        "--plan",
        *names,
        type=path_given,
        metavar="FILE",
        help="write one CSV line for each change",
    )


def add_duplicate_arguments(parser: ArgumentParser) -> None:
    """Add the flags of duplicates; their destinations are arguments of `find_duplicates`."""
    add = parser.add_argument
    add(
        "--threshold",
        type=float,
        metavar="COSINE",
        help="minimum similarity of a pair, above 0 and at most 1 (default: that of the store's "
        f"model, if `calibrate` has set it, else {DEFAULT_THRESHOLD})",
    )
    add(
        "--model",
        type=text_given,
        metavar="MODEL",
        help="model directory or name; its threshold is used (default: that of the store)",
    )
    add("--across-splits", action="store_true", help="only pairs across train, val and test")
    add(
        "--all-pairs",
        action="store_const",
        const=True,
        help="compare every pair (always done up to 200,000 items)",
    )
    add(
        "--keep-split",
        default=DEFAULT_KEEP_SPLIT,
        choices=("train", "val", "test"),
        help="split whose copy is kept if a group spans several splits (default: %(default)s)",
    )


def add_select_arguments(parser: ArgumentParser) -> None:
    """Add the flags of a selection; their destinations are arguments of `auditing.select`."""
    many = parser.add_mutually_exclusive_group(required=True)
    many.add_argument("-k", type=int, metavar="N", help="number of items to choose")
    many.add_argument(
        "--fraction",
        type=float,
        metavar="F",
        help="fraction of the items to choose, above 0 and at most 1",
    )
    many.add_argument(
        "--until",
        type=float,
        metavar="COSINE",
        help="--by diverse: choose until every item is at least this similar to a chosen one",
    )
    add = parser.add_argument
    add(
        "--by",
        default=SELECTIONS[0],
        choices=SELECTIONS,
        help="diverse: each item is the farthest from those chosen before (k-center); coverage: "
        "the chosen items are near all others (facility location); typical: nearest to the mean; "
        "uncertain-by-label: mixed labels among the nearest items (default: %(default)s)",
    )
    add(
        "--per-label",
        action="store_true",
        help="balance the choice across labels as evenly as possible; an item with several labels "
        "counts for each, and items without a label are not chosen",
    )
    repeat: dict[str, Any] = {"action": "append", "default": [], "metavar": "SUBSET"}
    add("--given", **repeat, help="treat the items of this subset as already chosen")
    add("--subset", **repeat, dest="subsets", help="choose only items of this subset")
