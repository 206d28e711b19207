"""`Crew`: workers on the nodes of a cluster; hands out shards, and again after a loss."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ..errors import ClusterError, StoreLockedError
from ..interrupts import DeferredInterrupts
from ..sharding import Shard
from .cluster import Cluster, WorkerLostError
from .worker import Ready, ShardResult, Task, Worker

_TICK_S = 0.5
_RECRUIT_S = 5.0
_AGAIN_S = 2.0
_STOP_S = 60.0
_MAX_LOSSES = 10
_SAY_S = 30.0


@dataclass(eq=False, slots=True)
class _Hand:
    """A worker as seen by the driver: its node and its last reported progress."""

    actor: Any
    node: str
    hired_at: float
    n_rows: int = 0
    asked: Any = None


class Crew:
    """Workers on the nodes of a cluster.

    Workers start as nodes join, and take the next shard when they are ready. If a worker is lost,
    another takes its shard and continues from the committed rows. (Ray's restarts do not suffice:
    an actor bound to a lost node never restarts, an unbound actor does not have a node's processors
    to itself, and losses are not reported.)
    """

    def __init__(
        self, cluster: Cluster, task: Task, *, workers_per_node: int, notify: Callable[[str], None]
    ) -> None:
        self._cluster, self._task, self._notify = cluster, task, notify
        self._workers_per_node = workers_per_node
        self._hands: list[_Hand] = []
        self._idle: list[_Hand] = []
        self._calls: dict[Any, tuple[_Hand, Shard | None]] = {}
        self._queue: deque[tuple[float, Shard]] = deque()
        self._results: dict[Shard, ShardResult] = {}
        self._losses: Counter[Shard | None] = Counter()
        self._agreed: Ready | None = None
        self._recruit_at = 0.0
        self._say_at = time.monotonic() + _SAY_S

    def embed(self, shards: Sequence[Shard], *, progress: bool) -> dict[Shard, ShardResult]:
        """Embed all shards, in any order.

        An error in one shard, or the first Ctrl-C or SIGTERM (`RunInterruptedError`), stops the
        other workers, which commit their rows.
        """
        self._queue.extend((0.0, shard) for shard in shards)
        bar = tqdm(desc="Embedding", unit="img", disable=None if progress else True)
        with DeferredInterrupts() as interrupts, bar:
            try:
                while len(self._results) < len(shards):
                    self._employ()
                    for call in self._cluster.ended([*self._calls], timeout_s=_TICK_S):
                        self._settle(call, bar)

                    # Request the progress of every worker, and show the last reported values.
                    busy = [hand for hand, shard in self._calls.values() if shard is not None]
                    for hand in busy:
                        is_asked = hand.asked is not None
                        if is_asked and self._cluster.ended([hand.asked], timeout_s=0):
                            with suppress(WorkerLostError):
                                hand.n_rows = self._cluster.result(hand.asked)
                            hand.asked = None
                        if hand.asked is None:
                            hand.asked = hand.actor.n_rows.remote()
                    done = sum(result.summary.n_items for result in self._results.values())
                    rows = done + sum(hand.n_rows for hand in busy)  # includes captions
                    bar.n = min(rows, bar.total or 0)
                    bar.refresh()
                    interrupts.raise_received()
            finally:
                # Let every worker commit its rows, and end all workers.
                calls = self._calls.items()
                working = {call: hand for call, (hand, shard) in calls if shard is not None}
                for hand in working.values():
                    hand.actor.stop.remote()
                until = time.monotonic() + _STOP_S
                while working and time.monotonic() < until:
                    for call in self._cluster.ended([*working], timeout_s=_TICK_S):
                        del working[call]
                for hand in self._hands:
                    self._cluster.stop(hand.actor)
            interrupts.raise_received()
        return self._results

    def _employ(self) -> None:
        """Start workers on nodes that lack them, while shards are left, and hand shards out."""
        now = time.monotonic()
        if now >= self._recruit_at:
            self._recruit_at = now + _RECRUIT_S
            # Workers without a shard, except those that have failed to start for long.
            beginning = (hand for hand, shard in self._calls.values() if shard is None)
            n_waiting = len(self._idle) + sum(hand.hired_at > now - _SAY_S for hand in beginning)
            for node, n_cpus in self._cluster.nodes().items():
                n_lacking = self._workers_per_node - sum(h.node == node for h in self._hands)
                for _ in range(min(n_lacking, len(self._queue) - n_waiting)):
                    per_worker = max(1, n_cpus // self._workers_per_node)
                    actor = self._cluster.start(Worker, self._task, node=node, n_cpus=per_worker)
                    self._hands.append(hand := _Hand(actor, node, time.monotonic()))
                    self._calls[actor.prepare.remote()] = hand, None
                    n_waiting += 1

        for _ in range(len(self._queue)):
            not_before, shard = self._queue.popleft()
            if self._idle and time.monotonic() >= not_before:
                hand = self._idle.pop()
                self._calls[hand.actor.embed.remote(shard)] = hand, shard
            else:
                self._queue.append((not_before, shard))

        if self._agreed is None and now >= self._say_at:
            self._say_at = float("inf")  # report it once, as Ray does not
            self._notify(
                f"No worker is ready after {_SAY_S:.0f} s: a large dataset or model is being "
                "read, or other jobs use the nodes' processors (check `ray status`)."
            )

    def _settle(self, call: Any, bar: Any) -> None:
        """Handle the result of an ended call."""
        hand, shard = self._calls.pop(call)
        hand.n_rows, hand.asked = 0, None
        try:
            result = self._cluster.result(call)
        except WorkerLostError as error:
            self._hands.remove(hand)
            self._notify(f"A worker was lost ({error}); retrying {shard or 'its node'}.")
            self._again(shard, error)
            return
        except StoreLockedError as error:  # a lost worker is still running
            if shard is None or self._losses[shard] >= _MAX_LOSSES:
                raise
            self._again(shard, error)
        else:
            if shard is None:  # nodes may have different data, models or settings
                self._losses.pop(None, None)
                self._agreed = self._agreed or result
                if result != self._agreed:
                    raise ClusterError(
                        f"Nodes differ: one has {self._agreed}, another has {result}. Give every "
                        "node the same dataset and model, and set ``precision``."
                    )
                bar.total = result.n_items
            elif result is None:  # the worker was stopped; another may take the shard
                self._queue.append((0.0, shard))
            else:
                self._results[shard] = result
                for line in result.said:
                    self._notify(f"{shard}: {line}")
        self._idle.append(hand)

    def _again(self, shard: Shard | None, error: Exception) -> None:
        self._losses[shard] += 1
        if self._losses[shard] > _MAX_LOSSES:
            raise ClusterError(
                f"Workers were lost {self._losses[shard]} times "
                f"{f'on shard {shard}' if shard else 'while reading the data'} ({error}). "
                "Check the nodes' memory. The same command continues the run."
            ) from error
        if shard is not None:
            self._queue.append((time.monotonic() + _AGAIN_S, shard))
