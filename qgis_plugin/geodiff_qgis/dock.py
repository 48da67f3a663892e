"""The panel: choose a source and a place, see what it will cost, run, look."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qgis.gui import QgisInterface, QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QDockWidget,
    QFrame,
    QGroupBox,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from geodiff_qgis import settings
from geodiff_qgis.panel.extent import ExtentWidget
from geodiff_qgis.panel.history import HistoryMenu
from geodiff_qgis.panel.how import HowWidget
from geodiff_qgis.panel.preview import PreviewWidget
from geodiff_qgis.panel.running import RunningWidget
from geodiff_qgis.panel.source import SourceWidget
from geodiff_qgis.plans import Plan
from geodiff_qgis.request import Request
from geodiff_qgis.sources import Unusable, tr

NARROW = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon


class GeodiffDock(QDockWidget):
    """Puts the parts of the panel together; each part knows nothing of the others."""

    def __init__(self, iface: QgisInterface, set_up: Any) -> None:
        super().__init__(tr("Geodiff Mosaic"), iface.mainWindow())
        self.setObjectName("GeodiffMosaicDock")
        self.iface = iface
        self.canvas = iface.mapCanvas()
        self.source, self.extent = SourceWidget(), ExtentWidget(self.canvas)
        self.how, self.preview = HowWidget(), PreviewWidget(self.canvas)
        self.running = RunningWidget(iface, set_up)
        self.running.recent.setMenu(HistoryMenu(self.take, self.running.add_layer, self))
        self.waiting = False  # the user pressed Run before the plan was known
        self.setWidget(self._body())
        for part in (self.source, self.extent, self.how):
            part.changed.connect(self.refresh)
        self.preview.ready.connect(self._planned)
        self.preview.failed.connect(self._not_planned)
        self.running.run.clicked.connect(self.start)
        self.running.finished.connect(self._finished)
        self.refresh()

    def request(self) -> Request:
        """What the panel asks for. Raises Unusable."""
        try:
            return Request(
                "synthesize",
                self.how.out(),
                **self.source.fields(),
                **self.extent.fields(),
                **self.how.fields(),
                model=settings.value("model") or None,
                overwrite=True,  # asked about before it starts
            )
        except ValueError as error:
            raise Unusable(str(error)) from error

    def refresh(self) -> None:
        """Something was chosen: plan anew."""
        self.extent.offer_whole(self.source.places)
        if self.waiting:  # what Run was pressed for is no longer what is chosen
            self.waiting = False
            self.running.say("")
        if not self.isVisible():
            return
        try:
            request = self.request()
        except Unusable as error:
            self.preview.forget()
            self.preview.hint(str(error))
            return
        self.preview.ask(request)

    def start(self) -> None:
        """Run is pressed: what is planned already starts, anything else is planned first."""
        try:
            request = self.request()
        except Unusable as error:
            self.running.warn(str(error))
            return
        if self.preview.is_about(request) and self.preview.plan is not None:
            self.running.start(request, self.preview.plan, self.how.is_temporary)
            return
        self.waiting = True
        self.running.say(tr("Estimating first .."))
        self.preview.ask(request)
        self.preview.ask_now()

    def take(self, request: Request) -> None:
        """Show the settings of a former run, and say what of it is gone."""
        gone = ""
        try:
            self.source.restore(request)
        except Unusable as error:
            gone = str(error)
        self.extent.offer_whole(self.source.places)
        self.extent.restore(request)
        self.how.restore(request)
        if gone:
            self.running.warn(gone)

    def let_go(self) -> None:
        """The plugin is switched off, or QGIS closes."""
        self.running.let_go()
        self.preview.let_go(self.canvas)
        self.extent.let_go()
        self.source.copies.cleanup()

    def showEvent(self, event: Any) -> None:
        """Plan as soon as somebody looks."""
        super().showEvent(event)
        self.extent.offer_map()
        self.running.look()
        self.refresh()

    def hideEvent(self, event: Any) -> None:
        """A closed panel draws nothing on the map."""
        super().hideEvent(event)
        self.preview.forget()

    def _planned(self, request: Request, plan: Plan) -> None:
        if self.waiting:
            self.waiting = False
            self.running.start(request, plan, self.how.is_temporary)

    def _not_planned(self, reason: str) -> None:
        if self.waiting:
            self.waiting = False
            self.running.fail(reason)

    def _finished(self, succeeded: bool) -> None:
        if succeeded and self.how.is_temporary:
            self.how.renew()
            with suppress(Unusable):
                self.preview.moved(self.request())
            self.refresh()

    def _body(self) -> QWidget:
        inner = QWidget()
        column = QVBoxLayout(inner)
        for title, part in (
            (tr("Source"), self.source), (tr("Place"), self.extent), (tr("Mosaic"), self.how),
        ):  # fmt: skip
            column.addWidget(titled(title, part))
        column.addStretch(1)
        scrolled = QScrollArea()
        scrolled.setWidgetResizable(True)
        scrolled.setFrameShape(QFrame.Shape.NoFrame)
        scrolled.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scrolled.setWidget(inner)
        for box in inner.findChildren(QComboBox):  # long entries would make the panel too wide
            box.setSizeAdjustPolicy(NARROW)
            box.setMinimumContentsLength(8)
        bar = scrolled.verticalScrollBar().sizeHint().width()
        scrolled.setMinimumWidth(inner.minimumSizeHint().width() + bar)
        whole = QWidget()
        rows = QVBoxLayout(whole)
        rows.addWidget(scrolled, 1)
        rows.addWidget(self.preview)
        rows.addWidget(self.running)
        return whole


def titled(title: str, part: QWidget) -> QGroupBox:
    """A part of the panel under its title."""
    group = QgsCollapsibleGroupBox(title)
    QVBoxLayout(group).addWidget(part)
    return group
