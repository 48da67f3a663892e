"""Collects the plugin's texts for translators: ``python qgis_plugin/strings.py > geodiff_de.ts``.

Fill in the translations (Qt Linguist), then ``lrelease geodiff_de.ts -qm
qgis_plugin/geodiff_qgis/i18n/geodiff_de.qm``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

PLUGIN = Path(__file__).parent / "geodiff_qgis"
CONTEXT = "Geodiff"
CONSTANTS = {"title", "about", "STAGES", "SAVE", "INTRODUCTION", "PANEL", "ELSEWHERE"}
"""Names of texts that are handed to ``tr`` later."""


def texts(tree: ast.AST) -> Iterator[str]:
    """Every literal that is handed to ``tr``, now or later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr":
            yield from literals(node.args[0])
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in CONSTANTS:
            values = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
            for value in values:
                yield from literals(value)


def literals(node: ast.AST) -> Iterator[str]:
    """The text of a literal; nothing for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def collect() -> list[str]:
    """All texts of the plugin, each once, sorted."""
    modules = sorted(PLUGIN.rglob("*.py"))
    return sorted({text for path in modules for text in texts(ast.parse(path.read_text("utf-8")))})


def ts(found: list[str]) -> str:
    """Qt's translation source."""
    messages = "".join(
        f"<message><source>{escape(text)}</source>"
        '<translation type="unfinished"></translation></message>\n'
        for text in found
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n<TS version="2.1">\n'
        f"<context><name>{CONTEXT}</name>\n{messages}</context>\n</TS>\n"
    )


if __name__ == "__main__":
    print(ts(collect()), end="")
