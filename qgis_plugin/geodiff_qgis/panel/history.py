"""Recent runs: their settings can be taken again, their layers loaded again."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from typing import Any

from qgis.PyQt.QtWidgets import QMenu

from geodiff_qgis import settings
from geodiff_qgis.plans import Plan
from geodiff_qgis.request import Request
from geodiff_qgis.sources import tr


def remember(request: Request, plan: Plan, temporary: bool) -> None:
    """Put a finished run on top of the list."""
    now = datetime.datetime.now().replace(microsecond=0)
    settings.remember(
        {
            "when": now.isoformat(" "),
            "out": request.out,
            "size": f"{plan.width} x {plan.height} px",
            "temporary": temporary,
            "request": request.as_dict(),
        }
    )


class HistoryMenu(QMenu):
    """A menu of former runs, filled each time it opens."""

    def __init__(
        self, take: Callable[[Request], None], load: Callable[[str], None], parent: Any = None
    ) -> None:
        super().__init__(parent)
        self.take, self.load = take, load
        self.aboutToShow.connect(self.fill)

    def fill(self) -> None:
        """One submenu a run, the newest first."""
        self.clear()
        for run in settings.recent():
            try:
                request = Request.from_dict(run["request"])
                title = f"{run['when']}  {what(request)}, {run['size']}"
            except (KeyError, TypeError, ValueError):
                continue  # of another version of the plugin
            menu = self.addMenu(title)
            settings_again = menu.addAction(tr("Take its settings"))
            settings_again.triggered.connect(lambda _=False, one=request: self.take(one))
            layer_again = menu.addAction(tr("Add its layer to the map"))
            layer_again.setEnabled(os.path.isfile(request.out))
            layer_again.triggered.connect(lambda _=False, path=request.out: self.load(path))
        if self.isEmpty():
            self.addAction(tr("No runs yet")).setEnabled(False)


def what(request: Request) -> str:
    """What a run went by, in a few words."""
    for name in (request.reference, request.layout_file, request.embeddings):
        if name is not None:
            return os.path.basename(name)
    if request.text is not None:
        return f"“{request.text[:30]}”"
    return request.stac or tr("imagined")
