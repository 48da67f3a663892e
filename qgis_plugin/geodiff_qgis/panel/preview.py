"""What a run will give and cost: asked of geodiff while the user is still choosing."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsCoordinateReferenceSystem, QgsGeometry, QgsRectangle, QgsWkbTypes
from qgis.gui import QgsMapCanvas, QgsRubberBand
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from geodiff_qgis import environment, settings
from geodiff_qgis.plans import Plan
from geodiff_qgis.request import Request
from geodiff_qgis.sources import tr
from geodiff_qgis.task import QuietRun
from geodiff_qgis.words import cost_words, in_panel, size_words

DELAY = 900
"""Milliseconds without a change after which geodiff is asked."""
LINE, HALO = QColor(220, 60, 140), QColor(255, 255, 255, 180)


class PreviewWidget(QWidget):
    """Shows the plan of a request, in words and as a rectangle on the map.

    ``ready`` comes with the request and its Plan, ``failed`` with what is wrong with it.
    """

    ready = pyqtSignal(object, object)
    failed = pyqtSignal(str)

    def __init__(self, canvas: QgsMapCanvas, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.request: Request | None = None
        self.plan: Plan | None = None
        self.task: QuietRun | None = None
        self.size, self.cost, self.notes = QLabel(), QLabel(), QLabel()
        bold = self.size.font()
        bold.setBold(True)
        self.size.setFont(bold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for label in (self.size, self.cost, self.notes):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            layout.addWidget(label)
        self.band = QgsRubberBand(canvas, QgsWkbTypes.PolygonGeometry)
        self.band.setStrokeColor(LINE)
        self.band.setSecondaryStrokeColor(HALO)
        self.band.setBrushStyle(Qt.BrushStyle.NoBrush)  # the pixels keep their colours
        self.band.setWidth(2)
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.timeout.connect(self.ask_now)

    def ask(self, request: Request) -> None:
        """Ask for the plan of this request soon, unless another one follows before."""
        if request == self.request and (self.plan is not None or self.task is not None):
            return
        self.forget()
        self.request = request
        self.size.setText(tr("Estimating .."))
        self.timer.start(DELAY)

    def ask_now(self) -> None:
        """Ask at once."""
        self.timer.stop()
        if self.request is None or self.task is not None or self.plan is not None:
            return
        try:
            program = settings.program()
        except environment.NotFound as error:
            self.refuse(str(error))
            return
        words = [*self.request.words(), "--dry-run", "--json"]
        self.task = QuietRun(program, words)
        self.task.ended.connect(self._take)
        self.task.start()

    def forget(self) -> None:
        """Nothing is planned: stop asking, show nothing."""
        self.timer.stop()
        task, self.task = self.task, None
        if task is not None:
            task.ended.disconnect(self._take)
            task.cancel()
        self.request = self.plan = None
        for label in (self.size, self.cost, self.notes):
            label.clear()
            label.setVisible(label is self.size)
        self.band.reset(QgsWkbTypes.PolygonGeometry)

    def moved(self, request: Request) -> None:
        """The same as planned, into another file: the plan still holds."""
        if self.request is not None and self.request.but(out=request.out) == request:
            self.request = request

    def is_about(self, request: Request) -> bool:
        """Whether this request is planned, or being planned."""
        return request == self.request

    def hint(self, text: str) -> None:
        """What is still to be chosen."""
        self.size.setText(text)

    def refuse(self, reason: str) -> None:
        """Say why there is no plan."""
        self.size.clear()
        self.cost.setText(reason)
        self.cost.setVisible(True)
        self.failed.emit(reason)

    def let_go(self, canvas: QgsMapCanvas) -> None:
        """The panel is closed for good."""
        self.forget()
        canvas.scene().removeItem(self.band)

    def _take(self, facts: dict[str, Any], error: str) -> None:
        self.task = None
        if not facts:
            self.refuse(in_panel(error) or tr("The estimate was cancelled."))
            return
        try:
            plan = Plan.of(facts)
        except ValueError as wrong:
            self.refuse(str(wrong))
            return
        self._show(plan)
        if plan.crs:
            rectangle = QgsGeometry.fromRect(QgsRectangle(*plan.bounds))
            self.band.setToGeometry(rectangle, QgsCoordinateReferenceSystem(plan.crs))
        self.ready.emit(self.request, plan)

    def _show(self, plan: Plan) -> None:
        self.plan = plan
        self.size.setText(size_words(plan))
        self.cost.setText(cost_words(plan))
        self.notes.setText(in_panel("\n".join(plan.notes)))
        self.cost.setVisible(True)
        self.notes.setVisible(bool(plan.notes))
