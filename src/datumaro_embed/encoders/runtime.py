"""Prepare and compile graphs for a device: OpenVINO's properties, cache and errors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov
from openvino.preprocess import PrePostProcessor

from ..errors import DatumaroEmbedError, DeviceNotFoundError, ModelInvalidError, UsageError
from ..files import workspace
from ..models import ImageSpec, openvino_core, sha256_file, user_cache_dir
from .pooling import pool_before_computing

PRECISIONS = ("auto", "f32", "bf16", "f16")
MAX_BYTES = 4 * 2**30
_SUMS = "sha256.json"
_VIRTUAL_DEVICES = {"AUTO", "BATCH", "HETERO", "MULTI"}


@dataclass(frozen=True, slots=True)
class Runtime:
    """Device and settings with which graphs run."""

    device: str  # OpenVINO's name: ``"CPU"``, ``"GPU.0"``, ``"NPU"``, ``"AUTO"``, …
    precision: str  # inference precision, one of `PRECISIONS`; ``"auto"``: the device chooses
    streams: int | None  # batches computed in parallel; None: the device chooses

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS or (self.streams is not None and self.streams < 1):
            raise UsageError(
                f"``precision`` is {self.precision!r} and must be one of {', '.join(PRECISIONS)}; "
                f"``streams`` is {self.streams} and must be at least 1. Change the wrong one."
            )

    @property
    def caches(self) -> bool:
        """Whether compiled graphs are cached; not for the CPU, which compiles in about a second."""
        return self.device != "CPU"


def check_device(device: str) -> None:
    """Check that this machine has all devices of a name, such as ``"AUTO:GPU,CPU"``.

    Raises `DeviceNotFoundError`, which lists the available devices.
    """
    present = list(openvino_core().available_devices)
    families = {name.partition(".")[0] for name in present} - {"CPU"}
    head, _, tail = device.partition(":")
    wanted = tail.split(",") if head in _VIRTUAL_DEVICES else [device]
    for name in filter(None, (part.partition("(")[0].lstrip("-") for part in wanted)):
        if name not in present and name.partition(".")[0] not in families:
            raise DeviceNotFoundError(
                f"OpenVINO has no device {name!r} on this machine (available: "
                f"{', '.join(present) or 'none'}). Choose one of these, or AUTO.",
                device=device,
                present=present,
            )
    if not device or (head in _VIRTUAL_DEVICES - {"AUTO"} and not tail):
        raise DeviceNotFoundError(
            f"{device!r} is not a device name. Choose one of {', '.join(present)}, or AUTO.",
            device=device,
            present=present,
        )


def openvino_version() -> str:
    """Return OpenVINO's version, including the build."""
    return str(ov.get_version())


def prepare_graph(
    model: Any,
    shapes: Mapping[str, Sequence[int]],
    image: ImageSpec | None,
    *,
    shorter: bool = False,
    whole: bool = False,
) -> Any:
    """Fix the shapes of a model; an image model also becomes one that takes uint8 RGB pixels.

    See `Engine` for the parameters; `model` is consumed. With `whole`, an image encoder computes
    every token to the end, as in the original graph, for comparison.
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
    """Compile a graph, or load it from the cache (not for the CPU); `facts` identify it."""
    core = openvino_core()
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
    if runtime.precision != "auto":
        properties["INFERENCE_PRECISION_HINT"] = runtime.precision
    if runtime.streams is not None:
        properties["NUM_STREAMS"] = str(runtime.streams)
    if not runtime.caches or not facts["model"]:
        return core.compile_model(model, runtime.device, properties)
    version = {"device": runtime.device, "openvino": openvino_version()}
    with cache_folder({**facts, **properties, **version}) as folder:
        if folder is not None:
            properties["CACHE_DIR"] = str(folder)
        return core.compile_model(model, runtime.device, properties)


@contextmanager
def cache_folder(facts: Mapping[str, Any]) -> Iterator[Path | None]:
    """Yield OpenVINO's ``CACHE_DIR`` for one compilation.

    OpenVINO does not check cached models: a flipped bit gives other vectors without an error
    (measured with 2026.4 on CPU). So an entry is used only if its files have the sha256 with which
    they were written, and it is published by one rename.
    The least recently used entries beyond `MAX_BYTES` are removed. Any number of processes may use
    the cache at the same time.

    Parameters
    ----------
    facts : mapping
        Equal only if model, device, options and version are equal.

    Yields
    ------
    Path or None
        The folder of the entry, an empty folder that becomes the entry if the block succeeds, or
        None if the cache cannot be written.
    """
    root = user_cache_dir() / "compiled"
    told = json.dumps(facts, sort_keys=True, default=str)
    entry = root / hashlib.sha256(told.encode()).hexdigest()
    try:
        sums = json.loads((entry / _SUMS).read_text(encoding="utf-8"))
        is_whole = bool(sums) and sums == _sums(entry)
    except (OSError, ValueError):
        is_whole = False
    if is_whole:
        with suppress(OSError):
            os.utime(entry)
        yield entry
        return
    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            fresh = stack.enter_context(workspace(entry)) / "new"
            fresh.mkdir()
        except OSError:
            yield None
            return
        yield fresh
        with suppress(OSError):  # a full disk must not end a run
            if sums := _sums(fresh):
                (fresh / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
                shutil.rmtree(entry, ignore_errors=True)  # damaged, or another process wrote it
                fresh.rename(entry)
            entries = [path for path in root.iterdir() if not path.name.startswith(".")]
            entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            total = 0
            for old in entries:
                total += sum(file.stat().st_size for file in old.iterdir())
                if total > MAX_BYTES:
                    shutil.rmtree(old, ignore_errors=True)


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.name != _SUMS)
    return {path.name: sha256_file(path) for path in files}


@contextmanager
def mapped_errors(kind: type[DatumaroEmbedError], what: str) -> Iterator[None]:
    """Convert OpenVINO's errors, which are plain RuntimeErrors, to `kind`."""
    try:
        yield
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = next((x for x in lines if not x.startswith("Exception from")), "no reason given")
        advice = (
            "Recreate the model directory."
            if kind is ModelInvalidError
            else "Try `--device CPU`, a smaller `--batch-size` or another `--precision`."
        )
        raise kind(f"{what}: {reason}. {advice}", reason=str(error)) from error
