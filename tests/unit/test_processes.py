"""map_forked: order, errors, forks that are killed, and none that stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from datumaro_embed.processes import map_forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux alone")


def children() -> str:
    return Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text()


def test_results_come_in_order_from_other_processes() -> None:
    before = children()
    results = list(map_forked(lambda n: (n * n, os.getpid()), range(40)))
    assert [square for square, _ in results] == [n * n for n in range(40)]
    assert os.getpid() not in {process for _, process in results}
    assert children() == before


def test_results_larger_than_a_pipe_come_whole() -> None:
    assert [len(found) for found in map_forked(lambda n: bytes(n), [3_000_000] * 5)] == [
        3_000_000
    ] * 5


def test_an_error_is_raised_in_its_place_with_its_message() -> None:
    def fail_at_three(n: int) -> int:
        if n == 3:
            raise ValueError(f"no {n}")
        return n

    before, taken = children(), []
    with pytest.raises(ValueError, match="no 3"):
        taken.extend(map_forked(fail_at_three, range(10)))
    assert taken == [0, 1, 2]
    assert children() == before


def test_what_a_killed_fork_leaves_is_computed_here(caplog: pytest.LogCaptureFixture) -> None:
    own = os.getpid()

    def killed_at_five(n: int) -> int:
        if n == 5 and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return n * n

    assert list(map_forked(killed_at_five, range(12))) == [n * n for n in range(12)]
    assert "ended early" in caplog.text


def test_stopping_early_ends_the_forks() -> None:
    before = children()
    results = map_forked(lambda n: bytes(1 << 20), range(1000))  # they wait for room in a pipe
    next(results)
    assert children() != before
    results.close()
    assert children() == before


def test_a_thread_of_which_nothing_is_known_forbids_forks() -> None:
    code = """
import threading
from datumaro_embed.processes import WAITING, can_fork
assert can_fork()
for name, is_allowed in (("any", False), (WAITING, True)):
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name=name)
    thread.start()
    assert can_fork() == is_allowed
    ended.set()
    thread.join()
assert can_fork()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGTERM)),
    ],
)
def test_no_fork_outlives_its_parent(number: signal.Signals) -> None:
    code = """
import os, sys, time
from datumaro_embed import processes
processes.usable_processors = lambda: 2
def slow(n):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(900)
list(processes.map_forked(slow, range(2)))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        forks = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(number)
        process.wait(timeout=300)
    deadline = time.monotonic() + 300
    while any(Path(f"/proc/{fork}").exists() for fork in forks):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_forks_work_after_the_threads_of_opencv_and_openblas_have_started() -> None:
    code = """
import cv2, numpy as np
from datumaro_embed.processes import map_forked
values = np.random.default_rng(0).random((1500, 1500), np.float32)
def work(n):
    return float(cv2.GaussianBlur(values @ values, (0, 0), 9).sum())
cv2.setNumThreads(4)
expected = work(0)
assert all(abs(one / expected - 1) < 1e-5 for one in map_forked(work, range(4)))
assert cv2.getNumThreads() == 4
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_where_no_process_can_be_made_this_one_does_the_work() -> None:
    code = """
import os
from datumaro_embed import processes
processes.usable_processors = lambda: 2
n_open = len(os.listdir("/proc/self/fd"))
def refused():
    raise BlockingIOError(11, "Resource temporarily unavailable")
whole, calls = os.fork, []
def second_refused():
    calls.append(1)
    return whole() if len(calls) == 1 else refused()
for os.fork in (refused, second_refused):
    assert list(processes.map_forked(lambda n: (n, os.getpid()), range(4))) == [
        (n, os.getpid()) for n in range(4)
    ]
assert len(os.listdir("/proc/self/fd")) == n_open
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize("hook", ["before", "after_in_parent"])
def test_an_interrupt_while_python_forks_is_not_lost(hook: str) -> None:
    """What is raised in a function that Python calls then is ignored."""
    code = f"""
import os, signal, logging, threading
from datumaro_embed.processes import map_forked
parent = os.getpid()
os.register_at_fork({hook}=lambda: os.getpid() == parent and os.kill(parent, signal.SIGINT))
try:
    list(map_forked(lambda n: n, range(1)))
except KeyboardInterrupt:
    pass
else:
    raise SystemExit("the interrupt is lost")
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    pass
else:
    raise SystemExit("a fork is left")
thread = threading.Thread(target=logging.getLogger, args=["new"], daemon=True)
thread.start()
thread.join(10)
assert not thread.is_alive()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
