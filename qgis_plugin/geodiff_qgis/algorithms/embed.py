"""Toolbox: a raster, or images of a STAC catalogue -> an embedding grid."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingParameterFileDestination, QgsProcessingParameterRasterLayer

from geodiff_qgis.algorithms import parameters as common
from geodiff_qgis.algorithms.base import OUTPUT, GeodiffAlgorithm
from geodiff_qgis.algorithms.given import Given
from geodiff_qgis.request import Request
from geodiff_qgis.sources import Unusable, tr

FILTER = "GeoParquet (*.parquet);;GeoTIFF (*.tif);;Zarr (*.zarr)"


class Embed(GeodiffAlgorithm):
    """`geodiff embed`."""

    command = "embed"
    title = "Embed a raster"
    about = (
        "Describes a raster, or the images of a STAC catalogue, by one vector for each 64 x 64 "
        "pixels, and saves the grid. 'Paint a synthetic mosaic' paints from it."
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """The parameters, in the order of the dialog."""
        self.addParameter(
            QgsProcessingParameterRasterLayer(common.RASTER, tr("Raster layer"), None, True)
        )
        common.add_catalogue(self)
        common.add_place(self)
        common.add_model(self)
        self.addParameter(
            QgsProcessingParameterFileDestination(OUTPUT, tr("Embedding grid"), FILTER)
        )

    def asked(self, given: Any, context: Any, feedback: Any) -> Request:
        """The request in the parameters."""
        ask = Given(self, given, context, feedback)
        if ask.has(common.RASTER) == ask.has(common.STAC):
            raise Unusable(tr("Give a raster layer or a STAC catalogue, and not both."))
        return Request(
            self.command,
            "",
            **ask.place(),
            **ask.raster(),
            **ask.catalogue(),
            model=ask.model(),
            overwrite=True,
        )
