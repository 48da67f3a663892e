"""A table of betas: the published one, and steps found again from noise levels."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler

from geodiff.diffusion.beta_table import BetaTable
from geodiff.diffusion.schedule import published


def test_the_table_is_that_of_diffusers_and_of_the_paper() -> None:
    other = DDIMScheduler(1000, 0.0015, 0.0195, "scaled_linear")
    table = BetaTable()
    torch.testing.assert_close(table.betas.float(), other.betas, rtol=1e-5, atol=0)
    levels = ((1 - other.alphas_cumprod) / other.alphas_cumprod).sqrt()
    torch.testing.assert_close(table.sigmas.float(), levels, rtol=1e-4, atol=0)
    ours, _ = published(1000)
    torch.testing.assert_close(table.sigmas.flip(0), ours[:-1], rtol=1e-12, atol=0)


def test_a_step_is_found_again_from_its_noise_level() -> None:
    table = BetaTable()
    for step in (0, 1, 17, 500, 998, 999):
        assert table.time(float(table.sigmas[step])) == step
        assert table.time(float(table.sigmas[step].float())) == step


def test_between_steps_time_is_linear_in_the_logarithm() -> None:
    table = BetaTable()
    low, high = float(table.sigmas[300]), float(table.sigmas[301])
    assert table.time(math.sqrt(low * high)) == pytest.approx(300.5, abs=1e-6)


def test_outside_the_table_its_ends_hold() -> None:
    table = BetaTable()
    assert table.time(1e-6) == 0
    assert table.time(1e6) == 999
    with pytest.raises(ValueError, match="must be positive"):
        table.time(0.0)


@pytest.mark.parametrize("numbers", [(1, 0.1, 0.2), (10, 0.0, 0.2), (10, 0.3, 0.2), (10, 0.1, 1.0)])
def test_impossible_tables_are_refused(numbers: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="needs steps above 1"):
        BetaTable(*numbers)
