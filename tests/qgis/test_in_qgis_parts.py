"""Layers, boxes, results and the toolbox inside QGIS, with a geodiff that answers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("qgis.core")
pytest.importorskip("pytest_qgis")

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)

from geodiff_qgis import result, settings
from geodiff_qgis.place import box_of
from geodiff_qgis.provider import GeodiffProvider
from geodiff_qgis.request import Box
from geodiff_qgis.sources import (
    Unusable,
    polygon_file,
    raster_bands,
    raster_file,
    raster_scale,
)
from geodiff_qgis.wording import TOOLBOX
from tests.qgis.in_qgis import UTM, picture, polygon_layer, raster_layer, until, utm

pytestmark = pytest.mark.usefixtures("qgis_app", "qgis_new_project")


def test_a_raster_layer_is_its_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "photo.tif")
    layer = raster_layer(path)
    assert raster_file(layer) == path
    assert raster_bands(layer) is None
    assert raster_scale(layer) is None


def test_options_of_gdal_are_no_part_of_the_file(tmp_path: Path) -> None:
    path = picture(tmp_path / "photo.tif")
    assert raster_file(raster_layer(f"{path}|option:NUM_THREADS=2")) == path


def test_one_band_is_grey_and_more_bits_are_taken_as_drawn(tmp_path: Path) -> None:
    layer = raster_layer(picture(tmp_path / "scene.tif", 1, gdal.GDT_UInt16))
    assert raster_bands(layer) == (1, 1, 1)
    layer = raster_layer(picture(tmp_path / "three.tif", 3, gdal.GDT_UInt16))
    drawn = layer.renderer().redContrastEnhancement()
    drawn.setMinimumValue(50)
    drawn.setMaximumValue(2500)
    assert raster_scale(layer) == (50, 2500)


def test_a_web_service_says_what_to_do() -> None:
    layer = QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/{z}/{x}/{y}.png", "streets", "wms")
    with pytest.raises(Unusable, match=r"streets comes from a web service.*Export > Save As"):
        raster_file(layer)
    with pytest.raises(Unusable, match="no raster layer"):
        raster_file(None)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    layer = raster_layer(picture(tmp_path / "photo.tif"))
    (tmp_path / "photo.tif").unlink()
    with pytest.raises(Unusable, match="missing"):
        raster_file(layer)


def test_a_layer_in_memory_becomes_a_geopackage(tmp_path: Path) -> None:
    layer = polygon_layer("my plan: 1")
    made = polygon_file(layer, "text", False, str(tmp_path))
    assert Path(made.path).name == "my plan_ 1.gpkg"
    copy = QgsVectorLayer(made.path, "copy", "ogr")
    assert [f["text"] for f in copy.getFeatures()] == ["forest", "a harbour"]
    assert copy.crs() == utm()


def test_the_copy_is_made_anew_only_when_the_layer_shows_something_else(tmp_path: Path) -> None:
    layer = polygon_layer()

    def copy(selected: bool = False) -> str:
        return polygon_file(layer, "text", selected, str(tmp_path)).path

    first = copy()
    written = Path(first).stat().st_mtime_ns
    assert copy() == first
    assert Path(first).stat().st_mtime_ns == written
    layer.selectByIds([1])
    assert len({first, copy(), copy(selected=True)}) == 2
    layer.dataProvider().changeAttributeValues({2: {0: "a lake"}})
    assert copy() != first
    texts = [f["text"] for f in QgsVectorLayer(copy(), "copy", "ogr").getFeatures()]
    assert texts == ["forest", "a lake"]


def test_a_saved_layer_is_read_where_it_lies_unless_it_shows_something_else(
    tmp_path: Path,
) -> None:
    saved = polygon_file(polygon_layer(), "text", False, str(tmp_path))
    layer = QgsVectorLayer(f"{saved.path}|layername=polygons", "plan", "ogr")
    assert layer.isValid()
    copies = tmp_path / "copies"
    copies.mkdir()

    def taken(selected: bool = False) -> tuple[bool, int]:
        made = polygon_file(layer, "text", selected, str(copies))
        count = QgsVectorLayer(made.path, "x", "ogr").featureCount()
        return made.path == saved.path, int(count)

    assert polygon_file(layer, "text", False).layer == "polygons"
    assert taken() == (True, 2)
    layer.selectByIds([1])
    assert taken(selected=True) == (False, 1)
    layer.setSubsetString("\"text\" = 'forest'")
    assert taken() == (False, 1)
    layer.setSubsetString("")
    layer.startEditing()
    layer.deleteFeature(1)
    assert taken() == (False, 1)
    layer.rollBack()


@pytest.mark.parametrize(
    ("kind", "field", "selected", "reason"),
    [
        ("Point", "text", False, "has no polygons"),
        ("Polygon", "none", False, "Choose the field"),
        ("Polygon", "text", True, "Nothing is selected"),
    ],
)
def test_polygons_that_cannot_be_taken(
    kind: str, field: str, selected: bool, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(Unusable, match=reason):
        polygon_file(polygon_layer(kind=kind), field, selected, str(tmp_path))


def test_boxes_keep_their_crs_and_have_one() -> None:
    rectangle = QgsRectangle(380000, 3990000, 380150, 3990150)
    assert box_of(rectangle, utm()) == Box(380000, 3990000, 380150, 3990150, UTM)
    own = QgsCoordinateReferenceSystem.fromProj("+proj=laea +lat_0=34 +lon_0=-117")
    assert "Lambert Azimuthal Equal Area" in box_of(rectangle, own).crs
    with pytest.raises(Unusable, match="no CRS"):
        box_of(rectangle, QgsCoordinateReferenceSystem())
    for empty in (QgsRectangle(), QgsRectangle(1, 1, 1, 5)):
        with pytest.raises(Unusable, match=r"no extent yet|no area"):
            box_of(empty, utm())


def test_a_mosaic_says_that_it_is_synthetic(tmp_path: Path) -> None:
    path = picture(tmp_path / "town.tif")
    item = {
        "id": "town",
        "properties": {
            "description": "Synthetic aerial imagery; not a photograph.",
            "processing:lineage": "Synthetic aerial imagery; not a photograph. It goes by: photo.",
            "geodiff:model": "naip-small", "geodiff:seed": 7, "geodiff:source": "photo.tif",
            "geodiff:credit": "USDA NAIP", "geodiff:command": "geodiff synthesize ..",
        },
        "links": [{"rel": "derived_from", "href": "./photo.tif"}],
    }  # fmt: skip
    (tmp_path / "town.json").write_text(json.dumps(item))
    layer = result.load(path, {"seed": 1})
    assert layer.name() == "town (synthetic, seed 7)"
    metadata = layer.metadata()
    assert metadata.abstract().startswith("Synthetic aerial imagery; not a photograph.")
    assert metadata.rights() == ["USDA NAIP"]
    assert metadata.history()[-1] == "geodiff synthesize .."
    assert "AI generated" in metadata.keywords("geodiff")
    assert [link.url for link in metadata.links()] == ["./photo.tif"]
    assert metadata.crs() == utm()
    assert layer.customProperty("geodiff/synthetic") is True


def test_without_an_item_the_layer_goes_by_what_was_printed(tmp_path: Path) -> None:
    layer = result.load(picture(tmp_path / "town.tif"), {"seed": 3, "model": "tiny"})
    assert layer.name() == "town (synthetic, seed 3)"
    assert "model tiny (seed 3); not a photograph" in layer.metadata().abstract()
    (tmp_path / "broken.tif").write_text("no raster")
    with pytest.raises(Unusable, match="QGIS cannot read it"):
        result.load(str(tmp_path / "broken.tif"), {})


def test_runs_are_remembered_once_for_each_output() -> None:
    settings.keep("recent", "nonsense")
    assert settings.recent() == []
    for number in range(14):
        settings.remember({"out": f"/d/{number % 12}.tif", "number": number})
    assert [run["number"] for run in settings.recent()] == list(range(13, 3, -1))


class Told(QgsProcessingFeedback):
    """What an algorithm says; cancels itself after so many lines of progress."""

    def __init__(self, cancel_after: int = 10**6) -> None:
        super().__init__(False)
        self.lines: list[str] = []
        self.percents: list[float] = []
        self.left = cancel_after
        self.command = ""
        self.progressChanged.connect(self.percents.append)

    def pushInfo(self, info: str) -> None:
        self.lines.append(info)

    def pushCommandInfo(self, info: str) -> None:
        self.command = info

    def pushWarning(self, warning: str) -> None:
        self.lines.append(warning)

    def setProgressText(self, text: str) -> None:
        self.lines.append(text)
        self.left -= 1
        if self.left <= 0:
            self.cancel()


@pytest.fixture
def toolbox(fake_program: str) -> Any:
    """The provider, in the registry."""
    provider = GeodiffProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


def run(name: str, given: dict[str, Any], feedback: QgsProcessingFeedback) -> tuple[dict, bool]:
    """Run an algorithm as the toolbox does."""
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"geodiffmosaic:{name}")
    assert algorithm is not None
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    fine, reason = algorithm.checkParameterValues(given, context)
    assert fine, reason
    return algorithm.run(given, context, feedback)


EXTENT = "380000,380150,3990000,3990150 [EPSG:32611]"


def test_the_algorithms_are_in_the_toolbox(toolbox: Any) -> None:
    names = {algorithm.id() for algorithm in toolbox.algorithms()}
    assert names == {f"geodiffmosaic:{n}" for n in ("synthesize", "embed", "imagine", "mix")}


def test_what_the_messages_call_a_parameter_is_one(toolbox: Any) -> None:
    known = {
        parameter.name()
        for algorithm in toolbox.algorithms()
        for parameter in algorithm.parameterDefinitions()
    }
    assert set(TOOLBOX.values()) <= known


def test_a_catalogue_reaches_the_child(toolbox: Any, tmp_path: Path) -> None:
    told = Told()
    given = {
        "STAC": "earth-search", "COLLECTION": "naip, other", "DATETIME": "2020/2022",
        "ASSET": "image", "PAYS": True, "EXTENT": EXTENT, "OUTPUT": str(tmp_path / "out.tif"),
    }  # fmt: skip
    _, fine = run("synthesize", given, told)
    assert fine
    for word in (
        "--stac=earth-search", "--collection=naip", "--collection=other", "--datetime=2020/2022",
        "--asset=image", "--stac-requester-pays",
    ):  # fmt: skip
        assert word in told.command.split()


def test_synthesize_runs_the_child_and_tells_how_far_it_is(toolbox: Any, tmp_path: Path) -> None:
    photo = raster_layer(picture(tmp_path / "photo.tif"))
    told = Told()
    out = str(tmp_path / "out.tif")
    given = {"RASTER": photo, "EXTENT": EXTENT, "SEED": 7, "MODE": 1, "OUTPUT": out}
    results, fine = run("synthesize", given, told)
    assert fine
    assert results["OUTPUT"] == out
    assert (results["WIDTH"], results["HEIGHT"]) == (256, 256)
    assert "the source covers 80.0%" in told.lines
    assert any(line.startswith("Painting") for line in told.lines)
    assert told.percents == sorted(told.percents)
    assert told.percents[-1] == 100


def test_paths_may_be_relative_to_where_qgis_process_was_called(
    toolbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.tif")
    given = {"RASTER": "photo.tif", "EXTENT": EXTENT, "OUTPUT": "out.tif"}
    told = Told()
    results, fine = run("synthesize", given, told)
    assert fine
    assert results["OUTPUT"] == "out.tif"
    assert (tmp_path / "out.tif").is_file()
    assert f"--reference={tmp_path / 'photo.tif'}" in told.command


def test_the_dialog_loads_the_mosaic_and_it_says_what_it_is(
    toolbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the dialog does it, in a thread of its own, into a temporary file."""
    monkeypatch.setenv("FAKE_GEODIFF_TIFF", picture(tmp_path / "template.tif"))
    context, told = QgsProcessingContext(), Told()
    context.setProject(QgsProject.instance())
    output = QgsProcessingOutputLayerDefinition("TEMPORARY_OUTPUT", QgsProject.instance())
    given = {"EXTENT": EXTENT, "SEED": 7, "OUTPUT": output}
    task = QgsProcessingAlgRunnerTask(toolbox.algorithm("synthesize"), given, context, told)
    ends: list[tuple[bool, dict[str, Any]]] = []
    task.executed.connect(lambda fine, results: ends.append((fine, results)))
    QgsApplication.taskManager().addTask(task)
    assert until(lambda: bool(ends))
    ((fine, results),) = ends
    assert fine
    ((path, details),) = context.layersToLoadOnCompletion().items()
    assert path == results["OUTPUT"]
    layer = QgsRasterLayer(path, "Synthetic mosaic")
    details.postProcessor().postProcessLayer(layer, context, told)
    assert layer.name() == "OUTPUT (synthetic, seed 7)"


def test_a_cancelled_algorithm_leaves_nothing(
    toolbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GEODIFF", "hangs")
    folder = tmp_path / "results"
    folder.mkdir()
    given = {"EXTENT": EXTENT, "OUTPUT": str(folder / "out.tif")}
    results, _ = run("synthesize", given, Told(cancel_after=3))
    assert "OUTPUT" not in results
    assert list(folder.iterdir()) == []


def test_a_child_that_dies_is_an_error_of_the_algorithm(
    toolbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GEODIFF", "dies")
    algorithm = toolbox.algorithm("synthesize").create()
    context, told = QgsProcessingContext(), Told()
    given = {"EXTENT": EXTENT, "OUTPUT": str(tmp_path / "out.tif")}
    assert algorithm.prepare(given, context, told)
    with pytest.raises(
        QgsProcessingException, match=r"the disk is full .* another “Synthetic mosaic”"
    ):
        algorithm.runPrepared(given, context, told)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("synthesize", {}, "Without a source an extent is needed"),
        ("synthesize", {"TEXT": "a", "STAC": "b"}, "one source only, not STAC, TEXT"),
        ("synthesize", {"EXTENT": "1,1,2,2 [EPSG:32611]"}, "no area"),
        ("synthesize", {"EXTENT": "0,1,0,1"}, "The extent has no CRS"),
        ("embed", {}, "a raster layer or a STAC catalogue"),
        ("imagine", {"TEXT": "a"}, "Give an extent"),
    ],
)
def test_parameters_that_make_no_sense_say_what_to_do(
    toolbox: Any, name: str, given: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    class Errors(Told):
        def reportError(self, error: str, fatalError: bool = False) -> None:
            self.lines.append(error)

    algorithm, told = toolbox.algorithm(name).create(), Errors()
    given = {**given, "OUTPUT": str(tmp_path / "out.tif")}
    QgsProject.instance().setCrs(QgsCoordinateReferenceSystem())
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    assert not algorithm.prepare(given, context, told)
    assert any(reason in line for line in told.lines), told.lines


def test_polygons_in_memory_reach_the_child(toolbox: Any, tmp_path: Path) -> None:
    algorithm, told = toolbox.algorithm("imagine").create(), Told()
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    given = {"POLYGONS": polygon_layer().id(), "FIELD": "text", "OUTPUT": str(tmp_path / "a.tif")}
    assert algorithm.prepare(given, context, told), told.lines
    request = algorithm.request
    assert request.attribute == "text"
    assert QgsVectorLayer(request.layout_file, "x", "ogr").featureCount() == 2
