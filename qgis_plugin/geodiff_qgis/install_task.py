"""The making of a managed environment, as a task of QGIS."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from qgis.core import QgsTask
from qgis.PyQt.QtCore import pyqtSignal

from geodiff_qgis import managed, runner, settings
from geodiff_qgis.environment import VARIABLE, managed_program
from geodiff_qgis.runner import Cancelled, RunError
from geodiff_qgis.sources import tr
from geodiff_qgis.task import flags


class InstallTask(QgsTask):
    """Makes the environment step by step; a failed or cancelled one is removed.

    Once it works, those that were made here before and that nobody uses are removed.

    Raises managed.SetupError for a requirement that is none. ``ended`` as of `RunTask`, with the
    program in the result.
    """

    heard = pyqtSignal(str)
    ended = pyqtSignal(object, str)

    _alive: set[InstallTask] = set()  # noqa: RUF012

    def __init__(self, requirement: str, root: Path) -> None:
        super().__init__(tr("Geodiff: set up"), flags())
        self.root, self.requirement, self.error = root, requirement, ""
        managed.Recipe("python", managed.OLDEST_PYTHON, requirement)  # refuses what is none
        self.chosen = [settings.value("executable")]
        self.tool: managed.Tool | None = None
        self.result: dict[str, Any] = {}
        InstallTask._alive.add(self)

    def run(self) -> bool:
        """In the task's thread."""
        try:
            with managed.locked(self.root):
                self._make(self._recipe())
        except Cancelled:
            return False
        except (RunError, managed.SetupError, OSError) as error:
            self.error = str(error)
            return False
        return True

    def _recipe(self) -> managed.Recipe:
        for python, version in managed.pythons(os.environ):
            return managed.Recipe(python, version, self.requirement)
        raise managed.SetupError(
            tr("There is no Python 3.11 or newer on PATH: install one from python.org first.")
        )

    def _make(self, recipe: managed.Recipe) -> None:
        folder = recipe.folder(self.root)
        if not (managed.is_whole(recipe, self.root) and self._answers(folder)):
            try:
                for line, command in managed.commands(recipe, self.root):
                    self.heard.emit(line)
                    self._follow(command)
                managed.finish(recipe, self.root)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        self.result = {"program": managed_program(str(folder))}
        used = [*runner.running(), *self.chosen, os.environ.get(VARIABLE, "")]
        for former in managed.outdated(recipe, self.root, used):
            self.heard.emit(tr("Removing {}, which this one replaces").format(former))
            shutil.rmtree(former, ignore_errors=True)

    def _answers(self, folder: Path) -> bool:
        """Whether its geodiff still runs: the Python that it was made of may be gone."""
        try:
            self._follow([managed_program(str(folder)), "--version"])
        except Cancelled:
            raise
        except RunError:
            return False
        return True

    def _follow(self, command: list[str]) -> None:
        self.tool = managed.Tool(command)
        if self.isCanceled():
            self.tool.cancel()
        with closing(self.tool.events()) as events:
            for event in events:
                if event is not None and event.text:
                    self.heard.emit(event.text)

    def cancel(self) -> None:
        """Stop pip."""
        super().cancel()
        if self.tool is not None:
            self.tool.cancel()

    def finished(self, result: bool) -> None:
        """In the thread of the widgets."""
        InstallTask._alive.discard(self)
        self.ended.emit(self.result if result else {}, "" if result else self.error)
