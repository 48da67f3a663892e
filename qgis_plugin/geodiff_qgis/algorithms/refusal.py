"""What an algorithm raises, without keeping the batch in which it ran."""

from __future__ import annotations

import sys
from typing import Any

from qgis.core import QgsProcessingException
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QTimer

AGAIN = 500
"""Milliseconds after which is looked again whether the batch has ended."""


def refusal(reason: str) -> QgsProcessingException:
    """The exception of an algorithm that fails, to be raised by it.

    QGIS never lets go of what an algorithm raises, and the frames on its way know the batch dialog
    that called it. There (QGIS 3.22) a task ends with the last reference to it: one failed row
    would leave it running for good, and QGIS would wait for it when it closes.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and "multi_feedback" not in frame.f_code.co_varnames:
        frame = frame.f_back
    if frame is not None and frame.f_code.co_name == "runAlgorithm":
        known = frame.f_locals
        task = known.get("task")
        known.clear()  # a copy, which would stay with the frame
        QTimer.singleShot(AGAIN, lambda: _end(frame, task))
    return QgsProcessingException(reason)


def _end(frame: Any, task: Any) -> None:
    """Let go of what the dialog's code knew and end its task, once that code has ended."""
    try:
        frame.clear()
    except RuntimeError:  # it still runs: other rows follow
        QTimer.singleShot(AGAIN, lambda: _end(frame, task))
        return
    if task is not None and not sip.isdeleted(task):
        sip.delete(task)
