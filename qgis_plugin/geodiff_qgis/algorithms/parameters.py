"""Parameters that several algorithms share."""

from __future__ import annotations

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterCrs,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from geodiff_qgis.algorithms.base import advanced
from geodiff_qgis.sources import tr

RASTER, EXTENT, CRS, RES, LIKE = "RASTER", "EXTENT", "CRS", "RES", "LIKE"
TEXT, POLYGONS, FIELD, SOFT = "TEXT", "POLYGONS", "FIELD", "SOFT_BORDER"
STAC, COLLECTION, DATETIME, ASSET, PAYS = "STAC", "COLLECTION", "DATETIME", "ASSET", "PAYS"
SEED, MODEL = "SEED", "MODEL"


def add_place(algorithm: QgsProcessingAlgorithm) -> None:
    """Where the result lies."""
    algorithm.addParameter(
        QgsProcessingParameterExtent(EXTENT, tr("Extent [default: all of the source]"), None, True)
    )
    for parameter in (
        QgsProcessingParameterCrs(CRS, tr("CRS of the result [default: UTM zone]"), None, True),
        number(RES, tr("Pixel size in units of that CRS [default: the model's]"), 1e-9),
        QgsProcessingParameterRasterLayer(LIKE, tr("Take this raster's grid exactly"), None, True),
    ):
        algorithm.addParameter(advanced(parameter))


def add_words(algorithm: QgsProcessingAlgorithm) -> None:
    """Words for the whole box or for each polygon."""
    polygon = [QgsProcessing.TypeVectorPolygon]
    for parameter in (
        QgsProcessingParameterString(TEXT, tr("Go by words"), None, False, True),
        QgsProcessingParameterFeatureSource(POLYGONS, tr("Go by polygons"), polygon, None, True),
        QgsProcessingParameterField(
            FIELD, tr("Field with the words of the polygons"), None, POLYGONS, optional=True
        ),
    ):
        algorithm.addParameter(parameter)
    algorithm.addParameter(advanced(number(SOFT, tr("Soft border of the polygons in metres"), 0)))


def add_catalogue(algorithm: QgsProcessingAlgorithm) -> None:
    """Images of a STAC catalogue."""
    for name, title in (
        (STAC, tr("Go by a STAC catalogue (planetary-computer, earth-search or an address)")),
        (COLLECTION, tr("Collection of the catalogue")),
        (DATETIME, tr("Dates of the images, such as 2022 or 2020/2022")),
    ):
        algorithm.addParameter(QgsProcessingParameterString(name, title, None, False, True))
    asset = tr("Asset of the items, or those of red,green,blue")
    pays = tr("I pay for reading the images of the catalogue")
    for parameter in (
        QgsProcessingParameterString(ASSET, asset, None, False, True),
        QgsProcessingParameterBoolean(PAYS, pays, False, True),
    ):
        algorithm.addParameter(advanced(parameter))


def add_seed(algorithm: QgsProcessingAlgorithm) -> None:
    """Which of all mosaics."""
    kind = QgsProcessingParameterNumber.Integer
    algorithm.addParameter(
        QgsProcessingParameterNumber(SEED, tr("Seed"), kind, 0, False, 0, 2**31 - 1)
    )


def add_model(algorithm: QgsProcessingAlgorithm) -> None:
    """Which model."""
    folder = QgsProcessingParameterFile.Folder
    algorithm.addParameter(
        advanced(
            QgsProcessingParameterFile(
                MODEL, tr("Model folder [default: the setting's]"), folder, "", None, True
            )
        )
    )


def number(name: str, title: str, least: float) -> QgsProcessingParameterNumber:
    """An optional number that is not given unless the user does."""
    kind = QgsProcessingParameterNumber.Double
    return QgsProcessingParameterNumber(name, title, kind, None, True, least)
