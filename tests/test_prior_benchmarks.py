"""The benchmarks of priors: figures with known answers, and prompts that no training has seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geodiff.jobs.datasets.dataset import PatchSet
from tests.jobs.rasters import make_dataset
from tests.tiny import tiny_model


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
