"""The plugin under Qt 6, which Debian's QGIS does not have: every module is imported with PyQt6.

``qgis.core`` and ``qgis.gui`` are stubs; ``qgis.PyQt`` is PyQt6 itself, so that a name or an enum
that Qt 6 does not have is found.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PyQt6.QtWidgets", exc_type=ImportError)

PLUGIN = Path(__file__).parents[2] / "qgis_plugin" / "geodiff_qgis"
MODULES = {
    ".".join(("geodiff_qgis", *path.relative_to(PLUGIN).with_suffix("").parts)): path
    for path in sorted(PLUGIN.rglob("*.py"))
}
PARTS = ("QtCore", "QtGui", "QtWidgets", "sip")


class Stub(types.ModuleType):
    """A module in which every name is a class of its own; those of widgets are PyQt6 objects."""

    def __getattr__(self, name: str) -> Any:
        from PyQt6.QtCore import QObject
        from PyQt6.QtWidgets import QWidget

        if name.startswith("__"):
            raise AttributeError(name)
        base = QWidget if self.__name__.endswith("gui") else QObject
        made = type(name, (base,), {})
        setattr(self, name, made)
        return made


@pytest.fixture(autouse=True)
def qgis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """QGIS 4 as far as an import sees it."""
    package = types.ModuleType("qgis")
    qt = types.ModuleType("qgis.PyQt")
    modules = {"qgis": package, "qgis.PyQt": qt}
    for name in ("core", "gui", "utils"):
        modules[f"qgis.{name}"] = Stub(f"qgis.{name}")
    for name in PARTS:
        modules[f"qgis.PyQt.{name}"] = importlib.import_module(f"PyQt6.{name}")
        setattr(qt, name, modules[f"qgis.PyQt.{name}"])
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name.removesuffix(".__init__"), raising=False)
    yield
    for name in MODULES:
        sys.modules.pop(name.removesuffix(".__init__"), None)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_imported(name: str) -> None:
    importlib.import_module(name.removesuffix(".__init__"))


def chain(node: ast.AST) -> list[str]:
    """``a.b.c`` as names; empty for anything else."""
    if isinstance(node, ast.Attribute):
        inner = chain(node.value)
        return [*inner, node.attr] if inner else []
    return [node.id] if isinstance(node, ast.Name) else []


@pytest.mark.parametrize("name", MODULES)
def test_every_enum_of_qt_is_there(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("qgis.PyQt."):
            module = importlib.import_module(str(node.module))
            known |= {alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        names = chain(node)
        if len(names) > 1 and names[0] in known:
            found = known[names[0]]
            for part in names[1:]:
                assert hasattr(found, part), f"{'.'.join(names)} in line {node.lineno}"
                found = getattr(found, part)
