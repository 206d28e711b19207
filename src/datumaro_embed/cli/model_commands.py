"""`datumaro-embed models`, `pull`, `export-model` and `import-model`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..flags import add_output_argument, add_partial_argument
from ..models import CATALOGUE, available_models, load_manifest, save_calibration
from ..tally import counted
from .console import opened_store, say, tell


def _describe_models(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "List the models on this machine, and those with a short name that `pull` or "
        "`export-model` gets."
    )
    return _models


def _models() -> int:
    here = available_models()
    say(["on this machine:", *(f"  {name:<34}{path}" for name, path in here.items()), ""])
    say(["published (size in float32; speed on a CPU; license of the weights):"])
    columns = "  {:<34}{:<14}{:>7}  {:<10}{:<14}{:<15}{}"
    rows = [
        (
            name,
            "pull" if entry.repo_id else "export-model",
            f"{entry.gigabytes:.1f} GB",
            *(entry.speed, entry.licence, entry.languages, entry.use),
        )
        for name, entry in CATALOGUE.items()
    ]
    return say(columns.format(*row) for row in rows)


def _describe_pull(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "Download a model that a hub repository provides as ONNX or OpenVINO IR, and prove it: two "
        "photographs and four texts must get the right vectors, or nothing is installed."
    )
    parser.epilog = "`datumaro-embed models` lists the names."
    add = parser.add_argument
    add("name", metavar="NAME", help="a name of `models`, or a hub repository, OWNER/NAME")
    add_output_argument(
        parser,
        "DIR",
        required=False,
        help="model directory to create (default: the one that `--model NAME` looks in)",
    )
    add("--revision", help="branch, tag or commit")
    add(
        "--weights",
        default="fp32",
        choices=("fp32", "fp16", "int8"),
        help="which of the repository's ONNX files to download (default: %(default)s)",
    )
    add(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16"),
        help="precision of the weights (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace DIR")
    return _pull


def _pull(name: str, output: Path | None, **options: Any) -> int:
    from ..exporting import pull_model

    entry = CATALOGUE.get(name)
    open_questions = entry.open_questions(options["weights"]) if entry else ()
    if entry and entry.repo_id and open_questions:
        tell(f"{name}: no public source confirms {'; '.join(open_questions)}.")
    return say([pull_model(name, output, **options)])


def _describe_export_model(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "Convert a CLIP, SigLIP or OpenCLIP checkpoint to OpenVINO (requires the `export` extra), "
        "or make an INT8 model from an existing one (requires the `quantise` extra)."
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SRC",
        help="checkpoint directory, Hugging Face id or a name of `models`; for int8 also a model "
        "directory",
    )
    add_output_argument(parser, "DIR", help="model directory to create")
    add("--revision", help="revision of a Hugging Face id")
    add(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16", "int8"),
        help="precision of the weights (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace DIR")
    add = parser.add_argument_group("with --precision int8").add_argument
    add("--calibrate", metavar="PATH[:FORMAT]", help="dataset to calibrate on (required)")
    add(
        "--calibration-items",
        type=int,
        default=300,
        metavar="N",
        help="number of images to calibrate on (default: %(default)s)",
    )
    add(
        "--min-recall",
        type=float,
        default=0.95,
        metavar="R",
        help="minimum share of the ten nearest neighbors that the INT8 model must keep "
        "(default: %(default)s)",
    )
    add("--force", action="store_true", help="write the model even if it keeps a smaller share")
    return _export_model


def _export_model(source: str, output: Path, precision: str, **options: Any) -> int:
    from ..exporting import export_model
    from ..quantising import export_int8

    if precision == "int8":
        say(export_int8(source, output, **options).lines())
    else:
        kept = {name: options[name] for name in ("revision", "overwrite")}
        export_model(source, output, precision=precision, **kept)
    return say([output])


def _describe_import_model(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "Make a model directory from an image encoder of your own, as ONNX or OpenVINO IR: DINO, a "
        "timm model, the backbone of a detector. A text encoder is optional."
    )
    add = parser.add_argument
    add("images", metavar="IMAGES.onnx", help="image encoder, .onnx or .xml")
    add_output_argument(parser, "DIR", help="model directory to create")
    add("--size", type=int, required=True, metavar="PX", help="side of its images (required)")
    for flag, what in (("--mean", "mean of the pixels, 0 to 1"), ("--std", "standard deviation")):
        colours = ("R", "G", "B")
        add(flag, type=float, nargs=3, required=True, metavar=colours, help=f"{what} (required)")
    add(
        "--scale",
        type=float,
        default=1 / 255,
        metavar="F",
        help="factor for pixels of 0 to 255, before mean and std (default: 1/255)",
    )
    add(
        "--resize",
        default="crop",
        choices=("crop", "stretch"),
        help="resize the shortest side and crop, or stretch to the square (default: %(default)s)",
    )
    add("--resize-px", type=int, metavar="PX", help="length of the shortest side (default: --size)")
    add(
        "--resample",
        default="bicubic",
        choices=("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"),
        help="filter (default: %(default)s)",
    )
    add("--output-name", default="", metavar="NAME", help="output to use, if there are several")
    add(
        "--pool",
        default="",
        choices=("cls", "mean"),
        help="make one vector of several (tokens, a map of features): the first, or the mean",
    )
    add(
        "--features",
        default="",
        choices=("first", "last"),
        help="with --pool mean: the output is (batch, dim, …) or (batch, …, dim)",
    )
    add("--text", metavar="TEXTS.onnx", help="text encoder of the same vectors")
    add("--tokenizer", metavar="FILE", help="tokenizer.json of the text encoder")
    add(
        "--context",
        type=int,
        default=77,
        metavar="N",
        help="number of tokens to which texts are padded (default: %(default)s)",
    )
    add(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16"),
        help="precision of the weights (default: %(default)s)",
    )
    add("--license", dest="licence", default="unknown", metavar="NAME", help="license")
    add("--overwrite", action="store_true", help="replace DIR")
    return _import_model


def _import_model(images: str, output: Path, **options: Any) -> int:
    from ..exporting import import_model

    made = import_model(images, output, **options)
    tell(f"{made.name}: vectors of {load_manifest(made, verify_hashes=False).dim} numbers")
    return say([made])


def _describe_calibrate(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "Measure a model's threshold for duplicates on the images of one of its stores, and save "
        "it in the model's directory. Up to 500 images are altered (recompressed, resized or "
        "cropped) and embedded. At most 1 % of the images may have a different image that reaches "
        "the threshold. If fewer than half of the altered copies reach it, the command writes "
        "nothing and its exit status is 1."
    )
    add = parser.add_argument
    add("store", type=Path, help="store file or folder, of at least 100 images")
    add("--model", metavar="MODEL", help="model directory or name (default: that of the store)")
    add("--media-root", type=Path, metavar="DIR", help="folder of the images, if they have moved")
    add("--dry-run", action="store_true", help="print the threshold, but write nothing")
    add_partial_argument(parser)
    return _calibrate


def _calibrate(
    store: Path, model: str | None, media_root: Path | None, dry_run: bool, partial: bool
) -> int:
    from ..auditing import calibrate
    from ..retrieval import model_of

    with opened_store(store, partial=partial) as opened:
        model_dir, manifest = model_of(opened, model)
        found = calibrate(opened, model=model, media_root=media_root, progress=True)
    shares = ", ".join(f"{kind} {share:.1%}" for kind, share in found.copies.items())
    say(
        [
            f"{manifest.name}, on {counted(found.n_images, 'images')}: threshold for duplicates "
            f"{found.threshold:g}",
            f"copies that reach it: {shares}",
            f"images with a different image that reaches it: {found.different:.1%}",
        ]
    )
    if dry_run:
        return 0
    save_calibration(model_dir, found)
    return say([f"written to {model_dir / 'model.json'}"])


COMMANDS = {
    "models": ("list models and what they are for", _describe_models),
    "pull": ("download a model, without torch", _describe_pull),
    "export-model": ("make a model from a checkpoint, or an INT8 model", _describe_export_model),
    "import-model": ("make a model from your own ONNX or OpenVINO IR", _describe_import_model),
    "calibrate": ("measure a model's threshold for duplicates", _describe_calibrate),
}
