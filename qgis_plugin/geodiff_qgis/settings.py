"""What the plugin remembers between two sessions, in QGIS's own settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from qgis.core import QgsApplication, QgsSettings

from geodiff_qgis import environment
from geodiff_qgis.managed import newest_program

GROUP = "geodiff_mosaic/"
RECENT = 10
"""How many former runs are remembered."""


def value(name: str, default: str = "") -> str:
    """A setting as text."""
    found = QgsSettings().value(GROUP + name, default)
    return default if found is None else str(found)


def keep(name: str, text: str) -> None:
    """Remember a setting."""
    QgsSettings().setValue(GROUP + name, text)


def managed_folder() -> Path:
    """Where environments that the plugin made lie: beside the profile's plugins, not in them."""
    return Path(QgsApplication.qgisSettingsDirPath()) / "geodiff_mosaic"


def program() -> environment.Program:
    """The geodiff to run. Raises environment.NotFound, with what to do."""
    managed = newest_program(managed_folder())
    return environment.find(value("executable"), os.environ, managed)


def recent() -> list[dict[str, Any]]:
    """Former runs, the newest first: JSON-ready records as ``remember`` got them."""
    try:
        runs = json.loads(value("recent", "[]"))
    except ValueError:
        return []
    return [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []


def remember(run: dict[str, Any]) -> None:
    """Put a run on top of the former ones, in the place of one with the same output."""
    others = [other for other in recent() if other.get("out") != run.get("out")]
    keep("recent", json.dumps([run, *others][:RECENT]))
