"""Labelled polygons on the command line: what they lay out, and one line for what is wrong."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pytest
from shapely.geometry import Point, Polygon, box

from geodiff.geo.embeddings import EmbeddingGrid
from tests.cli.conftest import BOX, Invoke, Spawn, failed
from tests.tiny import labelled_model

WEST, SOUTH, EAST, NORTH = map(float, BOX.split(","))
MIDDLE = (WEST + EAST) / 2
HALVES = [box(WEST, SOUTH, MIDDLE, NORTH), box(MIDDLE, SOUTH, EAST, NORTH)]
FAR = box(-100, 40, -99.999, 40.001)


@pytest.fixture(scope="session")
def labelled(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Directory of a tiny model whose prior knows two labels and no texts."""
    out = tmp_path_factory.mktemp("labelled") / "m"
    return str(labelled_model(Path(model), out, ("town", "wood")))


def draw(
    path: str, shapes: list[Any] | None = None, crs: str | None = "EPSG:4326", **columns: Any
) -> None:
    """Write a vector file; by default the two halves of BOX, a town and a wood."""
    shapes = HALVES if shapes is None else shapes
    texts = columns or {"text": (["town", "wood"] * len(shapes))[: len(shapes)]}
    table = geopandas.GeoDataFrame(texts, geometry=shapes, crs=crs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a file without CRS
        table.to_file(path)


def test_a_drawing_is_planned_and_painted(invoke: Invoke, labelled: str, tmp_path: Path) -> None:
    draw("plan.gpkg")
    line = "synthesize --layout-file plan.gpkg --attribute text --steps 2 --out a.tif --model"
    shown = invoke(line, labelled, "--dry-run", "--soft-border", "12").stdout
    assert "polygons plan.gpkg (attribute text, 2 polygons with 2 texts, SHA-256 " in shown
    assert "soft border 12 m" in shown
    assert {"polygons       2", "texts          2"} <= set(shown.splitlines())
    assert "% town" in shown
    assert "no words" in shown
    assert not (tmp_path / "a.tif").exists()
    result = invoke(line, labelled, "--json")
    facts = json.loads(result.stdout)
    assert set(facts["found"]["words"]) == {"town", "wood"}
    assert facts["bounds_lonlat"] == pytest.approx([WEST, SOUTH, EAST, NORTH], abs=2e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "a.json", "plan.gpkg"}
    boxed = invoke(f"{line.replace('a.tif', 'b.tif')} {labelled} --bbox {BOX}")
    assert boxed.exit_code == 0, boxed.output


def test_a_grid_is_imagined_from_a_drawing(invoke: Invoke, labelled: str) -> None:
    draw("plan.geojson", [*HALVES, Point(WEST, SOUTH)])
    line = "imagine --layout-file plan.geojson --attribute text --out cells.tif --model"
    result = invoke(line, labelled, "--progress", "json")
    assert result.exit_code == 0, result.output
    assert "1 of 3 features are no polygons and are left out" in result.stderr
    assert EmbeddingGrid.open("cells.tif").source == "plan.geojson"


def test_notes_come_before_the_work(invoke: Invoke, labelled: str) -> None:
    bowtie = Polygon([(WEST, SOUTH), (EAST, NORTH), (EAST, SOUTH), (WEST, NORTH)])
    draw("plan.gpkg", [bowtie, HALVES[0]], text=["town", None])
    result = invoke(
        "synthesize --layout-file plan.gpkg --attribute text --steps 1 --out a.tif --model",
        labelled,
        "--progress",
        "json",
    )
    assert result.exit_code == 0, result.output
    steps = [json.loads(line) for line in result.stderr.splitlines()]
    notes = [note for step in steps for note in step.get("notes", ())]
    assert any("1 of 2 polygons is invalid" in note for note in notes)
    assert any("1 of 2 polygons have nothing in text" in note for note in notes)


WRONG: dict[str, tuple[Callable[[], None], str, int, str]] = {
    "no attribute given": (lambda: draw("p.gpkg"), "", 2, "give --attribute NAME, .* has text"),
    "another attribute": (
        lambda: draw("p.gpkg"), "--attribute name", 2, "--attribute name is not in p.gpkg: .* text",
    ),
    "no CRS": (lambda: draw("p.gpkg", crs=None), "--attribute text", 1, "p.gpkg has no CRS"),
    "empty": (lambda: draw("p.gpkg", [], text=[]), "--attribute text", 1, "is empty: it has"),
    "points": (
        lambda: draw("p.gpkg", [Point(0, 0)]), "--attribute text", 1, "no polygon .* only Point",
    ),
    "elsewhere": (
        lambda: draw("p.gpkg", [FAR]), f"--attribute text --bbox {BOX}", 1,
        "no polygon of p.gpkg lies in the box: the polygons reach over -100, 40, -99.999, 40.001, "
        "the box over -117.76",
    ),
    "nulls": (
        lambda: draw("p.gpkg", text=[None, " "]), "--attribute text", 1,
        "all 2 polygons have nothing in text",
    ),
    "numbers": (lambda: draw("p.gpkg", code=[1, 2]), "--attribute code", 1, "holds 1 .*, no words"),
    "long text": (
        lambda: draw("p.gpkg", text=["a" * 1001, "b"]), "--attribute text", 1, "has 1001 chara",
    ),
    "too many texts": (
        lambda: draw("p.gpkg", HALVES[:1] * 1001, text=[str(n) for n in range(1001)]),
        "--attribute text", 1, "1001 different texts",
    ),
    "missing": (lambda: None, "--attribute text", 1, "p.gpkg does not exist"),
    "another layer": (
        lambda: draw("p.gpkg"), "--attribute text --layer x", 2, "--layer x is not in p.gpkg: .* p",
    ),
    "damaged": (
        lambda: Path("p.gpkg").write_text("no vector") and None, "--attribute text", 1,
        "p.gpkg cannot be read as a vector file",
    ),
    "antimeridian": (
        lambda: draw("p.gpkg", [box(179.999, 0, 180.001, 0.001)]), "--attribute text", 1,
        "a polygon crosses the antimeridian",
    ),
    "wrong CRS": (
        lambda: draw("p.gpkg", [box(0.1, 0.1, 0.2, 0.2)], "EPSG:32611"), "--attribute text", 1,
        "do not give a box to fill .*looks like degrees",
    ),
    "metres as degrees": (
        lambda: draw("p.gpkg", [box(4e5, 4e6, 4.1e5, 4.1e6)]), "--attribute text", 1,
        "no degrees, but its CRS EPSG:4326",
    ),
    "unknown words": (
        lambda: draw("p.gpkg", text=["town", "a lake"]), "--attribute text", 2,
        "trained without texts: leave out --layout-file",
    ),
    "two sources": (
        lambda: draw("p.gpkg"), "--attribute text --embeddings e.tif", 2,
        "--embeddings e.tif and --layout-file p.gpkg are both given",
    ),
    "metres below 0": (
        lambda: draw("p.gpkg"), "--attribute text --soft-border -3", 2, "metres above 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(
    name: str, invoke: Invoke, labelled: str, tmp_path: Path
) -> None:
    make, options, code, message = WRONG[name]
    make()
    before = {path.name for path in tmp_path.iterdir()}
    line = f"synthesize --layout-file p.gpkg {options} --out a.tif --model {labelled}"
    told = failed(invoke(line), code)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert re.search(message, told), told


def test_two_layers_want_a_name(invoke: Invoke, labelled: str) -> None:
    draw("p.gpkg")
    table = geopandas.GeoDataFrame({"text": ["town"]}, geometry=HALVES[:1], crs=4326)
    table.to_file("p.gpkg", layer="q")
    line = f"imagine --layout-file p.gpkg --attribute text --out a.tif --model {labelled}"
    assert "p.gpkg has 2 layers: give --layer, one of p, q" in failed(invoke(line), 2)
    assert invoke(f"{line} --layer q").exit_code == 0


def test_a_model_without_words_is_told(invoke: Invoke, model: str) -> None:
    draw("p.gpkg")
    line = f"synthesize --layout-file p.gpkg --attribute text --out a.tif --model {model}"
    assert "was trained without texts" in failed(invoke(line), 2)


def test_options_of_polygons_want_polygons(invoke: Invoke) -> None:
    for option in ("--attribute text", "--layer x", "--soft-border 9"):
        line = failed(invoke(f"synthesize --bbox {BOX} --out a.tif {option}"), 2)
        assert "is about labelled polygons: give --layout-file" in line


def test_libraries_print_nothing_beside_the_line(spawn: Spawn, labelled: str) -> None:
    process = spawn(
        "-m geodiff_cli synthesize --layout-file nothing.gpkg --attribute text --out a.tif --model",
        labelled,
    )
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (1, "")
    assert stderr == "Error: nothing.gpkg does not exist: check --layout-file\n"
