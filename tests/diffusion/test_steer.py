"""A steered denoiser is the other one outside of its interval, and its nudged answer inside."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from geodiff.diffusion import Denoise, Steered, dpmpp_2m, flow_sigmas

LEVELS = (1e-3, 0.3, 0.31, 1.0, 5.0, 5.01, 90.0)


def nudge(clean: Tensor) -> Tensor:
    return clean * 2 + 1


def refuse(clean: Tensor) -> Tensor:
    raise RuntimeError("nothing is to be nudged here")


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", LEVELS)
def test_acts_above_the_lower_bound_and_up_to_the_upper(
    gaussian: Denoise, x: Tensor, sigma: float
) -> None:
    clean = gaussian(x, sigma)
    inside = 0.3 < sigma <= 5.0
    steered = Steered(gaussian, nudge, (0.3, 5.0))(x, sigma)
    assert torch.equal(steered, nudge(clean) if inside else clean)
    assert not torch.equal(nudge(clean), clean)


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 5.01, 90.0])
def test_nothing_is_nudged_outside(gaussian: Denoise, x: Tensor, sigma: float) -> None:
    assert torch.equal(Steered(gaussian, refuse, (0.3, 5.0))(x, sigma), gaussian(x, sigma))
    with pytest.raises(RuntimeError, match="is to be nudged"):
        Steered(gaussian, refuse)(x, sigma)


def test_without_an_interval_every_level_is_steered(gaussian: Denoise, x: Tensor) -> None:
    for sigma in LEVELS:
        assert torch.equal(Steered(gaussian, nudge)(x, sigma), nudge(gaussian(x, sigma)))


def test_a_nudge_in_place_is_one_that_makes_a_copy(gaussian: Denoise, x: Tensor) -> None:
    results = []
    for move in (lambda clean: clean * 0.9, lambda clean: clean.mul_(0.9)):
        *_, last = dpmpp_2m(Steered(gaussian, move, (0.3, 5.0)), x * 90, flow_sigmas(6))
        results.append(last)
    assert torch.equal(*results)


@pytest.mark.parametrize("interval", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0)])
def test_an_empty_interval_is_refused(gaussian: Denoise, interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="steering needs an interval 0 <= lo < hi"):
        Steered(gaussian, nudge, interval)
