"""A mosaic painted from an imagined grid is the one painted without any source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import box_grid, raster_grid
from geodiff.jobs.embed import embed
from geodiff.jobs.imagine import ImagineRequest, around, imagine, steps
from geodiff.jobs.synthesize import synthesize
from geodiff.models.bundle import Model
from geodiff.steps import drain
from geodiff.window import Window
from tests.conftest import NOISY
from tests.jobs.rasters import read_raster, texture, write_raster
from tests.tiny import tiny_model

BOX = (-117.76, 34.09, -117.7592, 34.0906)  # 125 x 114 px
Imagine = Callable[..., EmbeddingGrid]


@pytest.fixture
def made(folder: Path, tmp_path: Path) -> Imagine:
    """Imagine into ``tmp_path`` with the tiny model."""

    def run(name: str, **options: Any) -> EmbeddingGrid:
        settings = {"out": tmp_path / name, "model": folder, "bbox": BOX} | options
        return drain(steps(ImagineRequest(**settings)))

    return run


@pytest.fixture
def painted(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Synthesize into ``tmp_path`` with the tiny model and three steps."""

    def run(name: str, **options: Any) -> Path:
        settings = {"model": str(folder), "steps": 3, "device": "cpu", "precision": "fp32"}
        synthesize(tmp_path / name, **(settings | {"batch": 4} | options))
        return tmp_path / name

    return run


def same_mosaic(one: Path, other: Path) -> bool:
    with rasterio.open(one) as first, rasterio.open(other) as second:
        assert (first.transform, first.crs) == (second.transform, second.crs)
    return np.array_equal(read_raster(one), read_raster(other))


@pytest.mark.parametrize("suffix", ["tif", "zarr", "parquet"])
def test_the_mosaic_of_an_imagined_grid_is_that_of_its_box(
    made: Imagine, painted: Callable[..., Path], tmp_path: Path, suffix: str
) -> None:
    made(f"grid.{suffix}", seed=7)
    grid = tmp_path / f"grid.{suffix}"
    direct = painted("direct.tif", bbox=BOX, seed=7)
    assert same_mosaic(painted("alone.tif", embeddings=grid, seed=7), direct)
    assert same_mosaic(painted("boxed.tif", embeddings=grid, bbox=BOX, seed=7), direct)
    assert not same_mosaic(painted("other.tif", bbox=BOX, prior_seed=8, seed=7), direct)


@pytest.mark.parametrize("mode", ["paper", "quality", "fast"])
def test_in_every_mode(made: Imagine, painted: Callable[..., Path], mode: str) -> None:
    small = {"bbox": (-117.76, 34.09, -117.75985, 34.0901)}  # 25 x 19 px, less than a window
    grid = made("grid.parquet", **small)
    settings = {"mode": mode, "steps": 2}
    direct = painted("direct.tif", **small, **settings)
    assert same_mosaic(painted("alone.tif", embeddings=grid, **settings), direct)


def test_in_charts_with_the_cells_that_they_look_at(
    made: Imagine, painted: Callable[..., Path]
) -> None:
    settings = {"layout": "world", "chart": 128}
    direct = painted("direct.tif", bbox=BOX, **settings)
    grid = made("grid.parquet", margin=(128 + 64) // 16 + 1)
    assert same_mosaic(painted("alone.tif", embeddings=grid, **settings), direct)


def test_on_the_grid_of_a_raster(
    made: Imagine, painted: Callable[..., Path], tmp_path: Path
) -> None:
    scene = write_raster(tmp_path / "scene.tif", texture(72, 96), "EPSG:26911", NOISY)
    grid = made("grid.zarr", bbox=None, like=scene)
    assert grid.pixels == Window(0, 0, 72, 96)
    direct = painted("direct.tif", like=str(scene))
    alone = painted("alone.tif", embeddings=tmp_path / "grid.zarr")
    assert same_mosaic(alone, direct)
    with rasterio.open(alone) as raster:
        assert raster.transform == NOISY


def test_a_grid_without_a_place_is_told_its_pixel_size(made: Imagine, tmp_path: Path) -> None:
    photo = write_raster(tmp_path / "photo.png", texture(32, 48), crs=None)
    assert made("a.parquet", bbox=None, like=photo).gsd == 0.6
    assert made("b.parquet", bbox=None, like=photo, gsd=0.25).gsd == 0.25
    assert EmbeddingGrid.open(tmp_path / "b.parquet").gsd == 0.25
    scene = write_raster(tmp_path / "scene.tif", texture(32, 48))
    with pytest.raises(UsageError, match="for a raster without CRS"):
        made("c.parquet", bbox=None, like=scene, gsd=0.25)


def test_overlapping_grids_agree(model: Model) -> None:
    grid = box_grid(BOX, res=0.6)
    whole = imagine(model, grid, 3)
    more = imagine(model, grid, 3, around(model, grid))
    assert more.crop(whole.grid.window) == whole
    assert whole.pixels == grid.window
    assert around(model, grid).intersect(whole.grid.window.pad(3)) == whole.grid.window.pad(3)
    assert imagine(model, grid, 4) != whole


def test_a_margin_is_counted_in_cells(made: Imagine) -> None:
    tight, wide = made("a.tif", margin=0), made("b.tif", margin=2)
    assert wide.grid.window == tight.grid.window.pad(2)
    assert wide.crop(tight.grid.window) == tight


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bbox": None}, "give --bbox W,S,E,N, --like FILE or --layout-file"),
        ({"like": "a.tif"}, "already fixes the grid"),
        ({"bbox": None, "like": "a.tif", "res": 1.0}, "already fixes the grid"),
        ({"gsd": 0.3}, "for a raster without CRS"),
        ({"margin": -1}, "--margin -1 must be 0 cells or more"),
        ({"seed": -1}, "seed -1 must be between"),
        ({"bbox": (1.0, 0.0, 0.0, 1.0)}, "antimeridian|reversed|west"),
        ({"crs": "EPSG:4326"}, "counts in degrees: give --res in degrees"),
        ({"res": 1e-4}, "cells, more than 32000000: give a smaller box or a larger --res"),
        ({"out": "grid.npy"}, "the suffix of an embedding grid tells its format"),
    ],
)
def test_requests_that_make_no_sense(
    made: Imagine, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        made("grid.parquet", **options)
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_grid_is_refused_before_its_charts_are_laid_out(
    made: Imagine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geodiff.jobs.imagine.around", lambda model, grid: pytest.fail("laid out"))
    with pytest.raises(UsageError, match="more than 32000000"):
        made("grid.parquet", res=1e-4)


def test_nothing_is_overwritten_unasked(made: Imagine, tmp_path: Path) -> None:
    made("grid.zarr")
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        made("grid.zarr", seed=1)
    again = made("grid.zarr", seed=1, overwrite=True)
    assert EmbeddingGrid.open(tmp_path / "grid.zarr") == again


def test_a_grid_of_another_encoder_is_refused(
    made: Imagine, painted: Callable[..., Path], tmp_path: Path
) -> None:
    other = tiny_model(tmp_path / "other", seed=1)
    made("grid.parquet")
    with pytest.raises(DataError, match="was made by the encoder"):
        painted("a.tif", embeddings=tmp_path / "grid.parquet", model=str(other))


def test_the_mosaic_of_an_embedded_raster_has_its_size(
    painted: Callable[..., Path], model: Model, tmp_path: Path
) -> None:
    scene = write_raster(tmp_path / "scene.tif", texture(50, 75), "EPSG:26911", NOISY)
    cells = embed(model, scene)
    assert cells.valid.shape == (4, 5)
    cells.save(tmp_path / "cells.parquet")
    with rasterio.open(painted("a.tif", embeddings=tmp_path / "cells.parquet")) as raster:
        assert (raster.shape, raster.transform) == ((50, 75), NOISY)
    assert raster_grid(tmp_path / "a.tif").window == cells.pixels
