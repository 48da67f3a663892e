"""Every cell's vector is that of its own pixels, wherever the grid that asks for it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, raster_grid
from geodiff.jobs.embed import EmbedRequest, embed, mend, steps
from geodiff.jobs.imagine import imagine
from geodiff.jobs.mosaic.grids import reference_grid, snap
from geodiff.models.bundle import Model
from geodiff.steps import drain
from geodiff.window import Window
from tests.jobs.rasters import UTM, read_raster, texture, write_raster


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A raster of 64 x 80 px: 4 x 5 cells."""
    return write_raster(tmp_path / "scene.tif", texture(64, 80))


def cells_of(path: Path, model: Model) -> np.ndarray:
    image = torch.from_numpy(read_raster(path)[:3])
    height, width = (side // 16 for side in image.shape[1:])
    parts = image.unfold(1, 16, 16).unfold(2, 16, 16).permute(1, 2, 0, 3, 4)
    vectors = model.encoder.embed(parts.reshape(-1, 3, 16, 16))
    return vectors.reshape(height, width, -1).numpy()


def test_vectors_are_those_of_the_pixels_to_the_bit(scene: Path, model: Model) -> None:
    grid = embed(model, scene)
    assert np.array_equal(grid.values, cells_of(scene, model))
    assert grid.valid.all()
    assert (grid.cell, grid.encoder) == (16, model.encoder.fingerprint)
    assert grid.gsd == pytest.approx(0.6)
    assert grid.grid.window == Window(0, 0, 4, 5)


def test_a_part_gives_the_same_vectors(scene: Path, model: Model) -> None:
    whole = embed(model, scene)
    part = embed(model, scene, raster_grid(scene).crop(Window(16, 32, 30, 33)))
    assert part.grid.window == Window(1, 2, 2, 3)
    assert np.array_equal(part.values, whole.values[1:3, 2:5])


def test_a_cell_is_valid_from_half_of_its_pixels_on(tmp_path: Path, model: Model) -> None:
    pixels = np.maximum(texture(32, 48), 1)
    pixels[:, :8, :16] = 0  # half of the first cell
    pixels[:, :9, 16:32] = 0  # a row more of the second
    pixels[:, 16:, 32:] = 0  # the last cell whole
    grid = embed(model, write_raster(tmp_path / "holes.tif", pixels, nodata=0))
    assert grid.valid.tolist() == [[True, False, True], [True, True, False]]
    assert np.isnan(grid.values[~grid.valid]).all()


@pytest.mark.parametrize("size", [(7, 64), (10, 10), (17, 17), (3, 20)])
@pytest.mark.parametrize("corner", [0, 5, 8, 13])
def test_a_raster_smaller_than_a_cell_is_embedded_wherever_its_corner_lies(
    tmp_path: Path, model: Model, size: tuple[int, int], corner: int
) -> None:
    path = write_raster(tmp_path / "strip.tif", np.maximum(texture(*size), 1))
    grid = raster_grid(path).crop(Window(-corner, -corner, size[0] + corner, size[1] + corner))
    found = embed(model, path, grid)
    assert found.valid.any()
    assert np.isfinite(found.values[found.valid]).all()


def test_a_mended_cell_does_not_depend_on_the_grid(tmp_path: Path, model: Model) -> None:
    pixels = np.maximum(texture(32, 96), 1)
    pixels[:, 3:9, 34:40] = 0
    path = write_raster(tmp_path / "hole.tif", pixels, nodata=0)
    whole = embed(model, path)
    alone = embed(model, path, raster_grid(path).crop(Window(0, 32, 16, 16)))
    assert np.array_equal(alone.values[0, 0], whole.values[0, 2])


def test_invalid_pixels_become_the_mean_of_their_cell() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 4)).astype(np.uint8)
    masks = np.ones((3, 4, 4), np.bool_)
    masks[1, 0, :3] = False
    masks[2, 1:] = False
    mended = mend(patches, masks)
    assert mended.dtype == np.uint8
    assert np.array_equal(mended[0], patches[0])
    for n in (1, 2):
        mean = np.rint(patches[n][:, masks[n]].mean(1))
        assert np.array_equal(mended[n][:, masks[n]], patches[n][:, masks[n]])
        assert (mended[n][:, ~masks[n]] == mean[:, None]).all()


def test_saved_grid_opens_equal_to_the_bit(scene: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cells.tif"
    request = EmbedRequest(str(scene), str(out), model=str(folder), device="cpu")
    made = drain(steps(request))
    opened = EmbeddingGrid.open(out)
    assert np.array_equal(opened.values, made.values)
    assert opened.grid.window == made.grid.window
    assert opened.encoder == made.encoder
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        next(steps(request))


def test_steps_count_rows_of_cells(folder: Path, tmp_path: Path) -> None:
    tall = write_raster(tmp_path / "tall.tif", texture(1040, 16))  # 65 cells of 16 px
    request = EmbedRequest(str(tall), str(tmp_path / "cells.tif"), model=str(folder))
    told = [(step.stage, step.done, step.total) for step in steps(request)]
    assert told == [("embed", row, 65) for row in (32, 64, 65)]  # 512 px are read at once


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"like": "a.tif", "res": 1.0}, "already fixes the grid"),
        ({"like": "a.tif", "bbox": (0, 0, 1, 1)}, "already fixes the grid"),
        ({"res": 0.0}, "--crs and --res need --bbox"),
        ({"crs": "EPSG:32610"}, "--crs and --res need --bbox"),
    ],
)
def test_requests_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EmbedRequest("in.tif", "out.tif", **changes)


def box_of(grid: PixelGrid, shift: float = 0.0) -> tuple[float, float, float, float]:
    box = grid.geobox.boundingbox
    return box.left + shift, box.bottom + 6.1, box.right + shift - 5.9, box.top


def test_a_box_beside_the_raster_is_refused(scene: Path, folder: Path, tmp_path: Path) -> None:
    request = EmbedRequest(
        str(scene), str(tmp_path / "cells.tif"), model=str(folder),
        bbox=box_of(raster_grid(scene), 1000.0), bbox_crs="EPSG:32610",
    )  # fmt: skip
    with pytest.raises(DataError, match="covers less than half of every cell"):
        drain(steps(request))
    assert not (tmp_path / "cells.tif").exists()


def test_box_takes_crs_and_resolution_of_the_raster(noisy_rgb: Path) -> None:
    own = raster_grid(noisy_rgb)
    grid = reference_grid(str(noisy_rgb), box_of(own), "EPSG:26911", None, None)
    assert grid.crs == own.crs
    assert grid.geobox.affine.a == 0.6  # without the noise in the last digits
    assert grid.geobox.affine.c == grid.col * 0.6
    same = reference_grid(str(noisy_rgb), box_of(own), "EPSG:26911", "EPSG:26911", None)
    assert same == grid


def test_another_crs_needs_a_resolution(noisy_rgb: Path) -> None:
    own = raster_grid(noisy_rgb)
    for crs in ("EPSG:32611", "EPSG:4326"):
        with pytest.raises(UsageError, match=f"--crs {crs} differs from .*: give --res as well"):
            reference_grid(str(noisy_rgb), box_of(own), "EPSG:26911", crs, None)
    grid = reference_grid(str(noisy_rgb), box_of(own), "EPSG:26911", "EPSG:32611", 1.0)
    assert (str(grid.crs), grid.geobox.affine.a) == ("EPSG:32611", 1.0)


def test_raster_in_degrees_keeps_its_crs_when_it_is_named(tmp_path: Path) -> None:
    from affine import Affine

    place = Affine(1e-5, 0, -120.0, 0, -1e-5, 37.0)
    path = write_raster(tmp_path / "degrees.tif", texture(32, 32), "EPSG:4326", place)
    box = (-119.9999, 36.9998, -119.9997, 36.9999)
    grid = reference_grid(str(path), box, "EPSG:4326", "EPSG:4326", None)
    assert grid.geobox.affine.a == 1e-5


def test_raster_without_crs_has_no_box(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "photo.png", texture(32, 32), crs=None)
    with pytest.raises(DataError, match="has no CRS, so a box on the map cannot be found"):
        reference_grid(str(path), (0, 0, 1, 1), "EPSG:4326", None, None)


@pytest.mark.parametrize(
    ("res", "clean"),
    [
        (0.5999999999999943, 0.6),
        (0.6, 0.6),
        (1.0, 1.0),
        (1 / 3, 1 / 3),
        (0.5971642835, 0.5971642835),
    ],
)
def test_noise_in_the_last_digits_is_dropped(res: float, clean: float) -> None:
    assert snap(res) == pytest.approx(clean, rel=1e-9)
    assert snap(0.5999999999999943) == 0.6


def test_imagined_cells_are_a_function_of_seed_and_place(scene: Path, model: Model) -> None:
    grid = raster_grid(scene)
    whole = imagine(model, grid, 3)
    part = imagine(model, grid.crop(Window(16, 16, 32, 20)), 3)
    assert np.array_equal(part.values, whole.values[1:3, 1:3])
    assert whole.valid.all()
    assert whole.encoder == model.encoder.fingerprint
    assert not np.array_equal(imagine(model, grid, 4).values, whole.values)
    assert grid.geobox.affine == UTM


def test_the_raster_that_gives_the_grid_is_never_overwritten(
    scene: Path, folder: Path, tmp_path: Path
) -> None:
    like = write_raster(tmp_path / "like.tif", texture(64, 80))
    before = like.read_bytes()
    request = EmbedRequest(str(scene), str(like), model=str(folder), like=str(like), overwrite=True)
    with pytest.raises(UsageError, match="sources are never overwritten"):
        drain(steps(request))
    assert like.read_bytes() == before


@pytest.mark.parametrize(
    ("given", "snapped"),
    [(0.5999999999999955, 0.6), (0.6000000000000129, 0.6), (0.29858214173896974, None)],
)
def test_float_noise_is_dropped_and_other_sizes_are_kept(
    given: float, snapped: float | None
) -> None:
    assert snap(given) == (given if snapped is None else snapped)
