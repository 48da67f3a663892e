"""Mosaics that lie on no map: pixel coordinates, from a size, an image or embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rio_cogeo.cogeo import cog_validate

from geodiff.errors import DataError, UsageError
from geodiff.jobs.embed import embed
from geodiff.jobs.imagine import ImagineRequest
from geodiff.jobs.imagine import steps as imagine_steps
from geodiff.jobs.mosaic.targets import plain_grid, sized_grid
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.synthesize import synthesize
from geodiff.models.bundle import Model
from geodiff.steps import drain
from geodiff.window import Window
from tests.jobs.rasters import texture, write_raster

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A tiled TIFF of 96 rows x 160 columns as scanners write them: JPEG inside, no CRS."""
    path = tmp_path / "slide.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=96, width=160, count=3, dtype="uint8", tiled=True,
        blockxsize=64, blockysize=64, compress="jpeg", photometric="ycbcr",
    ) as dataset:  # fmt: skip
        dataset.write(texture(96, 160))
    return path


def pixels(path: Path) -> np.ndarray:
    """Bands of a mosaic that is a valid COG in pixel coordinates."""
    assert cog_validate(path, strict=True)[:2] == (True, [])
    with rasterio.open(path) as dataset:
        assert dataset.crs is None
        assert dataset.transform == Affine.identity()
        image: np.ndarray = dataset.read()
    return image


def test_a_size_alone(model: Model, tmp_path: Path) -> None:
    made = synthesize(tmp_path / "m.tif", model=model, size=(150, 70), steps=1)
    assert pixels(tmp_path / "m.tif").shape == (3, 70, 150)
    assert made.plan.as_dict()["bounds_lonlat"] is None
    assert any("pixel coordinates" in note for note in made.plan.notes)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_an_image_without_a_crs(model: Model, tmp_path: Path, slide: Path, kind: str) -> None:
    image = slide
    if kind == "png":
        image = write_raster(tmp_path / "slide.png", texture(96, 160), None)
    options: dict[str, Any] = {"model": model, "reference": image, "steps": 1, "gsd": 5e-7}
    synthesize(tmp_path / "whole.tif", **options)
    whole = pixels(tmp_path / "whole.tif")
    assert whole.shape == (3, 96, 160)
    world = {"layout": "world", "chart": 128}
    synthesize(tmp_path / "a.tif", **options, **world)
    synthesize(tmp_path / "b.tif", **options, **world, size=(100, 50))
    assert np.array_equal(pixels(tmp_path / "a.tif")[:, :50, :100], pixels(tmp_path / "b.tif"))
    synthesize(tmp_path / "c.tif", **options, size=(200, 100))  # beyond it: its nearest cells
    assert pixels(tmp_path / "c.tif").shape == (3, 100, 200)
    with pytest.raises(DataError, match=r"covers 75.0% of the mosaic"):
        synthesize(tmp_path / "d.tif", **options, size=(160, 128), fill="stop")


def test_saved_embeddings_of_an_image(model: Model, tmp_path: Path, slide: Path) -> None:
    embed(model, slide, gsd=0.5).save(tmp_path / "cells.tif")
    options: dict[str, Any] = {"model": model, "embeddings": tmp_path / "cells.tif", "steps": 1}
    made = synthesize(tmp_path / "whole.tif", **options)
    assert made.plan.gsd == 0.5
    assert pixels(tmp_path / "whole.tif").shape == (3, 96, 160)
    synthesize(tmp_path / "part.tif", **options, size=(64, 32))
    assert pixels(tmp_path / "part.tif").shape == (3, 32, 64)


def test_embeddings_imagined_for_a_size(folder: Path, model: Model, tmp_path: Path) -> None:
    cells = tmp_path / "cells.tif"
    drain(imagine_steps(ImagineRequest(str(cells), str(folder), size=(64, 48), seed=3)))
    synthesize(tmp_path / "a.tif", model=model, size=(64, 48), seed=3, steps=1)
    synthesize(tmp_path / "b.tif", model=model, embeddings=cells, seed=3, steps=1)
    assert np.array_equal(pixels(tmp_path / "a.tif"), pixels(tmp_path / "b.tif"))


def test_where_there_is_a_crs_a_box_is_asked_for(model: Model, tmp_path: Path) -> None:
    photo = write_raster(tmp_path / "photo.tif", texture(64, 64))
    embed(model, photo).save(tmp_path / "cells.tif")
    for source in ({"reference": photo}, {"embeddings": tmp_path / "cells.tif"}):
        with pytest.raises(DataError, match=r"is in EPSG:32610, and --size .* give --bbox"):
            synthesize(tmp_path / "m.tif", model=model, size=(64, 64), **source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": (0, 0, 1, 1)}, "--size 64x32 makes an image without a CRS, --bbox tells where"),
        ({"like": "a.tif"}, "--like tells where it lies"),
        ({"stac": "c.json", "collection": "a"}, "--stac and --collection tells where it lies"),
        ({"res": 0.5}, "--crs and --res need --bbox"),
        ({"size": (64, 0)}, "--size 0 must be pixels, 1 to"),
        ({"size": (2**31, 5)}, "--size 2147483648 must be pixels"),
        ({"size": 64}, "--size 64 is not 2 numbers: give width and height in pixels"),
        ({"size": (1.5, 2)}, "--size 1.5 is not a whole number"),
    ],
)
def test_sizes_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SynthesizeRequest("m.tif", **({"size": (64, 32)} | change))


def test_grids() -> None:
    grid = plain_grid(32, 64)
    assert (grid.crs, grid.window) == (None, Window(0, 0, 32, 64))
    assert sized_grid(SynthesizeRequest("m.tif", size=(64, 32))) == grid
