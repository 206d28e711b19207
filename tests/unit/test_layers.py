"""The rooms import only from rooms above them, and each heavy library has one importer."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import datumaro_embed

SRC = Path(datumaro_embed.__file__).parent

# Top to bottom: a room may import only from rooms above it (and from within itself).
ORDER = [
    "lazy",
    "escaping",
    "errors",
    "paths",
    "display",
    "records",
    "encoding",
    "experimental",
    "files",
    "logs",
    "tally",
    "causes",
    "place",
    "vectors",
    "versions",
    "parallel",
    "interrupts",
    "processes",
    "geometry",
    "rle",
    "objects",
    "depth",
    "endings",
    "kinds",
    "formats",
    "pixels",
    "images",
    "video",
    "compiled",
    "pixel_loops",
    "pixel_loops_numba",
    "signatures",
    "models",
    "encoders",
    "exporting",
    "store",
    "sharding",
    "maintenance",
    "similarity",
    "flags",
    "retrieval",
    "duplicates",
    "listing",
    "adapter",
    "imports",
    "pipeline",
    "distributed",
    "quantising",
    "info",
    "verify",
    "findings",
    "exports",
    "auditing",
    "page",
    "plugins",
    "cli",
    "testing",
]
ONLY_IMPORTERS = {
    "datumaro": {"adapter", "plugins"},
    "h5py": {"store"},
    "openvino": {"encoders", "exporting", "models"},
    "huggingface_hub": {"models"},
    "nncf": {"quantising"},
    "open_clip": {"exporting"},
    "optimum": {"exporting"},
    "sentencepiece": {"exporting"},
    "torch": {"exporting"},
    "transformers": {"exporting"},
    "polars": {"adapter"},
    "numkong": {"similarity"},
    "usearch": {"similarity"},
    "faiss": {"exports"},
    "ray": {"distributed"},
    "pycocotools": {"rle"},
    "pillow_heif": {"formats"},
    "pyarrow": {"exports", "findings", "imports", "pixels", "store"},
    "umap": {"page"},
    "starlette": {"page"},
    "uvicorn": {"page"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imported(path: Path, *, runtime_only: bool) -> Iterator[str]:
    """Absolute names of everything that a module imports, those under TYPE_CHECKING left out."""
    package = ("datumaro_embed", *path.relative_to(SRC).parent.parts)
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if runtime_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def test_every_room_has_its_place() -> None:
    assert {room for room, _ in modules()} <= set(ORDER)


def test_arrows_point_up() -> None:
    wrong = []
    for room, path in modules():
        for name in imported(path, runtime_only=True):
            parts = name.split(".")
            ours = parts[0] == "datumaro_embed" and parts[1] in ORDER
            if ours and ORDER.index(parts[1]) > ORDER.index(room):
                wrong.append(f"{path.relative_to(SRC)} imports {name}")
    assert wrong == []


def test_no_import_is_cyclic() -> None:
    """Not under TYPE_CHECKING either, nor within a function."""
    names = {
        ".".join(("datumaro_embed", *path.relative_to(SRC).with_suffix("").parts)): path
        for path in SRC.rglob("*.py")
    }
    modules_ = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {
        name: {
            found
            for target in imported(path, runtime_only=False)
            for found in (target, target.rpartition(".")[0])
            if found in modules_ and found != name
        }
        for name, path in modules_.items()
    }
    for name, found in graph.items():  # `from .room import thing` needs the thing's module, if any
        graph[name] = {f for f in found if not any(other.startswith(f"{f}.") for other in found)}
    list(TopologicalSorter(graph).static_order())


def test_heavy_libraries_have_one_importer() -> None:
    wrong = [
        f"{path.relative_to(SRC)} imports {name}"
        for room, path in modules()
        for name in imported(path, runtime_only=True)
        if room not in ONLY_IMPORTERS.get(name.split(".")[0], {room})
    ]
    assert wrong == []


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, datumaro_embed; "
        f"print(sorted(set(sys.modules) & set({[*ONLY_IMPORTERS, 'numpy', 'PIL']!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_page_opens_without_what_runs_models_and_reads_datasets() -> None:
    code = (
        "import sys, datumaro_embed.page.serving; "
        "print({'openvino', 'datumaro', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_public_names_are_sorted_and_resolve() -> None:
    assert datumaro_embed.__all__ == sorted(datumaro_embed.__all__)
    for name in datumaro_embed.__all__:
        assert getattr(datumaro_embed, name).__name__ == name
