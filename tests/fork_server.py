"""Real processes without a second of imports each: forks of one that has imported what they need.

Run as a program, it imports the modules named, then forks for each line of its input; a fork has
the arguments, the environment, the working directory and the output files that the line names, and
ends as any process of Python.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

# Nothing of these starts a thread of Python, or reads a variable that READ_LATE names.
LIBRARIES = ["cv2", "h5py", "lxml.etree", "numpy", "openvino", "pandas", "PIL.Image"]
LIBRARIES += ["pycocotools.mask", "shapely.geometry", "tokenizers"]
OURS = ["adapter", "pipeline", "encoders", "auditing", "retrieval"]
OF_BOTH = [*LIBRARIES, "datumaro", *(f"datumaro_embed.{name}" for name in OURS)]
PLUGINS = ["apply", "duplicates", "embed", "label", "search", "select"]
MODULES = {
    "datumaro": [
        *(*OF_BOTH, "datumaro.cli.__main__"),
        *(f"datumaro_embed.plugins.clip_{name}" for name in PLUGINS),
    ],
    "datumaro_embed.cli": [*OF_BOTH, "datumaro_embed.cli"],
}
READ_LATE = ("HF_", "HTTP_PROXY", "XDG_", "DATUMARO_EMBED_MODELS")
# What Polars, UMAP, Ray, our store and OpenCV set where a test imports them; for themselves only.
SET_BY_IMPORTS = ("_RJEM_", "KMP_", "RAY_", "HDF5_PLUGIN_PRELOAD", "LD_LIBRARY_PATH", "OPENCV_")


class ForkServer:
    """A server for one module that runs as a program; it ends with the process that started it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._environment = environment_of_runs()
        self.process = subprocess.Popen(
            [sys.executable, __file__, *MODULES[module]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        atexit.register(self.close)

    def serves(self, environment: dict[str, str]) -> bool:
        """Tell whether a fork takes this environment as a new process would."""
        changed = self._environment.items() ^ environment.items()
        return all(name.startswith(READ_LATE + SET_BY_IMPORTS) for name, _ in changed)

    def run(
        self, arguments: list[str], cwd: Path | None, timeout_s: float, *, script: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python -m module arguments``, or ``python script arguments``."""
        assert self.process.stdin
        assert self.process.stdout
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            outputs = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
            place = str(cwd or Path.cwd())
            order = [script or self._module, arguments, environment_of_runs(), place, *outputs]
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], timeout_s)[0]:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired([self._module, *arguments], timeout_s)
            status = int(self.process.stdout.readline())
            for file in (out, err):
                file.seek(0)
            texts = [out.read(), err.read()]
        return subprocess.CompletedProcess([self._module, *arguments], status, *texts)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@cache
def fork_server(module: str) -> ForkServer:
    """Return the server of a module for all tests of this process."""
    return ForkServer(module)


def environment_of_runs() -> dict[str, str]:
    """Return what a command of a test has for its environment."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "COLUMNS": "100",
    }


def _serve(modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    gc.freeze()
    while line := sys.stdin.buffer.readline():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of OpenBLAS's threads
            child = os.fork()
        if not child:
            _become(*json.loads(line))
            break
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(
    program: str, arguments: list[str], environment: dict[str, str], cwd: str, out: str, err: str
) -> None:
    for descriptor, path in enumerate((os.devnull, out, err)):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    is_script = program.endswith(".py")
    sys.path[0] = os.path.dirname(program) if is_script else cwd
    sys.argv = [program if is_script else "-m", *arguments]
    if is_script:
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
