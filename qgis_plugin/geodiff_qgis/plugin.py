"""The plugin: adds the panel, the menu and the Processing provider, and takes them away again."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication, QgsSettings
from qgis.PyQt.QtCore import QCoreApplication, QLocale, Qt, QTranslator
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QMenu

from geodiff_qgis import runner
from geodiff_qgis.provider import ICON, GeodiffProvider
from geodiff_qgis.sources import tr


class GeodiffPlugin:
    """What QGIS switches on and off; ``iface`` is None in qgis_process."""

    def __init__(self, iface: Any) -> None:
        self.iface = iface
        self.provider: GeodiffProvider | None = None
        self.dock: Any = None
        self.menu: QMenu | None = None
        self.action: Any = None
        self.let_go = False
        self.translator = self._translator()

    def initProcessing(self) -> None:
        """All that qgis_process needs."""
        self.provider = GeodiffProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """The toolbox, and a panel that is built when it is first opened."""
        self.initProcessing()
        self.menu = QMenu("Geodiff Mosaic", self.iface.mainWindow())
        self.menu.setIcon(QIcon(ICON))
        self.action = self.menu.addAction(QIcon(ICON), tr("Panel"))
        self.action.setToolTip(tr("Geodiff Mosaic: paint synthetic aerial imagery"))
        self.action.setCheckable(True)
        self.action.triggered.connect(self.show_panel)
        self.menu.addAction(tr("Set up geodiff ..")).triggered.connect(self.set_up)
        self.iface.pluginMenu().addMenu(self.menu)
        self.iface.addToolBarIcon(self.action)
        QgsApplication.instance().aboutToQuit.connect(self.quit)

    def unload(self) -> None:
        """Switched off, or QGIS closes: nothing of us goes on running."""
        self.quit()
        if self.dock is not None:
            self.iface.removeDockWidget(self.dock)
            self.dock.deleteLater()
            self.dock = None
        if self.menu is not None:
            QgsApplication.instance().aboutToQuit.disconnect(self.quit)
            self.iface.removeToolBarIcon(self.action)
            self.iface.pluginMenu().removeAction(self.menu.menuAction())
            self.menu.deleteLater()
            self.menu = self.action = None
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None

    def quit(self) -> None:
        """Stop every child and wait until nothing of it is left; the panel lets go of the map."""
        if self.dock is not None and not self.let_go:
            self.let_go = True
            self.dock.let_go()
        runner.stop_all()

    def show_panel(self, shown: bool = True) -> None:
        """Open or close the panel."""
        if self.dock is None:
            if not shown:
                return
            from geodiff_qgis.dock import GeodiffDock

            self.dock = GeodiffDock(self.iface, self.set_up)
            self.dock.visibilityChanged.connect(self._check)
            self.iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.dock.setVisible(shown)

    def set_up(self, *ignored: object) -> None:
        """Where geodiff is, and whether it works."""
        from geodiff_qgis.setup_dialog import SetupDialog

        SetupDialog(self.iface.mainWindow()).exec()
        if self.dock is not None:
            self.dock.refresh()

    def _check(self, *ignored: object) -> None:
        if self.action is not None and self.dock is not None:
            self.action.setChecked(self.dock.isVisible())

    @staticmethod
    def _translator() -> QTranslator | None:
        """The user's language, where there is a translation (i18n/geodiff_de.qm)."""
        from pathlib import Path

        name = str(QgsSettings().value("locale/userLocale", "") or QLocale.system().name())
        path = Path(__file__).parent / "i18n" / f"geodiff_{name[:2]}.qm"
        translator = QTranslator()
        if not path.is_file() or not translator.load(str(path)):
            return None
        QCoreApplication.installTranslator(translator)
        return translator
