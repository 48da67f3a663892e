"""Rectangles and CRSs of QGIS -> those of geodiff."""

from __future__ import annotations

import math

from qgis.core import QgsCoordinateReferenceSystem, QgsRectangle

from geodiff_qgis.request import Box
from geodiff_qgis.sources import Unusable, tr


def crs_word(crs: QgsCoordinateReferenceSystem) -> str:
    """An EPSG code, else WKT. Raises Unusable for no CRS at all."""
    if not crs.isValid():
        raise Unusable(
            tr("The project has no CRS, so nobody knows where the box lies: set one (lower right).")
        )
    name = crs.authid()
    if name.startswith(("EPSG:", "OGC:", "ESRI:")):
        return str(name)
    return str(crs.toWkt(QgsCoordinateReferenceSystem.WKT_PREFERRED))


def box_of(rectangle: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> Box:
    """A rectangle as geodiff takes it. Raises Unusable for one without area or CRS."""
    word = crs_word(crs)
    edges = (
        rectangle.xMinimum(), rectangle.yMinimum(), rectangle.xMaximum(), rectangle.yMaximum(),
    )  # fmt: skip
    if rectangle.isNull() or not all(map(math.isfinite, edges)):
        raise Unusable(tr("There is no extent yet: draw a rectangle, or take a layer's."))
    try:
        return Box(*edges, crs=word)
    except ValueError:
        raise Unusable(
            tr("The extent has no area: draw a rectangle, or take a layer's or the map's.")
        ) from None
