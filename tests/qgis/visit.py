"""What a user does with the panel, done inside a whole QGIS desktop: ``qgis --code visit.py``.

GEODIFF_VISIT is a JSON object: folder (where pictures and report.json go), layer (a raster to go
by, or polygons with the field text), source (typed into the page of words or of a catalogue: {text}
or {stac, collection, dates}; then the layer is only looked at), box (west, south, east, north in
its CRS; without it all of the layer), mode, seed, size (of the window), name (of the file to
write), patience (seconds that a step may take), and quit (leave QGIS in the middle of a run).
"""

from __future__ import annotations

import json
import os
import time
import traceback
from pathlib import Path

from qgis.core import (
    QgsPalLayerSettings,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsTextBufferSettings,
    QgsVectorLayer,
    QgsVectorLayerSimpleLabeling,
)
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDockWidget
from qgis.utils import iface, plugins

ASKED = json.loads(os.environ["GEODIFF_VISIT"])
FOLDER = Path(ASKED["folder"])
report = {"pictures": [], "error": None}


def picture(name):
    """A picture of the whole window, without QGIS's own messages."""
    iface.messageBar().clearWidgets()
    QApplication.processEvents()
    iface.mainWindow().grab().save(str(FOLDER / f"{name}.png"))
    report["pictures"].append(name)


def layer_of(path):
    """A raster, or the polygons with their words on them."""
    raster = QgsRasterLayer(path, Path(path).stem)
    if raster.isValid():
        return raster
    polygons = QgsVectorLayer(path, Path(path).stem)
    assert polygons.isValid(), path
    words = QgsPalLayerSettings()
    words.fieldName, words.enabled = "text", True
    halo, look = QgsTextBufferSettings(), words.format()
    halo.setEnabled(True)
    look.setBuffer(halo)
    words.setFormat(look)
    polygons.setLabeling(QgsVectorLayerSimpleLabeling(words))
    polygons.setLabelsEnabled(True)
    return polygons


def type_source(page, typed):
    """Key by key, as a user does."""
    page.kind.setCurrentIndex(2 if "text" in typed else 4)
    edits = {
        "text": page.words, "stac": page.catalogue.lineEdit(), "collection": page.collection,
        "dates": page.dates,
    }  # fmt: skip
    for name, words in typed.items():
        edits[name].setFocus()
        edits[name].selectAll()
        QTest.keyClicks(edits[name], words)
        QTest.keyClick(edits[name], Qt.Key.Key_Return)


def visit():
    """One step after the other; each yields what to wait for."""
    window = iface.mainWindow()
    window.resize(*ASKED.get("size", (1280, 800)))
    for name in ("Browser", "Browser2"):
        if (panel := window.findChild(QDockWidget, name)) is not None:
            panel.hide()
    layer = layer_of(ASKED["layer"])
    QgsProject.instance().setCrs(layer.crs())
    QgsProject.instance().addMapLayer(layer)
    box = QgsRectangle(*ASKED["box"]) if "box" in ASKED else layer.extent()
    iface.mapCanvas().setExtent(box.buffered(0.12 * box.width()))
    plugin = plugins["geodiff_qgis"]
    plugin.action.trigger()
    dock = plugin.dock
    yield lambda: dock.isVisible()
    if "source" in ASKED:
        type_source(dock.source, ASKED["source"])
    else:
        dock.source.kind.setCurrentIndex(1 if isinstance(layer, QgsRasterLayer) else 3)
        dock.source.field.setField("text")
    if "box" in ASKED:
        dock.extent.whole.setChecked(False)
        dock.extent.box.setOutputExtentFromUser(box, layer.crs())
    dock.how.mode.setCurrentIndex(ASKED.get("mode", 1))
    dock.how.file.setFilePath(str(FOLDER / ASKED.get("name", "town.tif")))
    while dock.how.seed.text() == "0":
        dock.how.dice.click()
    if "seed" in ASKED:
        dock.how.seed.setText(str(ASKED["seed"]))
    yield lambda: dock.preview.plan is not None
    yield lambda: not iface.mapCanvas().isDrawing()
    picture("plan")
    for name, part in (("map", iface.mapCanvas()), ("panel", dock)):  # where they are in pictures
        place = part.rect().translated(part.mapTo(window, part.rect().topLeft()))
        report[name] = [place.left(), place.top(), place.right() + 1, place.bottom() + 1]
    labels = dock.preview.size, dock.preview.cost, dock.preview.notes
    report["plan"] = [label.text() for label in labels]
    dock.running.run.click()
    yield lambda: dock.running.bar.value() > 150 and "Painting" in dock.running.status.text()
    picture("running")
    report["child"] = dock.running.task.child._process.pid
    if ASKED.get("quit"):
        return
    yield lambda: dock.running.task is None
    yield lambda: not iface.mapCanvas().isDrawing()
    for _ in range(10):
        yield lambda: True
    picture("done")
    layers = iface.mapCanvas().layers()
    report["canvas"] = [layer.name() for layer in layers]
    report["status"] = dock.running.status.text()
    report["abstract"] = layers[0].metadata().abstract()


def leave():
    """Close QGIS at once, as when the user logs out: nobody is there to answer its questions."""
    (FOLDER / "report.json").write_text(json.dumps(report))
    QApplication.quit()


def go_on():
    """Look whether what the last step waits for has come."""
    global waits, since
    try:
        if waits is None or waits():
            waits, since = next(steps), time.monotonic()
        elif time.monotonic() - since > ASKED.get("patience", 400):
            raise TimeoutError(f"waited in vain after {report['pictures']}")
        return
    except StopIteration:
        pass
    except BaseException:
        report["error"] = traceback.format_exc()
        picture("error")
    timer.stop()
    leave()


steps, waits, since = visit(), None, time.monotonic()
timer = QTimer()
timer.timeout.connect(go_on)
timer.start(200)
