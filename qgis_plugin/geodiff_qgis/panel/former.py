"""The layer that a former run went by, found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsProject, QgsVectorLayer
from qgis.gui import QgsMapLayerComboBox

from geodiff_qgis.sources import Unusable, copy_name, tr


def choose(box: QgsMapLayerComboBox, source: str, kind: Any) -> None:
    """Choose the layer that a former run went by, or one of the name of the copy that it went by.

    Where there is none, the file is added to the project as a layer of this kind. Raises Unusable,
    with nothing chosen, if the file is gone.
    """
    path = source.partition("|")[0]
    layers = [one for one in map(box.layer, range(box.count())) if one is not None]
    found = [one for one in layers if one.source() == source]
    found += [one for one in layers if one.source().partition("|")[0] == source]
    if kind is QgsVectorLayer:
        found += [one for one in layers if copy_name(one) == Path(path).stem]
    if not found and (made := kind(source, Path(path).stem)).isValid():
        found = [QgsProject.instance().addMapLayer(made)]
    box.setLayer(found[0] if found else None)
    if not found:
        raise Unusable(tr("{}, which that run went by, is gone.").format(path))
