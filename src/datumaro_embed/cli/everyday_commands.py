"""`embed`, `info`, `verify`, `search`, `audit`, `explore`, `apply`, `report` and their like."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Iterable
from functools import partial as bound
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StoreUnfinishedError, UsageError
from ..flags import (
    AUDIT_KINDS,
    add_apply_arguments,
    add_duplicate_arguments,
    add_embed_arguments,
    add_findings_arguments,
    add_follow_symlinks_argument,
    add_label_arguments,
    add_machine_arguments,
    add_output_argument,
    add_partial_argument,
    add_search_arguments,
    add_select_arguments,
    add_stale_argument,
    add_table_argument,
)
from ..interrupts import Terminated
from ..paths import path_given, text_given
from ..tally import counted
from .commands import MEDIA_ROOT, STORE, Commands, argument, command
from .console import opened_store, say, tell

if TYPE_CHECKING:
    from ..findings import Findings

_MAX_DIFFERENCES = 50

COMMANDS: Commands = {}


def _allow_intermixed(parser: ArgumentParser) -> None:
    """Allow queries before, between and after flags, as in `search STORE -k 5 "a cat"`."""
    plain = parser.parse_known_args

    def parse(*arguments: Any, **named: Any) -> Any:
        parser.parse_known_args = plain  # type: ignore[method-assign]
        try:
            return parser.parse_known_intermixed_args(*arguments, **named)
        finally:
            parser.parse_known_args = parse  # type: ignore[method-assign]

    parser.parse_known_args = parse  # type: ignore[method-assign]


def _check_findings_outputs(accept: bool, output: Path | None, html: Path | None = None) -> None:
    """Refuse outputs of an analysis before it begins."""
    from ..files import check_output
    from ..findings import Findings

    for path in filter(None, (output, html)):
        check_output(path)
    if accept and output is None:
        raise UsageError("``accept`` fills in a findings file. Name one with ``output``.")
    if html is not None:
        if html.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"``html`` writes a page, and '{html}' does not end in .html.")
        if output is not None and output.resolve() == html.resolve():
            raise UsageError(f"``output`` and ``html`` are both '{html}'. Choose two names.")
    if output is not None:
        Findings.check_name(output)


def _tell_findings(found: Findings, lines: Iterable[str], output: Path | None, accept: bool) -> int:
    _write_findings(found, output, accept)  # before printing, as the reader may stop (`| head`)
    return _tell(found, lines, output)


def _write_findings(found: Findings, output: Path | None, accept: bool) -> None:
    if output is not None:
        (found.accept() if accept else found).write(output)


def _tell(found: Findings, lines: Iterable[str], output: Path | None) -> int:
    say(lines)
    return say([] if output is None else [f"{counted(len(found), 'findings')} in {output}"])


def _add_forms(parser: ArgumentParser) -> None:
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", dest="as_json", help="print one JSON object")
    output.add_argument("--csv", type=path_given, metavar="FILE", help="write one line per pair")


@command(
    COMMANDS,
    "embed",
    "embed a dataset",
    "Embed every item of a dataset into a store.",
    argument(
        "dataset", type=text_given, metavar="PATH[:FORMAT]", help="a dataset that Datumaro reads"
    ),
    add_embed_arguments,
    add_machine_arguments,
)
def _embed(
    dataset: str,
    store: str,
    *,
    shard: str | None,
    ray: str | None,
    shards: int | None,
    **options: Any,
) -> int:
    if ray is not None:
        from ..distributed import embed_on_ray

        done = embed_on_ray(dataset, store, shards=shards, address=ray, notify=tell, **options)
        return say(done.lines())
    if shards is not None:
        raise UsageError("``shards`` requires ``ray``. To embed one shard, use ``shard`` I/N.")

    from ..adapter import import_dataset
    from ..models import resolve_model
    from ..pipeline import EmbedOptions, check_place, embed_source

    share = None
    if shard is not None:
        from ..sharding import Shard

        share = Shard.parse(shard)
    chosen = EmbedOptions(**options)
    resolve_model(chosen.model)
    check_place(store, share)
    imported = import_dataset(dataset, follow_symlinks=chosen.follow_symlinks, every=chosen.every)
    done = embed_source(
        imported.source, store, chosen, losses=imported.losses, shard=share, notify=tell
    )
    return say(done.lines())


@command(
    COMMANDS,
    "info",
    "show what a store contains",
    "Print the model, dimensions and counts by subset, status and label. The exit status is 3 "
    "if the store is unfinished.",
    STORE,
    argument(
        "--items", type=int, default=0, metavar="N", help="print the first N items and vectors"
    ),
    argument("--failed", action="store_true", help="print every item that failed, with its reason"),
)
def _info(store: Path, items: int, failed: bool) -> int:
    from ..info import describe, describe_failures, describe_items

    with opened_store(store, partial=True) as opened:
        say(describe(opened))
        say(describe_items(opened, items))
        if failed:
            say(describe_failures(opened))
        return 0 if opened.complete else StoreUnfinishedError.exit_status


@command(
    COMMANDS,
    "verify",
    "check a store, alone or against its dataset",
    "Check all checksums; with --dataset also compare every item and annotation. The exit "
    "status is 1 if anything differs.",
    STORE,
    argument(
        "--dataset", type=text_given, metavar="PATH[:FORMAT]", help="compare with this dataset"
    ),
    add_follow_symlinks_argument,
    add_partial_argument,
)
def _verify(store: Path, dataset: str | None, follow_symlinks: bool, partial: bool) -> int:
    from ..adapter import import_dataset
    from ..verify import compare_with_dataset

    with opened_store(store, partial=partial) as opened:
        problems = opened.verify()
        ways = f"run `datumaro-embed repair {store} -o NEW` to save the intact rows"
        if not problems:
            ways = "run the `embed` command of this store again to update it"
        if dataset is not None:
            imported = import_dataset(dataset, follow_symlinks=follow_symlinks, every=opened.every)
            problems += compare_with_dataset(opened, imported.source)
        say(problems[:_MAX_DIFFERENCES])
        if len(problems) > _MAX_DIFFERENCES:
            say([f"… and {len(problems) - _MAX_DIFFERENCES} more"])
        found = f"{counted(len(problems), 'differences')}; {ways}" if problems else "sound"
        say([f"{counted(opened.n_rows, 'rows')}: {found}"])
    return 1 if problems else 0


@command(
    COMMANDS,
    "search",
    "find items or objects by text, image or example",
    "Print the items, objects or captions nearest to a query, best first. Several queries "
    "are combined by their mean. Texts are embedded as typed, with the model that made the "
    "store.",
    STORE,
    argument("queries", nargs="*", metavar="QUERY", help="text to search for"),
    add_search_arguments,
    argument("--json", action="store_true", dest="as_json", help="print one JSON object"),
    argument(
        "--save-to",
        type=path_given,
        metavar="DIR",
        help="copy the images of the hits (for objects, their crops as PNG) to a new folder",
    ),
    MEDIA_ROOT,
    add_stale_argument,
    add_partial_argument,
    _allow_intermixed,
)
def _search(
    store: Path,
    queries: list[str],
    as_json: bool,
    save_to: Path | None,
    media_root: Path | None,
    partial: bool,
    skip_stale: bool,
    **flags: Any,
) -> int:
    from ..listing import hits_json, hits_lines
    from ..retrieval import Filters, run_search, search_request

    plus, options = search_request(queries, **flags)
    problems: list[str] = []
    with opened_store(store, partial=partial) as opened:
        if save_to is None:
            result = run_search(opened, plus, options)
        else:
            from ..retrieval import check_folder, media_root_of, save_hits, search_files

            check_folder(save_to)
            root = media_root_of(opened, media_root)
            result, problems = search_files(opened, plus, options, root, skip_stale=skip_stale)
        lines = hits_lines(
            result, min_relevance=options.min_relevance, filtered=options.filters != Filters()
        )
        say(hits_json(result).splitlines() if as_json else lines)
        if save_to is not None:
            hits = result.hits
            problems += save_hits(opened, hits, save_to, media_root=root, skip_stale=skip_stale)
    for problem in problems:
        tell(f"not copied: {problem}")
    return 0


@command(
    COMMANDS,
    "duplicates",
    "find near-duplicates and leakage between splits",
    "Print groups of near-identical items, those across train, val and test first. "
    "`datum transform -t clip_duplicates` removes them. Two objects of one item are never a "
    "pair, and neither are two captions.",
    STORE,
    bound(add_table_argument, what="compare items, objects or captions"),
    add_duplicate_arguments,
    _add_forms,
    add_partial_argument,
)
def _duplicates(store: Path, as_json: bool, csv: Path | None, partial: bool, **flags: Any) -> int:
    from ..duplicates import find_duplicates
    from ..listing import duplicates_json, duplicates_lines, write_pairs_csv

    with opened_store(store, partial=partial) as opened:
        report = find_duplicates(opened, progress=True, **flags)
    if csv is not None:  # before printing, as the reader may stop (`| head`)
        write_pairs_csv(report, csv)
    return say(duplicates_json(report).splitlines() if as_json else duplicates_lines(report))


@command(
    COMMANDS,
    "audit",
    "find copies, leaks, wrong labels, outliers and bad images",
    "Find what is wrong with a dataset: items that failed, copies and leaks (proven on their "
    "pixels), wrong labels, outliers, bad images and odd boxes. Prints a table; --output "
    "writes every finding. Nothing is changed: fill in the column `action`, then run `apply`.",
    STORE,
    add_findings_arguments,
    argument(
        "--html",
        type=path_given,
        metavar="FILE.html",
        help="also write the page of `report` with these findings",
    ),
    argument(
        "--only",
        action="append",
        default=[],
        choices=AUDIT_KINDS,
        help="find only this kind; repeat for several",
    ),
    argument(
        "--keep-split",
        choices=("train", "val", "test"),
        help="split whose copy is kept if copies are in several splits (default: test, then val; "
        "dropping a test item is then never suggested)",
    ),
    MEDIA_ROOT,
    add_partial_argument,
)
def _audit(
    store: Path,
    output: Path | None,
    html: Path | None,
    accept: bool,
    partial: bool,
    media_root: Path | None,
    **options: Any,
) -> int:
    from ..auditing import audit, audit_lines, pieces_beside
    from ..page import ReportOptions, write_report

    _check_findings_outputs(accept, output, html)
    with (
        opened_store(store, partial=partial) as opened,
        pieces_beside(output, opened, media_root=media_root, **options) as pieces,
    ):
        found = audit(opened, progress=True, media_root=media_root, pieces=pieces, **options)
        _write_findings(found, output, accept)
        if html is not None:
            shown = found.accept() if accept else found
            write_report(opened, html, ReportOptions(findings=shown, media_root=media_root))
    return _tell(found, audit_lines(found), output)


@command(
    COMMANDS,
    "compare",
    "find copies, new items and changes between two stores",
    "Compare two stores of one model: items of B that are copies of items of A (proven on "
    "their pixels), items of B unlike all of A, and labels whose vectors have drifted. If both "
    "have the same keys, it also lists items that were added, removed, changed or relabeled. "
    "Nothing is changed: fill in the column `action`, then run `apply` on the dataset of B.",
    argument(
        "first", metavar="A", type=path_given, help="store file or folder, such as the training set"
    ),
    argument(
        "second", metavar="B", type=path_given, help="store file or folder, such as new images"
    ),
    add_findings_arguments,
    argument(
        "--same-keys",
        action=BooleanOptionalAction,
        help="A and B are the same dataset before and after changes: items with the same key and "
        "bytes are not copies (default: if half of the smaller store's keys are in the other)",
    ),
    *(
        argument(
            f"--media-root-{side}",
            type=path_given,
            metavar="DIR",
            help=f"folder of the images of {side.upper()}, if they have moved",
        )
        for side in "ab"
    ),
    add_partial_argument,
)
def _compare(
    first: Path, second: Path, output: Path | None, accept: bool, partial: bool, **options: Any
) -> int:
    from ..auditing.compare import compare

    _check_findings_outputs(accept, output)
    with opened_store(first, partial=partial) as a, opened_store(second, partial=partial) as b:
        found = compare(a, b, progress=True, **options)
    return _tell_findings(found.findings, found.lines(), output, accept)


@command(
    COMMANDS,
    "label",
    "suggest labels by their names (zero-shot)",
    "Suggest the nearest label name for every item or object without a label, and write the "
    "findings. `apply` then applies the column `action`.",
    STORE,
    add_label_arguments,
    argument(
        "--of",
        default="items",
        choices=("items", "objects"),
        help="what to label (default: %(default)s)",
    ),
    bound(add_findings_arguments, required=True),
    argument(
        "--relabel", action="store_true", help="also label items or objects that have a label"
    ),
    add_partial_argument,
)
def _label(
    store: Path,
    labels: str,
    labels_file: Path | None,
    output: Path,
    accept: bool,
    partial: bool,
    **options: Any,
) -> int:
    from ..auditing import label_findings

    _check_findings_outputs(accept, output)
    names = labels_file or labels.split(",")
    with opened_store(store, partial=partial) as opened:
        found = label_findings(opened, names, **options)
    sure = sum(row.suggestion != "review" for row in found)
    lines = [f"{sure:,} with a suggested label, {len(found) - sure:,} to review"]
    return _tell_findings(found, lines, output, accept)


@command(
    COMMANDS,
    "select",
    "choose representative items",
    "Choose representative items by their vectors, to label, inspect or train on. Prints how "
    "well they cover the other items, compared with the same number of random items.",
    STORE,
    add_select_arguments,
    add_findings_arguments,
    add_partial_argument,
)
def _select(store: Path, output: Path | None, accept: bool, partial: bool, **options: Any) -> int:
    from ..auditing.selection import select

    _check_findings_outputs(accept, output)
    with opened_store(store, partial=partial) as opened:
        found = select(opened, progress=True, **options)
    return _tell_findings(found.findings, found.lines(), output, accept)


@command(
    COMMANDS,
    "explore",
    "look at a dataset in the browser, search it and decide",
    "Serve a local page to view, search and clean a dataset: images with their boxes, a map, "
    "and the findings of an audit to review. The page saves each decision at once in the "
    "findings file, which `apply` reads. Press Ctrl-C to stop. Requires the `explore` extra.",
    STORE,
    argument(
        "--findings",
        type=path_given,
        metavar="FILE",
        help="findings file, CSV or Parquet (default: STORE.findings.csv; an audit makes it in the "
        "background if it is missing)",
    ),
    argument(
        "--port", type=int, default=0, metavar="N", help="port of 127.0.0.1 (default: a free one)"
    ),
    argument("--no-browser", action="store_true", help="print the address only"),
    MEDIA_ROOT,
)
def _explore(store: Path, no_browser: bool, **options: Any) -> int:
    from ..page import explore

    with explore(store, browser=not no_browser, framed=False, **options) as explorer:
        saved = explorer.read_only or f"Decisions are saved in {explorer.findings}."
        say([explorer.url, f"{saved} Ctrl-C ends."])
        sys.stdout.flush()
        try:
            explorer.wait()
        except Terminated:
            raise
        except KeyboardInterrupt:  # as everybody ends it
            return 0
    return 0


@command(
    COMMANDS,
    "apply",
    "drop, relabel and move items as a findings file says",
    "Apply the column `action` of a findings file (drop, keep, review, label NAME, subset NAME, "
    "attribute NAME=VALUE) and write the changed dataset to a new folder. A row is only applied if "
    "its image and object are those of the finding. The written dataset is read back and compared "
    "with the plan. The source dataset is not changed.",
    argument("findings", type=path_given, metavar="FINDINGS", help="findings file, CSV or Parquet"),
    argument(
        "dataset", type=text_given, metavar="DATASET[:FORMAT]", help="a dataset that Datumaro reads"
    ),
    bound(add_output_argument, metavar="OUT"),
    argument("-f", "--format", dest="form", help="format to write (default: that of the dataset)"),
    add_apply_arguments,
    add_follow_symlinks_argument,
)
def _apply(findings: Path, dataset: str, output: Path, plan: Path | None, **options: Any) -> int:
    from ..findings import apply_to_path

    return say(apply_to_path(dataset, findings, output, plan_file=plan, **options).lines())


@command(
    COMMANDS,
    "report",
    "write an offline HTML page about a store",
    "Write one HTML file that needs no network and no server: the page of `explore` with its "
    "grid, map, findings and numbers, and as many pictures as fit. Decisions made in it are "
    "downloaded as a findings file.",
    STORE,
    bound(add_output_argument, metavar="FILE.html"),
    argument(
        "--media-root",
        type=path_given,
        metavar="DIR",
        help="folder of the images (default: the folder that they were embedded from)",
    ),
    argument(
        "--findings",
        type=path_given,
        metavar="FILE",
        help="findings file to show (default: STORE.findings.csv if it exists, else a new audit)",
    ),
    argument(
        "--umap",
        action="store_true",
        help="make the map with UMAP instead of PCA (extra `umap`); takes seconds to minutes",
    ),
    argument(
        "--max-mb",
        type=float,
        default=25.0,
        metavar="N",
        help="maximum file size in megabytes; pictures that would exceed it are left out "
        "(default: %(default)g)",
    ),
    argument("--title", help="heading of the page (default: name of the store)"),
    add_partial_argument,
)
def _report(store: Path, output: Path, partial: bool, **options: Any) -> int:
    from ..page import ReportOptions, write_report

    with opened_store(store, partial=partial) as opened:
        return say(write_report(opened, output, ReportOptions(**options)).lines())


@command(
    COMMANDS,
    "convert",
    "write a store in a format that other tools read",
    "Write a store in a format that other tools read. Overwrites nothing.",
    STORE,
    argument(
        "--to",
        required=True,
        choices=("parquet", "npy", "csv", "faiss", "coco", "fiftyone", "cvat", "label_studio"),
        help="parquet, csv and coco write a file, the others a directory (faiss: extra `faiss`)",
    ),
    bound(add_output_argument, metavar="OUT"),
    argument(
        "--of",
        default="items",
        choices=("items", "objects", "captions"),
        help="parquet, npy and faiss: what one row is (default: %(default)s)",
    ),
    argument("--embedded-only", action="store_true", help="leave out rows without a vector"),
    argument("--vectors", action="store_true", help="csv only: add one column per dimension"),
    argument(
        "--findings",
        type=path_given,
        metavar="FILE",
        help="cvat and label_studio: only items with findings that are not decided, the most "
        "suspicious first",
    ),
    add_partial_argument,
)
def _convert(store: Path, to: str, output: Path, partial: bool, **options: Any) -> int:
    from ..exports import convert_store

    with opened_store(store, partial=partial) as opened:
        return say(convert_store(opened, output, to=to, **options).lines())
