"""Toolbox: a box and something to go by -> a synthetic mosaic."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from geodiff_qgis.algorithms import parameters as common
from geodiff_qgis.algorithms.base import OUTPUT, Describe, GeodiffAlgorithm, advanced
from geodiff_qgis.algorithms.given import Given
from geodiff_qgis.request import DEVICES, LAYOUTS, MODES, Request
from geodiff_qgis.sources import Unusable, tr

EMBEDDINGS, MODE, LAYOUT, DEVICE, ITEM = "EMBEDDINGS", "MODE", "LAYOUT", "DEVICE", "ITEM"
GRIDS = "Embedding grids (*.parquet *.tif *.tiff *.zarr)"


class Synthesize(GeodiffAlgorithm):
    """`geodiff synthesize`."""

    command = "synthesize"
    title = "Paint a synthetic mosaic"
    about = (
        "Paints a large, seamless, SYNTHETIC aerial mosaic and writes it as a Cloud-Optimized "
        "GeoTIFF that says so in its tags.\n\nIt goes by one source: a raster, a STAC catalogue, "
        "words, polygons with words, or a saved embedding grid. Without any the model imagines a "
        "place; then an extent is needed. Words need the extra 'text' of geodiff.\n\nThe same "
        "request gives the same pixels; another seed gives another mosaic."
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """The parameters, in the order of the dialog."""
        self.addParameter(
            QgsProcessingParameterRasterLayer(common.RASTER, tr("Go by a raster layer"), None, True)
        )
        common.add_catalogue(self)
        common.add_words(self)
        self.addParameter(
            QgsProcessingParameterFile(
                EMBEDDINGS, tr("Go by a saved embedding grid"), optional=True, fileFilter=GRIDS
            )
        )
        common.add_place(self)
        self.addParameter(QgsProcessingParameterEnum(MODE, tr("Mode"), list(MODES), False, 0))
        common.add_seed(self)
        common.add_model(self)
        for name, title, choices in (
            (LAYOUT, tr("Layout"), LAYOUTS),
            (DEVICE, tr("Device"), DEVICES),
        ):
            self.addParameter(
                advanced(QgsProcessingParameterEnum(name, title, list(choices), False, 0))
            )
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, tr("Synthetic mosaic")))
        self.addOutput(QgsProcessingOutputFile(ITEM, tr("STAC item")))
        self.addOutput(QgsProcessingOutputNumber("WIDTH", tr("Width in pixels")))
        self.addOutput(QgsProcessingOutputNumber("HEIGHT", tr("Height in pixels")))

    def asked(self, given: Any, context: Any, feedback: Any) -> Request:
        """The request in the parameters."""
        ask = Given(self, given, context, feedback)
        sources = (common.RASTER, common.STAC, common.TEXT, common.POLYGONS, EMBEDDINGS)
        taken = [name for name in sources if ask.has(name)]
        if len(taken) > 1:
            raise Unusable(tr("Give one source only, not {}.").format(", ".join(taken)))
        if not taken and not ask.has(common.EXTENT) and not ask.has(common.LIKE):
            raise Unusable(tr("Without a source an extent is needed."))
        return Request(
            self.command,
            "",
            **ask.place(),
            **ask.raster(),
            **ask.catalogue(),
            **ask.asked_words(),
            embeddings=ask.words(EMBEDDINGS),
            seed=self.parameterAsInt(given, common.SEED, context),
            mode=ask.choice(MODE, MODES),
            layout=ask.choice(LAYOUT, LAYOUTS),
            device=ask.choice(DEVICE, DEVICES),
            model=ask.model(),
            overwrite=True,  # the dialog has asked already
        )

    def destination(self, given: Any, context: Any) -> str:
        """The file to write, which QGIS loads if the user wants it."""
        return str(self.parameterAsOutputLayer(given, OUTPUT, context))

    def results(self, facts: Any, context: Any) -> dict[str, Any]:
        """The mosaic, its item and its size; a layer that is loaded says that it is synthetic."""
        path = self.request.out
        if context.willLoadLayerOnCompletion(self.named):
            details = context.layerToLoadOnCompletionDetails(self.named)
            details.setPostProcessor(Describe(path, facts))
        return {
            OUTPUT: self.named,
            ITEM: facts.get("item", ""),
            "WIDTH": facts.get("width"),
            "HEIGHT": facts.get("height"),
        }
