"""OpenVINO's benchmark_app: the limit, with images that are in memory already.

Batch 8 and the throughput hint, as it is commonly run; no file is read and nothing is written.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving import serve


class Limit:
    """Runs benchmark_app on the image encoder of a model directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._command = [
            *(sys.executable, "-c", "from openvino.tools.benchmark.main import main; main()"),
            *("-m", str(options.model / "image_encoder.xml"), "-d", "CPU", "-hint", "throughput"),
            *("-shape", f"[{options.batch_size},3,224,224]", "-t", f"{options.seconds:.0f}"),
        ]
        if options.precision != "auto":
            self._command += ["-infer_precision", options.precision]
        self.last: dict[str, float] = {}

    def __call__(self, files: Sequence[Path]) -> np.ndarray:
        """Run for some seconds; the images are benchmark_app's own."""
        if len(files) == 0:
            return np.zeros((0, 1))
        done = subprocess.run(self._command, capture_output=True, text=True, check=False)
        found = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
        if done.returncode or not found:
            raise RuntimeError(f"benchmark_app failed:\n{done.stdout}{done.stderr}")
        rate = float(found.group(1))
        self.last = {"n_images": len(files), "seconds": len(files) / rate}
        return np.zeros((len(files), 1))


if __name__ == "__main__":
    serve(Limit, ("openvino",))
