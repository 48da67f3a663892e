"""QGIS layers -> files that geodiff can read, or one line that says what to do instead."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import Any

from qgis.core import (
    Qgis,
    QgsCoordinateTransformContext,
    QgsFields,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QCoreApplication

SAVE = "save the part that you need as a GeoTIFF (right-click > Export > Save As) and choose that"


class Unusable(Exception):
    """A layer, a box or a choice that cannot be taken; the message says what to do."""


@dataclass(frozen=True)
class PolygonFile:
    """Polygons as the child reads them."""

    path: str
    layer: str | None  # where the file has several


def raster_file(layer: QgsRasterLayer | None) -> str:
    """The file or address of a raster layer, as GDAL names it. Raises Unusable."""
    if layer is None or not layer.isValid():
        raise Unusable(tr("There is no raster layer to go by: add one, or choose another source."))
    name = layer.name()
    if layer.providerType() != "gdal":
        kind = layer.providerType()
        raise Unusable(
            tr("{} comes from a web service or database ({}): {}.").format(name, kind, tr(SAVE))
        )
    source = str(layer.source()).partition("|option:")[0]
    if source.startswith("/vsimem/"):
        raise Unusable(tr("{} lies in the memory of QGIS: {}.").format(name, tr(SAVE)))
    if os.path.isabs(source) and not source.startswith("/vsi") and not os.path.isfile(source):
        raise Unusable(tr("The file of {} is missing: {}").format(name, source))
    return source


def raster_bands(layer: QgsRasterLayer) -> tuple[int, int, int] | None:
    """The bands to take: the first three, or a single one as grey."""
    return (1, 1, 1) if layer.bandCount() < 3 else None


def raster_scale(layer: QgsRasterLayer) -> tuple[float, float] | None:
    """Values that become black and white, as the layer is drawn; None for a raster of bytes."""
    provider = layer.dataProvider()
    if provider.dataType(1) == Qgis.DataType.Byte:
        return None
    renderer: Any = layer.renderer()
    for name in ("redContrastEnhancement", "contrastEnhancement"):
        drawn = getattr(renderer, name, lambda: None)()
        if drawn is not None and drawn.maximumValue() > drawn.minimumValue():
            return float(drawn.minimumValue()), float(drawn.maximumValue())
    found = provider.bandStatistics(1)
    if found.maximumValue > found.minimumValue:
        return float(found.minimumValue), float(found.maximumValue)
    return None


def polygon_file(
    layer: QgsVectorLayer | None, attribute: str, selected: bool, folder: str | None = None
) -> PolygonFile:
    """The file of a polygon layer, or a copy of what the user sees of it.

    A copy (a GeoPackage in ``folder``, or in a new temporary one) is made of layers in memory or in
    a database, of edits that are not saved, of filtered layers, joins and selections. Raises
    Unusable.
    """
    if layer is None or not layer.isValid():
        raise Unusable(tr("There is no polygon layer to go by: add one, or choose another source."))
    if QgsWkbTypes.geometryType(layer.wkbType()) != QgsWkbTypes.PolygonGeometry:
        raise Unusable(tr("{} has no polygons: choose a polygon layer.").format(layer.name()))
    if layer.fields().indexOf(attribute) < 0:
        raise Unusable(tr("Choose the field of {} that holds the words.").format(layer.name()))
    if not layer.crs().isValid():
        raise Unusable(tr("{} has no CRS: set one (right-click > Layer CRS).").format(layer.name()))
    if selected and layer.selectedFeatureCount() == 0:
        raise Unusable(tr("Nothing is selected in {}: select polygons.").format(layer.name()))
    if not (selected or layer.featureCount()):
        raise Unusable(tr("{} is empty: draw polygons first.").format(layer.name()))
    saved = saved_file(layer)
    own = layer.fields().fieldOrigin(layer.fields().indexOf(attribute))
    if saved is not None and not selected and own == QgsFields.OriginProvider:
        return saved
    return written(layer, selected, folder or tempfile.mkdtemp(prefix="geodiff-"))


def saved_file(layer: QgsVectorLayer) -> PolygonFile | None:
    """The file that holds just what the layer shows; None if there is no such file."""
    if layer.providerType() != "ogr" or layer.isModified() or layer.subsetString():
        return None
    parts = QgsProviderRegistry.instance().decodeUri("ogr", layer.source())
    path = str(parts.get("path") or "")
    if not os.path.exists(path):
        return None
    name = parts.get("layerName")
    return PolygonFile(path, str(name) if name else None)


def written(layer: QgsVectorLayer, selected: bool, folder: str) -> PolygonFile:
    """A copy of a layer as a GeoPackage; a layer that shows the same again is the same file.

    Raises Unusable where it cannot be written.
    """
    folder = os.path.join(folder, fingerprint(layer, selected))
    path = os.path.join(folder, f"{copy_name(layer)}.gpkg")
    if os.path.exists(path):
        return PolygonFile(path, None)
    os.makedirs(folder, exist_ok=True)
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = "polygons"
    options.onlySelectedFeatures = selected
    context = QgsCoordinateTransformContext()
    answer = QgsVectorFileWriter.writeAsVectorFormatV3(layer, path, context, options)
    if answer[0] != QgsVectorFileWriter.NoError:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unusable(tr("{} cannot be copied: {}").format(layer.name(), answer[1]))
    return PolygonFile(path, None)


def copy_name(layer: QgsVectorLayer) -> str:
    """The name of a copy, without its suffix: that of the layer, as far as files may bear it."""
    name = "".join(sign if sign.isalnum() or sign in "-_ " else "_" for sign in layer.name())
    return name.strip() or "polygons"


def fingerprint(layer: QgsVectorLayer, selected: bool) -> str:
    """Tells what a layer shows now from what it shows after another edit, filter or selection."""
    told = hashlib.sha256(repr((layer.crs().toWkt(), layer.fields().names())).encode())
    for feature in layer.getSelectedFeatures() if selected else layer.getFeatures():
        told.update(bytes(feature.geometry().asWkb()) + repr(feature.attributes()).encode())
    return told.hexdigest()[:16]


def tr(text: str) -> str:
    """``text`` in the user's language."""
    return QCoreApplication.translate("Geodiff", text)
