"""The parameters of one run -> fields of a `Request`."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import NULL, QgsProcessingAlgorithm, QgsProcessingContext, QgsProcessingFeedback

from geodiff_qgis import settings
from geodiff_qgis.algorithms import parameters as names
from geodiff_qgis.place import box_of, crs_word
from geodiff_qgis.sources import Unusable, raster_bands, raster_file, raster_scale, tr

FORMATS = ["gpkg", "geojson", "shp", "fgb", "parquet"]


class Given:
    """The parameters of one run, asked by name; raises Unusable where they make no sense."""

    def __init__(
        self,
        algorithm: QgsProcessingAlgorithm,
        values: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> None:
        self.algorithm, self.values = algorithm, values
        self.context, self.feedback = context, feedback

    def has(self, name: str) -> bool:
        """Whether the user gave it."""
        value = self.values.get(name)
        return value not in (None, "") and value != NULL  # which a row of a batch leaves there

    def words(self, name: str) -> str | None:
        """A text, or None."""
        text = self.algorithm.parameterAsString(self.values, name, self.context).strip()
        return text or None

    def real(self, name: str) -> float | None:
        """A number, or None."""
        if not self.has(name):
            return None
        return float(self.algorithm.parameterAsDouble(self.values, name, self.context))

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        return choices[self.algorithm.parameterAsEnum(self.values, name, self.context)]

    def place(self) -> dict[str, Any]:
        """box, crs, res, like."""
        found: dict[str, Any] = {"res": self.real(names.RES)}
        if self.has(names.EXTENT):
            arguments = self.values, names.EXTENT, self.context
            crs = self.algorithm.parameterAsExtentCrs(*arguments)
            if not crs.isValid():
                raise Unusable(
                    tr("The extent has no CRS: write W,E,S,N [EPSG:4326], or give the project one.")
                )
            found["box"] = box_of(self.algorithm.parameterAsExtent(*arguments), crs)
        crs = self.algorithm.parameterAsCrs(self.values, names.CRS, self.context)
        if self.has(names.CRS) and crs.isValid():
            found["crs"] = crs_word(crs)
        if self.has(names.LIKE):
            found["like"] = raster_file(self.raster_layer(names.LIKE))
        return found

    def raster_layer(self, name: str) -> Any:
        """A raster layer."""
        return self.algorithm.parameterAsRasterLayer(self.values, name, self.context)

    def raster(self) -> dict[str, Any]:
        """reference, bands, scale."""
        if not self.has(names.RASTER):
            return {}
        layer = self.raster_layer(names.RASTER)
        path = raster_file(layer)
        return {"reference": path, "bands": raster_bands(layer), "scale": raster_scale(layer)}

    def catalogue(self) -> dict[str, Any]:
        """stac, collection, datetime, asset, stac_requester_pays."""
        collection = self.words(names.COLLECTION)
        return {
            "stac": self.words(names.STAC),
            "collection": tuple(collection.replace(",", " ").split()) if collection else (),
            "datetime": self.words(names.DATETIME),
            "asset": self.words(names.ASSET),
            "stac_requester_pays": self.algorithm.parameterAsBool(
                self.values, names.PAYS, self.context
            ),
        }

    def asked_words(self) -> dict[str, Any]:
        """text, or layout_file and what belongs to it."""
        found: dict[str, Any] = {"text": self.words(names.TEXT)}
        if not self.has(names.POLYGONS):
            return found
        attribute = self.words(names.FIELD)
        if attribute is None:
            raise Unusable(tr("Choose the field of the polygons that holds the words."))
        path, layer = self.algorithm.parameterAsCompatibleSourceLayerPathAndLayerName(
            self.values, names.POLYGONS, self.context, FORMATS, "gpkg", self.feedback
        )
        if not os.path.exists(path):
            raise Unusable(tr("The polygons cannot be read from a file: save the layer first."))
        found |= {"layout_file": path, "layer": layer or None, "attribute": attribute}
        return {**found, "soft_border": self.real(names.SOFT)}

    def model(self) -> str | None:
        """The folder of a model; None for the one that comes with geodiff."""
        return self.words(names.MODEL) or settings.value("model") or None
