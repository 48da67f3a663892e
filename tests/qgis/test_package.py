"""The zip that QGIS installs, and what its metadata promises. No QGIS needed."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import xml.etree.ElementTree
import zipfile
from pathlib import Path
from types import ModuleType

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


def test_an_address_in_the_metadata_is_one(
    package: ModuleType, metadata: configparser.SectionProxy
) -> None:
    """plugins.qgis.org opens them; what is not known yet is left out, and package.py says so."""
    for name in ("tracker", "repository", "homepage"):
        assert (name in package.missing()) != (metadata.get(name, "").startswith("https://"))


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
