"""Arithmetic on grids keeps unit vectors, the place of every cell, and what is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geodiff.errors import UsageError
from geodiff.geo.embedding_mix import combine, common, mix
from geodiff.geo.embeddings import EmbeddingGrid, slerp
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.window import Window
from tests.geo.test_embeddings import BOX, embedding


@pytest.fixture
def one() -> EmbeddingGrid:
    return embedding(box_grid(BOX, res=0.6))


@pytest.fixture
def other(one: EmbeddingGrid) -> EmbeddingGrid:
    return replace(one, values=one.values[::-1, ::-1])


def lengths(grid: EmbeddingGrid) -> np.ndarray:
    return np.linalg.norm(grid.values[grid.valid], axis=-1)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_mix_is_slerp_cell_by_cell(
    one: EmbeddingGrid, other: EmbeddingGrid, weight: float
) -> None:
    mixed = one.mix(other, weight)
    assert mixed.grid == one.grid
    wanted = slerp(one.values, other.values, weight).astype(np.float32)
    np.testing.assert_array_equal(mixed.values, wanted)
    np.testing.assert_allclose(lengths(mixed), 1, atol=1e-6)
    angle = np.arccos((one.values * other.values).sum(-1).clip(-1, 1))
    turned = np.arccos((one.values * mixed.values).sum(-1).clip(-1, 1))
    np.testing.assert_allclose(turned, weight * angle, atol=2e-3)


def test_the_ends_of_a_mix_are_the_grids(one: EmbeddingGrid, other: EmbeddingGrid) -> None:
    assert mix(one, other, 0) == one
    assert mix(one, other, 1) == other
    assert mix(one, one, 0.4).values == pytest.approx(one.values, abs=1e-6)
    assert mix(one, other, 0.3).values == pytest.approx(mix(other, one, 0.7).values, abs=1e-6)


def test_weights_may_differ_from_cell_to_cell(one: EmbeddingGrid, other: EmbeddingGrid) -> None:
    weights = np.linspace(0, 1, one.valid.size).reshape(one.valid.shape)
    mixed = mix(one, other, weights)
    for row, col in ((0, 0), (1, 2), (-1, -1)):
        alone = mix(one, other, weights[row, col])
        np.testing.assert_array_equal(mixed.values[row, col], alone.values[row, col])
    with pytest.raises(UsageError, match=r"weights \(2,\) do not fit the common cells"):
        mix(one, other, [0.1, 0.2])


def test_a_cell_is_valid_where_both_are(one: EmbeddingGrid, other: EmbeddingGrid) -> None:
    first, second = one.valid.copy(), one.valid.copy()
    first[0, 1] = second[1, 0] = False
    mixed = mix(replace(one, valid=first), replace(other, valid=second), 0.5)
    np.testing.assert_array_equal(mixed.valid, first & second)


def test_partly_overlapping_grids_give_their_common_cells(
    one: EmbeddingGrid, other: EmbeddingGrid
) -> None:
    corner = one.grid.window
    left = one.crop(Window(corner.row, corner.col, corner.height, 3))
    low = other.crop(Window(corner.row + 1, corner.col + 1, corner.height - 1, corner.width - 1))
    mixed = mix(left, low, 0.3)
    shared = Window(corner.row + 1, corner.col + 1, corner.height - 1, 2)
    assert mixed.grid.window == shared
    assert mixed == mix(one, other, 0.3).crop(shared)
    apart = one.crop(Window(corner.row, corner.col + 3, 1, 1))
    west, east = left.grid.geobox.boundingbox, apart.grid.geobox.boundingbox
    told = rf"no cell in common: .* {west.left:.10g}, .* and {east.left:.10g}, .*: give grids that"
    with pytest.raises(UsageError, match=told):
        mix(left, apart)


def test_kept_grids_meet_by_place_though_they_count_from_their_own_corners(
    noisy_rgb: Path,
) -> None:
    whole = raster_grid(noisy_rgb)
    part = whole.crop(Window(32, 16, 48, 96))
    own = PixelGrid(part.geobox, 0, 0)  # as of a raster that was cut out
    one, other = embedding(whole, cell=16), embedding(own, cell=16)
    first, second = common([one, other])
    assert (first.grid.window, second.grid.window) == (Window(2, 1, 3, 6), Window(0, 0, 3, 6))
    assert first.grid.geobox.affine.almost_equals(second.grid.geobox.affine, 1e-6)
    assert mix(one, other, 1.0).grid.window == Window(2, 1, 3, 6)
    np.testing.assert_array_equal(mix(one, other, 1.0).values, other.values)


def test_a_mix_names_all_its_rasters_and_the_pixels_of_both(
    one: EmbeddingGrid, other: EmbeddingGrid
) -> None:
    under = one.grid.window.zoom_in(one.cell)
    tight = Window(under.row + 5, under.col + 7, under.height - 10, under.width - 14)
    wide = Window(under.row, under.col, under.height, under.width - 40)
    mixed = mix(replace(one, source="a.tif", pixels=tight), replace(other, source="b.tif"))
    assert mixed.source.splitlines() == ["a.tif", "b.tif"]
    assert mixed.pixels == tight
    again = mix(mixed, replace(other, source="a.tif", pixels=wide))
    assert again.source.splitlines() == ["a.tif", "b.tif"]
    assert again.pixels == tight.intersect(wide)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "x"}, "differ in encoder: test and x"),
        ({"values": 6}, "differ in features: 7 and 6"),
        ({"cell": 32}, "differ in pixels a cell: 64 and 32"),
        ({"crs": "EPSG:32633"}, "differ in CRS: EPSG:32632 and EPSG:32633"),
        ({"res": 0.5}, "cells of the grids do not coincide, their transforms are"),
        ({"shift": 0.3}, "cells of the grids do not coincide"),
    ],
)
def test_misfits_are_refused_and_named(
    one: EmbeddingGrid, change: dict[str, object], message: str
) -> None:
    other = embedding(
        box_grid(BOX, res=change.get("res", 0.6), crs=change.get("crs")),  # type: ignore[arg-type]
        cell=int(change.get("cell", 64)),  # type: ignore[call-overload]
    )
    other = replace(other, encoder=str(change.get("encoder", "test")))
    if "values" in change:
        less = other.values[..., :6]
        other = replace(other, values=less / np.linalg.norm(less, axis=-1, keepdims=True))
    if "shift" in change:
        affine = Affine.translation(0.3, 0) @ other.grid.geobox.affine
        box = GeoBox(other.grid.geobox.shape, affine, other.grid.crs)
        other = replace(other, grid=PixelGrid(box, other.grid.row, other.grid.col))
    for act in (lambda: mix(one, other), lambda: combine([one, other], [1, 1])):
        with pytest.raises(UsageError, match=message) as caught:
            act()
        assert "\n" not in str(caught.value)


def test_photographs_of_different_scale_are_not_mixed() -> None:
    plain = PixelGrid(GeoBox((128, 128), Affine.identity(), None), 0, 0)
    one, other = embedding(plain, gsd=0.3), embedding(plain, gsd=0.6)
    with pytest.raises(UsageError, match=r"differ in metres per pixel: 0\.3 and 0\.6"):
        mix(one, other)
    assert mix(one, one) == one


@pytest.mark.parametrize("weight", [-0.1, 1.1, np.nan])
def test_weights_outside_are_refused(
    one: EmbeddingGrid, other: EmbeddingGrid, weight: float
) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        mix(one, other, weight)


def test_combine_is_a_sum_scaled_to_unit_vectors(one: EmbeddingGrid, other: EmbeddingGrid) -> None:
    third = replace(one, values=one.values[::-1])
    made = combine([one, other, third], [1.0, 0.5, -0.7])
    total = one.values.astype(float) + 0.5 * other.values - 0.7 * third.values
    wanted = total / np.linalg.norm(total, axis=-1, keepdims=True)
    np.testing.assert_allclose(made.values, wanted, atol=1e-6)
    np.testing.assert_allclose(lengths(made), 1, atol=1e-6)
    np.testing.assert_array_equal(combine([one], [2.0]).values, combine([one], [8.0]).values)
    # The middle of the shortest arc is the direction of the sum.
    np.testing.assert_allclose(
        combine([one, other], [1, 1]).values, mix(one, other, 0.5).values, atol=1e-6
    )


def test_vectors_that_cancel_have_no_direction(one: EmbeddingGrid, other: EmbeddingGrid) -> None:
    assert not combine([one, one], [1, -1]).valid.any()
    assert not combine([one], [0]).valid.any()
    mixed = one.values.copy()
    mixed[0, 0] = other.values[0, 0]
    made = combine([one, replace(one, values=mixed)], [1, -1])
    assert made.valid.sum() == made.valid[0, 0] == 1


@pytest.mark.parametrize("weights", [[], [1], [1, np.nan], [1, 2, 3]])
def test_combine_needs_a_weight_for_each_grid(one: EmbeddingGrid, weights: list[float]) -> None:
    with pytest.raises(UsageError, match="2 grids need as many finite weights"):
        combine([one, one], weights)


def test_a_crop_is_the_same_cells_in_the_same_place(one: EmbeddingGrid) -> None:
    corner = one.grid.window
    window = Window(corner.row + 1, corner.col + 2, 2, 1)
    under = corner.zoom_in(one.cell)
    part = replace(one, pixels=under.pad(-5)).crop(window)
    np.testing.assert_array_equal(part.values, one.values[1:3, 2:3])
    assert part.grid == one.grid.crop(window)
    assert part.pixels == window.zoom_in(one.cell).intersect(under.pad(-5))
    with pytest.raises(ValueError, match="is not inside"):
        one.crop(corner.pad(1))
