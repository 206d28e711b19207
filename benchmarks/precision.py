"""Images a second of the usual image encoders on this machine, in each precision.

    python benchmarks/precision.py [--int8] [NAME …]

The graphs are built here with random weights, at the true widths and depths: speed does not depend
on the weights, and nothing is downloaded. `--int8` needs the `quantise` extra. Every engine runs in
turns, so that what else the machine does hits all alike; the best of the turns counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as op

from datumaro_embed.encoders.engine import Engine
from datumaro_embed.encoders.runtime import Runtime
from datumaro_embed.models import ImageSpec
from datumaro_embed.quantising import quantise_image_encoder

BATCH_SIZE = 16


@dataclass(frozen=True)
class Shape:
    """Of a vision transformer."""

    patch: int
    side: int
    width: int = 768
    layers: int = 12
    dim: int = 512
    pools_one_token: bool = True


SHAPES = {
    "clip-vit-base-patch32": Shape(32, 224),
    "clip-vit-base-patch16": Shape(16, 224),
    "clip-vit-large-patch14": Shape(14, 224, 1024, 24, 768),
    "clip-vit-large-patch14-336": Shape(14, 336, 1024, 24, 768),
    "siglip-base-patch16-224": Shape(16, 224, dim=768, pools_one_token=False),
}


class Builder:
    """Writes a vision transformer in OpenVINO's operations."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.rng = np.random.default_rng(0)

    def weights(self, *sizes: int) -> ov.Node:
        values = self.rng.standard_normal(sizes, dtype=np.float32)
        return op.constant(values / np.sqrt(np.float32(sizes[-1])))

    def linear(self, x: ov.Node, n_in: int, n_out: int) -> ov.Node:
        product = op.matmul(x, self.weights(n_out, n_in), False, True)
        return op.add(product, self.weights(n_out))

    def norm(self, x: ov.Node) -> ov.Node:
        scaled = op.mvn(x, op.constant(np.array([-1])), True, 1e-5, "inside_sqrt")
        return op.add(op.multiply(scaled, self.weights(self.shape.width)), self.weights(1))

    def attention(self, x: ov.Node) -> ov.Node:
        width, heads = self.shape.width, self.shape.width // 64
        split = op.constant(np.array([0, -1, heads, 64]))
        order = op.constant(np.array([0, 2, 1, 3]))
        query, key, value = (
            op.transpose(op.reshape(self.linear(x, width, width), split, True), order)
            for _ in range(3)
        )
        mixed = op.scaled_dot_product_attention(query, key, value)
        joined = op.reshape(op.transpose(mixed, order), op.constant(np.array([0, -1, width])), True)
        return self.linear(joined, width, width)

    def layer(self, x: ov.Node) -> ov.Node:
        width = self.shape.width
        x = op.add(x, self.attention(self.norm(x)))
        inner = op.gelu(self.linear(self.norm(x), width, 4 * width), "tanh")
        return op.add(x, self.linear(inner, 4 * width, width))

    def model(self) -> ov.Model:
        s = self.shape
        n_patches = (s.side // s.patch) ** 2
        pixels = op.parameter([-1, 3, s.side, s.side], np.float32, name="pixel_values")
        pixels.output(0).tensor.set_names({"pixel_values"})
        filters = self.weights(s.width, 3, s.patch, s.patch)
        grid = op.convolution(pixels, filters, [s.patch] * 2, [0, 0], [0, 0], [1, 1])
        flat = op.reshape(grid, op.constant(np.array([0, s.width, n_patches])), True)
        x = op.add(op.transpose(flat, op.constant(np.array([0, 2, 1]))), self.weights(1, s.width))
        for _ in range(s.layers):
            x = self.layer(x)
        if s.pools_one_token:
            pooled = op.gather(x, op.constant(np.array(0)), op.constant(np.array(1)))
        else:
            pooled = op.reduce_mean(x, op.constant(np.array([1])))
        rows = op.matmul(self.norm(pooled), self.weights(s.dim, s.width), False, True)
        return ov.Model([rows], [pixels], "vision")


def engines(name: str, folder: Path, *, int8: bool) -> dict[str, Engine]:
    """Compile one encoder in every precision."""
    shape = SHAPES[name]
    spec = ImageSpec(shape.side, "stretch", shape.side, "bicubic", 1 / 255, (0.5,) * 3, (0.5,) * 3)
    path = folder / f"{name}.xml"
    ov.save_model(Builder(shape).model(), path, compress_to_fp16=False)
    shapes = {"pixel_values": (BATCH_SIZE, shape.side, shape.side, 3)}
    graphs = {"f32": (path, "f32"), "bf16": (path, "bf16")}
    if int8:
        rng = np.random.default_rng(1)
        pixels = rng.integers(0, 256, (20, shape.side, shape.side, 3), dtype=np.uint8)
        quantise_image_encoder(path, folder / f"{name}-int8.xml", list(pixels), spec)
        graphs["int8"] = (folder / f"{name}-int8.xml", "auto")  # the rest as by default
    return {
        label: Engine(file, Runtime("CPU", kind, None), shapes, dim=shape.dim, image=spec)
        for label, (file, kind) in graphs.items()
    }


def images_a_second(engine: Engine, side: int, seconds: float) -> float:
    """Run batches for at least some seconds."""
    pixels = np.random.default_rng(2).integers(0, 256, (BATCH_SIZE, side, side, 3), dtype=np.uint8)
    n_images, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        batches = [{"pixel_values": pixels}] * engine.n_requests
        n_images += sum(len(rows) for rows in engine.run(batches))
    return n_images / (time.perf_counter() - started)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--int8", action="store_true", help="measure INT8 too")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one turn")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    print(f"{ov.Core().get_property('CPU', 'FULL_DEVICE_NAME')}, OpenVINO {ov.__version__}")
    for name in options.names or SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            compiled = engines(name, Path(folder), int8=options.int8)
            best = dict.fromkeys(compiled, 0.0)
            for _ in range(options.turns):
                for label, engine in compiled.items():
                    rate = images_a_second(engine, SHAPES[name].side, options.seconds)
                    best[label] = max(best[label], rate)
        rates = ", ".join(f"{label} {rate:.1f}/s" for label, rate in best.items())
        ratios = ", ".join(
            f"{label} : f32 = {rate / best['f32']:.2f}"
            for label, rate in best.items()
            if label != "f32"
        )
        print(f"{name}: {rates} ({ratios})")


if __name__ == "__main__":
    main()
