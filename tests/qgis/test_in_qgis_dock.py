"""The panel inside QGIS, with a geodiff that answers at once: plan, run, cancel, bad input."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("qgis.core")
pytest.importorskip("pytest_qgis")

from qgis.core import Qgis, QgsCoordinateReferenceSystem, QgsProject, QgsRectangle
from qgis.gui import QgsMapToolExtent, QgsMapToolPan
from qgis.PyQt.QtWidgets import QLineEdit

from geodiff_qgis import settings
from geodiff_qgis.dock import GeodiffDock
from geodiff_qgis.panel import source as kinds
from geodiff_qgis.panel.extent import ExtentWidget
from geodiff_qgis.request import Box
from geodiff_qgis.sources import Unusable
from tests.qgis.in_qgis import UTM, picture, polygon_layer, raster_layer, until, utm

POINT = QgsRectangle(1, 1, 1, 1)
BOX = Box(380000.0, 3990000.0, 380150.0, 3990150.0, UTM)


@pytest.fixture
def dock(
    qgis_app: Any, qgis_iface: Any, qgis_new_project: Any, fake_program: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:  # fmt: skip
    """The panel, open, in a project in UTM, with a box."""
    monkeypatch.setenv("FAKE_GEODIFF_TIFF", picture(tmp_path / "template.tif"))
    QgsProject.instance().setCrs(utm())
    settings.keep("recent", "[]")
    shown = GeodiffDock(qgis_iface, lambda *_: None)
    shown.running.asks = lambda *_: pytest.fail("nothing should be asked")
    qgis_iface.mainWindow().show()
    shown.show()
    shown.extent.set_box(BOX)
    yield shown
    shown.let_go()
    shown.close()


def planned(dock: Any) -> bool:
    return until(lambda: dock.preview.plan is not None)


def ended(dock: Any) -> bool:
    return until(lambda: dock.running.task is None and not dock.waiting)


def warned(dock: Any) -> str:
    """What the message bar says."""
    shown = dock.running.iface.messageBar().get_messages(Qgis.MessageLevel.Warning)
    return " ".join(shown)


def mosaics() -> list[str]:
    layers = QgsProject.instance().mapLayers().values()
    return [layer.name() for layer in layers if "synthetic" in layer.name()]


def test_the_plan_is_shown_before_anything_runs(dock: Any) -> None:
    assert planned(dock)
    assert dock.preview.size.text() == "256 x 256 px, 0.6 m a pixel, EPSG:32611"
    assert "48 evaluations, about 12 s" in dock.preview.cost.text()
    assert dock.preview.notes.text() == "the source covers 80.0%"
    assert dock.preview.band.asGeometry().boundingBox().width() == pytest.approx(153.6)


def test_run_paints_and_adds_a_layer_that_says_what_it_is(dock: Any, tmp_path: Path) -> None:
    out = tmp_path / "town.tif"
    dock.how.file.setFilePath(str(out))
    dock.how.seed.setText("7")
    dock.running.run.click()  # before the plan is known
    assert dock.running.status.text().startswith("Estimating")
    assert until(lambda: mosaics() == ["town (synthetic, seed 7)"])
    assert ended(dock)
    assert dock.running.run.isEnabled()
    assert not dock.running.stop.isEnabled()
    assert "Done in" in dock.running.status.text()
    assert "--seed=7" in dock.running.log.toPlainText()
    (run,) = settings.recent()
    assert run["out"] == str(out)


def test_a_former_run_is_taken_again(dock: Any, tmp_path: Path) -> None:
    photo = raster_layer(picture(tmp_path / "photo.tif"))
    dock.source.kind.setCurrentIndex(kinds.RASTER)
    dock.extent.whole.setChecked(False)
    dock.extent.set_box(BOX)
    dock.how.seed.setText("41")
    dock.how.mode.setCurrentIndex(1)
    request = dock.request()
    assert request.reference == photo.source()
    for change in (
        lambda: dock.source.kind.setCurrentIndex(kinds.NOTHING),
        lambda: dock.extent.set_box(Box(0, 0, 1, 1)),
        dock.how.dice.click,
        lambda: dock.how.mode.setCurrentIndex(0),
    ):
        change()
    dock.take(request)
    assert dock.request() == request


def test_a_former_runs_layer_is_found_or_added_and_never_another_one(
    dock: Any, tmp_path: Path
) -> None:
    photo = raster_layer(picture(tmp_path / "photo.tif"))
    dock.source.kind.setCurrentIndex(kinds.RASTER)
    former = dock.request()
    QgsProject.instance().removeMapLayer(photo.id())
    raster_layer(picture(tmp_path / "another.tif"))
    dock.take(former)
    assert dock.request() == former
    assert len(QgsProject.instance().mapLayersByName("photo")) == 1
    QgsProject.instance().removeMapLayer(dock.source.raster.currentLayer().id())
    (tmp_path / "photo.tif").unlink()
    dock.take(former)
    assert f"{former.reference}, which that run went by, is gone" in warned(dock)
    with pytest.raises(Unusable, match="no raster layer"):
        dock.request()


def test_a_former_run_finds_the_layer_that_it_copied(dock: Any) -> None:
    layer = polygon_layer("my plan")
    polygon_layer("another")
    dock.source.kind.setCurrentIndex(kinds.POLYGONS)
    dock.source.polygons.setLayer(layer)
    dock.source.field.setField("text")
    former = dock.request()
    for other in (kinds.NOTHING, kinds.POLYGONS):
        dock.source.kind.setCurrentIndex(other)
    dock.source.polygons.setCurrentIndex(1 - dock.source.polygons.currentIndex())
    assert dock.request() != former
    dock.take(former)
    assert dock.request() == former
    assert dock.source.polygons.currentLayer().id() == layer.id()


def test_cancel_stops_the_child_and_leaves_nothing(
    dock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned(dock)
    monkeypatch.setenv("FAKE_GEODIFF", "hangs")
    folder = tmp_path / "results"
    folder.mkdir()
    dock.how.file.setFilePath(str(folder / "town.tif"))
    dock.running.run.click()
    assert until(lambda: dock.running.bar.value() > 100 and any(folder.iterdir()))
    dock.running.stop.click()
    assert ended(dock)
    assert dock.running.status.text() == "Cancelled."
    assert list(folder.iterdir()) == []
    assert mosaics() == []


def test_a_child_that_dies_is_a_line_in_the_message_bar(
    dock: Any, qgis_iface: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned(dock)
    monkeypatch.setenv("FAKE_GEODIFF", "dies")
    dock.running.run.click()
    assert ended(dock)
    assert "Failed: cannot write a.tif: the disk is full" in dock.running.status.text()
    assert dock.running.status.text().endswith("choose another “Save to”")
    assert dock.running.run.isEnabled()
    assert mosaics() == []


def test_a_large_mosaic_is_asked_about_first(dock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GEODIFF", "large")
    asked: list[str] = []
    dock.running.asks = lambda title, question: asked.append(question)  # and says no
    dock.how.seed.setText("2")
    assert until(lambda: dock.preview.plan is not None and dock.preview.plan.is_large)
    dock.running.run.click()
    assert ended(dock)
    assert "about 25.0 h" in asked[0]
    assert "5.0 TB of disk" in asked[0]
    assert mosaics() == []


def test_what_geodiff_will_not_plan_is_said_in_the_panels_words(
    dock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GEODIFF", "refuses")
    dock.extent.set_box(Box(-125.0, 25.0, -65.0, 49.0))
    told = "more than 200000: give a smaller box or a larger “Pixel size”"
    assert until(lambda: dock.preview.cost.text().endswith(told))
    dock.running.run.click()
    assert ended(dock)
    assert dock.running.status.text().endswith(told)
    assert mosaics() == []


def test_a_plan_is_asked_for_once(dock: Any) -> None:
    """Neither another temporary file after a run nor Run itself asks for the same again."""
    polygon_layer()
    dock.source.kind.setCurrentIndex(kinds.POLYGONS)
    dock.source.field.setField("text")
    assert planned(dock)
    plan = dock.preview.plan
    dock.running.run.click()
    assert dock.running.task is not None
    assert until(lambda: len(mosaics()) == 1)
    assert ended(dock)
    assert dock.preview.plan is plan
    assert dock.preview.is_about(dock.request())


def test_a_file_that_exists_is_asked_about(dock: Any, tmp_path: Path) -> None:
    out = tmp_path / "town.tif"
    out.write_text("mine")
    answers = [False, True]
    asked: list[str] = []

    def asks(title: str, question: str) -> bool:
        asked.append(question)
        return answers.pop(0)

    dock.running.asks = asks
    dock.how.file.setFilePath(str(out))
    assert planned(dock)
    dock.running.run.click()
    assert ended(dock)
    assert out.read_text() == "mine"
    dock.running.run.click()
    assert until(lambda: len(mosaics()) == 1)
    assert asked == [f"Replace {out}?"] * 2


def test_the_same_file_again_replaces_its_layer(dock: Any, tmp_path: Path) -> None:
    dock.running.asks = lambda *_: True
    dock.how.file.setFilePath(str(tmp_path / "town.tif"))
    for seed in ("1", "2"):
        dock.how.seed.setText(seed)
        dock.running.run.click()
        assert until(lambda name=f"town (synthetic, seed {seed})": mosaics() == [name])
        assert ended(dock)


def test_an_unfinished_mosaic_may_go_on_or_begin_anew(dock: Any, tmp_path: Path) -> None:
    out = tmp_path / "town.tif"
    (tmp_path / ".town.tif.geodiff").mkdir()
    dock.how.file.setFilePath(str(out))
    assert planned(dock)
    request, plan = dock.request(), dock.preview.plan
    dock.running.asks = lambda *_: True
    assert dock.running.agreed(request, plan, False) == request
    dock.running.asks = lambda *_: False
    assert dock.running.agreed(request, plan, False) == request.but(restart=True)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda dock: dock.how.seed.setText(""), "whole number"),
        (lambda dock: dock.how.seed.setText("9" * 19), "whole number"),
        (lambda dock: dock.how.file.setFilePath("town.tif"), "whole path, with its folder"),
        (lambda dock: dock.how.file.setFilePath(tempfile.gettempdir()), "is a folder"),
        (lambda dock: typed(dock, "1,2,3"), "four numbers"),
        (lambda dock: typed(dock, "1,2,3,4 [EPSG:nine]"), "does not know the CRS"),
        (lambda dock: dock.extent.res.setText("-1"), "no number above 0"),
        (lambda dock: dock.source.kind.setCurrentIndex(kinds.TEXT), "Write what"),
        (lambda dock: dock.source.kind.setCurrentIndex(kinds.RASTER), "no raster layer"),
        (lambda dock: dock.source.kind.setCurrentIndex(kinds.POLYGONS), "no polygon layer"),
        (lambda dock: dock.source.kind.setCurrentIndex(kinds.GRID), "Choose the file"),
        (lambda dock: dock.extent.box.setOutputExtentFromUser(POINT, utm()), "no area"),
        (lambda dock: dock.extent.box.clear(), "There is no extent yet"),
    ],
)
def test_bad_input_is_said_and_run_does_nothing(dock: Any, spoil: Any, reason: str) -> None:
    spoil(dock)
    dock.refresh()
    dock.running.run.click()
    assert reason in dock.preview.size.text()
    assert reason in warned(dock)
    assert dock.running.task is None
    assert dock.preview.plan is None


def test_without_geodiff_the_message_says_how_to_set_it_up(
    dock: Any, qgis_iface: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GEODIFF_EXECUTABLE", str(tmp_path / "none"))
    dock.how.seed.setText("5")
    dock.running.run.click()
    assert until(lambda: "Set up geodiff" in dock.running.status.text())


def test_a_missing_geodiff_is_said_when_the_panel_opens(
    qgis_iface: Any, qgis_new_project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GEODIFF_EXECUTABLE", str(tmp_path / "none"))
    qgis_iface.mainWindow().show()
    shown = GeodiffDock(qgis_iface, lambda *_: None)
    told: list[str] = []
    shown.running.tell = lambda reason, level: told.append(reason)
    for _ in range(2):
        shown.show()
        shown.hide()
    assert len(told) == 1
    assert "Set up geodiff" in told[0]
    shown.let_go()
    shown.close()


def test_the_map_is_offered_when_its_first_layer_comes(dock: Any, tmp_path: Path) -> None:
    dock.extent.box.clear()
    assert dock.extent.typed.text() == "not chosen yet"
    layer = raster_layer(picture(tmp_path / "photo.tif"))
    dock.canvas.setExtent(layer.extent())
    assert until(lambda: not dock.extent.box.outputExtent().isEmpty())
    assert dock.request().box.crs == UTM
    before = dock.request()
    dock.canvas.setExtent(QgsRectangle(0, 0, 9, 9))
    until(lambda: not dock.extent.soon.isActive())
    assert dock.request() == before


def test_a_project_without_crs_says_so(qgis_iface: Any, qgis_new_project: Any) -> None:
    QgsProject.instance().setCrs(QgsCoordinateReferenceSystem())
    place = ExtentWidget(qgis_iface.mapCanvas())
    place.box.setOutputExtentFromUser(QgsRectangle(0, 0, 1, 1), QgsCoordinateReferenceSystem())
    with pytest.raises(Unusable, match="no CRS, so nobody knows where the box lies"):
        place.fields()
    place.let_go()


def typed(dock: Any, text: str) -> None:
    """Type into the extent's line, as a user does."""
    (line,) = (edit for edit in dock.extent.box.findChildren(QLineEdit) if edit.isVisible())
    line.setText(text)
    line.editingFinished.emit()
    line.textEdited.emit(text)


def test_a_box_may_be_typed_in_any_crs(dock: Any) -> None:
    typed(dock, "-117.76,-117.75,34.09,34.098 [EPSG:4326]")
    assert dock.request().box == Box(-117.76, 34.09, -117.75, 34.098)


def test_a_box_may_be_that_of_the_map_or_of_a_layer(dock: Any, tmp_path: Path) -> None:
    layer = raster_layer(picture(tmp_path / "photo.tif"))
    dock.extent.layers.aboutToShow.emit()
    (action,) = dock.extent.layers.actions()
    action.trigger()
    box = dock.request().box
    assert (box.west, box.north, box.crs) == (layer.extent().xMinimum(), 3990153.6, UTM)
    dock.canvas.setExtent(QgsRectangle(380010, 3990010, 380020, 3990020))
    dock.extent.by_map.click()
    box = dock.request().box
    assert box.west <= 380010 < 380020 <= box.east
    assert box.crs == UTM


def test_a_box_may_be_drawn_on_the_map(dock: Any) -> None:
    pan = QgsMapToolPan(dock.canvas)  # in QGIS there is always a tool to come back to
    dock.canvas.setMapTool(pan)
    dock.extent.by_draw.click()
    tool = dock.canvas.mapTool()
    assert isinstance(tool, QgsMapToolExtent)
    tool.extentChanged.emit(QgsRectangle(380010, 3990010, 380060, 3990040))
    box = dock.request().box
    assert (box.west, box.south, box.east, box.north) == (380010, 3990010, 380060, 3990040)
    assert dock.canvas.mapTool() == pan
    dock.canvas.unsetMapTool(pan)


def test_polygons_bring_their_place_and_words(dock: Any) -> None:
    polygon_layer()
    dock.source.kind.setCurrentIndex(kinds.POLYGONS)
    dock.source.field.setField("text")
    assert dock.extent.whole.isChecked()
    request = dock.request()
    assert request.box is None
    assert request.attribute == "text"
    assert request.layout_file is not None
    assert request.layout_file.endswith("plan.gpkg")


def test_closing_the_panel_for_good_stops_the_run(
    dock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geodiff_qgis import runner

    assert planned(dock)
    monkeypatch.setenv("FAKE_GEODIFF", "ignores")
    folder = tmp_path / "results"
    folder.mkdir()
    dock.how.file.setFilePath(str(folder / "town.tif"))
    dock.running.run.click()
    assert until(lambda: any(folder.iterdir()))
    dock.running.task.child.grace = 0.5
    dock.running.let_go()
    runner.stop_all(timeout=5)
    assert list(folder.iterdir()) == []
