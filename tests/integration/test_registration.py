"""Installing the built wheel makes a real `datum` process list clip_embed; uninstalling undoes it.

Each environment is a virtual one that sees this environment's packages, ours left out, by links.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
OURS = ("datumaro_embed", "_datumaro_embed", "_editable_impl_datumaro_embed")


def run(python: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=python.parent,
        env={**os.environ, "PYTHONPATH": "", **env},
        timeout=300,
    )


def transforms(python: Path, **env: str) -> subprocess.CompletedProcess[str]:
    done = run(python, "-m", "datumaro", "transform", "--help", **env)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the checkout, with the hatchling of this environment."""
    out = tmp_path_factory.mktemp("wheel")
    build = [
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(out),
        str(REPO),
    ]
    done = run(Path(sys.executable), *build)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def make_environment(folder: Path) -> Path:
    """Return the python of a fresh environment with every package of this one but ours."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    links = folder / "links"
    links.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(OURS) and package.suffix != ".pth":
            (links / package.name).symlink_to(package)
    python = folder / "venv" / "bin" / "python"
    (site_packages(python) / "links.pth").write_text(f"{links}\n")
    return python


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Return the python of an environment without our package."""
    return make_environment(tmp_path)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the python of an environment with our wheel, for all tests that do not change it."""
    python = make_environment(tmp_path_factory.mktemp("installed"))
    install(python, str(wheel))
    return python


@pytest.fixture
def with_others(installed: Path) -> Iterator[Path]:
    """Return the same for a test that adds packages to it; they are gone afterwards."""
    before = {*site_packages(installed).iterdir()}
    yield installed
    for added in {*site_packages(installed).iterdir()} - before:
        shutil.rmtree(added) if added.is_dir() else added.unlink()


def site_packages(python: Path) -> Path:
    (found,) = (python.parents[1] / "lib").glob("python3*/site-packages")
    return found


def install(python: Path, *what: str) -> None:
    args = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", *what]
    done = run(python, *args)
    assert done.returncode == 0, done.stderr


def uninstall(python: Path) -> None:
    done = run(python, "-m", "pip", "uninstall", "-q", "-y", "datumaro-embed")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
def test_install_registers_and_uninstall_leaves_no_trace(
    environment: Path, wheel: Path, editable: bool
) -> None:
    before = sorted(path.name for path in site_packages(environment).iterdir())
    assert "clip_embed" not in transforms(environment).stdout

    install(environment, *(["-e", str(REPO)] if editable else [str(wheel)]))
    assert "clip_embed" in transforms(environment).stdout
    assert "clip_embed" not in transforms(environment, DATUMARO_EMBED_AUTOLOAD="0").stdout

    uninstall(environment)
    assert "clip_embed" not in transforms(environment).stdout
    after = sorted(path.name for path in site_packages(environment).iterdir())
    assert [name for name in after if name != "__pycache__"] == before


def test_listing_the_transforms_imports_neither_openvino_nor_h5py(installed: Path) -> None:
    code = (
        "import sys; from datumaro.components.environment import Environment; "
        "assert 'clip_embed' in Environment().transforms; "
        "print({'openvino', 'h5py', 'datumaro_embed'} & set(sys.modules))"
    )
    done = run(installed, "-c", code)
    assert done.stdout.strip() == "set()", done.stderr


def test_wheel_carries_model_bridge_and_type_marker(installed: Path) -> None:
    root = site_packages(installed)
    for name in (
        "datumaro_embed.pth",
        "datumaro_embed_bridge.py",
        "datumaro_embed/py.typed",
        "datumaro_embed/_models/demo/model.json",
        "datumaro_embed/_models/demo/image_encoder.bin",
        "datumaro_embed/page/assets/report.html",
    ):
        assert (root / name).is_file(), name


def declare_plugin(root: Path, line: str) -> None:
    """Write the metadata of some other installed package with one entry point."""
    info = root / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[datumaro.plugins]\n{line}\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("broken = no_such_module_at_all:Broken", "No module named 'no_such_module_at_all'"),
        ("broken = datumaro", "expected"),
        ("nonsense.broken = datumaro:Dataset", "expected"),
        ("rename = json:JSONDecoder", "Datumaro has a rename of its own"),
        ("importer.broken = json:NoSuchName", "NoSuchName"),
    ],
)
def test_broken_entry_point_of_another_package_is_one_warning(
    with_others: Path, line: str, reason: str
) -> None:
    declare_plugin(site_packages(with_others), line)

    done = transforms(with_others)

    assert "clip_embed" in done.stdout
    warnings = [text for text in done.stderr.splitlines() if "entry points" in text]
    assert len(warnings) == 1
    assert reason in warnings[0]


def test_other_packages_transforms_are_registered_too(with_others: Path) -> None:
    declare_plugin(site_packages(with_others), "other_transform = other_package:Other")
    (site_packages(with_others) / "other_package.py").write_text("")
    assert "other_transform" in transforms(with_others).stdout


@pytest.mark.slow
def test_without_datumaro_a_python_process_starts_silently(tmp_path: Path, wheel: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    options = ["--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    done = run(Path(sys.executable), "-m", "pip", *options)
    assert done.returncode == 0, done.stderr
    assert (site_packages(python) / "datumaro_embed.pth").is_file()
    done = run(python, "-W", "error", "-c", "print('fine')")
    assert (done.stdout, done.stderr) == ("fine\n", "")
