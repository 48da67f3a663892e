"""A run of geodiff as a task of QGIS: in a thread of its own, in the task list, cancellable."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from qgis.core import QgsTask
from qgis.PyQt.QtCore import QObject, pyqtSignal

from geodiff_qgis import environment
from geodiff_qgis.events import Event, Progress
from geodiff_qgis.runner import Cancelled, Run, RunError

_checked: set[str] = set()
"""Programs that have told their version in this session."""


def checked(program: environment.Program) -> environment.Program:
    """The program, once it has said that it is geodiff and new enough. Raises NotFound."""
    if program.path not in _checked:
        environment.check_version(program, os.environ)
        _checked.add(program.path)
    return program


def forget_checks() -> None:
    """Ask every program again: another one may have been installed in its place."""
    _checked.clear()


def follow(program: environment.Program, child: Run, tell: Callable[[Event], None]) -> str | None:
    """Run a child to its end in a thread that is not QGIS's own.

    None after success, else what went wrong; "" if the user cancelled.
    """
    try:
        checked(program)
        with closing(child.events()) as events:
            for event in events:
                if event is not None:
                    tell(event)
    except Cancelled:
        return ""
    except (RunError, environment.NotFound) as error:
        return str(error)
    except Exception as error:  # what is raised in such a thread would end QGIS
        return f"{type(error).__name__}: {error}"
    return None


def flags() -> Any:
    """Of a task that tells its end itself; QGIS before 3.26 also calls a cancelled one failed."""
    can_cancel = QgsTask.Flag.CanCancel
    return can_cancel | getattr(QgsTask.Flag, "Silent", can_cancel)


class RunTask(QgsTask):
    """Runs ``words`` with the program, in QGIS's list of tasks.

    Signals come in the thread of the widgets. ``ended`` comes once, whatever happens: (result, ""),
    or ({}, what went wrong), or ({}, "") if the user cancelled. The task keeps itself alive until
    then, as QGIS does not.
    """

    heard = pyqtSignal(object)  # an Event
    ended = pyqtSignal(object, str)

    _alive: set[RunTask] = set()  # noqa: RUF012

    def __init__(
        self, title: str, program: environment.Program, words: list[str], out: str | None = None
    ) -> None:
        super().__init__(title, flags())
        self.program, self.error = program, ""
        self.child = Run([program.path, *words], out)
        self.progress_so_far = Progress()
        RunTask._alive.add(self)

    def run(self) -> bool:
        """In the task's thread: nothing of QGIS's widgets or project is touched."""
        error = follow(self.program, self.child, self._tell)
        self.error = error or ""
        return error is None

    def _tell(self, event: Event) -> None:
        self.setProgress(self.progress_so_far.after(event))
        self.heard.emit(event)

    def cancel(self) -> None:
        """Stop the child; ``run`` comes back when it has tidied up."""
        self.child.cancel()
        super().cancel()

    def finished(self, result: bool) -> None:
        """In the thread of the widgets."""
        RunTask._alive.discard(self)
        self.ended.emit(self.child.result if result else {}, "" if result else self.error)


class QuietRun(QObject):
    """As `RunTask`, in a thread of its own: QGIS announces the end of tasks that take long."""

    ended = pyqtSignal(object, str)

    _alive: set[QuietRun] = set()  # noqa: RUF012

    def __init__(self, program: environment.Program, words: list[str]) -> None:
        super().__init__()
        self.program, self.child = program, Run([program.path, *words])
        self.ended.connect(lambda *_: QuietRun._alive.discard(self))

    def start(self) -> None:
        """Begin."""
        QuietRun._alive.add(self)
        threading.Thread(target=self._run, daemon=True).start()

    def cancel(self) -> None:
        """Stop the child."""
        self.child.cancel()

    def _run(self) -> None:
        error = follow(self.program, self.child, lambda event: None)
        self.ended.emit(self.child.result if error is None else {}, error or "")
