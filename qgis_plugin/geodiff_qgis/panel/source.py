"""What the mosaic goes by: the choice of a source, and what belongs to each."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from qgis.core import QgsMapLayerProxyModel, QgsRasterLayer, QgsVectorLayer
from qgis.gui import QgsFieldComboBox, QgsFileWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLineEdit,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from geodiff_qgis.panel.former import choose
from geodiff_qgis.panel.forms import numbers, page
from geodiff_qgis.request import Request
from geodiff_qgis.sources import (
    Unusable,
    polygon_file,
    raster_bands,
    raster_file,
    raster_scale,
    tr,
)

NOTHING, RASTER, TEXT, POLYGONS, STAC, GRID = range(6)
GRIDS = "Embedding grids (*.parquet *.tif *.tiff);;All files (*)"
CATALOGUES = ("planetary-computer", "earth-search")


class SourceWidget(QWidget):
    """One choice, and a page for each kind of source."""

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.copies = tempfile.TemporaryDirectory(prefix="geodiff-plans-")
        self.kind = QComboBox()
        self.kind.addItems(
            [
                tr("Nothing: the model imagines a place"), tr("A raster layer"), tr("Words"),
                tr("A polygon layer with words"), tr("A STAC catalogue"),
                tr("A saved embedding grid"),
            ]
        )  # fmt: skip
        self.kind.setToolTip(tr("What the mosaic goes by"))
        self.pages = QStackedWidget()
        for one in (
            QWidget(), self._raster(), self._text(), self._polygons(), self._stac(), self._grid(),
        ):  # fmt: skip
            self.pages.addWidget(one)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.kind)
        layout.addWidget(self.pages)
        self.kind.currentIndexChanged.connect(self._show)
        self._show(NOTHING)

    @property
    def places(self) -> bool:
        """Whether the source says by itself where the mosaic lies."""
        return self.kind.currentIndex() in (RASTER, POLYGONS, GRID)

    def fields(self) -> dict[str, Any]:
        """The fields of a `Request` about the source. Raises Unusable."""
        ask = {
            NOTHING: dict, RASTER: self._ask_raster, TEXT: self._ask_text,
            POLYGONS: self._ask_polygons, STAC: self._ask_stac, GRID: self._ask_grid,
        }  # fmt: skip
        found: dict[str, Any] = ask[self.kind.currentIndex()]()
        return found

    def restore(self, request: Request) -> None:
        """Show the source of a former run; a layer that the project lacks is added.

        Raises Unusable if its file is gone.
        """
        if request.reference is not None:
            self.kind.setCurrentIndex(RASTER)
            self.bands.setText(",".join(map(str, request.bands or ())))
            self.scale.setText(",".join(map(str, request.scale or ())))
            choose(self.raster, request.reference, QgsRasterLayer)
        elif request.text is not None:
            self.kind.setCurrentIndex(TEXT)
            self.words.setText(request.text)
        elif request.layout_file is not None:
            self.kind.setCurrentIndex(POLYGONS)
            path, inner = request.layout_file, request.layer
            self.border.setValue(request.soft_border or 0.0)
            choose(self.polygons, f"{path}|layername={inner}" if inner else path, QgsVectorLayer)
            self.field.setField(request.attribute or "")
        elif request.stac is not None:
            self.kind.setCurrentIndex(STAC)
            self.catalogue.setEditText(request.stac)
            self.collection.setText(" ".join(request.collection))
            self.dates.setText(request.datetime or "")
            self.asset.setText(request.asset or "")
            self.pays.setChecked(request.stac_requester_pays)
        elif request.embeddings is not None:
            self.kind.setCurrentIndex(GRID)
            self.grid.setFilePath(request.embeddings)
        else:
            self.kind.setCurrentIndex(NOTHING)

    def _show(self, kind: int) -> None:
        """Only the page of this kind takes room."""
        wide = QSizePolicy.Policy.Preferred
        for number in range(self.pages.count()):
            high = wide if number == kind else QSizePolicy.Policy.Ignored
            self.pages.widget(number).setSizePolicy(wide, high)
        self.pages.setCurrentIndex(kind)
        self.pages.setVisible(kind != NOTHING)
        self.changed.emit()

    def _raster(self) -> QWidget:
        self.raster = QgsMapLayerComboBox()
        self.raster.setFilters(QgsMapLayerProxyModel.RasterLayer)
        self.raster.setToolTip(tr("Colours and arrangement follow this raster"))
        self.bands, self.scale = QLineEdit(), QLineEdit()
        self.bands.setPlaceholderText(tr("1,2,3; a single band as grey"))
        self.bands.setToolTip(tr("Numbers of the red, green and blue band"))
        self.scale.setPlaceholderText(tr("as drawn, if the raster has more than 8 bits"))
        self.scale.setToolTip(tr("Two values: the one that becomes black, the one for white"))
        self.raster.layerChanged.connect(lambda _: self.changed.emit())
        for edit in (self.bands, self.scale):
            edit.editingFinished.connect(self.changed)
        return page(
            (tr("Layer"), self.raster), (tr("Bands"), self.bands), (tr("Values"), self.scale)
        )

    def _ask_raster(self) -> dict[str, Any]:
        layer = self.raster.currentLayer()
        path = raster_file(layer)
        bands = numbers(self.bands.text(), 3, tr("Bands are three whole numbers, such as 4,3,2."))
        scale = numbers(self.scale.text(), 2, tr("Values are two numbers, such as 0,3000."))
        return {
            "reference": path,
            "bands": tuple(map(int, bands)) if bands else raster_bands(layer),
            "scale": scale or raster_scale(layer),
        }

    def _text(self) -> QWidget:
        self.words = QLineEdit()
        self.words.setMaxLength(1000)
        self.words.setPlaceholderText(tr("a dense suburb with trees"))
        self.words.setToolTip(tr("A sentence in English that lays out the whole mosaic"))
        self.words.textChanged.connect(lambda _: self.changed.emit())
        return page((tr("Words"), self.words))

    def _ask_text(self) -> dict[str, Any]:
        if not self.words.text().strip():
            raise Unusable(tr("Write what the mosaic should show."))
        return {"text": self.words.text().strip()}

    def _polygons(self) -> QWidget:
        self.polygons, self.field = QgsMapLayerComboBox(), QgsFieldComboBox()
        self.polygons.setFilters(QgsMapLayerProxyModel.PolygonLayer)
        self.polygons.setToolTip(tr("Each polygon says what should lie there"))
        self.field.setToolTip(tr("The field that holds the words, or a class of the model"))
        self.field.setLayer(self.polygons.currentLayer())
        self.polygons.layerChanged.connect(self.field.setLayer)
        self.selected = QCheckBox(tr("Selected only"))
        self.border = QDoubleSpinBox()
        self.border.setRange(0, 10000)
        self.border.setSuffix(" m")
        self.border.setSpecialValueText(tr("hard"))
        self.border.setToolTip(tr("Within so many metres the two sides of a border are mixed"))
        for signal in (
            self.polygons.layerChanged, self.field.fieldChanged, self.selected.toggled,
            self.border.valueChanged,
        ):  # fmt: skip
            signal.connect(lambda *_: self.changed.emit())
        return page(
            (tr("Layer"), self.polygons), (tr("Field"), self.field), ("", self.selected),
            (tr("Borders"), self.border),
        )  # fmt: skip

    def _ask_polygons(self) -> dict[str, Any]:
        layer, field = self.polygons.currentLayer(), self.field.currentField()
        made = polygon_file(layer, field, self.selected.isChecked(), self.copies.name)
        return {
            "layout_file": made.path,
            "layer": made.layer,
            "attribute": field,
            "soft_border": self.border.value() or None,
        }

    def _stac(self) -> QWidget:
        self.catalogue, self.collection, self.dates = QComboBox(), QLineEdit(), QLineEdit()
        self.catalogue.setEditable(True)
        self.catalogue.addItems(CATALOGUES)
        self.catalogue.setToolTip(tr("A name from the list, or the address of an API or catalogue"))
        self.collection.setPlaceholderText(tr("naip, for the two of the list"))
        self.dates.setPlaceholderText(tr("2022, or 2020/2022"))
        self.asset = QLineEdit()
        self.asset.setPlaceholderText(tr("automatic"))
        self.asset.setToolTip(tr("The image of each item: its name, or those of red,green,blue"))
        self.pays = QCheckBox(tr("I pay for reading"))
        self.pays.setToolTip(tr("Earth Search's images lie where who reads them pays"))
        self.catalogue.currentTextChanged.connect(lambda _: self.changed.emit())
        for edit in (self.collection, self.dates, self.asset):
            edit.editingFinished.connect(self.changed)
        self.pays.toggled.connect(lambda _: self.changed.emit())
        return page(
            (tr("Catalogue"), self.catalogue), (tr("Collection"), self.collection),
            (tr("Dates"), self.dates), (tr("Asset"), self.asset), ("", self.pays),
        )  # fmt: skip

    def _ask_stac(self) -> dict[str, Any]:
        if not self.catalogue.currentText().strip():
            raise Unusable(tr("Name a STAC catalogue."))
        return {
            "stac": self.catalogue.currentText().strip(),
            "collection": tuple(self.collection.text().replace(",", " ").split()),
            "datetime": self.dates.text().strip() or None,
            "asset": self.asset.text().strip() or None,
            "stac_requester_pays": self.pays.isChecked(),
        }

    def _grid(self) -> QWidget:
        self.grid = QgsFileWidget()
        self.grid.setFilter(GRIDS)
        self.grid.setToolTip(tr("What geodiff embed, imagine or mix has saved"))
        self.grid.fileChanged.connect(lambda _: self.changed.emit())
        return page((tr("File"), self.grid))

    def _ask_grid(self) -> dict[str, Any]:
        path = self.grid.filePath().strip()
        if not path or not Path(path).exists():
            raise Unusable(tr("Choose the file of an embedding grid."))
        return {"embeddings": path}
