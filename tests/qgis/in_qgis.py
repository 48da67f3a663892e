"""What the tests inside QGIS share: pictures, layers, and waiting for the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from osgeo import gdal, osr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsField,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication, QVariant

WEST, NORTH, PIXEL = 380000.0, 3990153.6, 0.6
UTM = "EPSG:32611"


def until(happened: Callable[[], Any], seconds: float = 15) -> bool:
    """Let QGIS work until something is so; whether it is so in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QCoreApplication.processEvents()
        if happened():
            return True
        time.sleep(0.02)
    return False


def picture(path: Path, bands: int = 3, kind: int = gdal.GDT_Byte, side: int = 64) -> str:
    """A GeoTIFF in UTM zone 11 with a ramp in every band."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), side, side, bands, kind)
    dataset.SetGeoTransform((WEST, PIXEL, 0, NORTH, 0, -PIXEL))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32611)
    dataset.SetProjection(reference.ExportToWkt())
    for band in range(1, bands + 1):
        row = bytes(range(side)) if kind == gdal.GDT_Byte else None
        if row is not None:
            dataset.GetRasterBand(band).WriteRaster(0, 0, side, side, row * side)
        else:
            dataset.GetRasterBand(band).Fill(100.0 * band)
    dataset.FlushCache()
    return str(path)


def raster_layer(path: str) -> QgsRasterLayer:
    """A raster layer of the project."""
    layer = QgsRasterLayer(path, Path(path).stem)
    assert layer.isValid()
    QgsProject.instance().addMapLayer(layer)
    return layer


def polygon_layer(name: str = "plan", kind: str = "Polygon") -> QgsVectorLayer:
    """A layer in memory with two polygons and the field ``text``."""
    layer = QgsVectorLayer(f"{kind}?crs={UTM}", name, "memory")
    layer.dataProvider().addAttributes([QgsField("text", QVariant.String)])
    layer.updateFields()
    if kind == "Polygon":
        for number, words in enumerate(("forest", "a harbour")):
            feature = QgsFeature(layer.fields())
            x = WEST + 80 * number
            rectangle = QgsRectangle(x, NORTH - 150, x + 70, NORTH)
            feature.setGeometry(QgsGeometry.fromRect(rectangle))
            feature.setAttributes([words])
            layer.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(layer)
    return layer


def utm() -> QgsCoordinateReferenceSystem:
    """UTM zone 11 north."""
    return QgsCoordinateReferenceSystem(UTM)
