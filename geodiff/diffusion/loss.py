"""The training loss of a rectified flow."""

from __future__ import annotations

import torch
from torch import Tensor

from geodiff.diffusion.denoise import Velocity


def flow_matching_loss(
    velocity: Velocity,
    clean: Tensor,
    noise: Tensor,
    times: Tensor,
    weight: Tensor | None = None,
    target: Velocity | None = None,
) -> Tensor:
    """Mean squared error of the velocity ``noise - clean`` at ``x_t = (1 - t) clean + t noise``.

    ``clean`` and ``noise`` are (batch, channel, row, col), ``times`` (batch,) in [0, 1]. ``weight``
    broadcasts against them, is not negative and turns the mean into a weighted one: a validity mask
    with zeros leaves those cells out (where ``clean`` must still be finite); None weighs all alike.
    ``target`` gives what is to be learned in place of ``noise - clean``, for instance a teacher's.
    Gives a scalar, reduced in float32. Liu et al. 2022 (arXiv:2209.03003), equation 1. Raises
    ValueError if the shapes do not fit.
    """
    if clean.shape != noise.shape or times.shape != clean.shape[:1]:
        raise ValueError(
            f"clean {tuple(clean.shape)} and noise {tuple(noise.shape)} must have one shape and "
            f"times {tuple(times.shape)} one value for each of their {len(clean)} images"
        )
    t = times.view(-1, *[1] * (clean.ndim - 1))
    x_t = (1 - t) * clean + t * noise
    wanted = noise - clean if target is None else target(x_t, times)
    error = (velocity(x_t, times).float() - wanted.float()).square()
    if weight is None:
        return error.mean()
    weight = weight.float().expand_as(error)
    return (weight * error).sum() / weight.sum().clamp_min(torch.finfo(torch.float32).tiny)
