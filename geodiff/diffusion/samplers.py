"""Deterministic solvers of the probability flow ODE, as generators of their steps.

All solve ``dx/dsigma = (x - denoise(x, sigma)) / sigma`` (Karras et al. 2022, arXiv:2206.00364,
equations 1 and 3) from the first noise level to the last. x starts as
``clean + sigmas[0] * noise``; at high noise that is ``sigmas[0] * noise``. Each yields x after
every step, the last one being the result. The state is float32 (or float64 if x is), whatever the
network answers in, and holds no autograd graph. A schedule that is not one-dimensional, positive
and strictly decreasing (the last may be 0) raises ValueError at the first step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from geodiff.diffusion.denoise import Denoise


@torch.no_grad()
def euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Tensor]:
    """Euler's method, order 1, one evaluation a step; the same as DDIM with eta 0.

    ``x' = clean + (sigma' / sigma) (x - clean)``: Song et al. 2021 (arXiv:2010.02502), equation 13.
    """
    x = _state(x)
    for sigma, after in _steps(sigmas):
        clean = denoise(x, sigma).to(x)
        x = clean + after / sigma * (x - clean)
        yield x


@torch.no_grad()
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Tensor]:
    """Heun's method, order 2, two evaluations a step, one in a step to 0.

    Karras et al. 2022 (arXiv:2206.00364), algorithm 1; no noise is added on the way.
    """
    x = _state(x)
    for sigma, after in _steps(sigmas):
        clean = denoise(x, sigma).to(x)
        guess = clean + after / sigma * (x - clean)
        if after > 0:
            slope = (x - clean) / sigma
            slope_after = (guess - denoise(guess, after).to(x)) / after
            guess = x + (after - sigma) / 2 * (slope + slope_after)
        x = guess
        yield x


@torch.no_grad()
def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Tensor]:
    """DPM-Solver++(2M), order 2, one evaluation a step; the first step and one to 0 are of order 1.

    Lu et al. 2022 (arXiv:2211.01095), algorithm 2, with ``lambda = -log sigma``: the clean x is
    extrapolated over half a step from its previous value, then taken as constant.
    """
    x = _state(x)
    previous: tuple[float, Tensor] | None = None  # length of the last step in lambda, its clean x
    for sigma, after in _steps(sigmas):
        clean = target = denoise(x, sigma).to(x)
        if after > 0:
            length = math.log(sigma / after)
            if previous is not None:
                target = clean + length / (2 * previous[0]) * (clean - previous[1])
            previous = length, clean
        x = target + after / sigma * (x - target)
        yield x


def _state(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _steps(sigmas: Tensor) -> Iterator[tuple[float, float]]:
    levels: list[float] = sigmas.tolist() if sigmas.ndim == 1 else []
    if len(levels) < 2 or levels[-1] < 0 or not all(a > b for a, b in pairwise(levels)):
        raise ValueError(
            "a schedule needs two or more strictly decreasing noise levels, the last one 0 or "
            f"more, in a one-dimensional tensor; got {sigmas.tolist()}"
        )
    return pairwise(levels)
