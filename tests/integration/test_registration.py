"""Installing the built wheel makes a real `datum` process list clip_embed; uninstalling undoes it.

Each environment is a virtual one that sees this environment's packages, ours left out, by links.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
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


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Return the python of a fresh environment with every package of this one but ours."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    links = tmp_path / "links"
    links.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(OURS) and package.suffix != ".pth":
            (links / package.name).symlink_to(package)
    (site_packages(tmp_path) / "links.pth").write_text(f"{links}\n")
    return tmp_path / "venv" / "bin" / "python"


def site_packages(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    return found


def install(python: Path, *what: str) -> None:
    args = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", *what]
    done = run(python, *args)
    assert done.returncode == 0, done.stderr


def uninstall(python: Path) -> None:
    done = run(python, "-m", "pip", "uninstall", "-q", "-y", "datumaro-embed")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("editable", [False, True], ids=["plain", "editable"])
def test_install_registers_and_uninstall_leaves_no_trace(
    environment: Path, tmp_path: Path, wheel: Path, editable: bool
) -> None:
    before = sorted(path.name for path in site_packages(tmp_path).iterdir())
    assert "clip_embed" not in transforms(environment).stdout

    install(environment, *(["-e", str(REPO)] if editable else [str(wheel)]))
    assert "clip_embed" in transforms(environment).stdout
    assert "clip_embed" not in transforms(environment, DATUMARO_EMBED_AUTOLOAD="0").stdout

    uninstall(environment)
    assert "clip_embed" not in transforms(environment).stdout
    after = sorted(path.name for path in site_packages(tmp_path).iterdir())
    assert [name for name in after if name != "__pycache__"] == before


def test_listing_the_transforms_imports_neither_openvino_nor_h5py(
    environment: Path, wheel: Path
) -> None:
    install(environment, str(wheel))
    code = (
        "import sys; from datumaro.components.environment import Environment; "
        "assert 'clip_embed' in Environment().transforms; "
        "print({'openvino', 'h5py', 'datumaro_embed'} & set(sys.modules))"
    )
    done = run(environment, "-c", code)
    assert done.stdout.strip() == "set()", done.stderr


def test_wheel_carries_model_bridge_and_type_marker(
    environment: Path, tmp_path: Path, wheel: Path
) -> None:
    install(environment, str(wheel))
    root = site_packages(tmp_path)
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
    environment: Path, tmp_path: Path, wheel: Path, line: str, reason: str
) -> None:
    install(environment, str(wheel))
    declare_plugin(site_packages(tmp_path), line)

    done = transforms(environment)

    assert "clip_embed" in done.stdout
    warnings = [text for text in done.stderr.splitlines() if "entry points" in text]
    assert len(warnings) == 1
    assert reason in warnings[0]


def test_other_packages_transforms_are_registered_too(
    environment: Path, tmp_path: Path, wheel: Path
) -> None:
    install(environment, str(wheel))
    declare_plugin(site_packages(tmp_path), "other_transform = other_package:Other")
    (site_packages(tmp_path) / "other_package.py").write_text("")
    assert "other_transform" in transforms(environment).stdout


def test_without_datumaro_a_python_process_starts_silently(tmp_path: Path, wheel: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install(python, str(wheel))
    done = run(python, "-W", "error", "-c", "print('fine')")
    assert (done.stdout, done.stderr) == ("fine\n", "")
