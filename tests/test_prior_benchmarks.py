"""The benchmarks of priors: figures with known answers, and prompts that no training has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import from_bounds

from geodiff.geo.cover import Cover
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.vector import read_polygons
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.mosaic.wishes import Wishes
from geodiff.models.bundle import Model
from geodiff.window import Window
from tests.jobs.rasters import make_dataset
from tests.tiny import labelled_model, tiny_model


def test_lags_borders_and_squares_of_a_known_grid(load) -> None:
    """Stripes of four columns, each in a direction of its own."""
    prior = load("prior")
    cells = np.eye(8, dtype=np.float32)[np.arange(32) // 4][None, None].repeat(6, 1)
    assert prior.lag(cells, 1) == pytest.approx((24 / 31 + 1) / 2)
    assert prior.across(cells, 4) == 0
    assert prior.across(cells, 3) == pytest.approx((8 / 10) / (16 / 21))
    squares = prior.squares(cells)
    assert squares.shape == (5 * 31, 32)
    assert np.array_equal(squares[0], cells[0, 0, [0, 1, 0, 1]].ravel())
    assert prior.pairs(cells).shape == (6 * 31, 16)
    assert prior.nearest(cells, cells) == pytest.approx(1)


def test_a_table_has_a_row_for_real_patches_and_every_model(load, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny")
    patches = PatchSet.open(make_dataset(tmp_path / "data", val_fraction=0.5))
    rows = load("prior").compare(patches, [folder], 2, 20, tmp_path)
    assert [row["cells of"] for row in rows] == ["train", "val", "tiny"]
    assert float(rows[1]["squares"]) < 0.1 * float(rows[2]["squares"])
    assert float(rows[2]["nearest"]) < 0.99
    assert set(rows[0]) | {"ms a cell"} == set(rows[2])


def test_words_have_a_row_of_their_own(load, tmp_path: Path) -> None:
    """A label is asked for as such; no words give the grids of before."""
    names = ("town", "wood")
    folder = labelled_model(tiny_model(tmp_path / "tiny"), tmp_path / "m", names)
    patches = PatchSet.open(make_dataset(tmp_path / "data", val_fraction=0.5))
    bench = load("prior")
    rows = bench.compare(patches, [folder], 1, 20, tmp_path, ["wood"])
    assert [row["cells of"] for row in rows] == ["train", "val", "m", "m, wood"]
    assert rows[:3] != rows[1:]
    assert rows[2]["lag 1"] != rows[3]["lag 1"]


def test_prompts_are_not_those_of_the_training(load, tmp_path: Path) -> None:
    prompts = load("prompts")
    asked = prompts.read_prompts(prompts.PROMPTS)
    assert len(asked) == len(set(asked.values())) == 21
    (tmp_path / "seen.csv").write_text("label,text\nforest,An aerial image of woods\n")
    with pytest.raises(SystemExit, match="has seen An aerial image of woods"):
        prompts.read_prompts(tmp_path / "seen.csv")


def test_patches_of_one_seed_lie_apart(load) -> None:
    prompts = load("prompts")

    class Places:
        """A prior whose vectors tell the cell and the seed."""

        def sample(self, seed, cells, condition, gsd):
            rows, cols = np.indices(cells.shape)
            return np.stack([rows + cells.row, cols + cells.col, 0 * rows + seed], -1)

    class Known:
        prior = Places()

    cells = prompts.imagined(Known, prompts.Question("a", "b", None), 6, 4, 0.3)
    assert cells.shape == (6, 6, 6, 3)
    assert len({tuple(cell) for cell in cells.reshape(-1, 3).tolist()}) == 6 * 36
    assert cells[:4, ..., 2].max() == 0
    assert cells[4:, ..., 2].min() == 1


def test_patches_are_the_middles_of_squares_of_one_plan(load, tmp_path: Path) -> None:
    """Six squares of 4 x 4 cells; a patch has the 2 x 2 cells in the middle, and a ring around."""
    squares = load("squares")
    names = ("town", "wood", "lake")
    model = Model.load(labelled_model(tiny_model(tmp_path / "tiny"), tmp_path / "m", names), "cpu")
    words = {name: name for name in names}
    made = squares.asked_side_by_side(model, words, 2, 4, 2, 0.6, 3.0, 2, tmp_path)
    labels = squares.shuffled(names, 2, seed=0)
    assert sorted(labels) == sorted([*names, *names])
    plan = squares.Squares(labels, 4, 9.6).plan()
    cells = EmbeddingGrid.open(tmp_path / "cells.tif")
    wishes = Wishes(Cover(read_polygons(plan, "text"), cells.grid, 1))
    order = list(dict.fromkeys(labels))
    with rasterio.open(tmp_path / "mosaic.tif") as mosaic:
        assert mosaic.shape == (2 * 64, 3 * 64)
        assert np.allclose(mosaic.bounds, plan.total_bounds, atol=1e-6)
        for label, (images, vectors) in made.items():
            assert images.shape == (2, 32, 32, 3)
            assert vectors.shape == (2, 4, 4, 8)
            own = plan.geometry[plan.text == label]
            for shape, image, around in zip(own, images, vectors, strict=True):
                left, bottom, right, top = shape.bounds
                inner = left + 9.6, bottom + 9.6, right - 9.6, top - 9.6
                pixels = from_bounds(*inner, mosaic.transform)
                assert np.array_equal(mosaic.read(window=pixels.round()).transpose(1, 2, 0), image)
                across = (left - cells.grid.geobox.affine.c) / 9.6
                down = (cells.grid.geobox.affine.f - top) / 9.6
                row, col = round(down), round(across)
                assert np.array_equal(cells.values[row : row + 4, col : col + 4], around)
                place = Window(row + cells.grid.row, col + cells.grid.col, 4, 4)
                assert (wishes(place) == order.index(label)).all()
    with pytest.raises(SystemExit, match="--squares 3"):
        squares.asked_side_by_side(model, words, 2, 3, 2, 0.6, 3.0, 2, tmp_path)
