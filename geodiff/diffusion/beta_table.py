"""The noise levels of a network that was trained on a table of betas (DDPM and its kin)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MOST = 100_000
"""Steps of a table, at most."""


@dataclass(frozen=True)
class BetaTable:
    """Betas whose square roots run evenly from ``start``'s to ``end``'s in ``steps`` steps.

    What latent diffusion calls "linear" and diffusers "scaled_linear" (Rombach et al. 2022,
    arXiv:2112.10752). Raises ValueError unless ``1 < steps <= MOST`` and
    ``0 < start <= end < 1``.
    """

    steps: int = 1000
    start: float = 0.0015
    end: float = 0.0195

    def __post_init__(self) -> None:
        if not (1 < self.steps <= MOST and 0 < self.start <= self.end < 1):
            raise ValueError(
                f"a table of betas needs steps above 1 (at most {MOST}) and 0 < start <= end < 1, "
                f"got {self.steps} steps from {self.start} to {self.end}"
            )

    @property
    def betas(self) -> Tensor:
        """float64 (steps,)."""
        ends = self.start**0.5, self.end**0.5
        return torch.linspace(*ends, self.steps, dtype=torch.float64).square()

    @property
    def sigmas(self) -> Tensor:
        """Noise per clean image at each step, float64 (steps,), increasing.

        ``sqrt((1 - abar) / abar)`` with abar the product of ``1 - beta`` up to the step: dividing
        ``x_t = sqrt(abar) clean + sqrt(1 - abar) noise`` by ``sqrt(abar)`` gives the variance
        exploding form ``clean + sigma noise``.
        """
        kept = (1 - self.betas).cumprod(0)
        return ((1 - kept) / kept).sqrt()

    def time(self, sigma: float) -> float:
        """The step, from 0, at which the noise level is ``sigma``; between steps log-linear.

        Levels outside the table get its first or last step. Raises ValueError unless positive.
        """
        if not sigma > 0:
            raise ValueError(f"a noise level must be positive, got {sigma}")
        levels = self.sigmas.log()
        at = math.log(sigma)
        above = min(max(int(torch.searchsorted(levels, at)), 1), self.steps - 1)
        low, high = float(levels[above - 1]), float(levels[above])
        found = above - 1 + min(max((at - low) / (high - low), 0.0), 1.0)
        # A sigma of the table that went through float32 means its step.
        return round(found) if abs(found - round(found)) < 1e-3 else found
