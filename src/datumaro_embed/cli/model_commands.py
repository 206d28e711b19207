"""`datumaro-embed models`, `pull`, `export-model` and `import-model`."""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial as bound
from pathlib import Path
from typing import Any

from ..flags import add_output_argument, add_partial_argument
from ..models import CATALOGUE, available_models, load_manifest, save_calibration
from ..paths import path_given, text_given
from ..tally import counted
from .commands import MEDIA_ROOT, Commands, argument, command
from .console import opened_store, say, tell

COMMANDS: Commands = {}


def _add_int8_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("with --precision int8").add_argument
    add(
        "--calibrate",
        type=text_given,
        metavar="PATH[:FORMAT]",
        help="dataset to calibrate on (required)",
    )
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
        help="minimum fraction of the ten nearest neighbors that the INT8 model must keep "
        "(default: %(default)s)",
    )
    add("--force", action="store_true", help="write the model even if it keeps fewer of them")


@command(
    COMMANDS,
    "models",
    "list models and what they are for",
    "List the models on this machine, and the published models that `pull` or `export-model` can "
    "get by a short name.",
)
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


@command(
    COMMANDS,
    "pull",
    "download a model, without torch",
    "Download a model that a Hugging Face Hub repository provides as ONNX or OpenVINO IR. It is "
    "installed only if it passes a check with two photographs and four texts.",
    argument("name", metavar="NAME", help="a name of `models`, or a hub repository, OWNER/NAME"),
    bound(
        add_output_argument,
        metavar="DIR",
        required=False,
        help="model directory to create (default: the one that `--model NAME` looks in)",
    ),
    argument("--revision", help="branch, tag or commit"),
    argument(
        "--weights",
        default="fp32",
        choices=("fp32", "fp16", "int8"),
        help="which of the repository's ONNX files to download (default: %(default)s)",
    ),
    argument(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16"),
        help="precision of the weights (default: %(default)s)",
    ),
    argument("--overwrite", action="store_true", help="replace DIR"),
    epilog="`datumaro-embed models` lists the names.",
)
def _pull(name: str, output: Path | None, **options: Any) -> int:
    from ..exporting import pull_model

    entry = CATALOGUE.get(name)
    open_questions = entry.open_questions(options["weights"]) if entry else ()
    if entry and entry.repo_id and open_questions:
        tell(f"{name}: no public source confirms {'; '.join(open_questions)}.")
    return say([pull_model(name, output, **options)])


@command(
    COMMANDS,
    "export-model",
    "make a model from a checkpoint, or an INT8 model",
    "Convert a CLIP, SigLIP or OpenCLIP checkpoint to OpenVINO (requires the `export` extra), "
    "or make an INT8 model from an existing one (requires the `quantise` extra).",
    argument(
        "source",
        type=text_given,
        metavar="SRC",
        help="checkpoint directory, Hugging Face id or a name of `models`; for int8 also a model "
        "directory",
    ),
    bound(add_output_argument, metavar="DIR", help="model directory to create"),
    argument("--revision", help="revision of a Hugging Face id"),
    argument(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16", "int8"),
        help="precision of the weights (default: %(default)s)",
    ),
    argument("--overwrite", action="store_true", help="replace DIR"),
    _add_int8_arguments,
)
def _export_model(source: str, output: Path, precision: str, **options: Any) -> int:
    from ..exporting import export_model
    from ..quantising import export_int8

    if precision == "int8":
        say(export_int8(source, output, **options).lines())
    else:
        kept = {name: options[name] for name in ("revision", "overwrite")}
        export_model(source, output, precision=precision, **kept)
    return say([output])


@command(
    COMMANDS,
    "import-model",
    "make a model from your own ONNX or OpenVINO IR",
    "Make a model directory from an image encoder of your own, as ONNX or OpenVINO IR: DINO, a "
    "timm model, the backbone of a detector. A text encoder is optional.",
    argument("images", type=text_given, metavar="IMAGES.onnx", help="image encoder, .onnx or .xml"),
    bound(add_output_argument, metavar="DIR", help="model directory to create"),
    argument(
        "--size",
        type=int,
        required=True,
        metavar="PX",
        help="side length of its input images in pixels (required)",
    ),
    *(
        argument(
            flag,
            type=float,
            nargs=3,
            required=True,
            metavar=("R", "G", "B"),
            help=f"{what} (required)",
        )
        for flag, what in (
            ("--mean", "mean of the pixels, 0 to 1"),
            ("--std", "standard deviation"),
        )
    ),
    argument(
        "--scale",
        type=float,
        default=1 / 255,
        metavar="F",
        help="factor for pixels of 0 to 255, before mean and std (default: 1/255)",
    ),
    argument(
        "--resize",
        default="crop",
        choices=("crop", "stretch"),
        help="resize the shortest side and crop, or stretch to the square (default: %(default)s)",
    ),
    argument(
        "--resize-px", type=int, metavar="PX", help="length of the shortest side (default: --size)"
    ),
    argument(
        "--resample",
        default="bicubic",
        choices=("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"),
        help="filter (default: %(default)s)",
    ),
    argument(
        "--output-name", default="", metavar="NAME", help="output to use, if there are several"
    ),
    argument(
        "--pool",
        default="",
        choices=("cls", "mean"),
        help="how to pool tokens or a feature map into one vector: cls takes the first token, "
        "mean the average",
    ),
    argument(
        "--features",
        default="",
        choices=("first", "last"),
        help="with --pool mean: the output is (batch, dim, …) or (batch, …, dim)",
    ),
    argument(
        "--text",
        type=text_given,
        metavar="TEXTS.onnx",
        help="text encoder of the same embedding space",
    ),
    argument(
        "--tokenizer", type=text_given, metavar="FILE", help="tokenizer.json of the text encoder"
    ),
    argument(
        "--context",
        type=int,
        default=77,
        metavar="N",
        help="number of tokens to which texts are padded (default: %(default)s)",
    ),
    argument(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16"),
        help="precision of the weights (default: %(default)s)",
    ),
    argument("--license", dest="licence", default="unknown", metavar="NAME", help="license"),
    argument("--overwrite", action="store_true", help="replace DIR"),
)
def _import_model(images: str, output: Path, **options: Any) -> int:
    from ..exporting import import_model

    made = import_model(images, output, **options)
    tell(f"{made.name}: vectors of {load_manifest(made, verify_hashes=False).dim} numbers")
    return say([made])


@command(
    COMMANDS,
    "calibrate",
    "measure a model's threshold for duplicates",
    "Measure a model's threshold for duplicates on the images of one of its stores, and save "
    "it in the model's directory. Up to 500 images are altered (recompressed, resized or "
    "cropped) and embedded. The threshold is chosen so that at most 1 % of the images have a "
    "different image that reaches it. If fewer than half of the altered copies reach it, the "
    "command writes nothing and its exit status is 1.",
    argument(
        "store",
        type=path_given,
        metavar="STORE",
        help="store file or folder, of at least 100 images",
    ),
    argument(
        "--model",
        type=text_given,
        metavar="MODEL",
        help="model directory or name (default: that of the store)",
    ),
    MEDIA_ROOT,
    argument("--dry-run", action="store_true", help="print the threshold, but write nothing"),
    add_partial_argument,
)
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
