"""One compiled graph: runs batches through it in order, and tells when OpenVINO contradicts itself.

OpenVINO computes batches on several streams, each with a graph of its own, and has once given a
wrong vector without an error. So the first batch is computed on every stream, and the results are
compared; `Engine.confirm` compares them with what the same batch gives later.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from ..errors import InferenceError, ModelInvalidError
from ..models import ImageSpec, openvino_core, read_bytes
from .agreement import check_agreement
from .runtime import (
    Runtime,
    check_device,
    compile_graph,
    mapped_errors,
    openvino_version,
    prepare_graph,
    read_graph,
)

__all__ = ["Arrays", "Engine"]

Arrays = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.float32]


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
        Of the IR's ``.xml``; its weights lie beside it.
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
    read : callable
        Gives the bytes of both files.

    Raises
    ------
    DeviceNotFoundError, ModelInvalidError, InferenceError, and what `read` raises

    Notes
    -----
    The weights are kept in memory, not mapped: what another program does to the files changes no
    vector. For ViT-B/32 these are 350 MB of images and 250 MB of texts.
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
        read: Callable[[Path], npt.NDArray[np.uint8]] = read_bytes,
    ) -> None:
        check_device(runtime.device)
        self._weights = read(path.with_suffix(".bin"))  # of the compiled graph, not of `model` only
        with mapped_errors(ModelInvalidError, f"OpenVINO cannot read the model file {path}"):
            model = read_graph(read(path), self._weights)
            model = prepare_graph(model, shapes, image, shorter=shorter)
            found = model.output(0).partial_shape[1].to_string()
        if found != str(dim):
            raise ModelInvalidError(
                f"Model file {path} gives vectors of length {found}, but model.json says {dim}. "
                "Make the model directory again.",
                path=path,
            )
        self.name = path.stem.replace("_", " ")
        self.batch_size = next(iter(shapes.values()))[0]
        with mapped_errors(InferenceError, f"OpenVINO cannot run {path.name} on {runtime.device}"):
            facts = {"model": identity, "graph": path.name, "shapes": shapes}
            self._compiled = compile_graph(model, runtime, facts)
            # One more batch waits behind each that is computed, so that no stream does: results
            # are taken in order, and whoever takes them shares the processor with the streams.
            optimal = int(self._property("OPTIMAL_NUMBER_OF_INFER_REQUESTS", 1))
            self.n_streams = max(1, int(self._property("NUM_STREAMS", 1)))
            self.n_requests = max(optimal, 2 * self.n_streams)
        self._dtypes = {
            name: port.element_type.to_dtype()
            for port in self._compiled.inputs
            for name in port.names
        }
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._compared: set[int] = set()  # ids of requests
        self._first: tuple[Arrays, Rows] | None = None  # batch, and what every stream gave for it
        self._first_lock = threading.Lock()
        self._n_run = self._n_confirmed = 0  # batches

    def run(self, batches: Iterable[Arrays]) -> Iterator[Rows]:
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
        StreamDisagreementError
            The engine's first batch has other vectors on another stream.
        """
        busy: deque[_Busy] = deque()
        try:
            for batch in batches:
                if self._first is None and (rows := self._run_first(batch)) is not None:
                    yield rows
                    continue
                done = self._finish(busy.popleft()) if len(busy) >= self.n_requests else None
                self._n_run += 1
                busy.append(self._start(self._take(), batch))
                if done is not None:
                    yield done
            while busy:
                yield self._finish(busy.popleft())
        finally:
            _wait(busy)

    def run_alone(self, batch: Arrays) -> Rows:
        """Run one batch and nothing beside it; it does not count as the first.

        Returns
        -------
        array of shape (rows of the batch, dim), float32

        Raises
        ------
        InferenceError
        """
        return self._finish(self._start(self._take(), batch))

    def run_on_every_stream(self, batch: Arrays, *, before: Rows | None = None) -> Rows:
        """Run one batch on as many requests as there are streams, at once; all must give the same.

        Parameters
        ----------
        batch : mapping of str to array
        before : array of shape (rows of the batch, dim), float32, optional
            What the batch gave earlier; they must give that.

        Returns
        -------
        array of shape (rows of the batch, dim), float32

        Raises
        ------
        InferenceError, StreamDisagreementError

        Notes
        -----
        OpenVINO does not say which stream computes a request: a free stream takes the next one.
        Started all at once each stream takes one, unless another is done before it has woken up; a
        batch takes far longer than that. Requests that were never compared go first, so that the
        first batch and `confirm` together see every request of a run.
        """
        busy: list[_Busy] = []
        try:
            busy.extend(self._start(request, batch) for request in self._take_to_compare())
            found = [_result(one) for one in busy]
        finally:
            _wait(busy)
            with self._lock:
                self._idle += (one.request for one in busy)
        check_agreement(found, before, name=self.name, facts=self.describe())
        _check_finite(found[0])
        return found[0]

    def confirm(self) -> None:
        """Check that the first batch still has the vectors that it had, on every stream.

        Nothing is computed where nothing was since it was last compared.

        Raises
        ------
        InferenceError, StreamDisagreementError
        """
        with self._first_lock:
            n_run = self._n_run
            if self._first is not None and n_run != self._n_confirmed:
                batch, before = self._first
                self.run_on_every_stream(batch, before=before)
                self._n_confirmed = n_run

    def describe(self) -> dict[str, Any]:
        """Return device, precision and streams as they really are, JSON-able."""
        devices = [str(device) for device in self._property("EXECUTION_DEVICES", [])]
        precision = self._property("INFERENCE_PRECISION_HINT", "unknown")
        return {
            "device": ",".join(devices),
            "device_name": ", ".join(self._device_name(device.strip("()")) for device in devices),
            "precision": getattr(precision, "get_type_name", lambda: str(precision))(),
            "streams": int(self._property("NUM_STREAMS", self.n_requests)),
            "batch_size": self.batch_size,
            "openvino": openvino_version(),
        }

    def _run_first(self, batch: Arrays) -> Rows | None:
        """Run the engine's first batch and keep it; None where another thread did so meanwhile."""
        with self._first_lock:
            if self._first is not None:
                return None
            kept = {name: rows.copy() for name, rows in batch.items()}
            self._first = kept, self.run_on_every_stream(kept)
            return self._first[1].copy()

    def _start(self, request: Any, batch: Arrays) -> _Busy:
        whole = {name: self._padded(name, rows) for name, rows in batch.items()}
        with mapped_errors(InferenceError, "OpenVINO cannot start a batch"):
            for name, array in whole.items():
                request.set_tensor(name, ov.Tensor(array, shared_memory=True))
            request.start_async()
        return _Busy(request, _n_rows(batch), whole)

    def _padded(self, name: str, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a whole batch of an input's type, which is the array itself where it is one."""
        if len(rows) == self.batch_size:
            return np.ascontiguousarray(rows, dtype=self._dtypes[name])
        whole = np.zeros((self.batch_size, *rows.shape[1:]), self._dtypes[name])
        whole[: len(rows)] = rows
        return whole

    def _finish(self, busy: _Busy) -> Rows:
        rows = _result(busy)
        with self._lock:
            self._idle.append(busy.request)
        _check_finite(rows)
        return rows

    def _take(self) -> Any:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._new_request()

    def _take_to_compare(self) -> list[Any]:
        with self._lock:
            self._idle.sort(key=lambda request: id(request) in self._compared)
            taken = self._idle[: self.n_streams]
            del self._idle[: self.n_streams]
        taken += [self._new_request() for _ in range(self.n_streams - len(taken))]
        self._compared.update(map(id, taken))
        return taken

    def _new_request(self) -> Any:
        with mapped_errors(InferenceError, "OpenVINO cannot make an inference request"):
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


def _n_rows(batch: Arrays) -> int:
    return len(next(iter(batch.values())))


def _result(busy: _Busy) -> Rows:
    with mapped_errors(InferenceError, "OpenVINO failed while running a batch"):
        busy.request.wait()
        found = busy.request.get_output_tensor(0).data[: busy.n_rows]
        return np.array(found, dtype=np.float32)


def _check_finite(rows: Rows) -> None:
    if not np.isfinite(rows).all():
        raise InferenceError(
            "The model gave values that are not finite. Try `--precision f32`, "
            "or make the model directory again."
        )


def _wait(busy: Iterable[_Busy]) -> None:
    """Wait for batches whose results nobody wants: what they are computed on must not be freed."""
    for under_way in busy:
        with suppress(Exception):
            under_way.request.wait()
