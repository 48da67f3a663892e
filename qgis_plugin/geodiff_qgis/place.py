"""Rectangles and CRSs of QGIS -> those of geodiff."""

from __future__ import annotations

import math

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsProject,
    QgsRectangle,
)

from geodiff_qgis.request import Box, Request
from geodiff_qgis.sources import Unusable, tr

DEGREE = 111_320.0
"""Metres of a degree of latitude."""
MODEL_PIXEL = 0.6
"""Metres a pixel of the model that comes with geodiff."""


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
    if not all(map(math.isfinite, edges)):
        raise Unusable(tr("There is no extent yet: draw a rectangle, or take a layer's."))
    try:
        return Box(*edges, crs=word)
    except ValueError:
        raise Unusable(
            tr("The extent has no area: draw a rectangle, or take a layer's or the map's.")
        ) from None


def metres(box: Box, project: QgsProject) -> tuple[float, float] | None:
    """Width and height of a box on the ground, roughly; None where nobody knows."""
    seen = rectangle_in(box, QgsCoordinateReferenceSystem("EPSG:4326"), project)
    if seen is None:
        return None
    shrink = max(0.01, math.cos(math.radians(seen.center().y())))
    return DEGREE * shrink * seen.width(), DEGREE * seen.height()


def pixel_metres(request: Request, project: QgsProject) -> float:
    """Pixel size of a mosaic on the ground, roughly, before geodiff is asked."""
    size, crs = request.res, QgsCoordinateReferenceSystem(request.crs or "")
    if size is None:
        for layer in project.mapLayers().values():
            if request.reference is not None and layer.source() == request.reference:
                size, crs = layer.rasterUnitsPerPixelX(), layer.crs()
    if size is None:
        return MODEL_PIXEL
    return size * DEGREE if crs.isGeographic() else size


def rectangle_in(
    box: Box, crs: QgsCoordinateReferenceSystem, project: QgsProject
) -> QgsRectangle | None:
    """A box as seen in another CRS; None where it cannot be brought there."""
    own = QgsCoordinateReferenceSystem(box.crs)
    rectangle = QgsRectangle(box.west, box.south, box.east, box.north)
    try:
        seen = QgsCoordinateTransform(own, crs, project).transformBoundingBox(rectangle)
    except QgsCsException:
        return None
    return seen if seen.isFinite() else None
