"""The batch dialog of Processing: its own window and code, row by row."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("qgis.core")
pytest.importorskip("pytest_qgis")

from osgeo import gdal
from qgis.core import QgsApplication, QgsProject
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QTimer

from geodiff_qgis.provider import GeodiffProvider
from tests.qgis.in_qgis import picture, raster_layer, until, utm

EXTENT = "380000,380150,3990000,3990150 [EPSG:32611]"
PLUGINS = "/usr/share/qgis/python/plugins"


@pytest.fixture
def batch(qgis_app: Any, qgis_iface: Any, qgis_new_project: Any) -> Any:
    """Makes the dialog of an algorithm with so many rows."""
    if not Path(PLUGINS, "processing").is_dir():
        pytest.skip(f"Processing is not in {PLUGINS}")
    if PLUGINS not in sys.path:
        sys.path.append(PLUGINS)
    from processing.core.Processing import Processing
    from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog

    Processing.initialize()
    QgsProject.instance().setCrs(utm())
    provider = GeodiffProvider()
    QgsApplication.processingRegistry().addProvider(provider)

    dialogs: list[Any] = []

    def made(name: str, rows: list[dict[str, Any]]) -> Any:
        dialog = BatchAlgorithmDialog(provider.algorithm(name).create())
        dialogs.append(dialog)
        panel = dialog.mainWidget()
        panel.checkLoadLayersOnCompletion.setChecked(True)
        while panel.batchRowCount() < len(rows):
            panel.addRow()
        for number, given in enumerate(rows):
            for parameter, value in given.items():
                column = panel.parameter_to_column[parameter]
                if parameter == "OUTPUT":
                    panel.tblParameters.cellWidget(number + 1, column).setValue(value)
                else:
                    wrapper = panel.wrappers[number][column]
                    wrapper.setParameterValue(value, panel.processing_context)
        return dialog

    yield made
    for dialog in dialogs:  # one that outlives the test keeps QGIS from closing
        dialog.close()
        sip.delete(dialog)
    QgsApplication.processingRegistry().removeProvider(provider)


def synthetic() -> list[str]:
    """Names of the layers that say what they are."""
    layers = QgsProject.instance().mapLayers().values()
    return sorted(layer.name() for layer in layers if "synthetic" in layer.name())


def test_each_row_is_a_run_and_each_mosaic_a_layer(
    batch: Any, fake_program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GEODIFF_TIFF", picture(tmp_path / "template.tif"))
    names = ["one", "two", "three"]
    rows = [
        {"EXTENT": EXTENT, "SEED": number, "MODE": 1, "OUTPUT": str(tmp_path / f"{name}.tif")}
        for number, name in enumerate(names)
    ]
    dialog = batch("synthesize", rows)
    dialog.runAlgorithm()
    assert synthetic() == [
        "one (synthetic, seed 0)", "three (synthetic, seed 2)", "two (synthetic, seed 1)",
    ]  # fmt: skip


def test_a_row_that_fails_keeps_the_others_and_no_task(
    batch: Any, fake_program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QGIS would wait for the task as it closes."""
    monkeypatch.setenv("FAKE_GEODIFF_TIFF", picture(tmp_path / "template.tif"))
    monkeypatch.setenv("FAKE_GEODIFF", "odd")
    rows = [
        {"EXTENT": EXTENT, "SEED": number, "OUTPUT": str(tmp_path / f"{name}.tif")}
        for number, name in enumerate(("one", "two", "three"))
    ]
    batch("synthesize", rows).runAlgorithm()
    assert synthetic() == ["one (synthetic, seed 0)", "three (synthetic, seed 2)"]
    assert not list(tmp_path.glob("*two*"))
    assert until(lambda: not QgsApplication.taskManager().activeTasks())


def test_a_batch_can_be_cancelled_while_its_child_is_silent(
    batch: Any, fake_program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GEODIFF", "hangs")
    folder = tmp_path / "results"
    folder.mkdir()
    dialog = batch("synthesize", [{"EXTENT": EXTENT, "OUTPUT": str(folder / "a.tif")}] * 2)
    QTimer.singleShot(3000, dialog.cancelButton().click)
    began = time.monotonic()
    dialog.runAlgorithm()
    assert time.monotonic() - began < 30  # the child would take a minute
    assert list(folder.iterdir()) == []
    assert synthetic() == []


def test_two_chips_in_one_batch_with_the_real_model(
    batch: Any, real_program: str, chip: str, tmp_path: Path
) -> None:
    layer = raster_layer(chip)
    west, north = layer.extent().xMinimum(), layer.extent().yMaximum()
    box = f"{west},{west + 76.8},{north - 76.8},{north} [{layer.crs().authid()}]"
    outs = [str(tmp_path / "raster.tif"), str(tmp_path / "nothing.tif")]
    rows = [
        {"RASTER": layer.id(), "EXTENT": box, "MODE": 1, "SEED": 7, "OUTPUT": outs[0]},
        {"EXTENT": box, "MODE": 1, "SEED": 8, "OUTPUT": outs[1]},
    ]
    batch("synthesize", rows).runAlgorithm()
    for out in outs:
        made = gdal.Open(out)
        assert (made.RasterXSize, made.RasterYSize) in {(128, 128), (129, 129)}
        assert made.GetMetadata()["AI_GENERATED"] == "TRUE"
    assert synthetic() == ["nothing (synthetic, seed 8)", "raster (synthetic, seed 7)"]
