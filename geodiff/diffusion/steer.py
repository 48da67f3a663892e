"""A denoiser whose clean prediction is moved, at some noise levels, towards what is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from geodiff.diffusion.denoise import Denoise


@dataclass(frozen=True)
class Steered:
    """A Denoise followed by ``nudge`` where ``lo < sigma <= hi``; a wrapper around any other.

    ``nudge`` takes the clean x and gives one of the same shape; it may change its argument. Bansal
    et al. 2023 (arXiv:2302.07121) guide predictions that way. Raises ValueError if the interval is
    empty.
    """

    inner: Denoise
    nudge: Callable[[Tensor], Tensor]
    interval: tuple[float, float] = (0.0, math.inf)

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low < high:
            raise ValueError(f"steering needs an interval 0 <= lo < hi, got {low} to {high}")

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The clean x, same shape as x."""
        clean = self.inner(x, sigma)
        low, high = self.interval
        return self.nudge(clean) if low < sigma <= high else clean
