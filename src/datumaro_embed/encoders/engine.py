"""OpenVINO and nothing else: compile one graph, run batches through it in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino.preprocess import PrePostProcessor

from ..errors import (
    DatumaroEmbedError,
    DeviceNotFoundError,
    InferenceError,
    ModelInvalidError,
    UsageError,
)
from ..models import ImageSpec, openvino_core
from .compiled import cache_folder, cache_key
from .pooling import pool_before_computing

__all__ = ["PRECISIONS", "Engine", "Runtime", "check_device", "openvino_version", "prepare_graph"]

PRECISIONS = ("auto", "f32", "bf16", "f16")
_VIRTUAL_DEVICES = {"AUTO", "BATCH", "HETERO", "MULTI"}

Arrays = Mapping[str, npt.NDArray[Any]]


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
                f"precision {self.precision!r} must be one of {', '.join(PRECISIONS)} and "
                f"streams {self.streams} at least 1. Change the one that is not."
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


@dataclass(frozen=True, slots=True)
class _Busy:
    """A batch under way; what it is computed from must stay where it is."""

    request: Any
    n_rows: int
    arrays: Arrays


class Engine:
    """One compiled graph of a fixed batch size; safe to use from many threads.

    Parameters
    ----------
    path : Path
        Of the IR's ``.xml``.
    runtime : Runtime
    shapes : mapping of str to shape
        Every input's shape, the batch first. An image encoder's is (batch, height, width, 3).
    dim : int
        The length that the output's rows must have.
    image : ImageSpec, optional
        Makes the graph take uint8 RGB pixels, and fold scaling, mean and std into it.
    shorter : bool
        Let the rows of a batch be shorter than `shapes` says, all of them alike.
    identity : str
        The model's fingerprint: allows the compiled graph to be cached (see `Runtime.caches`).

    Raises
    ------
    DeviceNotFoundError, ModelInvalidError, InferenceError
    """

    def __init__(
        self,
        path: Path,
        runtime: Runtime,
        shapes: Mapping[str, Sequence[int]],
        *,
        dim: int,
        image: ImageSpec | None = None,
        identity: str = "",
        shorter: bool = False,
    ) -> None:
        check_device(runtime.device)
        with _mapped(ModelInvalidError, f"OpenVINO cannot read the model file {path}"):
            model = openvino_core().read_model(path)
            model = prepare_graph(model, shapes, image, shorter=shorter)
            found = model.output(0).partial_shape[1].to_string()
        if found != str(dim):
            raise ModelInvalidError(
                f"Model file {path} gives vectors of length {found}, but model.json says {dim}. "
                "Make the model directory again.",
                path=path,
            )
        self.batch_size = next(iter(shapes.values()))[0]
        with _mapped(InferenceError, f"OpenVINO cannot run {path.name} on {runtime.device}"):
            facts = {"model": identity, "graph": path.name, "shapes": shapes}
            self._compiled = _compile(model, runtime, facts)
            # One more batch waits behind each that is computed, so that no stream does: results
            # are taken in order, and whoever takes them shares the processor with the streams.
            optimal = int(self._property("OPTIMAL_NUMBER_OF_INFER_REQUESTS", 1))
            self.n_requests = max(optimal, 2 * int(self._property("NUM_STREAMS", 1)))
        self._dtypes = {
            name: port.element_type.to_dtype()
            for port in self._compiled.inputs
            for name in port.names
        }
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def run(self, batches: Iterable[Arrays]) -> Iterator[npt.NDArray[np.float32]]:
        """Run batches, several in flight, and yield their outputs in order.

        Parameters
        ----------
        batches : iterable of mapping of str to array
            One array for each input, of at most `batch_size` rows; the rest of the batch is zeros,
            so that there is one shape. At most `n_requests` are taken ahead. A full batch is read
            where it is, without a copy: it must not be changed before its output is yielded.

        Yields
        ------
        array of shape (rows of the batch, dim), float32

        Raises
        ------
        InferenceError
            OpenVINO fails, or a value of the output is not finite.
        """
        busy: deque[_Busy] = deque()
        try:
            for batch in batches:
                done = self._finish(busy.popleft()) if len(busy) >= self.n_requests else None
                request = self._take()
                whole = {name: self._padded(name, rows) for name, rows in batch.items()}
                with _mapped(InferenceError, "OpenVINO cannot start a batch"):
                    for name, array in whole.items():
                        request.set_tensor(name, ov.Tensor(array, shared_memory=True))
                    request.start_async()
                busy.append(_Busy(request, len(next(iter(batch.values()))), whole))
                if done is not None:
                    yield done
            while busy:
                yield self._finish(busy.popleft())
        finally:
            for under_way in busy:  # whoever stops early must not free what is still computed on
                with suppress(Exception):
                    under_way.request.wait()

    def describe(self) -> dict[str, Any]:
        """Return device, precision and streams as they really are, JSON-able."""
        devices = [str(d) for d in self._property("EXECUTION_DEVICES", [])]
        names = [self._device_name(device.strip("()")) for device in devices]
        precision = self._property("INFERENCE_PRECISION_HINT", "unknown")
        return {
            "device": ",".join(devices),
            "device_name": ", ".join(names),
            "precision": getattr(precision, "get_type_name", lambda: str(precision))(),
            "streams": int(self._property("NUM_STREAMS", self.n_requests)),
            "batch_size": self.batch_size,
            "openvino": openvino_version(),
        }

    def _padded(self, name: str, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a whole batch of an input's type, which is the array itself where it is one."""
        if len(rows) == self.batch_size:
            return np.ascontiguousarray(rows, dtype=self._dtypes[name])
        whole = np.zeros((self.batch_size, *rows.shape[1:]), self._dtypes[name])
        whole[: len(rows)] = rows
        return whole

    def _finish(self, busy: _Busy) -> npt.NDArray[np.float32]:
        with _mapped(InferenceError, "OpenVINO failed while running a batch"):
            busy.request.wait()
            found = busy.request.get_output_tensor(0).data[: busy.n_rows]
            rows = np.array(found, dtype=np.float32)
        with self._lock:
            self._idle.append(busy.request)
        if not np.isfinite(rows).all():
            raise InferenceError(
                "The model gave values that are not finite. Try `--precision f32`, "
                "or make the model directory again."
            )
        return rows

    def _take(self) -> Any:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        with _mapped(InferenceError, "OpenVINO cannot make an inference request"):
            return self._compiled.create_infer_request()

    def _property(self, name: str, default: Any) -> Any:
        try:
            return self._compiled.get_property(name)
        except RuntimeError:  # not every device has every property
            return default

    def _device_name(self, device: str) -> str:
        try:
            return str(openvino_core().get_property(device, "FULL_DEVICE_NAME")).strip()
        except RuntimeError:
            return device


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
            f"{device!r} names no device. Choose one of {', '.join(present)}, or AUTO.",
            device=device,
            present=present,
        )


def openvino_version() -> str:
    """Return OpenVINO's version, build included."""
    return str(ov.get_version())


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


def _compile(model: Any, runtime: Runtime, facts: Mapping[str, Any]) -> Any:
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
def _mapped(kind: type[DatumaroEmbedError], what: str) -> Iterator[None]:
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
