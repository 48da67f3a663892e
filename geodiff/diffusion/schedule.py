"""Noise levels for sampling and times for training of a rectified flow.

Rectified flow (Liu et al. 2022, arXiv:2209.03003) mixes ``x_t = (1 - t) clean + t noise`` and
learns the velocity ``noise - clean``. Divided by ``1 - t`` this is the variance exploding form
``x = clean + sigma * noise`` of the samplers, with ``sigma = t / (1 - t)`` and
``t = sigma / (1 + sigma)``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def flow_sigmas(steps: int, shift: float = 1.0, t_max: float = 0.99) -> Tensor:
    """Decreasing noise levels for ``steps`` solver steps: float64 (steps + 1,), the last one 0.

    Times run uniformly from ``t_max`` to 0 and are then shifted, ``t' = shift t / (1 + (shift - 1)
    t)``, which moves steps towards high noise if ``shift > 1`` (the first time as well); Esser et
    al. 2024 (Stable Diffusion 3, arXiv:2403.03206), section 5.3.2. Raises ValueError unless
    ``steps >= 1``, ``shift > 0`` and ``0 < t_max < 1``.
    """
    if steps < 1:
        raise ValueError(f"sampling needs at least one step, got {steps}")
    if not shift > 0:
        raise ValueError(f"the shift of the schedule must be positive, got {shift}")
    if not 0 < t_max < 1:
        raise ValueError(f"t_max must lie between 0 and 1 (both excluded), got {t_max}")
    uniform = torch.linspace(t_max, 0, steps + 1, dtype=torch.float64)
    times = shift * uniform / (1 + (shift - 1) * uniform)
    return times / (1 - times)


def sample_times(generator: torch.Generator, n: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Random training times in (0, 1): float32 (n,) on the generator's device.

    Logit-normal, ``logit(t) ~ N(mean, std**2)``: most of the training goes to the middle noise
    levels. Esser et al. 2024 (arXiv:2403.03206), section 3.1.
    """
    normal = torch.randn(n, generator=generator, device=generator.device)
    return torch.sigmoid(mean + std * normal)
