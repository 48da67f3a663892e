"""QGIS plugin of geodiff: a panel and Processing algorithms that run `geodiff` as a child."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """Called by QGIS; imports the plugin only then, so that its QGIS-free parts stand alone."""
    from geodiff_qgis.plugin import GeodiffPlugin

    return GeodiffPlugin(iface)
