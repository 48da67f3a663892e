"""The zip that QGIS installs, and what its metadata promises. No QGIS needed."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import xml.etree.ElementTree
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "qgis_plugin" / "geodiff_qgis"
MODULES = sorted(PLUGIN.rglob("*.py"))


@pytest.fixture(scope="module")
def package() -> ModuleType:
    spec = importlib.util.spec_from_file_location("package", ROOT / "qgis_plugin" / "package.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def metadata() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PLUGIN / "metadata.txt", "utf-8")
    return parser["general"]


def test_the_zip_has_one_root_and_only_sources(package: ModuleType, tmp_path: Path) -> None:
    path = package.pack(tmp_path / "plugin.zip")
    assert path.stat().st_size < 25e6
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert {name.split("/")[0] for name in names} == {"geodiff_qgis"}
        for needed in ("metadata.txt", "__init__.py", "LICENSE", "CHANGELOG.md", "icon.svg"):
            assert f"geodiff_qgis/{needed}" in names
        for name in names:
            if not name.endswith(".qm"):  # translations
                archive.read(name).decode("utf-8")  # no binaries
            assert "__pycache__" not in name
    packed = {name for name in names if name.endswith(".py")}
    assert packed == {f"geodiff_qgis/{path.relative_to(PLUGIN).as_posix()}" for path in MODULES}


def test_the_same_sources_give_the_same_bytes(package: ModuleType, tmp_path: Path) -> None:
    one, two = (package.pack(tmp_path / name).read_bytes() for name in ("1.zip", "2.zip"))
    assert one == two


def test_the_metadata_is_what_qgis_asks_for(metadata: configparser.SectionProxy) -> None:
    for name in ("name", "description", "about", "version", "author", "qgisMinimumVersion"):
        assert metadata[name].strip()
    assert metadata["qgisMinimumVersion"] == "3.22"
    assert metadata["qgisMaximumVersion"] == "4.99"
    assert metadata["name"].lower() != "geodiff"  # that one compares GeoPackages
    assert "SYNTHETIC" in metadata["about"]
    assert (PLUGIN / metadata["icon"]).is_file()
    changes = (PLUGIN / "CHANGELOG.md").read_text("utf-8")
    assert f"## {metadata['version']}" in changes


def test_the_metadata_has_the_changes_of_its_version(metadata: configparser.SectionProxy) -> None:
    changes = (PLUGIN / "CHANGELOG.md").read_text("utf-8")
    version, _, told = metadata["changelog"].partition("\n")
    assert version == metadata["version"]
    own = changes.split(f"## {version}\n")[1].partition("\n## ")[0]
    assert told.splitlines() == own.splitlines()


ADDRESSES = ["--repository=https://example.org/r", "--tracker=https://example.org/t"]
WHOLE = [*ADDRESSES, "--homepage=https://example.org", "--email=a@example.org"]


def test_what_is_missing_is_said_and_refused_only_for_publishing(
    package: ModuleType, metadata: configparser.SectionProxy, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "plugin.zip"
    missing = [name for name in ("email", "repository") if not metadata.get(name)]
    assert package.main([str(path), "--publish"]) == (1 if missing else 0)
    assert path.exists() != bool(missing)
    said = capsys.readouterr().err
    for name in missing:
        assert f"would refuse it: {name} is missing" in said
    assert package.main([str(path)]) == 0
    assert path.exists()


def test_addresses_that_are_given_stand_in_the_zip(
    package: ModuleType, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "plugin.zip"
    assert package.main([str(path), "--publish", *WHOLE]) == 0
    assert capsys.readouterr().err == ""
    parser = configparser.ConfigParser()
    with zipfile.ZipFile(path) as archive:
        parser.read_string(archive.read("geodiff_qgis/metadata.txt").decode("utf-8"))
    assert parser["general"]["email"] == "a@example.org"
    assert parser["general"]["repository"] == "https://example.org/r"
    assert parser["general"]["name"] == package.metadata()["name"]


@pytest.mark.parametrize("wrong", ["--email=nobody", "--repository=nowhere", "--tracker=file:///x"])
def test_what_is_no_address_is_refused(
    package: ModuleType, wrong: str, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "plugin.zip"
    assert package.main([str(path), "--publish", *WHOLE, wrong]) == 1
    assert "is no address" in capsys.readouterr().err
    assert not path.exists()


def test_the_metadata_has_nothing_that_the_repository_reads_as_a_reference() -> None:
    parser = configparser.ConfigParser()
    parser.read(PLUGIN / "metadata.txt", "utf-8")
    assert dict(parser["general"])["name"]


def test_the_licence_is_the_projects() -> None:
    assert (PLUGIN / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PLUGIN)))
def test_a_module_reads_as_the_python_of_the_oldest_qgis(path: Path) -> None:
    """QGIS 3.22 comes with Python 3.9 on Windows and macOS."""
    text = path.read_text("utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    assert "from __future__ import annotations" in text or len(tree.body) == 1
    names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert "exec_" not in names  # gone in Qt 6
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None) or node.names[0].name
            assert not str(module).startswith(("PyQt", "PySide"))


def test_every_text_is_there_for_translators() -> None:
    spec = importlib.util.spec_from_file_location("strings", ROOT / "qgis_plugin" / "strings.py")
    assert spec is not None
    assert spec.loader is not None
    strings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(strings)
    found = strings.collect()
    for text in ("&Run", "Painting", "Paint a synthetic mosaic", "synthetic, seed {}"):
        assert text in found
    tree = xml.etree.ElementTree.fromstring(strings.ts(found))
    assert [source.text for source in tree.iter("source")] == found
    for path in MODULES:  # nothing that is put together before it is handed to tr
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr":
                assert not isinstance(node.args[0], (ast.JoinedStr, ast.BinOp)), path
