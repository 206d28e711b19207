"""Datumaro 1.11.1's own explorer, the last release that had one.

Its model files are downloads; what runs here is the same launcher, interpreter and `Explorer` with
the benchmark's ViT-B/32 in their place, its 512 numbers filled up with zeros to the 768 that
`HashKey` insists on. It stretches images to a square, normalises with ImageNet's mean, and keeps
one bit for each number: its rows are hashes, not vectors.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as op

from serving import Embed, serve

warnings.filterwarnings("ignore")

from datumaro.components.algorithms.hash_key_inference.explorer import Explorer  # noqa: E402
from datumaro.components.annotation import HashKey  # noqa: E402
from datumaro.components.dataset import Dataset  # noqa: E402
from datumaro.components.dataset_base import DatasetItem  # noqa: E402
from datumaro.components.media import Image  # noqa: E402
from datumaro.plugins.explorer import ExplorerLauncher  # noqa: E402
from datumaro.util.samples import get_samples_path  # noqa: E402

HASH_BITS = 768


def load(options: argparse.Namespace) -> Embed:
    """Return the explorer's own indexing of a dataset, one image a request as it does it."""
    path = _with_its_output_name(options.model, options.work)
    launcher = ExplorerLauncher(
        description=str(path),
        weights=str(path.with_suffix(".bin")),
        interpreter=f"{get_samples_path()}/clip_visual_ViT-B_32_interp.py",
        output_layers=[],
    )

    class LocalExplorer(Explorer):
        model = launcher

    def embed(files: Sequence[Path]) -> np.ndarray:
        items = [DatasetItem(path.stem, media=Image.from_file(path=str(path))) for path in files]
        explorer = LocalExplorer(Dataset.from_iterable(items))
        keys = [
            annotation.hash_key
            for item in explorer._item_list
            for annotation in item.annotations
            if isinstance(annotation, HashKey)
        ]
        return np.unpackbits(np.stack(keys), axis=1).astype(np.float32)

    return embed


def _with_its_output_name(model: Path, work: Path) -> Path:
    """Save the image encoder with a batch of one and the output named as its interpreter wants."""
    path = work / "datumaro-1.11" / "clip_visual_ViT-B_32.xml"
    if not path.exists():
        graph = ov.Core().read_model(model / "image_encoder.xml")
        graph.reshape([1, 3, 224, 224])
        rows = graph.output(0).get_node().input_value(0)
        fill = op.constant(np.zeros((1, HASH_BITS - rows.shape[1]), np.float32))
        filled = op.concat([rows, fill], 1)
        filled.output(0).tensor.set_names({"output"})
        graph = ov.Model([filled], graph.get_parameters(), "clip_visual")
        path.parent.mkdir(parents=True, exist_ok=True)
        ov.save_model(graph, path, compress_to_fp16=False)
    return path


if __name__ == "__main__":
    serve(load, ("datumaro", "openvino", "opencv-python", "numpy"))
