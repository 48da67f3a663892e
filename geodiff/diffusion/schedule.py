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


def published(steps: int = 50) -> tuple[Tensor, Tensor]:
    """The schedule of Graikos et al. 2024 (arXiv:2312.07330): noise levels and fresh noise.

    A table of 1,000 steps with the square roots of beta linear from 0.0015 to 0.0195 (as in latent
    diffusion, Rombach et al. 2022, arXiv:2112.10752); its times count from 1, so that ``abar(t)``
    is the product of the first t factors ``1 - beta`` and ``abar(0) = 1``. The solver visits ``t =
    1000, 980, .. 20, 0`` (50 steps; other numbers are rounded to whole times). As published, the
    variance of the new noise is ``beta(t) (1 - abar') / (1 - abar)`` with the beta of one step of
    the table although the solver makes 20 of them at once: an eta of DDIM of 0.23 to 0.25, not 1.
    Returns float64 (steps + 1,), decreasing, the last one 0, and float64 (steps,): sigma is
    ``sqrt((1 - abar) / abar)``, and the deviation of the noise is divided by ``sqrt(abar')``, both
    for the variance exploding form. Raises ValueError unless ``1 <= steps <= 1000``.
    """
    if not 1 <= steps <= 1000:
        raise ValueError(f"the published table has 1 to 1000 steps, got {steps}")
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64).square()
    products = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
    times = [(2 * 1000 * (steps - k) + steps) // (2 * steps) for k in range(steps + 1)]
    abar = products[times]
    sigmas = ((1 - abar) / abar).sqrt()
    now, after = abar[:-1], abar[1:]
    variance = betas[torch.tensor(times[:-1]) - 1] * (1 - after) / (1 - now)
    return sigmas, (variance / after).sqrt()


def sample_times(generator: torch.Generator, n: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Random training times in (0, 1): float32 (n,) on the generator's device.

    Logit-normal, ``logit(t) ~ N(mean, std**2)``: most of the training goes to the middle noise
    levels. Esser et al. 2024 (arXiv:2403.03206), section 3.1.
    """
    normal = torch.randn(n, generator=generator, device=generator.device)
    return torch.sigmoid(mean + std * normal)
