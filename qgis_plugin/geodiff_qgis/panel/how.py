"""How and where to: mode, seed and the output file."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from qgis.core import QgsProcessingUtils
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import QRegularExpression, QSize, pyqtSignal
from qgis.PyQt.QtGui import QIcon, QRegularExpressionValidator
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QToolButton,
    QWidget,
)

from geodiff_qgis.request import MODES, Request
from geodiff_qgis.sources import Unusable, tr

DICE = str(Path(__file__).parents[1] / "dice.svg")
LAST_SEED = 2**63 - 1


class HowWidget(QWidget):
    """Mode, seed with a dice, and the file to write."""

    changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mode = QComboBox()
        for name, title in zip(
            MODES,
            (
                tr("balanced"), tr("fast: for a first look"), tr("quality: slower"),
                tr("paper: the published sampler, about 60 times the work"),
            ),
        ):  # fmt: skip
            self.mode.addItem(title, name)
        self.mode.setToolTip(tr("How densely the painted windows overlap"))
        self.seed = QLineEdit("0")
        self.seed.setValidator(QRegularExpressionValidator(QRegularExpression(r"\d{1,19}")))
        self.seed.setToolTip(tr("The same seed gives the same mosaic, another seed another one"))
        self.dice = QToolButton()
        self.dice.setIcon(QIcon(DICE))
        self.dice.setIconSize(QSize(18, 18))
        self.dice.setToolTip(tr("Another seed"))
        self.dice.setAccessibleName(tr("Another seed"))
        row = QHBoxLayout()
        row.addWidget(self.seed)
        row.addWidget(self.dice)
        self.file = QgsFileWidget()
        self.file.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.file.setFilter("GeoTIFF (*.tif)")
        self.file.setConfirmOverwrite(False)  # asked when it starts, also for a typed name
        self.file.lineEdit().setPlaceholderText(tr("temporary, gone when QGIS closes"))
        self.file.setToolTip(tr("A Cloud-Optimized GeoTIFF; a STAC item of the same name joins it"))
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(tr("Mode"), self.mode)
        form.addRow(tr("Seed"), row)
        form.addRow(tr("Save to"), self.file)
        self.mode.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.seed.textChanged.connect(lambda _: self.changed.emit())
        self.file.fileChanged.connect(lambda _: self.changed.emit())
        self.dice.clicked.connect(self.roll)
        self.renew()

    @property
    def is_temporary(self) -> bool:
        """Whether the user named no file."""
        return not self.file.filePath().strip()

    def out(self) -> str:
        """The file to write. Raises Unusable for one of no known folder."""
        path = os.path.expanduser(self.file.filePath().strip())
        if not path:
            return self.temporary
        if not os.path.isabs(path):
            raise Unusable(tr("Save to needs a whole path, with its folder, not {}.").format(path))
        if os.path.isdir(path):
            raise Unusable(tr("{} is a folder: add the name of a file.").format(path))
        return path if path.lower().endswith((".tif", ".tiff")) else path + ".tif"

    def fields(self) -> dict[str, Any]:
        """The fields of a `Request` about the sampler. Raises Unusable."""
        text = self.seed.text()
        if not text or int(text) > LAST_SEED:
            raise Unusable(tr("The seed is a whole number from 0 to {}.").format(LAST_SEED))
        return {"mode": self.mode.currentData(), "seed": int(text)}

    def restore(self, request: Request) -> None:
        """Show how a former run was made; the output is a new one."""
        self.mode.setCurrentIndex(self.mode.findData(request.mode or MODES[0]))
        self.seed.setText(str(request.seed or 0))

    def roll(self) -> None:
        """Another seed, short enough to be told to somebody."""
        self.seed.setText(str(random.randrange(1_000_000)))

    def renew(self) -> None:
        """The next temporary file."""
        self.temporary = QgsProcessingUtils.generateTempFilename("mosaic.tif")
