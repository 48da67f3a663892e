"""The toolbox inside QGIS with the real geodiff, the model in its package and a real NAIP chip."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("qgis.core")
pytest.importorskip("pytest_qgis")

from osgeo import gdal
from qgis.core import QgsApplication, QgsProcessingContext, QgsProject

from geodiff_qgis.provider import GeodiffProvider
from geodiff_qgis.runner import Run
from tests.qgis.in_qgis import polygon_layer, raster_layer, until
from tests.qgis.test_in_qgis_parts import Told

PLUGINS = Path(__file__).parents[2] / "qgis_plugin"
BOX = "-117.76,-117.7595,34.09,34.0904 [EPSG:4326]"


@pytest.fixture
def toolbox(qgis_app: Any, qgis_new_project: Any, real_program: str) -> Any:
    provider = GeodiffProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    yield provider
    QgsApplication.processingRegistry().removeProvider(provider)


def run(name: str, given: dict[str, Any], told: Told) -> dict[str, Any]:
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"geodiffmosaic:{name}")
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    results, fine = algorithm.run(given, context, told)
    assert fine, told.lines
    return results


def test_a_chip_is_repainted_on_its_own_grid(toolbox: Any, chip: str, tmp_path: Path) -> None:
    told, out = Told(), str(tmp_path / "twin.tif")
    given = {"RASTER": raster_layer(chip), "MODE": 1, "SEED": 7, "OUTPUT": out}
    results = run("synthesize", given, told)
    made, real = gdal.Open(out), gdal.Open(chip)
    assert made.GetGeoTransform() == real.GetGeoTransform()
    assert (made.RasterXSize, made.RasterYSize) == (real.RasterXSize, real.RasterYSize)
    assert made.GetMetadata()["AI_GENERATED"] == "TRUE"
    assert results["WIDTH"] == real.RasterXSize
    item = json.loads(Path(results["ITEM"]).read_text("utf-8"))
    assert item["properties"]["geodiff:seed"] == 7
    assert any(line.startswith("Painting") for line in told.lines)
    assert {path.name for path in tmp_path.iterdir()} == {"twin.tif", "twin.json"}


def test_a_grid_is_imagined_mixed_and_painted(toolbox: Any, tmp_path: Path) -> None:
    grid, out = str(tmp_path / "made.parquet"), str(tmp_path / "made.tif")
    run("imagine", {"EXTENT": BOX, "SEED": 3, "OUTPUT": grid}, Told())
    other, mixed = str(tmp_path / "other.tif"), str(tmp_path / "mixed.parquet")
    run("imagine", {"EXTENT": BOX, "SEED": 4, "OUTPUT": other}, Told())
    run("mix", {"FIRST": grid, "SECOND": other, "WEIGHT": 0.3, "OUTPUT": mixed}, Told())
    results = run("synthesize", {"EMBEDDINGS": mixed, "MODE": 1, "OUTPUT": out}, Told())
    assert (results["WIDTH"], results["HEIGHT"]) == (79, 76)


def test_a_raster_is_embedded(toolbox: Any, chip: str, tmp_path: Path) -> None:
    out = tmp_path / "cells.parquet"
    run("embed", {"RASTER": raster_layer(chip), "OUTPUT": str(out)}, Told())
    assert out.stat().st_size > 0


def test_polygons_in_memory_lay_out_a_mosaic(toolbox: Any, tmp_path: Path) -> None:
    layer = polygon_layer()
    layer.dataProvider().changeAttributeValues({2: {0: "harbor"}})  # labels need no extra
    out = str(tmp_path / "cells.parquet")
    run("imagine", {"POLYGONS": layer.id(), "FIELD": "text", "OUTPUT": out}, Told())
    assert os.path.getsize(out) > 0


def test_what_geodiff_refuses_is_told_in_its_words(toolbox: Any, chip: str, tmp_path: Path) -> None:
    told = Told()
    algorithm = toolbox.algorithm("synthesize").create()
    context = QgsProcessingContext()
    given = {"RASTER": raster_layer(chip), "EXTENT": BOX, "OUTPUT": str(tmp_path / "a.tif")}
    assert algorithm.prepare(given, context, told)
    with pytest.raises(Exception, match=r"does not|outside|cover"):
        algorithm.runPrepared(given, context, told)
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_child_is_gone_and_leaves_nothing(
    toolbox: Any, chip: str, tmp_path: Path
) -> None:
    """As the panel does it: a task of QGIS, cancelled while it paints."""
    from geodiff_qgis import settings
    from geodiff_qgis.task import RunTask

    out = str(tmp_path / "a.tif")
    words = ["synthesize", f"--reference={chip}", "--mode=paper", f"--out={out}", "--json"]
    task = RunTask("paint", settings.program(), [*words, "--progress=json"], out)
    stages: list[str] = []
    ends: list[tuple[Any, str]] = []
    task.heard.connect(lambda event: stages.append(event.stage))
    task.ended.connect(lambda facts, error: ends.append((facts, error)))
    child: Run = task.child
    QgsApplication.taskManager().addTask(task)
    assert until(lambda: "paint" in stages, 300)
    number = child._process.pid
    began = time.monotonic()
    task.cancel()
    assert until(lambda: bool(ends), 60)
    assert time.monotonic() - began < 15
    assert ends == [({}, "")]
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert list(tmp_path.iterdir()) == []


def test_qgis_process_runs_the_algorithm(real_program: str, chip: str, tmp_path: Path) -> None:
    program = "/usr/bin/qgis_process.bin"  # Debian's wrapper qgis_process does not work
    if not os.path.isfile(program):
        pytest.skip(f"there is no {program}")
    told = {
        **os.environ, "HOME": str(tmp_path), "QGIS_PLUGINPATH": str(PLUGINS),
        "QT_QPA_PLATFORM": "offscreen", "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"),
    }  # fmt: skip

    def ask(*words: str) -> str:
        done = subprocess.run(
            [program, *words], env=told, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    ask("plugins", "enable", "geodiff_qgis")
    out = tmp_path / "twin.tif"
    given = [f"RASTER={chip}", "MODE=1", "SEED=7", f"OUTPUT={out}"]
    answer = ask("--json", "run", "geodiffmosaic:synthesize", "--", *given)
    facts = json.loads(answer[answer.index("{") :])
    assert facts["results"]["OUTPUT"] == str(out)
    assert gdal.Open(str(out)).GetMetadata()["GEODIFF_SEED"] == "7"
