"""Copies of training patches are found, however they are turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geodiff.jobs.datasets.dataset import PatchSet, orient
from geodiff.jobs.measures import memorisation as job
from geodiff.models.bundle import Model
from geodiff.steps import drain


@pytest.fixture(scope="module")
def known(dataset: Path, model: Model) -> list[job.Training]:
    return drain(job.embed_training([PatchSet.open(dataset)], model))


def val(dataset: Path) -> np.ndarray:
    patches = PatchSet.open(dataset)
    rows = patches.split("val")[:6]
    return np.stack([patches.pixels[row] for row in rows]).transpose(0, 3, 1, 2)


def test_every_training_patch_is_looked_at(dataset: Path, known: list[job.Training]) -> None:
    (training,) = known
    assert list(training.rows) == list(PatchSet.open(dataset).split("train"))
    assert training.cells.shape[1:] == (4, 4, 8)


def test_a_turned_copy_is_found_and_undone(
    dataset: Path, model: Model, known: list[job.Training]
) -> None:
    patches, real = PatchSet.open(dataset), val(dataset)
    row = int(patches.split("train")[5])
    made = real.copy()
    made[2] = np.moveaxis(orient(np.array(patches.pixels[row]), 5), -1, 0)
    figures = drain(job.memorisation(real, made, known, model))
    best = figures.closest[0]
    assert (best.patch, best.training, best.row) == (2, 0, row)
    assert best.similarity == figures.patch_top == pytest.approx(1, abs=1e-5)
    turned = orient(np.moveaxis(made[2], 0, -1), best.turn)
    np.testing.assert_array_equal(turned, patches.pixels[row])
    assert figures.patch_top_real < 1
    assert figures.nearer == pytest.approx(1 / 6)
    assert figures.training == figures.compared == len(known[0].rows)


def test_the_nearest_cell_agrees_with_a_table_of_all_and_does_not_depend_on_blocks(
    known: list[job.Training], model: Model, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = job.embedded(val(dataset), model)
    flat, other = cells.reshape(-1, 8), known[0].cells.reshape(-1, 8)
    monkeypatch.setattr(job, "BLOCK", 37)
    np.testing.assert_allclose(job.nearest_cells(cells, known), (flat @ other.T).max(1), rtol=1e-5)


def test_patches_of_another_size_are_compared_by_cells_alone(
    dataset: Path, model: Model, known: list[job.Training]
) -> None:
    small = np.ascontiguousarray(val(dataset)[:, :, :32, :32])
    figures = drain(job.memorisation(small, small, known, model))
    assert figures.compared == 0
    assert figures.patch is figures.nearer is None
    assert figures.cell == figures.cell_real <= 1.0001
    assert figures.closest == ()
