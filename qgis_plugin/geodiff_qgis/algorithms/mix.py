"""Toolbox: two embedding grids -> one between them."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingParameterFile, QgsProcessingParameterFileDestination

from geodiff_qgis.algorithms import parameters as common
from geodiff_qgis.algorithms.base import OUTPUT, GeodiffAlgorithm
from geodiff_qgis.algorithms.embed import FILTER
from geodiff_qgis.algorithms.given import Given
from geodiff_qgis.algorithms.synthesize import GRIDS
from geodiff_qgis.request import Request
from geodiff_qgis.sources import tr

FIRST, SECOND, WEIGHT = "FIRST", "SECOND", "WEIGHT"


class Mix(GeodiffAlgorithm):
    """`geodiff mix`."""

    command = "mix"
    title = "Mix two embedding grids"
    about = (
        "Turns the vectors of one grid towards those of another, of the same model and lattice, "
        "such as two imagined ones of one place. 'Paint a synthetic mosaic' paints what lies "
        "between."
    )

    def initAlgorithm(self, config: Any = None) -> None:
        """The parameters, in the order of the dialog."""
        for name, title in ((FIRST, tr("First grid")), (SECOND, tr("Second grid"))):
            self.addParameter(QgsProcessingParameterFile(name, title, fileFilter=GRIDS))
        share = common.number(WEIGHT, tr("Share of the second grid, 0 to 1"), 0)
        share.setMaximum(1)
        share.setDefaultValue(0.5)
        self.addParameter(share)
        self.addParameter(
            QgsProcessingParameterFileDestination(OUTPUT, tr("Embedding grid"), FILTER)
        )

    def asked(self, given: Any, context: Any, feedback: Any) -> Request:
        """The request in the parameters."""
        ask = Given(self, given, context, feedback)
        return Request(
            self.command,
            "",
            first=ask.words(FIRST),
            second=ask.words(SECOND),
            weight=ask.real(WEIGHT),
            overwrite=True,
        )
