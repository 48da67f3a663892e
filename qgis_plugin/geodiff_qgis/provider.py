"""The plugin's place in the Processing toolbox, the modeler, batch runs and qgis_process."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from geodiff_qgis.algorithms.embed import Embed
from geodiff_qgis.algorithms.imagine import Imagine
from geodiff_qgis.algorithms.mix import Mix
from geodiff_qgis.algorithms.synthesize import Synthesize

ICON = str(Path(__file__).with_name("icon.svg"))


class GeodiffProvider(QgsProcessingProvider):
    """Algorithms with the ids geodiffmosaic:synthesize, geodiffmosaic:embed, ..."""

    def id(self) -> str:
        """Begins the algorithms' ids; not geodiff, which means differences between layers."""
        return "geodiffmosaic"

    def name(self) -> str:
        """As the toolbox shows it."""
        return "Geodiff Mosaic"

    def icon(self) -> QIcon:
        """The plugin's."""
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        """The plugin's, for the modeler."""
        return ICON

    def loadAlgorithms(self) -> None:
        """One of each."""
        for algorithm in (Synthesize(), Embed(), Imagine(), Mix()):
            self.addAlgorithm(algorithm)

    def defaultRasterFileExtension(self) -> str:
        """Mosaics are GeoTIFFs."""
        return "tif"

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Mosaics are GeoTIFFs."""
        return ["tif", "tiff"]
