"""Run, Cancel, progress with the time left, the log, and what happens when a run ends."""

from __future__ import annotations

import os
import shlex
from typing import Any

from qgis.core import Qgis, QgsApplication, QgsMessageLog, QgsProject
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from geodiff_qgis import environment, result, settings
from geodiff_qgis.events import Event
from geodiff_qgis.panel.history import remember
from geodiff_qgis.plans import Plan
from geodiff_qgis.request import Request
from geodiff_qgis.sources import Unusable, tr
from geodiff_qgis.task import RunTask
from geodiff_qgis.traces import charts_folder
from geodiff_qgis.words import cost_words, in_panel, size_words, stage_words

TAG = "Geodiff Mosaic"


class RunningWidget(QWidget):
    """One run at a time; ``finished`` tells whether it succeeded."""

    finished = pyqtSignal(bool)

    def __init__(self, iface: QgisInterface, set_up: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.iface = iface
        self.task: RunTask | None = None
        self.request: Request | None = None
        self.plan: Plan | None = None
        self.temporary = self.looked = False
        self.run = QPushButton(tr("&Run"))
        self.run.setToolTip(tr("Paint the mosaic and add it to the map"))
        self.stop = QPushButton(tr("&Cancel"))
        self.stop.setToolTip(tr("Stop; no unfinished file is left"))
        self.stop.setEnabled(False)
        self.recent, self.setup = QToolButton(), QToolButton()
        self.recent.setText(tr("Recent"))
        self.recent.setToolTip(tr("Former runs: take their settings, add their layers"))
        self.recent.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setup.setText(tr("Set up .."))
        self.setup.setToolTip(tr("Where geodiff is installed, and whether it works"))
        self.setup.clicked.connect(set_up)
        self.set_up = set_up
        buttons = QHBoxLayout()
        for button in (self.run, self.stop, self.recent, self.setup):
            buttons.addWidget(button)
        self.bar, self.status = QProgressBar(), QLabel()
        self.bar.setRange(0, 1000)
        self.bar.setVisible(False)
        self.status.setWordWrap(True)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(2000)
        self.log.setMinimumHeight(90)
        group = QgsCollapsibleGroupBox(tr("Log"))
        QVBoxLayout(group).addWidget(self.log)
        group.setCollapsed(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.bar)
        column.addWidget(self.status)
        column.addLayout(buttons)
        column.addWidget(group)
        self.stop.clicked.connect(self.cancel)

    def start(self, request: Request, plan: Plan, temporary: bool) -> None:
        """Ask what has to be asked, then run."""
        if self.task is not None:
            return
        agreed = self.agreed(request, plan, temporary)
        if agreed is None:
            self.say("")
            return
        try:
            program = settings.program()
        except environment.NotFound as error:
            self.fail(str(error))
            return
        self.request, self.plan, self.temporary = agreed, plan, temporary
        words = [*agreed.words(), "--json", "--progress=json"]
        self.write(shlex.join(["geodiff", *words]))
        self.task = RunTask(tr("Geodiff: synthetic mosaic"), program, words, agreed.out)
        self.task.heard.connect(self._hear)
        self.task.ended.connect(self._end)
        self._show_running(True)
        QgsApplication.taskManager().addTask(self.task)

    def agreed(self, request: Request, plan: Plan, temporary: bool) -> Request | None:
        """The request once the user agrees to its cost and to what it replaces; None if not."""
        told = "\n".join((size_words(plan), cost_words(plan), "", tr("Run it?")))
        if plan.is_large and not self.asks(tr("This is a large mosaic"), told):
            return None
        if temporary:
            return request
        if os.path.lexists(request.out) and not self.asks(
            tr("The file exists"), tr("Replace {}?").format(request.out)
        ):
            return None
        if charts_folder(request.out).is_dir():
            go_on = self.asks(
                tr("An unfinished mosaic lies there"),
                tr("Go on with its finished charts? (No begins anew.)"),
            )
            return request if go_on else request.but(restart=True)
        return request

    def cancel(self) -> None:
        """Stop the run; of a mosaic in charts the finished ones may stay."""
        if self.task is None:
            return
        if self.plan is not None and self.plan.charts > 1 and not self.temporary:
            self.task.child.keep_charts = self.asks(
                tr("Stop the run"),
                tr("Keep the charts that are finished, so that the same run can go on later?"),
            )
        if self.task is not None:  # it may have ended while the question was open
            self.say(tr("Stopping .."))
            self.stop.setEnabled(False)
            self.task.cancel()

    def add_layer(self, path: str, facts: dict[str, Any] | None = None) -> None:
        """Load a mosaic, in the place of layers that show the same file."""
        try:
            layer = result.load(path, facts or {})
        except Unusable as error:
            self.fail(str(error))
            return
        project = QgsProject.instance()
        shown = project.mapLayers().items()
        project.removeMapLayers([n for n, old in shown if old.source().split("|")[0] == path])
        project.addMapLayer(layer)

    def let_go(self) -> None:
        """The panel is closed for good: stop, tell nobody."""
        if self.task is not None:
            self.task.ended.disconnect(self._end)
            self.task.heard.disconnect(self._hear)
            self.task.cancel()
            self.task = None

    def asks(self, title: str, question: str) -> bool:
        """A question that is answered yes or no."""
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(self, title, question, buttons.Yes | buttons.No, buttons.Yes)
        return bool(answer == buttons.Yes)

    def say(self, text: str) -> None:
        """One line beside the bar."""
        self.status.setText(text)

    def write(self, text: str) -> None:
        """One line of the log."""
        self.log.appendPlainText(text)
        QgsMessageLog.logMessage(text, TAG, Qgis.MessageLevel.Info)

    def warn(self, reason: str) -> None:
        """What has to be chosen first; the panel itself says it as well."""
        self.iface.messageBar().pushWarning(TAG, reason)

    def look(self) -> None:
        """Say once that geodiff is missing, before anything is chosen in vain."""
        if self.looked:
            return
        self.looked = True
        try:
            settings.program()
        except environment.NotFound as error:
            self.tell(str(error), Qgis.MessageLevel.Warning)

    def fail(self, reason: str) -> None:
        """A run, or a plan of it, failed."""
        self.say(tr("Failed: {}").format(reason))
        self.log.appendPlainText(f"Error: {reason}")
        self.tell(reason, Qgis.MessageLevel.Critical)

    def tell(self, reason: str, level: Qgis.MessageLevel) -> None:
        """A line in QGIS's message bar, with a button where geodiff has to be set up."""
        bar = self.iface.messageBar()
        item = bar.createMessage(TAG, reason)
        if environment.ADVICE in reason:
            button = QPushButton(tr("Set up .."), item)
            button.clicked.connect(self.set_up)
            item.layout().addWidget(button)
        bar.pushWidget(item, level)
        QgsMessageLog.logMessage(reason, TAG, level)

    def _hear(self, event: Event) -> None:
        if event.text:
            self.write(event.text)
        for note in event.notes:
            self.write(tr("Note: {}").format(in_panel(note)))
        if event.stage and self.task is not None:
            self.bar.setValue(round(10 * self.task.progress_so_far.percent))
            self.say(stage_words(event))

    def _end(self, facts: dict[str, Any], error: str) -> None:
        self.task = None
        self._show_running(False)
        if facts and self.request is not None and self.plan is not None:
            took = float(facts.get("seconds", 0))
            self.say(tr("Done in {:.0f} s: {}").format(took, self.request.out))
            self.write(self.status.text())
            remember(self.request, self.plan, self.temporary)
            self.add_layer(self.request.out, facts)
        elif error:
            self.fail(in_panel(error))
        else:
            kept = self.request is not None and charts_folder(self.request.out).is_dir()
            self.say(tr("Cancelled; finished charts are kept.") if kept else tr("Cancelled."))
            self.write(self.status.text())
        self.finished.emit(bool(facts))

    def _show_running(self, running: bool) -> None:
        self.run.setEnabled(not running)
        self.stop.setEnabled(running)
        self.bar.setVisible(running)
        self.bar.setValue(0)
