"""Where graphs run and how one is made ready: OpenVINO's properties, cache and errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino.preprocess import PrePostProcessor

from ..errors import (
    DatumaroEmbedError,
    DeviceNotFoundError,
    ModelInvalidError,
    UsageError,
)
from ..models import ImageSpec, openvino_core
from .compiled import cache_folder, cache_key
from .pooling import pool_before_computing

__all__ = [
    "PRECISIONS",
    "Runtime",
    "check_device",
    "compile_graph",
    "mapped_errors",
    "openvino_version",
    "prepare_graph",
    "read_graph",
]

PRECISIONS = ("auto", "f32", "bf16", "f16")
_VIRTUAL_DEVICES = {"AUTO", "BATCH", "HETERO", "MULTI"}


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how graphs run.

    Attributes
    ----------
    device : str
        OpenVINO's name: ``"CPU"``, ``"GPU.0"``, ``"NPU"``, ``"AUTO"``, …
    precision : str
        Of arithmetic: one of `PRECISIONS`; ``"auto"`` leaves it to the device.
    streams : int or None
        Batches computed at the same time; None leaves it to the device.
    """

    device: str
    precision: str
    streams: int | None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS or (self.streams is not None and self.streams < 1):
            raise UsageError(
                f"``precision`` is {self.precision!r} and must be one of {', '.join(PRECISIONS)}; "
                f"``streams`` is {self.streams} and must be at least 1. Change the wrong one."
            )

    @property
    def caches(self) -> bool:
        """Whether compiled graphs are kept: not for the CPU, which compiles in a second or so."""
        return self.device != "CPU"

    def properties(self) -> dict[str, Any]:
        """Return OpenVINO's properties for compiling."""
        found: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        if self.precision != "auto":
            found["INFERENCE_PRECISION_HINT"] = self.precision
        if self.streams is not None:
            found["NUM_STREAMS"] = str(self.streams)
        return found


def check_device(device: str) -> None:
    """Check that every device that a name stands for is on this machine.

    Raises
    ------
    DeviceNotFoundError
        It lists those that are.
    """
    present = list(openvino_core().available_devices)
    families = {name.partition(".")[0] for name in present} - {"CPU"}
    head, _, tail = device.partition(":")
    wanted = tail.split(",") if head in _VIRTUAL_DEVICES else [device]
    for name in filter(None, (part.partition("(")[0].lstrip("-") for part in wanted)):
        if name not in present and name.partition(".")[0] not in families:
            raise DeviceNotFoundError(
                f"There is no device {name!r} here (present: {', '.join(present) or 'none'}). "
                "Choose one of these, or AUTO.",
                device=device,
                present=present,
            )
    if not device or (head in _VIRTUAL_DEVICES - {"AUTO"} and not tail):
        raise DeviceNotFoundError(
            f"{device!r} does not name a device. Choose one of {', '.join(present)}, or AUTO.",
            device=device,
            present=present,
        )


def openvino_version() -> str:
    """Return OpenVINO's version, build included."""
    return str(ov.get_version())


def read_graph(xml: npt.NDArray[np.uint8], weights: npt.NDArray[np.uint8]) -> Any:
    """Return the model of an IR's two files as they lie in memory.

    Its constants, and those of what is compiled from it, stay where they are in `weights`: the
    array must live as long as both.
    """
    text = xml.tobytes().decode("utf-8", "replace")
    return openvino_core().read_model(text, ov.Tensor(weights, shared_memory=True))


def prepare_graph(
    model: Any,
    shapes: Mapping[str, Sequence[int]],
    image: ImageSpec | None,
    *,
    shorter: bool = False,
    whole: bool = False,
) -> Any:
    """Fix the shapes of a model; for images let it take uint8 pixels, rows of RGB.

    Parameters are those of `Engine`; `model` is consumed. With `whole` an image encoder computes
    every token to the end, as it was made: for comparison.
    """
    if image is None:
        for_rows = (lambda n: ov.Dimension(1, n)) if shorter else ov.Dimension
        model.reshape(
            {name: ov.PartialShape([batch, for_rows(n)]) for name, (batch, n) in shapes.items()}
        )
        return model
    ((name, (batch, height, width, channels)),) = shapes.items()
    model.reshape({name: [batch, channels, height, width]})
    if not whole:
        pool_before_computing(model)
    graph = PrePostProcessor(model)
    pixels = graph.input(name)
    pixels.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    pixels.model().set_layout(ov.Layout("NCHW"))
    steps = pixels.preprocess().convert_element_type(ov.Type.f32)
    steps.scale(1 / image.scale).mean(list(image.mean)).scale(list(image.std))
    return graph.build()


def compile_graph(model: Any, runtime: Runtime, facts: Mapping[str, Any]) -> Any:
    """Compile a graph, from the cache where the device has one; `facts` tell it from others."""
    core = openvino_core()
    properties = runtime.properties()
    if not runtime.caches or not facts["model"]:
        return core.compile_model(model, runtime.device, properties)
    version = {"device": runtime.device, "openvino": openvino_version()}
    with cache_folder(cache_key({**facts, **properties, **version})) as folder:
        if folder is not None:
            properties["CACHE_DIR"] = str(folder)
        return core.compile_model(model, runtime.device, properties)


@contextmanager
def mapped_errors(kind: type[DatumaroEmbedError], what: str) -> Iterator[None]:
    """Raise OpenVINO's errors, which are bare RuntimeErrors, as ours."""
    try:
        yield
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = next((x for x in lines if not x.startswith("Exception from")), "no reason given")
        advice = (
            "Make the model directory again."
            if kind is ModelInvalidError
            else "Try `--device CPU`, a smaller `--batch-size` or another `--precision`."
        )
        raise kind(f"{what}: {reason}. {advice}", reason=str(error)) from error
