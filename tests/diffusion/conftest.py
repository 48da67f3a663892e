"""Analytic denoisers: data whose posterior mean is known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Every value is N(mean, std**2) on its own; the flow has a closed solution."""

    mean: float = 0.5
    std: float = 0.7

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return (self.std**2 * x + sigma**2 * self.mean) / (self.std**2 + sigma**2)

    def solution(self, x: Tensor, sigma: float, after: float) -> Tensor:
        ratio = math.sqrt((self.std**2 + after**2) / (self.std**2 + sigma**2))
        return self.mean + (x - self.mean) * ratio


@dataclass(frozen=True)
class Mixture:
    """Every value is near -1 or near +1, with equal chance; strongly nonlinear in x."""

    std: float = 0.2

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        variance = self.std**2 + sigma**2
        sign = torch.tanh(x / variance)
        return (self.std**2 * x + sigma**2 * sign) / variance


@pytest.fixture
def gaussian() -> Gaussian:
    return Gaussian()


@pytest.fixture
def mixture() -> Mixture:
    return Mixture()
