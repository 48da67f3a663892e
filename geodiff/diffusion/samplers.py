"""Solvers of the probability flow, as generators of their steps; all but one are deterministic.

All solve ``dx/dsigma = (x - denoise(x, sigma)) / sigma`` (Karras et al. 2022, arXiv:2206.00364,
equations 1 and 3) from the first noise level to the last. x starts as
``clean + sigmas[0] * noise``; at high noise that is ``sigmas[0] * noise``. Each yields x after
every step, the last one being the result; a state stays as it is when the next one is made. The
state is float32 (or float64 if x is), whatever the network answers in, and holds no autograd graph.
A schedule that is not one-dimensional, positive and strictly decreasing (the last may be 0) raises
ValueError at the first step. Canvases are made one by one and in place (see ``canvas``): beside x
and what ``denoise`` holds, two or three exist at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from geodiff.diffusion import canvas
from geodiff.diffusion.denoise import Denoise


@torch.no_grad()
def euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Tensor]:
    """Euler's method, order 1, one evaluation a step; the same as DDIM with eta 0.

    ``x' = clean + (sigma' / sigma) (x - clean)``: Song et al. 2021 (arXiv:2010.02502), equation 13.
    """
    x = _state(x)
    for sigma, after in _steps(sigmas):
        x = _towards(denoise(x, sigma).to(x), x, after / sigma)
        yield x


@torch.no_grad()
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Iterator[Tensor]:
    """Heun's method, order 2, two evaluations a step, one in a step to 0.

    Karras et al. 2022 (arXiv:2206.00364), algorithm 1; no noise is added on the way.
    """
    x = _state(x)
    for sigma, after in _steps(sigmas):
        clean = denoise(x, sigma).to(x)
        guess = _towards(clean, x, after / sigma)
        if after > 0:
            slope = _minus(x, clean).div_(sigma)
            clean = denoise(guess, after).to(x)
            slope += _minus(guess, clean).div_(after)
            guess = slope.mul_((after - sigma) / 2).add_(x)
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
                rate = length / (2 * previous[0])
                target = _minus(clean, previous[1]).mul_(rate).add_(clean)
            previous = length, clean
        x = _towards(target, x, after / sigma)
        del clean, target
        yield x


@torch.no_grad()
def ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    fresh: Tensor,
    noise: Callable[[int], Tensor],
) -> Iterator[Tensor]:
    """DDIM that adds new noise in every step, order 1, one evaluation a step.

    Song et al. 2021 (arXiv:2010.02502), equation 12, divided by ``sqrt(abar')`` and hence in the
    variance exploding form: ``x' = clean + sqrt(sigma'^2 - fresh^2) (x - clean) / sigma + fresh
    z``. ``fresh`` (steps,) is the deviation of the new noise in each step, at most ``sigma'``, and
    ``noise(step)`` gives z, N(0, 1) of x's shape; where fresh is 0 it is not asked for.
    """
    x = _state(x)
    for step, ((sigma, after), new) in enumerate(zip(_steps(sigmas), fresh.tolist(), strict=True)):
        if not 0 <= new <= after:
            raise ValueError(f"step {step} adds noise of {new}, but may add 0 to {after}")
        x = _towards(denoise(x, sigma).to(x), x, math.sqrt(after**2 - new**2) / sigma)
        if new > 0:
            x += torch.mul(noise(step).to(x), new, out=canvas.zeros_like(x))
        yield x


def _towards(clean: Tensor, x: Tensor, share: float) -> Tensor:
    """``clean + share (x - clean)``."""
    return _minus(x, clean).mul_(share).add_(clean)


def _minus(a: Tensor, b: Tensor) -> Tensor:
    return torch.sub(a, b, out=canvas.zeros_like(a))


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
