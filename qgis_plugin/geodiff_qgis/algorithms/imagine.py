"""Toolbox: a box -> the embedding grid of a place that nobody has seen."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingParameterFileDestination

from geodiff_qgis.algorithms import parameters as common
from geodiff_qgis.algorithms.base import OUTPUT, GeodiffAlgorithm
from geodiff_qgis.algorithms.embed import FILTER
from geodiff_qgis.algorithms.given import Given
from geodiff_qgis.request import Request
from geodiff_qgis.sources import Unusable, tr


class Imagine(GeodiffAlgorithm):
    """`geodiff imagine`."""

    command = "imagine"
    title = "Imagine an embedding grid"
    about = (
        "Lets the model lay out a place, by words, by polygons with words, or by nothing, and "
        "saves the grid without painting it. A mosaic that is painted from it with the same seed "
        "is the one that 'Paint a synthetic mosaic' gives for that place and seed."
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """The parameters, in the order of the dialog."""
        common.add_words(self)
        common.add_place(self)
        common.add_seed(self)
        common.add_model(self)
        self.addParameter(
            QgsProcessingParameterFileDestination(OUTPUT, tr("Embedding grid"), FILTER)
        )

    def asked(self, given: Any, context: Any, feedback: Any) -> Request:
        """The request in the parameters."""
        ask = Given(self, given, context, feedback)
        if ask.has(common.TEXT) and ask.has(common.POLYGONS):
            raise Unusable(tr("Give words or polygons, not both."))
        if not any(map(ask.has, (common.EXTENT, common.LIKE, common.POLYGONS))):
            raise Unusable(tr("Give an extent."))
        return Request(
            self.command,
            "",
            **ask.place(),
            **ask.asked_words(),
            seed=self.parameterAsInt(given, common.SEED, context),
            model=ask.model(),
            overwrite=True,
        )
