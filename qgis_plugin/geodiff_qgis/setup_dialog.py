"""Find geodiff, test it, or make an environment for it; everything to copy for a bug report."""

from __future__ import annotations

import os
import platform
from typing import Any

from qgis.core import Qgis, QgsApplication
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
)

from geodiff_qgis import environment, managed, settings
from geodiff_qgis.install_task import InstallTask
from geodiff_qgis.sources import tr
from geodiff_qgis.task import QuietRun, forget_checks

INTRODUCTION = (
    "geodiff is a program of its own, with its own Python, and runs beside QGIS. Choose the one "
    "that you have installed (the program, or the folder of its environment), or let the plugin "
    "make an environment."
)


class SetupDialog(QDialog):
    """One dialog: program, test, model, managed environment, diagnostics."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Set up geodiff"))
        self.resize(620, 560)
        self.task: Any = None
        self.program, self.model, self.install = QgsFileWidget(), QgsFileWidget(), QgsFileWidget()
        self.program.setFilePath(settings.value("executable"))
        self.program.lineEdit().setPlaceholderText(tr("automatic"))
        self.program.setToolTip(
            tr("Empty: GEODIFF_EXECUTABLE, else the managed environment, else PATH")
        )
        self.model.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.model.setFilePath(settings.value("model"))
        self.model.lineEdit().setPlaceholderText(tr("the model that comes with geodiff"))
        self.install.setFilePath(settings.value("requirement"))
        self.install.lineEdit().setPlaceholderText(tr("folder or wheel of geodiff"))
        self.install.setToolTip(
            tr("What pip installs, with extras: /home/me/geodiff[text], or a wheel, or a name")
        )
        self.found, self.out = QLabel(), QPlainTextEdit()
        self.found.setWordWrap(True)
        self.out.setReadOnly(True)
        self.test = QPushButton(tr("&Test"))
        self.make = QPushButton(tr("&Make an environment"))
        self.stop = QPushButton(tr("&Stop"))
        self.stop.setEnabled(False)
        self.copy = QPushButton(tr("&Copy for a bug report"))
        self._lay_out()
        self.test.clicked.connect(self.run_test)
        self.make.clicked.connect(self.run_make)
        self.stop.clicked.connect(self.run_stop)
        self.copy.clicked.connect(self.run_copy)
        self.program.fileChanged.connect(self.keep)
        self.model.fileChanged.connect(self.keep)
        self.show_found()

    def keep(self, *ignored: object) -> None:
        """Remember what is chosen, at once."""
        settings.keep("executable", self.program.filePath().strip())
        settings.keep("model", self.model.filePath().strip())
        self.show_found()

    def show_found(self) -> None:
        """Which geodiff would run now."""
        try:
            program = settings.program()
        except environment.NotFound as error:
            self.found.setText(str(error))
            self.test.setEnabled(False)
            return
        self.found.setText(tr("{}, by {}").format(program.path, program.found_by))
        self.test.setEnabled(self.task is None)

    def run_test(self) -> None:
        """Ask geodiff who it is, and what its model can do."""
        self.out.setPlainText(tr("Asking geodiff .. (the first time takes some seconds)"))
        words = ["info", "--json"]
        if self.model.filePath().strip():
            words.append(f"--model={self.model.filePath().strip()}")
        forget_checks()
        task = QuietRun(settings.program(), words)
        self._begin(task)
        task.start()

    def run_make(self) -> None:
        """Make the managed environment, or say that it is there."""
        requirement = self.install.filePath().strip()
        settings.keep("requirement", requirement)
        self.out.clear()
        try:
            task = InstallTask(requirement, settings.managed_folder())
        except managed.SetupError as error:
            self.out.setPlainText(str(error))
            return
        task.heard.connect(self.out.appendPlainText)
        self._begin(task)
        QgsApplication.taskManager().addTask(task)

    def run_stop(self) -> None:
        """Stop the test or the installation."""
        if self.task is not None:
            self.task.cancel()

    def run_copy(self) -> None:
        """Everything that helps to find out why it does not work."""
        QgsApplication.clipboard().setText(self.diagnostics())

    def diagnostics(self) -> str:
        """QGIS, the system, the program, variables that are left out, and what was said last."""
        lines = [
            f"QGIS {Qgis.QGIS_VERSION}, {platform.platform()}",
            f"Python of QGIS {platform.python_version()}",
            f"program: {self.found.text()}",
            f"model: {self.model.filePath() or 'the one that comes with geodiff'}",
            f"not handed on: {', '.join(environment.removed(os.environ)) or 'nothing'}",
            self.out.toPlainText(),
        ]
        return "\n".join(lines)

    def done(self, code: int) -> None:
        """Closing the dialog stops what it started."""
        self.run_stop()
        super().done(code)

    def _begin(self, task: Any) -> None:
        self.task = task
        task.ended.connect(self._end)
        self.stop.setEnabled(True)
        self.test.setEnabled(False)
        self.make.setEnabled(False)

    def _end(self, facts: dict[str, Any], error: str) -> None:
        self.task = None
        self.stop.setEnabled(False)
        self.make.setEnabled(True)
        if error:
            self.out.appendPlainText(error)
        elif facts:
            self.out.setPlainText(told(facts))
        else:
            self.out.appendPlainText(tr("Stopped."))
        self.show_found()

    def _lay_out(self) -> None:
        introduction = QLabel(tr(INTRODUCTION))
        introduction.setWordWrap(True)
        form = QFormLayout()
        form.addRow(tr("geodiff"), self.program)
        form.addRow(tr("Found"), self.found)
        form.addRow(tr("Model folder"), self.model)
        form.addRow(tr("Install from"), self.install)
        row = QHBoxLayout()
        for button in (self.test, self.make, self.stop, self.copy):
            row.addWidget(button)
        closing = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        closing.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(introduction)
        column.addLayout(form)
        column.addLayout(row)
        column.addWidget(self.out, 1)
        column.addWidget(closing)


def told(facts: dict[str, Any]) -> str:
    """What `geodiff info --json` printed, for people; of a finished installation its program."""
    if "versions" not in facts:
        return tr("Ready: {}").format(facts.get("program", ""))
    versions = facts["versions"]
    lines = [tr("geodiff works."), ""]
    lines += [f"{name}: {version}" for name, version in versions.items()]
    lines += ["", tr("devices: {}").format(", ".join(facts.get("devices", [])))]
    model = facts.get("model")
    if model is None:
        lines.append(tr("no model: {}").format(facts.get("model_missing")))
    else:
        lines += [f"{name}: {value}" for name, value in model.items()]
    return "\n".join(lines)
