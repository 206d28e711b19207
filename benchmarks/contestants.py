"""Who takes part in the throughput benchmark, in which environment, and how each is started."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
BENCHMARK_APP_BATCH = 8


@dataclass(frozen=True)
class Environment:
    """A Python with some packages in it.

    Attributes
    ----------
    modules : tuple of str
        What must be importable.
    install : str
        The pip arguments that make one.
    """

    modules: tuple[str, ...]
    install: str


ENVIRONMENTS = {
    "ours": Environment(("datumaro_embed",), ". '.[drawings,fast]'"),
    "torch": Environment(
        ("torch", "transformers", "sentence_transformers"),
        "torch transformers sentence-transformers pillow",
    ),
    "optimum": Environment(("optimum.intel", "transformers"), "'optimum-intel[openvino]' pillow"),
    "datumaro": Environment(("datumaro.plugins.explorer", "openvino"), "datumaro==1.11.1"),
}


@dataclass(frozen=True)
class Contestant:
    """One line of the table.

    Attributes
    ----------
    name : str
    kind : {"limit", "ours", "peer"}
    environment : str
        Of `ENVIRONMENTS`.
    script : str
        In the folder of peers.
    model : {"checkpoint", "fp32", "int8"}
        What it is given of the materials.
    flags : tuple of str
        Of its script (see ``peers/serving.py``).
    quick : bool
        Whether the quick level has it.
    """

    name: str
    kind: str
    environment: str
    script: str
    model: str
    flags: tuple[str, ...] = ()
    quick: bool = True

    def command(self, python: Path, models: Mapping[str, Path], common: list[str]) -> list[str]:
        """Return the command line that starts it."""
        script = [str(python), str(PEERS / self.script), "--model", str(models[self.model])]
        return [*script, *common, *self.flags]


def _limit(precision: str, model: str) -> Contestant:
    flags = ("--batch-size", str(BENCHMARK_APP_BATCH), "--precision", precision)
    name = f"limit {'int8' if model == 'int8' else precision}"
    return Contestant(name, "limit", "ours", "benchmark_app.py", model, flags)


def _ours(name: str, model: str, *flags: str, quick: bool = True) -> Contestant:
    chosen = ("--precision", "auto", *flags)  # the last of two counts
    return Contestant(f"ours {name}", "ours", "ours", "ours.py", model, chosen, quick)


def _torch(name: str, script: str, precision: str) -> Contestant:
    flags = ("--precision", precision)
    return Contestant(f"{name} {precision}", "peer", "torch", script, "checkpoint", flags)


CONTESTANTS = (
    _limit("f32", "fp32"),
    _limit("bf16", "fp32"),
    _limit("auto", "int8"),
    _ours("f32", "fp32", "--precision", "f32"),
    _ours("default", "fp32"),
    _ours("default, fast decode", "fp32", "--decode", "fast", quick=False),
    _ours("int8", "int8"),
    _ours("int8, fast decode", "int8", "--decode", "fast"),
    _torch("transformers", "transformers_torch.py", "f32"),
    _torch("transformers", "transformers_torch.py", "bf16"),
    _torch("sentence-transformers", "sentence_transformers_clip.py", "f32"),
    Contestant(
        "optimum-intel auto",
        *("peer", "optimum", "optimum_openvino.py", "checkpoint"),
        ("--precision", "auto"),
        quick=False,
    ),
    Contestant(
        "datumaro 1.11.1 explorer",
        *("peer", "datumaro", "datumaro_explorer.py", "fp32"),
        ("--precision", "auto"),
        quick=False,
    ),
)


def missing(name: str, python: Path) -> str | None:
    """Return why an environment cannot be used, with the command that makes one; None if it can."""
    wanted = ENVIRONMENTS[name]
    code = (
        "import importlib.util as u, sys; sys.exit(0 if all(map(u.find_spec, sys.argv[1:])) else 3)"
    )
    try:
        done = subprocess.run(
            [str(python), "-W", "ignore", "-c", code, *wanted.modules], capture_output=True
        )
    except OSError:
        done = None
    if done is not None and done.returncode == 0:
        return None
    return (
        f"{python} lacks {', '.join(wanted.modules)}: python3 -m venv ENV && ENV/bin/pip install "
        f"{wanted.install}, then --python {name}=ENV/bin/python"
    )
