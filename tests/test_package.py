"""What is delivered: the wheel's contents, its metadata, and the public names."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import pytest

import geodiff

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

ASK = """
import sys
import geodiff
print(sorted(name for name in ("numpy", "torch", "rasterio") if name in sys.modules))
geodiff.GeodiffError, geodiff.Step, geodiff.Window, geodiff.SynthesizeRequest, geodiff.__version__
print(sorted(name for name in ("numpy", "torch", "rasterio") if name in sys.modules))
geodiff.PixelGrid, geodiff.EmbeddingGrid
print("torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this source tree, built without the network."""
    for name in ("hatchling", "pip"):
        if find_spec(name) is None:
            pytest.skip(f"{name}, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"geodiff", "geodiff_cli"}
    for folder, package in ((ROOT, "geodiff"), (ROOT / "cli", "geodiff_cli")):
        files = {path for path in (folder / package).rglob("*") if path.is_file()}
        kept = {path.relative_to(folder).as_posix() for path in files if path.suffix != ".pyc"}
        assert kept == {name for name in names if name.startswith(f"{package}/")}
        assert f"{package}/py.typed" in kept


def test_the_wheel_names_version_licence_and_commands(wheel: zipfile.ZipFile) -> None:
    info = f"geodiff_mosaic-{PROJECT['version']}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert metadata["Name"] == "geodiff-mosaic"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    entries = wheel.read(f"{info}/entry_points.txt").decode()
    assert "[console_scripts]\ngeodiff = geodiff_cli.main:main" in entries
    assert "[rasterio.rio_plugins]\ngeodiff = geodiff_cli.main:cli" in entries


def test_the_source_archive_holds_all_that_a_developer_needs(tmp_path: Path) -> None:
    if find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the archive, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("geodiff", "cli", "tests", "docs", "configs", "benchmarks"):
        files = {file for file in (ROOT / folder).rglob("*") if file.is_file()}
        wanted = {file.relative_to(ROOT).as_posix() for file in files if file.suffix != ".pyc"}
        assert wanted
        assert wanted <= names
    assert {"README.md", "LICENSE", "pyproject.toml"} <= names


def test_the_version_is_the_one_of_pyproject() -> None:
    """Installed or run from the source tree."""
    assert geodiff.__version__ == PROJECT["version"]


@pytest.mark.parametrize("name", geodiff.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(geodiff, name)
    assert name in dir(geodiff)
    assert name == "__version__" or (value.__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        geodiff.paint  # noqa: B018


def test_names_are_imported_only_when_used() -> None:
    """In a process of its own, since this one has imported everything already."""
    result = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == ["[]", "[]", "False"]
