"""One compiled graph: runs batches in order, and checks that all of OpenVINO's streams agree.

OpenVINO computes batches on several streams, each with its own copy of the graph, and rarely one of
them gives wrong vectors without an error. So the first batch is computed on every stream and the
results are compared; if they differ, the graph is compiled once more. At the end of a run, the last
batches (one per stream) compute rows of the first batch again in their unused rows, and the vectors
must be the same. If there are no unused rows, `Engine.confirm` computes the first batch again.
"""

from __future__ import annotations

import logging
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

from ..errors import InferenceError, ModelInvalidError, StreamDisagreementError
from ..models import ImageSpec, openvino_core, read_bytes
from ..vectors import unit_rows
from .base import Session
from .runtime import (
    Runtime,
    check_device,
    compile_graph,
    mapped_errors,
    openvino_version,
    prepare_graph,
)

Arrays = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.float32]
_log = logging.getLogger("datumaro_embed")
_SAME_COSINE = 0.999  # for other devices than the CPU, where rounding may differ between runs


@dataclass(frozen=True, slots=True)
class _Busy:
    """A batch in progress; its arrays must not be freed."""

    request: Any
    n_rows: int
    arrays: Arrays


class Engine:
    """One compiled graph of a fixed batch size; thread-safe.

    Raises `DeviceNotFoundError`, `ModelInvalidError`, `InferenceError`, and any error of `read`.

    The weights are read into memory, not mapped, so changes of the files do not change vectors. For
    ViT-B/32, the image encoder has 350 MB of weights and the text encoder 250 MB.

    Parameters
    ----------
    path : Path
        The IR's ``.xml`` file, with its weights beside it.
    shapes : mapping of str to shape
        Shape of every input, batch first. An image encoder's is (batch, height, width, 3).
    dim : int
        Expected length of the output's rows.
    image : ImageSpec, optional
        If given, the graph takes uint8 RGB pixels, and applies scaling, mean and std itself.
    shorter : bool
        Allow batches whose rows are shorter than in `shapes`; equally long within a batch.
    golden : arrays and callable, optional
        A row to compute with the first batch, and a callable that raises if its vector is wrong.
    identity : str
        The model's fingerprint, with which the compiled graph is cached (see `compile_graph`).
    read : callable
        Returns the bytes of a file.
    """

    def __init__(
        self,
        path: Path,
        runtime: Runtime,
        shapes: Mapping[str, Sequence[int]],
        *,
        dim: int,
        image: ImageSpec | None = None,
        golden: tuple[Arrays, Callable[[Engine, Rows], None]] | None = None,
        identity: str = "",
        shorter: bool = False,
        read: Callable[[Path], npt.NDArray[np.uint8]] = read_bytes,
    ) -> None:
        check_device(runtime.device)
        self.name = path.stem.replace("_", " ")
        self._input = next(iter(shapes))  # one that every batch has
        self.batch_size = shapes[self._input][0]
        self._path, self._runtime, self._shapes, self._dim = path, runtime, shapes, dim
        self._image, self._shorter, self._identity = image, shorter, identity
        self._weights = read(path.with_suffix(".bin"))
        self._graph = read(path).tobytes().decode("utf-8", "replace")
        self._lock = threading.Lock()
        self._golden = golden
        self._first: tuple[Arrays, Rows] | None = None  # batch, and its vectors on every stream
        self._first_lock = threading.Lock()
        self._n_run = self._n_confirmed = 0  # batches
        self._compile()

    def _compile(self) -> None:
        """Compile the graph, after freeing an earlier one and its requests."""
        self._compiled: Any = None
        self._idle: list[Any] = []
        self._compared: set[int] = set()  # ids of requests
        path, device = self._path, self._runtime.device
        with mapped_errors(ModelInvalidError, f"OpenVINO cannot read the model file {path}"):
            # The model and its compiled form use this memory, so the array must outlive them.
            weights = ov.Tensor(self._weights, shared_memory=True)
            model = openvino_core().read_model(self._graph, weights)
            model = prepare_graph(model, self._shapes, self._image, shorter=self._shorter)
            found = model.output(0).partial_shape[1].to_string()
        if found != str(self._dim):
            raise ModelInvalidError(
                f"Model file {path} gives vectors of length {found}, but model.json says "
                f"{self._dim}. Recreate the model directory.",
                path=path,
            )
        facts = {"model": self._identity, "graph": path.name, "shapes": self._shapes}
        with mapped_errors(InferenceError, f"OpenVINO cannot run {path.name} on {device}"):
            self._compiled = compile_graph(model, self._runtime, facts)

        # Twice as many requests as streams, so that a batch is queued behind each running one and
        # no stream waits: results are collected in order, on the same processor.
        optimal = int(self._property("OPTIMAL_NUMBER_OF_INFER_REQUESTS", 1))
        self.n_streams = max(1, int(self._property("NUM_STREAMS", 1)))
        self.n_requests = max(optimal, 2 * self.n_streams)
        self._dtypes = {
            name: port.element_type.to_dtype()
            for port in self._compiled.inputs
            for name in port.names
        }

    def run(self, batches: Iterable[Arrays]) -> Iterator[Rows]:
        """Yield the unit rows of batches in order, with several in progress; see `Flight`."""
        return Flight(self, lambda batch: batch).run(batches)

    def run_alone(self, batch: Arrays) -> Rows:
        """Run a single batch; it does not count as the first batch.

        Raises `InferenceError`.

        Returns
        -------
        array of shape (rows of the batch, dim), float32
        """
        (rows,) = self._run_together([batch])
        _check_finite(rows)
        return rows

    def confirm(self) -> None:
        """Check that the first batch still has the same vectors on every stream.

        Skipped if no batch has run since the last comparison.
        Raises `InferenceError`, `StreamDisagreementError`.
        """
        with self._first_lock:
            n_run = self._n_run
            if self._first is not None and n_run != self._n_confirmed:
                batch, before = self._first
                self._compare(self._run_together([batch] * self.n_streams), before)
                self._n_confirmed = n_run

    def describe(self) -> dict[str, Any]:
        """Return the device, precision and streams in use, JSON-able."""
        devices = [str(device) for device in self._property("EXECUTION_DEVICES", [])]
        names = [device.strip("()") for device in devices]
        full_names = []
        for name in names:
            try:
                full_name = str(openvino_core().get_property(name, "FULL_DEVICE_NAME")).strip()
            except RuntimeError:
                full_name = name
            full_names.append(full_name)

        # AUTO and its like have no precision of their own, but that of their devices.
        each = self._property("DEVICE_PROPERTIES", {})
        found = [each.get(name, {}).get("INFERENCE_PRECISION_HINT") for name in names]
        shared = found[0] if found and all(one == found[0] for one in found) else None
        precision = self._property("INFERENCE_PRECISION_HINT", shared or "unknown")
        return {
            "device": ",".join(devices),
            "device_name": ", ".join(full_names),
            "precision": str(getattr(precision, "get_type_name", lambda: precision)()),
            "streams": int(self._property("NUM_STREAMS", self.n_requests)),
            "batch_size": self.batch_size,
            "openvino": openvino_version(),
        }

    def _run_first(self, batch: Arrays) -> Rows | None:
        """Run and keep the engine's first batch; None if another thread has just done so."""
        with self._first_lock:
            if self._first is not None:
                return None
            try:
                self._first = self._checked_first(batch)
            except (StreamDisagreementError, ModelInvalidError) as error:
                # Seen with OpenVINO 2026.4 on a busy CPU, once in thousands of compilations: all
                # vectors of one stream are wrong; compiling the graph again corrects them.
                self._compile()
                self._first = self._checked_first(batch)
                _log.warning(
                    "OpenVINO compiled the %s incorrectly; it was compiled again, and its vectors "
                    "are now correct. The first check failed: %s",
                    self.name,
                    error,
                )
            return self._first[1][: len(batch[self._input])].copy()

    def _checked_first(self, batch: Arrays) -> tuple[Arrays, Rows]:
        """Run a batch and the golden row on every stream; return the arrays run and their rows."""
        parts, n_rows = [batch], len(batch[self._input])
        if self._golden is not None:
            row, judge = self._golden
            if n_rows < self.batch_size:
                parts.append(row)
            else:
                judge(self, self.run_alone(row))
        # A copy even of a single part: the caller may write over its arrays.
        kept = {name: np.concatenate([part[name] for part in parts]) for name in batch}
        found = self._run_together([kept] * self.n_streams)
        self._compare(found, None)
        if len(parts) > 1:
            judge(self, found[0][n_rows:])
        _check_finite(found[0])
        return kept, found[0]

    def _run_last(self, batches: Sequence[Arrays]) -> Iterator[Rows]:
        """Run a batch on each stream, with rows of the first batch in the unused rows."""
        assert self._first is not None
        kept, before = self._first
        rows = {name: np.concatenate([batch[name] for batch in batches]) for name in kept}
        shares = np.array_split(np.arange(len(rows[self._input])), self.n_streams)
        parts = [
            {
                name: np.concatenate(
                    [rows[name][share], kept[name][: self.batch_size - len(share)]]
                )
                for name in kept
            }
            for share in shares
        ]
        self._n_run += len(parts)
        found = []
        for share, vectors in zip(shares, self._run_together(parts), strict=True):
            ours, again = np.split(vectors, [len(share)])
            self._compare([again], before[: len(again)])
            found.append(ours)
        self._n_confirmed = self._n_run
        ends = np.cumsum([len(batch[self._input]) for batch in batches])
        yield from np.split(np.concatenate(found), ends[:-1])

    def _run_together(self, batches: Sequence[Arrays]) -> list[Rows]:
        """Run batches, at most one per stream, all at once; their values may not be finite.

        OpenVINO does not tell which stream computes a request: a free stream takes the next one. If
        all start at once, each stream takes one, as a batch takes far longer than a stream needs to
        wake up. The caller compares the results of these requests, which were never compared if
        there are such: so the first batch and `confirm` together cover every request of a run.
        """
        taken = self._take(len(batches))
        self._compared.update(map(id, taken))
        busy: list[_Busy] = []
        try:
            busy.extend(map(self._start, taken, batches))
            return [_result(one) for one in busy]
        finally:
            for one in busy:
                with suppress(Exception):  # no array may be freed before
                    one.request.wait()
            with self._lock:
                self._idle += (one.request for one in busy)

    def _compare(self, found: Sequence[Rows], before: Rows | None) -> None:
        """Compare several requests' outputs for one batch with each other, or with `before`.

        On the CPU, all bits must be equal: the number of threads per stream changes none (measured
        with 1, 2 and 4 streams of 2 threads, in f32 and bf16), so streams on different kinds of
        cores should agree.
        """
        facts = self.describe()
        expected = found[0] if before is None else before
        is_exact = facts["device"].strip("()") == "CPU"
        for number, rows in enumerate(found, start=1):
            with np.errstate(invalid="ignore"):  # non-finite values are reported later
                cosines = np.einsum("ij,ij->i", unit_rows(rows), unit_rows(expected))
            same = (rows.view(np.uint32) == expected.view(np.uint32)).all(axis=1)
            if not is_exact:
                same |= cosines >= _SAME_COSINE
            if same.all():
                continue
            wrong = np.flatnonzero(~same)
            lowest = float(cosines[wrong].min())
            if before is None:
                than = "on request 1"
                advice = "Run the same command again; if that fails too, use ``streams`` 1"
            else:
                than = "at first"
                advice = "Vectors of this run may be wrong: embed again with ``restart``"
            raise StreamDisagreementError(
                f"For the same batch, the {self.name} gave other vectors on request {number} of "
                f"{len(found)} than {than}: row {', '.join(map(str, wrong[:5]))}, minimum cosine "
                f"{lowest:.6f} (OpenVINO {facts['openvino']}, {facts['device_name']}, "
                f"{facts['precision']}, {facts['streams']} streams). {advice}, "
                "and please report it.",
                rows=wrong.tolist(),
                cosine=lowest,
                **{
                    fact: facts[fact]
                    for fact in ("streams", "openvino", "device_name", "precision")
                },
            )

    def _start(self, request: Any, batch: Arrays) -> _Busy:
        """Start a batch, padded to a full one of the inputs' dtypes; no copy if it already is."""
        n_rows, whole = len(batch[self._input]), {}
        for name, rows in batch.items():
            if n_rows == self.batch_size:
                whole[name] = np.ascontiguousarray(rows, dtype=self._dtypes[name])
            else:
                whole[name] = np.zeros((self.batch_size, *rows.shape[1:]), self._dtypes[name])
                whole[name][:n_rows] = rows
        with mapped_errors(InferenceError, "OpenVINO cannot start a batch"):
            for name, array in whole.items():
                request.set_tensor(name, ov.Tensor(array, shared_memory=True))
            request.start_async()
        return _Busy(request, n_rows, whole)

    def _take(self, n: int) -> list[Any]:
        """Return `n` idle requests, first those that were never compared; make those missing."""
        with self._lock:
            self._idle.sort(key=lambda request: id(request) not in self._compared)
            taken = self._idle[-n:]
            del self._idle[-n:]
        return taken + [self._new_request() for _ in range(n - len(taken))]

    def _new_request(self) -> Any:
        with mapped_errors(InferenceError, "OpenVINO cannot make an inference request"):
            return self._compiled.create_infer_request()

    def _property(self, name: str, default: Any) -> Any:
        try:
            return self._compiled.get_property(name)
        except RuntimeError:  # not every device has every property
            return default


class Flight(Session):
    """Batches in progress on an engine; yields unit rows in order; for one thread.

    The last batches, one per stream, are held back until `finish`: their unused rows compute rows
    of the first batch again. `take` converts a batch to the engine's arrays, one per input, with at
    most `batch_size` rows; they are padded with zeros to one shape. A full batch is not copied.
    """

    def __init__(self, engine: Engine, take: Callable[[Any], Arrays]) -> None:
        self._engine = engine
        self._take = take
        self._answers: deque[_Busy | Rows | InferenceError] = deque()
        self._held: deque[Arrays] = deque()
        self._last: list[Arrays] = []
        self.capacity = engine.n_requests + engine.n_streams

    def __len__(self) -> int:
        return len(self._answers) + len(self._held) + len(self._last)

    def submit(self, batch: Any) -> None:
        self._held.append(self._take(batch))
        while len(self._held) > self._engine.n_streams or (
            self._held and self._engine._first is None
        ):
            self._start(self._held.popleft())

    def finish(self) -> None:
        engine, held = self._engine, list(self._held)
        n_spare = sum(engine.batch_size - len(batch[engine._input]) for batch in held)
        if engine._first is None or not len(held) == engine.n_streams <= n_spare:
            return  # not every stream has room for a row of the first batch
        alike = (*held, engine._first[0])
        if len({tuple(rows.shape[1:] for rows in batch.values()) for batch in alike}) == 1:
            self._last, self._held = held, deque()

    def collect(self) -> Rows:
        if not self._answers and self._last:  # no stream is busy, so each takes one batch
            last, self._last = self._last, []
            try:
                self._answers += self._engine._run_last(last)
            except InferenceError:
                self._held += last  # run them one by one to find the one that fails
        while self._held and not self._answers:
            self._start(self._held.popleft())
        answer = self._answers.popleft()
        if isinstance(answer, InferenceError):
            raise answer
        if isinstance(answer, _Busy):
            busy, answer = answer, _result(answer)
            with self._engine._lock:
                self._engine._idle.append(busy.request)
        _check_finite(answer)
        return unit_rows(answer)

    def close(self) -> None:
        for answer in self._answers:  # no array may be freed before its batch is computed
            if isinstance(answer, _Busy):
                with suppress(Exception):
                    answer.request.wait()
        self._answers.clear()
        self._held.clear()
        self._last.clear()

    def _start(self, batch: Arrays) -> None:
        engine = self._engine
        try:
            if engine._first is None and (rows := engine._run_first(batch)) is not None:
                self._answers.append(rows)
                return
            engine._n_run += 1
            (request,) = engine._take(1)
            self._answers.append(engine._start(request, batch))
        except InferenceError as error:
            self._answers.append(error)


def _result(busy: _Busy) -> Rows:
    with mapped_errors(InferenceError, "OpenVINO failed while running a batch"):
        busy.request.wait()
        found = busy.request.get_output_tensor(0).data[: busy.n_rows]
        return np.array(found, dtype=np.float32)


def _check_finite(rows: Rows) -> None:
    if not np.isfinite(rows).all():
        raise InferenceError(
            "The model returned values that are not finite. Try `--precision f32`, "
            "or recreate the model directory."
        )
