"""Fields made by torch, for a GPU, are those that numpy makes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geodiff.jobs.training.batches import draw
from geodiff.jobs.training.config import DenoiserConfig
from geodiff.jobs.training.fields import dense_fields
from geodiff.jobs.training.latents import LatentSet, crop_fields
from geodiff.jobs.training.ranks import Ranks


@pytest.mark.parametrize("spread", [1.0, 0.05, 1e-3, 0.0])
def test_fields_are_those_of_numpy(spread: float) -> None:
    rng = np.random.default_rng(0)
    cells = rng.standard_normal((5, 1, 1, 16)) + spread * rng.standard_normal((5, 4, 3, 16))
    cells = (cells / np.linalg.norm(cells, axis=-1, keepdims=True)).astype(np.float32)
    where = np.sort(rng.uniform(-0.2, 4.2, (5, 2, 9)), axis=-1)
    wanted = np.moveaxis(crop_fields(cells, where[:, 0], where[:, 1]), -1, 1)
    made = dense_fields(torch.from_numpy(cells), torch.from_numpy(where).float())
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), wanted, atol=2e-5)
    np.testing.assert_allclose(made.norm(dim=1).numpy(), 1, atol=1e-5)


def test_opposite_and_single_cells() -> None:
    cells = np.zeros((1, 1, 2, 4), np.float32)
    cells[0, 0, 0, 0], cells[0, 0, 1, 0] = 1, -1
    where = np.array([[[0.2, 0.5, 0.7], [0.6, 0.9, 1.4]]])
    wanted = np.moveaxis(crop_fields(cells, where[:, 0], where[:, 1]), -1, 1)
    made = dense_fields(torch.from_numpy(cells), torch.from_numpy(where).float())
    np.testing.assert_allclose(made.numpy(), wanted, atol=1e-6)


def test_a_batch_for_a_gpu_has_the_field_of_a_batch_for_a_cpu() -> None:
    rng = np.random.default_rng(1)
    cells = rng.standard_normal((2, 3, 2, 4, 4, 8))
    cells /= np.linalg.norm(cells, axis=-1, keepdims=True)
    everything = np.arange(3)
    sets = [
        LatentSet(
            rng.standard_normal((3, 2, 4, 8, 8)).astype(np.float16), part.astype(np.float16),
            everything, everything, 0.6,
        )
        for part in cells
    ]  # fmt: skip
    config = DenoiserConfig(("a", "b"), "r", batch=6, codec="c", encoder="e", window=4)
    config = DenoiserConfig(**{**vars(config), "large_every": 0})
    plain = draw(sets, config, (0, 1), "train")
    late = draw(sets, config, (0, 1), "train", Ranks(device=torch.device("meta")))
    assert len(late.field) == 0
    there = late.to(torch.device("cpu"))
    for name in ("clean", "noise", "gsd", "time", "known"):
        assert torch.equal(getattr(there, name), getattr(plain, name))
    torch.testing.assert_close(there.field, plain.field, atol=2e-5, rtol=0)
