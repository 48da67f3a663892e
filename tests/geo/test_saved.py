"""Embeddings in a file: what is read of it gives the field of the whole grid to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geodiff.errors import DataError, UsageError
from geodiff.geo.cell_places import cells_under
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid
from geodiff.geo.saved import SavedEmbeddings
from geodiff.window import Window

UTM = "EPSG:32611"
BOX = (500_000.0, 4_000_000.0, 500_900.0, 4_000_700.0)
CELL = 16


def embeddings(share: float = 1.0) -> EmbeddingGrid:
    """74 x 94 cells of 16 px of 0.6 m, of which a share is valid."""
    grid = box_grid(BOX, UTM, UTM, 0.6).cell_grid(CELL)
    rng = np.random.default_rng(1)
    values = rng.standard_normal((*grid.window.shape, 5))
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    valid = rng.random(grid.window.shape) < share
    return EmbeddingGrid(values.astype(np.float32), valid, grid, CELL, 0.6, "test", "scene.tif")


TARGETS: dict[str, PixelGrid] = {
    "own lattice": box_grid(BOX, UTM, UTM, 0.6),
    "finer": box_grid(BOX, UTM, UTM, 0.25),
    "coarser": box_grid(BOX, UTM, UTM, 7.0),
    "another CRS": box_grid(BOX, UTM, "EPSG:3857", 0.7),
    "degrees": box_grid(BOX, UTM, "EPSG:4326", 6e-6),
}


@pytest.mark.parametrize("share", [1.0, 0.3, 0.001])
@pytest.mark.parametrize("target", TARGETS)
def test_a_part_gives_the_field_of_the_whole(tmp_path: Path, target: str, share: float) -> None:
    whole = embeddings(share)
    whole.save(tmp_path / "e.tif")
    saved, grid, filled = SavedEmbeddings.open(tmp_path / "e.tif"), TARGETS[target], whole.filled()
    corner = grid.latents(8)
    for row, col in ((0, 0), (12, 9), (-40, 30), (corner.height - 20, corner.width - 30)):
        part = Window(corner.row + row, corner.col + col, 24, 31)
        held = saved.under(grid, part.zoom_in(8))
        assert np.array_equal(held.field_on(grid, part, 8), filled.field_on(grid, part, 8))
        if target in ("own lattice", "finer"):
            assert held.valid.size < whole.valid.size / 5
    assert np.array_equal(saved.valid, whole.valid)


def test_a_part_tells_where_it_lies_and_what_it_lacks(tmp_path: Path) -> None:
    whole = embeddings()
    whole.save(tmp_path / "e.tif")
    saved, own = SavedEmbeddings.open(tmp_path / "e.tif"), whole.grid
    assert (saved.source, saved.encoder, saved.features) == ("scene.tif", "test", 5)
    part = saved.part(Window(own.row + 3, own.col + 4, 5, 6))
    assert part.grid == own.crop(part.grid.window)
    assert np.array_equal(part.values, whole.values[3:8, 4:10])
    points = [[3.5, 4.5], [6.2, 8.9]]
    assert np.array_equal(part.at(points), whole.at(points))
    for beyond in ([2.9, 5.0], [9.0, 5.0], [5.0, 3.9]):
        with pytest.raises(UsageError, match="read a larger part"):
            part.at([beyond])


def test_the_middle_of_a_pole_is_seen(tmp_path: Path) -> None:
    # The northernmost cells are under the middle of the box, not under its border.
    polar = box_grid((-4e5, -4e5, 4e5, 4e5), "EPSG:3995", "EPSG:3995", 1000.0)
    degrees = box_grid((-180, 80, 180, 90), "EPSG:4326", "EPSG:4326", 0.05).cell_grid(CELL)
    under = cells_under(degrees, CELL, polar, polar.window)
    assert under.row == degrees.row
    assert under.width == degrees.window.width


def test_unusable_files_are_one_line(tmp_path: Path) -> None:
    whole = embeddings()
    with pytest.raises(DataError, match="does not exist"):
        SavedEmbeddings.open(tmp_path / "missing.tif")
    path = tmp_path / "e.tif"
    whole.save(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(dataset.read(1) * 3, 1)
    with pytest.raises(DataError, match="holds no usable embedding grid"):
        _ = SavedEmbeddings.open(path).valid
    nothing = replace(whole, valid=np.zeros_like(whole.valid))
    nothing.save(path)
    grid = TARGETS["own lattice"]
    with pytest.raises(DataError, match="no valid cell"):
        SavedEmbeddings.open(path).under(grid, grid.window)
