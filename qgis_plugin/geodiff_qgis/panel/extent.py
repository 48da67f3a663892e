"""Where the mosaic lies: an extent, its CRS, and the grid of the output."""

from __future__ import annotations

import re
from typing import Any

from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRectangle
from qgis.gui import QgsExtentWidget, QgsMapCanvas, QgsProjectionSelectionWidget
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from geodiff_qgis.panel.forms import positive
from geodiff_qgis.place import box_of, crs_word
from geodiff_qgis.request import Box, Request
from geodiff_qgis.sources import Unusable, tr

EXTENT = r"\s*[-+.\deE]+(\s*,\s*[-+.\deE]+){3}\s*(\[.*\]\s*)?"
"""An extent as QGIS shows it and as it may be typed."""
SOON = 300
"""Milliseconds that the map has to come to rest before its extent is taken."""


class ExtentWidget(QWidget):
    """All of the source, or a box: of the map, of a layer, drawn or typed."""

    changed = pyqtSignal()

    def __init__(self, canvas: QgsMapCanvas, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.canvas = canvas
        self.whole = QCheckBox(tr("All of the source"))
        self.whole.setToolTip(tr("A raster's own grid is then kept to the bit"))
        self.box = QgsExtentWidget(None, QgsExtentWidget.CondensedStyle)
        self.box.setMapCanvas(canvas)
        self.box.setNullValueAllowed(True, tr("not chosen yet"))
        self.box.setToolTip(
            tr("West, east, south, north [CRS], such as -117.76,-117.75,34.09,34.098 [EPSG:4326]")
        )
        self.by_map, self.by_draw = QPushButton(tr("&Map")), QPushButton(tr("&Draw"))
        self.by_map.setToolTip(tr("Take what the map shows"))
        self.by_draw.setToolTip(tr("Draw a rectangle on the map"))
        self.by_layer = QToolButton()
        self.by_layer.setText(tr("Layer"))
        self.by_layer.setToolTip(tr("Take the extent of a layer"))
        self.by_layer.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.layers = QMenu(self.by_layer)
        self.by_layer.setMenu(self.layers)
        self.crs = QgsProjectionSelectionWidget()
        self.crs.setOptionVisible(QgsProjectionSelectionWidget.CrsNotSet, True)
        self.crs.setNotSetText(tr("automatic: the source's, else UTM"))
        self.crs.setCrs(QgsCoordinateReferenceSystem())
        self.crs.setToolTip(tr("CRS of the mosaic"))
        self.res = QLineEdit()
        self.res.setPlaceholderText(tr("automatic: the source's, else the model's"))
        self.res.setToolTip(tr("Pixel size in units of the mosaic's CRS"))
        buttons = QHBoxLayout()
        for button in (self.by_map, self.by_layer, self.by_draw):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button)
        self.chosen = QWidget()  # what is only there for a box
        form = QFormLayout(self.chosen)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(tr("Extent"), self.box)
        form.addRow("", buttons)
        form.addRow(tr("CRS"), self.crs)
        form.addRow(tr("Pixel size"), self.res)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.whole)
        layout.addWidget(self.chosen)
        self.whole.toggled.connect(self._follow)
        self.typed = self.box.findChild(QLineEdit, "mCondensedLineEdit")
        self.typed.textEdited.connect(lambda _: self.changed.emit())
        self.box.extentChanged.connect(self._box_changed)
        self.by_map.clicked.connect(self.take_map)
        self.by_draw.clicked.connect(self.box.setOutputExtentFromDrawOnCanvas)
        self.layers.aboutToShow.connect(self._list_layers)
        self.crs.crsChanged.connect(lambda _: self.changed.emit())
        self.res.editingFinished.connect(self.changed)
        QgsProject.instance().crsChanged.connect(self.take_project)
        self.soon = QTimer(self)
        self.soon.setSingleShot(True)
        self.soon.timeout.connect(self.offer_map)
        canvas.layersChanged.connect(self._map_changed)
        canvas.extentsChanged.connect(self._map_changed)
        self.offer_whole(False)
        self.take_project()

    def fields(self) -> dict[str, Any]:
        """The fields of a `Request` about the place. Raises Unusable."""
        found: dict[str, Any] = {}
        if not self.whole.isChecked():
            self._check_typed()
            found["box"] = box_of(self.box.outputExtent(), self.box.outputCrs())
            if self.crs.crs().isValid():
                found["crs"] = crs_word(self.crs.crs())
            if text := self.res.text().strip():
                found["res"] = positive(text)
        return found

    def restore(self, request: Request) -> None:
        """Show the place of a former run."""
        self.whole.setChecked(request.box is None)
        self.crs.setCrs(QgsCoordinateReferenceSystem(request.crs or ""))
        self.res.setText("" if request.res is None else repr(request.res))
        if request.box is not None:
            self.set_box(request.box)

    def set_box(self, box: Box) -> None:
        """Show a box, in its own CRS."""
        rectangle = QgsRectangle(box.west, box.south, box.east, box.north)
        self.box.setOutputExtentFromUser(rectangle, QgsCoordinateReferenceSystem(box.crs))

    def offer_whole(self, possible: bool) -> None:
        """Whether the source says by itself where it lies."""
        if possible != self.whole.isEnabled() or not possible:
            self.whole.setChecked(possible)
        self.whole.setEnabled(possible)
        self.whole.setVisible(possible)

    def offer_map(self) -> None:
        """Take the map's extent where there is none yet and the map shows something."""
        if self.box.outputExtent().isEmpty() and self.canvas.layerCount():
            self.take_map()

    def take_map(self) -> None:
        """Take what the map shows, in the CRS of the project."""
        crs = QgsProject.instance().crs()
        self.box.setCurrentExtent(self.canvas.extent(), crs)
        self.box.setOutputExtentFromUser(self.canvas.extent(), crs)

    def take_project(self) -> None:
        """A new project, or another CRS of it: numbers without a CRS are in that one."""
        crs = QgsProject.instance().crs()
        self.box.setCurrentExtent(self.canvas.extent(), crs)
        if self.box.outputExtent().isEmpty():
            self.box.setOutputCrs(crs)
            self.box.clear()  # it shows zeros otherwise

    def let_go(self) -> None:
        """The panel is closed for good."""
        QgsProject.instance().crsChanged.disconnect(self.take_project)
        self.canvas.layersChanged.disconnect(self._map_changed)
        self.canvas.extentsChanged.disconnect(self._map_changed)
        self.soon.stop()
        sip.delete(self.box)  # its map tool must not outlive the map, or QGIS crashes as it closes

    def _check_typed(self) -> None:
        """QGIS keeps the former extent while another one is typed. Raises Unusable."""
        text, project = self.typed.text(), QgsProject.instance().crs()
        if not (self.box.outputExtent().isEmpty() or re.fullmatch(EXTENT, text)):
            raise Unusable(
                tr("An extent is four numbers: west, east, south, north, and its CRS in brackets.")
            )
        if project.isValid() and not self.box.outputCrs().isValid():
            raise Unusable(tr("QGIS does not know the CRS of {}.").format(text))

    def _box_changed(self, *ignored: object) -> None:
        if not self.typed.hasFocus():
            self.typed.setCursorPosition(0)  # the numbers' beginning is what tells boxes apart
        self.changed.emit()

    def _map_changed(self) -> None:
        """Perhaps its first layer came; QGIS zooms to that one after it has told so."""
        if self.isVisible():
            self.soon.start(SOON)

    def _list_layers(self) -> None:
        """The layers that have an extent, as a menu."""
        self.layers.clear()
        for layer in QgsProject.instance().mapLayers().values():
            if layer.crs().isValid() and not layer.extent().isEmpty():
                action = self.layers.addAction(layer.name())
                action.triggered.connect(
                    lambda _=False, one=layer: self.box.setOutputExtentFromUser(
                        one.extent(), one.crs()
                    )
                )
        if self.layers.isEmpty():
            self.layers.addAction(tr("No layers")).setEnabled(False)

    def _follow(self, whole: bool) -> None:
        self.chosen.setVisible(not whole)
        self.changed.emit()
