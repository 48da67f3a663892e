"""A whole QGIS desktop under Xvfb: the panel is opened and its buttons are clicked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.qgis.catalogue import catalogue

PLUGINS = Path(__file__).parents[2] / "qgis_plugin"
VISIT = Path(__file__).with_name("visit.py")
BOX = (0.25, 0.25, 0.75, 0.75)
"""Part of the chip, as shares of its sides."""


def profile(home: Path) -> None:
    """A user's folder in which the plugin is switched on and nothing is asked at the start."""
    folder = home / "profiles" / "default" / "QGIS"
    folder.mkdir(parents=True)
    (folder / "QGIS3.ini").write_text(
        "[PythonPlugins]\ngeodiff_qgis=true\n\n[qgis]\ncheckVersion=false\nshowTips=false\n"
        "askToSaveMemoryLayers=false\n\n[app]\nfirstRunVersionFlag=32216\n"
        "projections\\newProjectCrsBehavior=UsePresetCrs\n"
    )


def visit(home: Path, program: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Let QGIS do what visit.py says, and read what it reports."""
    for needed in ("qgis", "xvfb-run"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    profile(home)
    told = {
        **os.environ, "HOME": str(home), "QGIS_PLUGINPATH": str(PLUGINS), "GEODIFF_EXECUTABLE":
        program, "GEODIFF_VISIT": json.dumps(asked), "XDG_RUNTIME_DIR": str(home),
    }  # fmt: skip
    told.pop("QT_QPA_PLATFORM", None)
    command = ["xvfb-run", "-a", "-s", "-screen 0 1440x900x24", "qgis", "--nologo"]
    command += ["--noversioncheck", "--profiles-path", str(home), "--code", str(VISIT)]
    log, timeout = home / "qgis.log", 500 + asked.get("patience", 400)
    with log.open("w") as file:
        done = subprocess.run(command, env=told, stdout=file, stderr=file, timeout=timeout)
    report = Path(asked["folder"]) / "report.json"
    assert report.is_file(), log.read_text()[-3000:]
    facts: dict[str, Any] = json.loads(report.read_text())
    assert facts["error"] is None, facts["error"]
    return {**facts, "code": done.returncode}


def asked(folder: Path, chip: str, **more: Any) -> dict[str, Any]:
    """The middle of the chip."""
    gdal = pytest.importorskip("osgeo.gdal")
    dataset = gdal.Open(chip)
    west, width, _, north, _, height = dataset.GetGeoTransform()
    size = width * dataset.RasterXSize, height * dataset.RasterYSize
    box = [west + BOX[0] * size[0], north + BOX[3] * size[1]]
    box += [west + BOX[2] * size[0], north + BOX[1] * size[1]]
    folder.mkdir()
    return {"folder": str(folder), "layer": chip, "box": box, **more}


def test_a_run_by_clicking_ends_as_a_layer_on_the_map(
    real_program: str, chip: str, tmp_path: Path
) -> None:
    folder = tmp_path / "seen"
    report = visit(tmp_path / "home", real_program, asked(folder, chip, seed=7))
    assert report["canvas"][0] == "town (synthetic, seed 7)"
    assert report["plan"][0].startswith("128 x 128 px, 0.6 m a pixel, EPSG:")
    assert "not a photograph" in report["abstract"]
    assert report["status"].startswith("Done in")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"town.tif", "town.json", "plan.png", "running.png", "done.png"}
    assert not [name for name in names if name.startswith(".")]


def test_closing_qgis_ends_the_run_and_leaves_nothing(
    real_program: str, chip: str, tmp_path: Path
) -> None:
    folder = tmp_path / "seen"
    report = visit(tmp_path / "home", real_program, asked(folder, chip, mode=3, quit=True))
    for _ in range(50):
        with suppress(ProcessLookupError):
            os.kill(report["child"], 0)
            time.sleep(0.1)
            continue
        break
    with pytest.raises(ProcessLookupError):
        os.kill(report["child"], 0)
    assert {path.suffix for path in folder.iterdir()} == {".png", ".json"}
    assert not (folder / "town.json").exists()


def test_words_are_typed_into_the_panel(real_program: str, chip: str, tmp_path: Path) -> None:
    tried = [real_program, "synthesize", "--text", "a lake", "--bbox=0,0,0.001,0.001", "--dry-run"]
    told = subprocess.run([*tried, "--out", str(tmp_path / "lake.tif")], capture_output=True)
    if b"geodiff-mosaic[text]" in told.stderr:
        pytest.skip("geodiff has no extra text")
    words = {"text": "a dense suburb with trees"}
    facts = asked(tmp_path / "words", chip, seed=7, source=words)
    report = visit(tmp_path / "home", real_program, facts)
    assert report["canvas"][0] == "town (synthetic, seed 7)"
    assert words["text"] in report["abstract"]


def test_a_catalogue_is_typed_into_the_panel(real_program: str, chip: str, tmp_path: Path) -> None:
    """One that is served here."""
    gdal = pytest.importorskip("osgeo.gdal")
    served = tmp_path / "photo.tif"
    gdal.Translate(str(served), chip, bandList=[1, 2, 3])
    corners = gdal.Info(chip, format="json")["wgs84Extent"]["coordinates"][0]
    (west, east), (south, north) = ((min(edge), max(edge)) for edge in zip(*corners, strict=True))
    with catalogue(served, (west, south, east, north)) as url:
        source = {"stac": url, "collection": "naip", "dates": "2020"}
        told = asked(tmp_path / "stac", chip, seed=8, source=source)
        report = visit(tmp_path / "home", real_program, told)
    assert report["canvas"][0] == "town (synthetic, seed 8)"
    assert url.removeprefix("http://") in report["abstract"]
    assert report["status"].startswith("Done in")
