"""The flags that `datum transform -t clip_embed` and `datumaro-embed embed` share."""

from __future__ import annotations

import argparse

__all__ = ["add_embed_arguments"]

DEFAULT_MODEL = "clip-vit-base-patch32"


def add_embed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the embedding flags; their destinations are the fields of `pipeline.EmbedOptions`."""
    parser.add_argument(
        "--store",
        required=True,
        metavar="FILE.h5|FOLDER/",
        help="the HDF5 store to write, or a store directory (required); in the folder "
        "of a dataset name it FILE.hdf5, as `datum` takes a folder with an .h5 file for another "
        "format",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="model directory or name; `demo` comes with the package (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default="CPU",
        help="OpenVINO device, such as CPU, GPU, NPU or AUTO (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "f32", "bf16", "f16"),
        help="inference precision; auto: the fastest of the device, f32: nearly the same vectors "
        "on every machine (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="images in one inference (default: 16)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="decoding threads (default: one for each processor)",
    )
    parser.add_argument(
        "--streams",
        type=int,
        metavar="N",
        help="batches computed at the same time (default: the device's choice)",
    )
    parser.add_argument(
        "--decode",
        default="exact",
        choices=("exact", "fast"),
        help="fast reads large JPEGs at reduced size: other pixels, nearly the same vectors "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--depth-range",
        metavar="auto|full|LOW:HIGH",
        help="values of more than 8 bits, as bytes: auto takes the scale that fits each image, "
        "full that of the type, LOW:HIGH one for all (--depth-range=-9:9 if negative; "
        "default: auto, and counting the images that full would make dark, flat or clipped)",
    )
    parser.add_argument(
        "--captions",
        action="store_true",
        help="embed Caption annotations too, into a store of their own: FILE.captions.h5",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="say which settings were chosen for this machine"
    )
    parser.add_argument(
        "--dtype",
        default="float16",
        choices=("float16", "float32"),
        help="type of the vectors in the store (default: %(default)s)",
    )
    parser.add_argument(
        "--on-error",
        default="record",
        choices=("record", "fail"),
        help="an unreadable item gets a row with its status, or ends the run "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--follow-symlinks",
        action="store_true",
        help="read images that are links leading out of the dataset folder",
    )
    parser.add_argument(
        "--commit-rows",
        type=int,
        default=8_192,
        metavar="N",
        help="commit after N images or one minute, whichever comes first (default: %(default)s)",
    )
    parser.add_argument(
        "--restart", action="store_true", help="embed everything anew, and re-use nothing"
    )
