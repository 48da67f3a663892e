"""What guides a mosaic is a function of the place, also where the source has holes or ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from geodiff.errors import DataError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, raster_grid
from geodiff.geo.raster import Reference
from geodiff.jobs.embed import embed
from geodiff.jobs.mosaic.guides import Guide, RasterGuide
from geodiff.models.bundle import Model
from geodiff.steps import drain
from geodiff.window import Window
from tests.jobs.rasters import UTM, texture, write_raster

SIDE = 480  # pixels of the scene: 30 x 30 cells


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with a hole over several charts of 128 px, and a few valid cells within it."""
    pixels = np.maximum(texture(SIDE, SIDE), 1)
    pixels[:, 40:400, 90:430] = 0
    pixels[:, 200:232, 250:290] = 90
    return write_raster(tmp_path_factory.mktemp("scene") / "gappy.tif", pixels, nodata=0)


def vectors(guide: Guide, grid: PixelGrid, part: Window) -> EmbeddingGrid:
    return drain(guide.embeddings(grid, part))


def common(one: EmbeddingGrid, other: EmbeddingGrid) -> list[NDArray[np.float32]]:
    """The vectors of two grids of one lattice where both are."""
    both = one.grid.window.intersect(other.grid.window)
    assert both is not None
    return [grid.values[both.within(grid.grid.window)] for grid in (one, other)]


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_holes_are_filled_alike_whatever_part_is_asked_for(
    gappy: Path, model: Model, shift: float
) -> None:
    place = raster_grid(gappy)
    grid = place
    if shift:  # the reference is warped onto another lattice
        moved = Affine(0.6, 0.0, UTM.c + shift, 0.0, -0.6, UTM.f)
        path = write_raster(gappy.with_name("like.tif"), texture(SIDE, SIDE), transform=moved)
        grid = raster_grid(path)
    guide = RasterGuide(model, Reference.open(gappy))
    whole = vectors(guide, grid, Window(-64, -64, SIDE + 128, SIDE + 128))
    for part in (
        Window(128, 128, 128, 128),  # wholly in the hole
        Window(112, 240, 160, 96),
        Window(-64, 300, 200, 260),  # beyond the scene as well
        Window(0, 0, 64, 64),
    ):
        fresh = RasterGuide(model, Reference.open(gappy))  # one that has seen nothing yet
        for asked in (guide, fresh):
            assert np.array_equal(*common(whole, vectors(asked, grid, part)))


def test_a_hole_takes_the_nearest_cell_of_the_raster(gappy: Path, model: Model) -> None:
    grid = raster_grid(gappy)
    own = embed(model, gappy)  # with holes
    filled = own.filled()
    part = Window(64, 96, 256, 320)
    held = vectors(RasterGuide(model, Reference.open(gappy)), grid, part)
    assert not own.valid[held.grid.window.within(own.grid.window)].all()
    assert np.array_equal(*common(filled, held))


def test_a_part_far_from_the_raster_takes_its_edge(gappy: Path, model: Model) -> None:
    grid, own = raster_grid(gappy), embed(model, gappy)
    held = vectors(RasterGuide(model, Reference.open(gappy)), grid, Window(9000, 16, 64, 64))
    assert np.array_equal(held.values[0], own.values[-1, 1:5])
    assert np.array_equal(held.values[3], own.values[-1, 1:5])


def test_a_raster_without_a_whole_cell_is_refused(tmp_path: Path, model: Model) -> None:
    pixels = np.zeros((3, 64, 64), np.uint8)
    pixels[:, 3:9, 20:26] = 200  # valid pixels, but no cell of 16 px half full of them
    path = write_raster(tmp_path / "specks.tif", pixels, nodata=0)
    guide = RasterGuide(model, Reference.open(path))
    with pytest.raises(DataError, match="has no valid cell of 16 px near"):
        vectors(guide, raster_grid(path), Window(0, 0, 64, 64))
