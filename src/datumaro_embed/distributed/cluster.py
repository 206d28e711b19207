"""The interface to Ray: a connection, its nodes, and actors on them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ClusterError, DatumaroEmbedError, MissingExtraError

# Ray reads these when it is imported or started: no usage report, no warning about unused GPUs.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

_CONNECT_S = 10.0


class WorkerLostError(Exception):
    """An actor, its process or its node is gone; the message is Ray's."""


class Cluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def nodes(self) -> Mapping[str, int]:
        """Return node id → number of processors, for live nodes that have any."""
        alive = (node for node in self._ray.nodes() if node["Alive"])
        found = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in alive}
        return {node: n_cpus for node, n_cpus in found.items() if n_cpus}

    def start(self, make: type, *args: Any, node: str, n_cpus: int) -> Any:
        """Start an actor on a node; two of its methods can run at the same time."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = self._ray.remote(make).options(
            num_cpus=n_cpus,
            max_concurrency=2,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        return options.remote(*args)

    def stop(self, actor: Any) -> None:
        """End an actor's process, if it is running."""
        self._ray.kill(actor)

    def ended(self, calls: Sequence[Any], *, timeout_s: float) -> Sequence[Any]:
        """Wait until a call has ended; return the ended calls, none after a timeout."""
        if not calls:
            time.sleep(timeout_s)
            return []
        self._ray.wait(list(calls), timeout=timeout_s)
        found: Sequence[Any] = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)[0]
        return found

    def result(self, call: Any) -> Any:
        """Return the result of an ended call, or raise its error."""
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(call)
        except RayTaskError as error:  # Ray's message is the remote traceback
            ours = isinstance(error.cause, DatumaroEmbedError)
            raise error.cause from None if ours else error
        except RayError as error:
            raise WorkerLostError(" ".join(str(error).split())) from error


def _check_reachable(address: str) -> None:
    """Fail in seconds if nothing listens at HOST:PORT; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def address_here() -> str:
    """Return the address of the cluster that runs on this machine, or "local" for a new one.

    `ray start` writes its address to a file, which only `ray stop` removes. After a crash, Ray
    would use the old address, wait five minutes and fail.
    """
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    file = Path(folder) / "ray" / "ray_current_cluster"
    try:
        address = file.read_text(encoding="utf-8").strip()
        _check_reachable(address)
    except OSError:
        return "local"
    return address


@contextmanager
def connect(address: str | None) -> Iterator[Cluster]:
    """Connect to a cluster, or start one on this machine only, which ends with the block.

    `address` is as in ``ray.init``. An existing connection of this process is used and left open.
    Raises `MissingExtraError`, `ClusterError`.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "Ray is not installed. Run: pip install 'datumaro-embed[ray]'", extra="ray"
        ) from error
    if ray.is_initialized():
        yield Cluster(ray)
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        address = address or os.environ.get("RAY_ADDRESS") or address_here()
        _check_reachable(address)
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        where = "A Ray cluster" if address in (None, "local") else f"The Ray cluster {address!r}"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(
            f"{where} cannot be reached or started ({reason}). Check the address and "
            "`ray status`, or leave the address out to use this machine.",
            address=address,
        ) from error
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()
        if before and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray leaves its own handler
